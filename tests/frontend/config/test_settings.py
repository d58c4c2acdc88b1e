"""owt.frontend.config.settings: values, sources and messages of the settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

import owt
from owt.errors import ConfigError
from owt.frontend.config.setting import read_network
from owt.frontend.config.settings import KIB, MIB, OTHER_VARIABLES, Settings, settings, warnings_about

TOKEN = "0123456789abcdef"
BCRYPT = "$2b$04$" + 53 * "."
HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"


def test_without_options_and_variables_the_defaults_apply():
    result = Settings.from_options({}, {})
    assert result == Settings()
    assert (result.address, result.port, result.auth) == ("127.0.0.1", 9876, ())
    assert (result.drain, result.queue, result.pool_min, result.max_sessions) == (5.0, 64, 1, 100)
    assert result.session_idle is None
    assert result.cache_bytes == 256 * MIB
    assert result.window == 4 * MIB
    assert result.max_body == 100 * MIB
    assert (result.max_url, result.max_header) == (MIB, 64 * KIB)
    assert result.kernel == "owt"
    assert result.preload == ()
    assert result.fork is True
    assert result.insecure is False


@pytest.mark.parametrize(("cores", "kernels"), [(None, 4), (1, 4), (2, 4), (3, 6), (16, 32)])
def test_the_default_pool_has_twice_the_cores_and_at_least_four_kernels(monkeypatch, cores, kernels):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert Settings().pool_max == kernels


def test_settings_are_immutable():
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_an_option_overrides_a_variable_and_a_variable_the_default():
    assert Settings.from_options({}, {"OWT_PORT": "1000"}).port == 1000
    assert Settings.from_options({"port": "2000"}, {"OWT_PORT": "1000"}).port == 2000
    assert Settings.from_options({"port": None}, {"OWT_PORT": "1000"}).port == 1000


def test_a_zero_or_false_option_overrides_a_variable():
    assert Settings.from_options({"port": "0"}, {"OWT_PORT": "1000"}).port == 0
    assert Settings.from_options({"fork": False}, {"OWT_FORK": "1"}).fork is False


def test_every_setting_has_a_variable():
    texts = {
        "address": ("::1", "::1"),
        "port": ("8000", 8000),
        "base_url": ("owt/", "/owt"),
        "certfile": ("cert.pem", Path("cert.pem")),
        "keyfile": ("key.pem", Path("key.pem")),
        "trusted_proxy": ("10.0.0.0/8, ::1", (read_network("10.0.0.0/8"), read_network("::1"))),
        "auth": (f"ada:{HASH.upper()}, bob:{BCRYPT}", (f"ada:{HASH}", f"bob:{BCRYPT}")),
        "auth_file": ("users", Path("users")),
        "token": (TOKEN, (TOKEN,)),
        "token_file": ("tokens", Path("tokens")),
        "allow_host": ("Owt.Example.org., *.lan", ("owt.example.org", "*.lan")),
        "allow_origin": ("HTTPS://Example.org:443/", ("https://example.org",)),
        "max_header": ("8k", 8 * KIB),
        "max_nesting": ("7", 7),
        "max_connections": ("10", 10),
        "connection_idle": ("5m", 300.0),
        "max_runs": ("3", 3),
        "resume_window": ("0", 0.0),
        "keepalive": ("1s", 1.0),
        "kernel_memory": ("2g", 2048 * MIB),
        "insecure": ("yes", True),
        "verbose": ("2", 2),
        "drain": ("1.5", 1.5),
        "queue": ("0", 0),
        "pool_min": ("2", 2),
        "pool_max": ("9", 9),
        "max_sessions": ("7", 7),
        "session_idle": ("2h", 7200.0),
        "template_idle": ("never", None),
        "cache_bytes": ("0", 0),
        "preload": ("numpy, mypackage.models", ("numpy", "mypackage.models")),
        "preload_threads": ("yes", True),
        "kernel": ("python3", "python3"),
        "log_format": ("json", "json"),
        "max_body": ("4m", 4 * MIB),
        "max_url": ("64KiB", 64 * KIB),
        "window": ("65536", 65536),
        "kill_after": ("500ms", 0.5),
        "pool_nested": ("0", 0),
        "kill_abandoned": ("1h", 3600.0),
        "run_retention": ("10m", 600.0),
        "run_journal": ("1k", 1024),
        "journal_total": ("1.5GiB", 1536 * MIB),
        "keep": ("1h", 3600.0),
        "runtime_dir": ("somewhere", Path("somewhere")),
        "fork": ("off", False),
        "show_examples": ("1", True),
        "notebook": ("a.ipynb, b.py", (Path("a.ipynb"), Path("b.py"))),
        "watch": ("1", True),
    }
    # A certificate and a Unix socket exclude each other.
    assert {*texts, "unix_socket"} == {field.name for field in fields(Settings)}
    assert Settings.from_options({}, {"OWT_UNIX_SOCKET": "~/s"}).unix_socket == Path.home() / "s"
    environ = {f"OWT_{name.upper()}": text for name, (text, _) in texts.items()}
    result = Settings.from_options({}, environ)
    assert {name: getattr(result, name) for name in texts} == {
        name: value for name, (_, value) in texts.items()
    }
    assert Settings.from_options({name: text for name, (text, _) in texts.items()}, {}) == result


def test_sessions_are_kept_only_where_the_next_server_finds_them(monkeypatch):
    with pytest.raises(ConfigError, match=r"--keep .*: the next server could not find the sessions"):
        Settings(keep=1.0, port=0)
    assert Settings(keep=1.0, port=0, runtime_dir=Path("/run/owt")).keep == 1
    assert Settings(keep=1.0, port=0, unix_socket=Path("s")).keep == 1
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfigError, match=r"--keep .*: it needs Linux"):
        Settings(keep=1.0)


def test_each_value_of_a_repeatable_option_is_read():
    values = (f"ada:{HASH}", f"bob:{BCRYPT}")
    assert Settings.from_options({"auth": values}, {"OWT_AUTH": f"eve:{HASH}"}).auth == values
    with pytest.raises(ConfigError, match=r"^--auth: "):
        Settings.from_options({"auth": (values[0], "eve")}, {})


def test_an_empty_variable_counts_as_absent():
    assert Settings.from_options({}, {"OWT_PORT": "", "OWT_AUTH": ""}) == Settings()


def test_variables_of_no_setting_are_ignored():
    assert Settings.from_options({}, {"OWT_URL": "http://elsewhere", "OWT_SOMETHING": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("OWT_CACHEBYTES", "; did you mean OWT_CACHE_BYTES?"),
        ("OWT_PORTS", "; did you mean OWT_PORT?"),
        ("OWT_CLIENT_TOKENS", "; did you mean OWT_CLIENT_TOKEN?"),
        ("OWT_URI", "; did you mean OWT_URL?"),
        ("OWT_XYZ", ""),
    ],
)
def test_a_variable_that_is_none_of_owts_is_named_with_the_closest_one(name: str, advice: str) -> None:
    environ = {"PATH": "/bin", "OWT_PORT": "1", "OWT_RUN": "2", name: "3"}
    assert warnings_about(environ) == [f"{name} is no variable of owt and has no effect{advice}"]


def test_each_variable_in_the_source_is_known() -> None:
    sources = [path.read_text() for path in Path(owt.__file__).parent.rglob("*.py")]
    names = {name for text in sources for name in re.findall(r"\bOWT_[A-Z_]*[A-Z]\b", text)}
    assert names >= OTHER_VARIABLES
    assert warnings_about(dict.fromkeys(names, "")) == []


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("port", "abc", "whole number"),
        ("port", "65536", "from 0 to 65535"),
        ("port", "-1", "from 0 to 65535"),
        ("port", "80.5", "whole number"),
        ("port", "٣", "whole number"),
        ("verbose", "4", "from 0 to 3"),
        ("queue", "-1", "0 or more"),
        ("max_sessions", "0", "1 or more"),
        ("pool_max", "0", "1 or more"),
        ("drain", "-5", "500ms"),
        ("drain", "nan", "500ms"),
        ("drain", "never", "500ms"),
        ("session_idle", "soon", "or never"),
        ("session_idle", "0", "more"),
        ("cache_bytes", "-1", "256MiB"),
        ("cache_bytes", "1 parsec", "256MiB"),
        ("max_body", "1e6", "256MiB"),
        ("insecure", "perhaps", "yes or no"),
        ("preload", "numpy,my-package", "'my-package' is not the name of a module"),
        ("kernel", "../python3", "jupyter kernelspec list"),
        ("address", "256.0.0.1", "127.0.0.1"),
        ("address", "two words", "127.0.0.1"),
        ("address", "http://localhost", "127.0.0.1"),
        ("address", "-x", "127.0.0.1"),
        ("address", "[::1", "127.0.0.1"),
    ],
)
def test_the_message_of_an_invalid_value_is_one_line_with_source_value_and_hint(name, text, hint):
    variable = "OWT_" + name.upper()
    option = "--" + name.replace("_", "-")
    for options, environ, source in (({name: text}, {}, option), ({}, {variable: text}, variable)):
        with pytest.raises(ConfigError) as caught:
            Settings.from_options(options, environ)
        message = str(caught.value)
        assert message.startswith(f"{source}: ")
        assert hint in message
        assert repr(text) in message
        assert "\n" not in message


def test_an_empty_address_is_refused():
    with pytest.raises(ConfigError, match=r"^--address: give an IP address"):
        Settings.from_options({"address": ""}, {})


def test_a_long_invalid_value_is_shortened():
    with pytest.raises(ConfigError) as caught:
        Settings.from_options({"port": "9" * 5000}, {})
    assert len(str(caught.value)) < 200


def test_the_constructor_refuses_invalid_values():
    with pytest.raises(ConfigError, match=r"^--port: give a number from 0 to 65535; got 70000$"):
        Settings(port=70000)
    with pytest.raises(ConfigError, match=r"^--auth: "):
        Settings(auth=("ada",))


@pytest.mark.parametrize(
    "text", ["secret", "ada:secret", f"{HASH}", f"ada:{HASH[1:]}", f":{HASH}", f"ada:secret:{HASH}"]
)
def test_the_message_of_malformed_auth_has_a_hint_and_no_password(text):
    with pytest.raises(ConfigError) as caught:
        Settings.from_options({"auth": text}, {})
    message = str(caught.value)
    assert message.startswith("--auth: ")
    assert "owt hash-password" in message
    assert "secret" not in message
    assert HASH not in message
    assert "\n" not in message


def test_the_password_hash_is_not_in_the_repr():
    assert HASH not in repr(Settings(auth=(f"ada:{HASH}",)))


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "[::]", "192.168.1.7", "fe80::1", "example.org", "127.1.example"]
)
def test_a_public_address_needs_credentials_or_insecure(address):
    with pytest.raises(ConfigError) as caught:
        Settings.from_options({"address": address}, {})
    message = str(caught.value)
    assert "every client that reaches the port can run code as this user" in message
    assert "--auth" in message
    assert "--insecure" in message
    assert "\n" not in message
    bare = address.strip("[]")
    assert Settings.from_options({"address": address, "auth": f"ada:{HASH}"}, {}).address == bare
    assert Settings.from_options({"address": address}, {"OWT_INSECURE": "1"}).address == bare


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("allow_origin", "example.org", "https://example.org"),
        ("allow_origin", "*", "https://example.org"),
        ("allow_origin", "https://example.org/page", "https://example.org"),
        ("allow_origin", "null", "https://example.org"),
        ("allow_host", "http://owt.lan", "without port and scheme"),
        ("allow_host", "*", "*.example.org"),
        ("allow_host", "owt.lan:80", "without port"),
        ("trusted_proxy", "10.0.0.0/99", "10.0.0.0/8"),
        ("base_url", "/a/../b", "a path such as /owt"),
        ("base_url", "/a b", "a path such as /owt"),
        ("base_url", "/_owt/x", "reserved for the server"),
        ("kernel_memory", "lots", "or none"),
        ("kernel_memory", "1", "or more"),
        ("max_nesting", "0", "1 or more"),
    ],
)
def test_invalid_settings_of_access_are_refused(name, text, hint):
    with pytest.raises(ConfigError) as caught:
        Settings.from_options({name: text}, {})
    assert str(caught.value).startswith("--" + name.replace("_", "-") + ": ")
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", ["short", "with space in it and long", "0123456789abcdef\n", "=" * 20])
def test_an_invalid_token_is_refused_and_not_shown(text):
    with pytest.raises(ConfigError, match=r"^--token: a token has 16 or more") as caught:
        Settings.from_options({"token": (text,)}, {})
    assert text not in str(caught.value)


def test_a_certificate_needs_a_key_and_a_port():
    with pytest.raises(ConfigError, match=r"--certfile .* --keyfile .* give both, or neither"):
        Settings(certfile=Path("cert.pem"))
    with pytest.raises(ConfigError, match=r"--unix-socket .* leave out --certfile"):
        Settings(certfile=Path("cert.pem"), keyfile=Path("key.pem"), unix_socket=Path("owt.sock"))


def test_a_unix_socket_needs_no_credentials_whatever_the_address():
    assert not Settings(unix_socket=Path("owt.sock"), address="0.0.0.0").guarded


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost", "owt.localhost"]
)
def test_a_loopback_address_needs_no_credentials(address):
    assert not Settings.from_options({"address": address}, {}).guarded


def test_pool_min_cannot_exceed_pool_max():
    with pytest.raises(ConfigError, match=r"--pool-min .* --pool-max .*; got 5"):
        Settings(pool_min=5, pool_max=4)


def test_watch_needs_a_notebook():
    with pytest.raises(ConfigError, match=r"--watch .*--notebook"):
        Settings(watch=True)


def test_the_documented_default_is_the_default():
    for row in settings():
        default = getattr(Settings(), row.name)
        if row.name not in ("pool_max", "runtime_dir") and row.default_text != "none":
            assert row.read(row.default_text) == default, row.name


def test_importing_the_settings_reads_no_environment():
    environ = {**os.environ, "OWT_PORT": "malformed", "OWT_ADDRESS": "0.0.0.0"}
    program = "import owt.frontend.config.settings, owt.cli"
    subprocess.run([sys.executable, "-c", program], env=environ, check=True)
