"""owt.server: location of a server, and start of one."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

import httpx
import pytest

from owt.errors import ConfigError
from owt.server import Server, base_url, split_unix, unix_url


@pytest.fixture(autouse=True)
def _nothing_announced(monkeypatch):
    monkeypatch.setattr(Server, "_announced", None)
    for name in ("OWT_URL", "OWT_ADDRESS", "OWT_PORT", "OWT_UNIX_SOCKET", "OWT_BASE_URL", "OWT_CERTFILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_default_server_is_on_port_9876():
    server = Server.sing()
    assert (server.url, server.address, server.port) == ("http://127.0.0.1:9876", "127.0.0.1", 9876)


def test_the_current_server_is_a_singleton():
    assert Server.sing() is Server.sing()


def test_an_announced_server_is_the_current_one():
    Server.announce("http://10.0.0.1:8000/", "10.0.0.1", 8000)
    server = Server.sing()
    assert (server.url, server.address, server.port) == ("http://10.0.0.1:8000", "10.0.0.1", 8000)


@pytest.mark.parametrize(
    ("environ", "url", "address", "port"),
    [
        ({"OWT_PORT": "8000"}, "http://127.0.0.1:8000", "127.0.0.1", 8000),
        ({"OWT_ADDRESS": "owt.example"}, "http://owt.example:9876", "owt.example", 9876),
        ({"OWT_ADDRESS": "::1"}, "http://[::1]:9876", "::1", 9876),
        ({"OWT_ADDRESS": "[::1]"}, "http://[::1]:9876", "::1", 9876),
        ({"OWT_ADDRESS": "0.0.0.0"}, "http://127.0.0.1:9876", "127.0.0.1", 9876),
        ({"OWT_ADDRESS": "::"}, "http://[::1]:9876", "::1", 9876),
        ({"OWT_URL": "https://owt.example/"}, "https://owt.example", "owt.example", 443),
        ({"OWT_URL": "http://h:1", "OWT_PORT": "2"}, "http://h:1", "h", 1),
        ({"OWT_URL": "http://[::1]:5"}, "http://[::1]:5", "::1", 5),
        ({"OWT_URL": "localhost:9876"}, "http://localhost:9876", "localhost", 9876),
        ({"OWT_URL": "127.0.0.1:1/owt/"}, "http://127.0.0.1:1/owt", "127.0.0.1", 1),
        ({"OWT_URL": "[::1]:5"}, "http://[::1]:5", "::1", 5),
        ({"OWT_URL": "https://h/owt/"}, "https://h/owt", "h", 443),
        ({"OWT_URL": "http+unix://%2Frun%2FOwt%20x/"}, "http+unix://%2Frun%2FOwt%20x", "/run/Owt x", 0),
        ({"OWT_UNIX_SOCKET": "/run/owt", "OWT_PORT": "1"}, "http+unix://%2Frun%2Fowt", "/run/owt", 0),
        (
            {"OWT_UNIX_SOCKET": "/run/owt", "OWT_BASE_URL": "owt"},
            "http+unix://%2Frun%2Fowt/owt",
            "/run/owt",
            0,
        ),
        ({"OWT_BASE_URL": "/a/b/"}, "http://127.0.0.1:9876/a/b", "127.0.0.1", 9876),
        ({"OWT_CERTFILE": "c", "OWT_KEYFILE": "k"}, "https://127.0.0.1:9876", "127.0.0.1", 9876),
    ],
)
def test_the_environment_names_the_server(environ, url, address, port):
    assert Server.from_environment(environ) == Server(url, address, port)


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"OWT_PORT": "many"}, "OWT_PORT"),
        ({"OWT_PORT": "65536"}, "OWT_PORT"),
        ({"OWT_URL": "localhost"}, "OWT_URL"),
        ({"OWT_URL": "localhost:owt"}, "OWT_URL"),
        ({"OWT_URL": "localhost:987654"}, "OWT_URL"),
        ({"OWT_URL": "http://"}, "OWT_URL"),
        ({"OWT_URL": "http://h:port"}, "OWT_URL"),
        ({"OWT_URL": "http://[::1"}, "OWT_URL"),
        ({"OWT_URL": "http://a..b"}, "OWT_URL"),
        ({"OWT_URL": f"http://{'a' * 64}"}, "OWT_URL"),
        ({"OWT_URL": "http://h/\x01"}, "OWT_URL"),
        ({"OWT_URL": "http+unix:///run/owt"}, "OWT_URL"),
        ({"OWT_URL": "http+unix://run/owt"}, "OWT_URL"),
        ({"OWT_URL": "http+unix://owt.sock"}, "OWT_URL"),
    ],
)
def test_an_error_names_the_variable_of_the_server(environ, source):
    with pytest.raises(ConfigError, match=f"^{source}: "):
        Server.from_environment(environ)


def test_base_url_puts_an_ipv6_address_in_brackets():
    assert base_url("::1", 9876) == "http://[::1]:9876"
    assert base_url("127.0.0.1", 1) == "http://127.0.0.1:1"


@pytest.mark.parametrize("path", ["/run/owt", "/a b/ü/%2F", "/a@b:c?d#e", "/\udcff"])
def test_unix_url_can_be_split_for_any_path(path):
    url = unix_url(path)
    assert split_unix(url) == (path, "http://owt")
    assert split_unix(f"{url}/owt/a?b=1") == (path, "http://owt/owt/a?b=1")
    assert split_unix(f"http+unix://ada:s@{url[12:]}?b") == (path, "http://owt?b")
    assert Server.from_url(url).address == path


def test_split_unix_leaves_other_urls_unchanged():
    assert split_unix("https://h:1/a?b=http+unix://x") == (None, "https://h:1/a?b=http+unix://x")


def test_unix_url_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert unix_url("owt") == unix_url(tmp_path / "owt")


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("https://0.0.0.0:1/owt", "https://127.0.0.1:1/owt"),
        ("http://[::]:1", "http://[::1]:1"),
        ("http://h:1/owt", "http://h:1/owt"),
        ("http+unix://%2Frun%2Fowt", "http+unix://%2Frun%2Fowt"),
    ],
)
def test_a_wildcard_address_is_reached_by_loopback(url, reached):
    server = Server.from_url(url).as_reached()
    assert server == Server.from_url(reached)


def test_the_module_is_the_command_serve():
    done = subprocess.run(
        [sys.executable, "-m", "owt.server", "--port", "rubbish"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "owt: --port: give a whole number; got 'rubbish'\n"


def test_importing_owt_server_loads_neither_click_nor_tornado():
    program = "import owt.server, sys; print([m for m in ('click', 'tornado', 'httpx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def post(server: Server, **fields: str) -> httpx.Response:
    return httpx.post(server.url, data=fields, trust_env=False, timeout=30)


def test_a_started_server_ends_with_the_block():
    with Server.start() as server:
        assert server == Server(f"http://127.0.0.1:{server.port}", "127.0.0.1", server.port)
        assert post(server, code="Server.sing().port").text == str(server.port)
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False, timeout=30)


def test_a_started_server_ends_when_the_block_fails():
    with pytest.raises(KeyboardInterrupt), Server.start() as server:
        raise KeyboardInterrupt
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False, timeout=30)


def test_start_passes_options_and_writes_the_log_to_stderr(capsys):
    with Server.start("-v", "--max-sessions", "1") as server:
        assert post(server, code="print('owt')", session="one").status_code == 200
        assert post(server, code="1", session="two").status_code == 503
        assert capsys.readouterr().err == ""
    assert "stdout: owt\n" in capsys.readouterr().err


def test_a_port_in_use_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^--port: cannot listen on 127.0.0.1:{port}: "):
            Server.start(port=port).__enter__()
        with pytest.raises(ConfigError, match=rf"^--port: cannot listen on 127.0.0.1:{port}: "):
            Server.start(port=[port, port]).__enter__()


def test_start_uses_the_first_free_port():
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with Server.start(port=iter([port, 0])) as server:
            assert server.port != port


@pytest.mark.parametrize(
    ("options", "ports", "message"),
    [
        (["--rubbish"], 0, "owt serve: no such option '--rubbish'; see owt serve --help"),
        (["--address", "0.0.0.0"], 0, "--address (OWT_ADDRESS): other machines can reach 0.0.0.0"),
        ([], [], "port: give at least one"),
    ],
)
def test_start_refuses_options_that_cannot_be_used(options, ports, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        Server.start(*options, port=ports).__enter__()


def test_a_started_server_on_all_interfaces_is_reached_by_loopback():
    with Server.start("--address", "0.0.0.0", "--insecure") as server:
        assert server.address == "127.0.0.1"
        assert httpx.get(f"{server.url}/_owt/health/live", trust_env=False, timeout=30).status_code == 200


def test_main_runs_a_server_until_its_process_ends():
    program = "import sys, owt.server; sys.exit(owt.server.main('--pool-min', '0', port=0, pool_max=1))"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url is not None, line
        assert httpx.get(f"{url[0]}/_owt/health/live").status_code == 200
        process.terminate()
        # Its output ends when the server has ended too.
        process.stdout.read()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url[0]}/_owt/health/live")


def test_main_returns_the_status_of_a_server_that_cannot_start():
    program = "import sys, owt.server; sys.exit(owt.server.main('--timeout', 'x'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--timeout" in done.stderr
