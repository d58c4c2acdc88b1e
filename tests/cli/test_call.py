"""owt.cli.call: the command `owt call`, without a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import parse_qs, urlsplit

import pytest
from recording_server import RecordingServer

from owt import files
from owt.cli import main
from owt.server import Server


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    monkeypatch.setattr(Server, "_announced", None)
    for name in ("OWT_URL", "OWT_ADDRESS", "OWT_PORT", "OWT_CLIENT_AUTH", "OWT_CLIENT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with RecordingServer() as server:
        yield server


def url_fields(capsys, *arguments: str) -> dict[str, str]:
    assert main.main(["call", "--url", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return {name: values[-1] for name, values in parse_qs(urlsplit(out.strip()).query).items()}


def unpacked(text: str) -> str:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def test_url_contains_every_option_of_the_call(capsys):
    fields = url_fields(
        capsys,
        *("--address", "http://h:1/path?x=1", "--code", "def f(n): pass", "--fn-name", "f"),
        *("--arg", "n", "3", "--arg", "name", "owt", "--session", "s", "--kernel", "k"),
        *("--display", "image/svg+xml, image/*", "--env", "A=b=c", "--env", "N=", "--cwd", "."),
        *("--timeout", "2.5", "--stream", "sse", "--auth", "ada:secret", "--method", "post"),
    )
    assert unpacked(fields.pop("code_b64")) == "def f(n): pass"
    assert json.loads(unpacked(fields.pop("kwargs_b64"))) == {"n": 3, "name": "owt"}
    assert json.loads(fields.pop("env")) == {"A": "b=c", "N": ""}
    assert fields.pop("cwd") == os.getcwd()
    assert fields == {
        "x": "1", "fn_name": "f", "session": "s", "kernel": "k", "timeout": "2.5", "stream": "sse",
        "display": "image/svg+xml, image/*",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        (["/speak"], "http://127.0.0.1:9876/speak?kwargs_b64=eyJuIjozfQ"),
        (["/speak?voice=a", "--url", "http://h/owt/"], "http://h/owt/speak?voice=a&kwargs_b64=eyJuIjozfQ"),
        (["/a", "--code", "1", "--url", "http://h"], "http://h/a?code_b64=MQ&kwargs_b64=eyJuIjozfQ"),
    ],
)
def test_a_path_is_that_of_an_endpoint_or_of_the_code(capsys, arguments, url):
    assert main.main(["call", *arguments, "--arg", "n", "3", "--print-url"]) == 0
    assert capsys.readouterr() == (f"{url}\n", "")


def test_a_file_is_sent_as_a_part_to_an_endpoint(server, capfdbinary, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    server.responses["POST", "/size"] = (200, "text/plain", b"6")
    main.main(
        ["call", "/size", "--url", server.url, "--arg", "image", f"@{tmp_path}/a.png", "--arg", "n", "3"]
    )
    [(content_type, body)] = server.bodies
    assert content_type.startswith("multipart/form-data; boundary=")
    assert b'name="kwargs"\r\n\r\n{"n":3}\r\n' in body
    assert (
        b'name="kwargs.image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\r\n--' in body
    )


def test_kwargs_are_sent_as_text(capsys):
    fields = url_fields(capsys, "--adaptor", "speak", "--kwargs", "dict(n={1})")
    assert unpacked(fields["kwargs_b64"]) == "dict(n={1})"
    assert fields["adaptor"] == "speak"
    assert "stream" not in fields


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "http://h:1", "--print-url"],
        ["--print-url", "--url=http://h:1"],
        ["--print-url", "--url", "h:1"],
        # Older forms.
        ["--address", "http://h:1", "--url"],
        ["--url", "--address", "http://h:1"],
    ],
)
def test_url_names_the_server_and_print_url_sends_nothing(capsys, arguments):
    assert main.main(["call", "--code", "1", *arguments]) == 0
    assert capsys.readouterr() == ("http://h:1/?code_b64=MQ\n", "")


def test_options_of_a_call_are_its_fields_and_headers(capsys):
    fields = url_fields(capsys, "--code", "1", "--detach", "--reload", "--use-cache")
    assert fields == {"code_b64": "MQ", "detach": "1", "reload": "1", "use_cache": "1"}


def test_owt_url_names_the_default_server(capsys, monkeypatch):
    monkeypatch.setenv("OWT_URL", "http://there:7")
    assert main.main(["call", "--url", "--run", "1"]) == 0
    assert capsys.readouterr().out == "http://there:7/?code_b64=MQ\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arg", "a", "1"], ["owt call: there is no code", "--code", "--adaptor", "--session"]),
        (["--session", "s"], ["owt call: there is no code"]),
        (["--code", "1", "--adaptor", "a"], ["--adaptor or code, not both"]),
        (["--code", "1", "--kwargs", "{}", "--arg", "a", "1"], ["--kwargs or --arg, not both"]),
        (["--code", "1", "--file", "x"], ["--code or --file, not both"]),
        (["--file", "-", "--input", "-"], ["standard input is read once", "--input or --file"]),
        (["--file", "-", "--input", "-", "--lines"], ["standard input is read once"]),
        (["--code", "1", "--arg", "a", "@-", "--input", "-"], ["standard input is read once", "--arg"]),
        (["--code", "1", "--arg", "a", "@-", "--arg", "b", "@-"], ["standard input is read once"]),
        (["--file", "/gone.py"], ["--file: /gone.py cannot be read: No such file"]),
        (["--file", "/"], ["--file: / cannot be read: Is a directory"]),
        (["--code", "1", "--arg", "a"], ["'--arg' requires 2 arguments"]),
        (["--code", "1", "--arg", "a", '{"x": 1e999}'], ["a['x']", "JSON has no inf"]),
        (["--code", "1", "--method", "PUT"], ["--method", "'PUT'"]),
        (["--code", "1", "--timeout", "soon"], ["--timeout", "'soon'"]),
        (["--code", "1", "--address", "here"], ["--address", "'here'"]),
        (["--code", "1", "--url", "here"], ["--url", "'here'"]),
        (["--code", "1", "--session", "a b"], ["owt: --session: must be 1 to 64 letters", "got 'a b'"]),
        (["--code", "1", "--kernel", "../x"], ["owt: --kernel: must be the name of a kernelspec"]),
        (["--code", "1", "--display", "png"], ["owt: --display: must be media types such as image/png"]),
        (["--code", "1", "--env", "A"], ["owt: --env: give NAME=VALUE; got 'A'"]),
        (["--code", "1", "--fn-name", "a.b"], ["owt: --fn-name: must be a Python identifier; got 'a.b'"]),
        (["--adaptor", "Speak"], ["owt: --adaptor: must be a name like 'speak'"]),
        (["--code", "1", "--timeout", "0"], ["owt: --timeout: must be a number of seconds above 0; got 0.0"]),
        (["--code", "1", "--timeout", "nan"], ["--timeout: must be a number of seconds above 0; got nan"]),
        (["--code", "1", "--accept", "a\nb"], ["header Accept: ", "no line break"]),
        (["--code", "1", "--arg", "a", "1", "--arg", "a", "2"], ["owt: --arg: 'a' is given twice"]),
        (["--code", "1", "--header", "X-A: 1", "--header", "x-a: 2"], ["--header: 'x-a' is given twice"]),
        (["--code", "1", "--header", "X"], ["--header: give NAME:VALUE; got 'X'"]),
        (["--code", "1", "--header", "X Y: 1"], ["header 'X Y'"]),
        (["--code", "1", "--header", "Host: evil"], ["header 'Host': the client sets it itself"]),
        (["--code", "1", "--auth", "secret"], ["OWT_CLIENT_AUTH", "user:password"]),
        (["--code", "1", "--auth", "a:secret", "--token", "secret"], ["OWT_CLIENT_TOKEN", "not both"]),
        (["--code", "1", "--token", "a secret"], ["token: ", "without blanks"]),
        (["--code", "1", "--output", "/gone/file"], ["--output: /gone/file cannot be written"]),
        (["--code", "x" * 70_000, "--method", "GET"], ["the maximum is 65536; send a POST"]),
        (["--code", "1", "--bogus"], ["no such option", "--bogus"]),
        (["--code", "1", "extra"], ["the path of an endpoint begins with /; got 'extra'"]),
        (["/a", "/b"], ["unexpected extra argument", "/b"]),
        (["/a", "--url", "http://h/?x=1"], ["give the query after PATH; --url has '?x=1'"]),
        (
            ["/a", "--arg", "f", "@/gone"],
            ["--arg: there is no file '/gone'; a text that begins with @ is @@/gone"],
        ),
        (["/a", "--arg", "f", "@/dev/null", "--method", "GET"], ["f: JSON has no PosixPath", "by POST"]),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(capsys, arguments, words):
    assert main.main(["call", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in words), err
    assert "secret" not in err


def test_call_without_arguments_shows_help_with_status_2(capsys):
    assert main.main(["call"]) == 2
    assert "--fn-name" in capsys.readouterr().err


def test_a_closed_port_gives_status_3(server, capsys):
    server.server_close()
    assert main.main(["call", "--address", f"{server.url}/path", "--code", "1"]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"no server answers at {server.url}: " in err


def test_another_program_at_the_url_gives_status_3(server, capsys):
    server.responses["POST", "/"] = (200, "text/html", b"<html>hello")
    assert main.main(["call", "--address", server.url, "--code", "1"]) == 3
    assert "is not an owt server; it says 200 '<html>hello'" in capsys.readouterr().err


def test_a_refusal_prints_the_servers_message_and_the_remedy(server, capsys, tmp_path):
    problem = {"title": "not authorized", "detail": "this server needs a password", "status": 401}
    server.responses["POST", "/"] = (401, "application/problem+json", json.dumps(problem).encode())
    output = tmp_path / "file"
    assert main.main(["call", "--address", server.url, "--code", "1", "--output", str(output)]) == 1
    assert capsys.readouterr() == (
        "",
        "owt: this server needs a password; "
        "Give auth='user:password' or token='...'; commands take --auth USER:PASSWORD or --token TOKEN, or "
        "OWT_CLIENT_AUTH or OWT_CLIENT_TOKEN\n",
    )
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "variables", "sent"),
    [
        (["--auth", "ada:se:cret"], {}, "Basic YWRhOnNlOmNyZXQ="),
        ([], {"OWT_CLIENT_AUTH": "ada:se:cret"}, "Basic YWRhOnNlOmNyZXQ="),
        (["--token", "abc"], {}, "Bearer abc"),
        ([], {"OWT_CLIENT_TOKEN": "abc"}, "Bearer abc"),
        (["--token", "abc"], {"OWT_CLIENT_AUTH": "eve:x"}, "Bearer abc"),
        (["--auth", "ada:se:cret"], {"OWT_CLIENT_TOKEN": "abc"}, "Basic YWRhOnNlOmNyZXQ="),
        ([], {"OWT_CLIENT_AUTH": ""}, None),
    ],
)
def test_credentials_come_from_an_option_or_a_variable(server, monkeypatch, options, variables, sent):
    server.responses["GET", "/?code_b64=MQ"] = (200, "text/html", b"")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    main.main(["call", "--address", server.url, "--code", "1", "--method", "GET", *options])
    assert [authorization for *_, authorization in server.requests] == [sent]


def test_help_of_the_client_module_imports_no_heavy_package():
    program = (
        "import sys, runpy\n"
        "sys.argv[1:] = ['--help']\n"
        "try:\n"
        "    runpy.run_module('owt.client', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    print(end.code, sorted({'httpx', 'rich', 'tornado', 'IPython', 'msgspec'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[0] == "Usage: owt call [OPTIONS] [PATH]"
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_call_imports_httpx_and_no_other_heavy_package(server):
    program = (
        "import sys\n"
        "from owt.cli import main\n"
        f"main.main(['call', '--address', {server.url!r}, '--code', '1'])\n"
        "names = {'rich', 'tornado', 'IPython', 'zmq', 'msgspec', 'trio', 'httpx'}\n"
        "print(sorted(names & {name for name, module in sys.modules.items() if module}))\n"
    )
    server.responses["POST", "/"] = (200, "text/html", b"")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "['httpx']\n"


def test_an_endless_file_is_refused_with_the_largest_size(capsys, monkeypatch):
    monkeypatch.setattr(files, "MAX_SIZE", 2**20)
    for file in ("/dev/zero", "-"):
        with open("/dev/zero", encoding="ascii") as endless:
            monkeypatch.setattr(sys, "stdin", endless)
            assert main.main(["call", "--file", file]) == 2
        problem = f"owt: --file: {file} cannot be read: it is larger than 1 MiB\n"
        assert capsys.readouterr().err == problem


def test_a_named_pipe_is_read_until_its_end(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("# coding: latin-1\r\n1",))
    writer.start()
    assert main.main(["call", "--file", str(tmp_path / "pipe"), "--print-url"]) == 0
    writer.join()
    code = urlsafe_b64encode(b"# coding: latin-1\n1").decode().rstrip("=")
    assert capsys.readouterr().out.endswith(f"?code_b64={code}\n")
