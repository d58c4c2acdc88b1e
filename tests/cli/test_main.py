"""owt.cli.main: all commands, their output and their exit statuses."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from recording_server import RecordingServer

from owt.cli import console, main
from owt.errors import ConfigError
from owt.frontend.config.settings import Settings, settings
from owt.server import Server

SESSION = {
    "name": "mine",
    "state": "busy",
    "kernel": "owt",
    "pid": 4711,
    "memory": 15 * 2**20,
    "queue": 2,
    "current_run": "r-1",
    "started": 1_700_000_000.0,
    "last_used": None,
    "restarts": 0,
    "restarted": None,
}
ANSWER = {"sessions": [SESSION], "pool": [{"state": "idle", "kernel": "owt", "pid": 4712}]}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    monkeypatch.setattr(Server, "_announced", None)
    for name in [*(row.variable for row in settings()), "OWT_URL", "OWT_CLIENT_AUTH", "OWT_CLIENT_TOKEN"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with RecordingServer() as server:
        yield server


@pytest.fixture
def served(monkeypatch):
    """Return the settings of each server that `owt serve` starts; its exit status is 0."""
    started: list[Settings] = []
    app = ModuleType("owt.frontend.app")
    app.serve = lambda chosen, *on_ready: started.append(chosen) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "owt.frontend.app", app)
    monkeypatch.setattr("owt.frontend.app", app, raising=False)
    return started


def as_json(document: object, status: int = 200) -> tuple[int, str, bytes]:
    kind = "application/json" if status < 400 else "application/problem+json"
    return status, kind, json.dumps(document).encode()


def test_each_setting_is_an_option(served):
    arguments = {
        "--address": "::1",
        "--port": "0",
        "--base-url": "/owt",
        "--certfile": "cert.pem",
        "--keyfile": "key.pem",
        "--trusted-proxy": "10.0.0.0/8",
        "--auth": f"ada:{'0' * 64}",
        "--auth-file": "users",
        "--token": "0123456789abcdef",
        "--token-file": "tokens",
        "--allow-host": "owt.example.org",
        "--allow-origin": "https://example.org",
        "--notebook": "speech.ipynb",
        "--drain": "2s",
        "--queue": "3",
        "--pool-min": "0",
        "--pool-max": "2",
        "--pool-nested": "1",
        "--max-sessions": "5",
        "--session-idle": "1h",
        "--template-idle": "2h",
        "--cache-bytes": "1m",
        "--preload": "json,os.path",
        "--kernel": "python3",
        "--kernel-memory": "2g",
        "--max-header": "8k",
        "--max-nesting": "9",
        "--max-connections": "10",
        "--connection-idle": "11",
        "--max-runs": "12",
        "--resume-window": "13",
        "--keepalive": "14",
        "--max-body": "1k",
        "--max-url": "2k",
        "--window": "3k",
        "--log-format": "json",
        "--kill-after": "4",
        "--kill-abandoned": "8",
        "--run-retention": "5",
        "--run-journal": "6k",
        "--journal-total": "7k",
        "--keep": "1h",
        "--runtime-dir": "there",
    }
    switches = ["--insecure", "--no-fork", "--show-examples", "--watch", "--preload-threads", "-vv"]
    assert {row.option for row in settings()} == {
        *arguments,
        *("--insecure", "--fork", "--show-examples", "--watch", "--preload-threads", "--verbose"),
        "--unix-socket",
    }
    assert main.main(["serve", *switches, *(text for pair in arguments.items() for text in pair)]) == 0
    options = {option[2:].replace("-", "_"): text for option, text in arguments.items()}
    options |= {"insecure": True, "fork": False, "show_examples": True, "watch": True, "verbose": 2}
    options["preload_threads"] = True
    assert served == [Settings.from_options(options, {})]


def test_variables_set_what_options_do_not(served, monkeypatch):
    monkeypatch.setenv("OWT_PORT", "8001")
    monkeypatch.setenv("OWT_FORK", "0")
    monkeypatch.setenv("OWT_VERBOSE", "3")
    assert main.main(["serve", "--fork"]) == 0
    assert [(chosen.port, chosen.fork, chosen.verbose) for chosen in served] == [(8001, True, 3)]


def test_serve_returns_the_servers_exit_status(served, monkeypatch):
    monkeypatch.setattr(sys.modules["owt.frontend.app"], "serve", lambda chosen, *_: 7)
    assert main.main(["serve"]) == 7


def test_the_server_does_not_start_on_windows_and_says_where_it_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "win32")
    assert main.main(["serve"]) == 2
    assert "the server needs Linux or macOS; on Windows, install it in WSL" in capsys.readouterr().err


def test_the_command_line_imports_no_module_that_windows_lacks():
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['fcntl', 'grp', 'pwd', 'resource', 'termios']))\n"
        "from owt.cli import main\n"
        "sys.exit(main.main(['call', '--print-url', '--code', '1']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert done.stdout.strip().endswith(b"?code_b64=MQ")


def test_an_error_at_the_start_is_one_line(served, monkeypatch, capsys):
    def refuse(chosen: Settings, *_: object) -> int:
        raise ConfigError("--port: 9876 is taken;\ntry another")

    monkeypatch.setattr(sys.modules["owt.frontend.app"], "serve", refuse)
    assert main.main(["serve"]) == 2
    assert capsys.readouterr().err == "owt: --port: 9876 is taken; try another\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--bogus"], ["owt serve: no such option", "--bogus", "owt serve --help"]),
        (["serve", "--port"], ["owt serve: option '--port' requires an argument", "see owt serve --help"]),
        (["session", "show", "a", "--url"], ["owt session show: option", "see owt session show --help"]),
        (["call", "--arg", "a"], ["owt call: option '--arg' requires 2 arguments", "see owt call --help"]),
        (["serve", "now"], ["owt serve: got unexpected extra argument", "now"]),
        (["serve", "--port", "x"], ["--port", "'x'", "whole number"]),
        (["serve", "--auth", "ada"], ["--auth", "user:hash"]),
        (["serve", "--address", "0.0.0.0"], ["--auth", "--insecure"]),
        (["serve", "-vvvv"], ["--verbose", "from 0 to 3"]),
        (["srve"], ["owt: no such command 'srve'"]),
        (["session", "show"], ["owt session show: missing argument 'NAME'"]),
        (["session", "list", "--url", "here"], ["--url", "'here'"]),
        (["session", "show", "a b"], ["owt: session: must be 1 to 64 letters", "'a b'"]),
        (["runs", "list", "--session", "a b"], ["owt: --session: must be 1 to 64 letters", "'a b'"]),
        (["runs", "list", "--limit", "0"], ["owt runs list: ", "--limit"]),
        (["session", "list", "--auth", "secret"], ["OWT_CLIENT_AUTH", "user:password"]),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(served, capsys, arguments, words):
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert all(word in err for word in words)
    assert "secret" not in err
    assert served == []


def test_an_error_names_the_variable_that_cannot_be_used(served, monkeypatch, capsys):
    monkeypatch.setenv("OWT_QUEUE", "long")
    assert main.main(["serve"]) == 2
    assert capsys.readouterr().err == "owt: OWT_QUEUE: give a whole number; got 'long'\n"


def test_a_taken_port_is_one_line_and_status_2():
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = str(occupied.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "owt", "serve", "--port", port],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert port in done.stderr


def test_version_is_the_packages_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"owt {importlib.metadata.version('owt-server')}\n"


def test_a_package_that_another_distribution_has_replaced_is_reported(tmp_path):
    package = tmp_path / "owt"
    shutil.copytree(Path(main.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    # The whole of the other product's own module.
    (package / "__init__.py").write_text("from .client import *")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from owt.cli.main import main; sys.exit(main(['--version']))"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip uninstall owt; pip install --force-reinstall --no-deps owt-server" in done.stderr
    assert done.stderr.count("\n") == 1


def test_serve_help_names_each_variable(capsys):
    assert main.main(["serve", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for row in settings():
        assert f"[{row.variable};" in text


@pytest.mark.parametrize("arguments", [[], ["session"], ["runs"], ["cache"]])
def test_a_group_without_a_command_shows_its_help(capsys, arguments):
    assert main.main(arguments) == 2
    assert "Commands:" in capsys.readouterr().err


def test_session_list_prints_aligned_columns(server, capsys):
    server.responses["GET", "/_owt/sessions"] = as_json(ANSWER)
    assert main.main(["session", "list", "--url", server.url]) == 0
    heading, mine, pool = capsys.readouterr().out.splitlines()
    for title, cell in (("NAME", "mine"), ("STATE", "busy"), ("PID", "4711"), ("MEMORY", "15.0 MiB")):
        assert mine[heading.index(title) :].startswith(cell)
    assert pool.startswith("(pool)")


def test_session_list_reports_an_empty_list(server, capsys):
    server.responses["GET", "/_owt/sessions"] = as_json({"sessions": [], "pool": []})
    assert main.main(["session", "list", "--url", server.url]) == 0
    assert capsys.readouterr().out == "no sessions\n"


def test_endpoints_lists_state_and_reason(server, capsys):
    live = {"methods": ["GET", "POST"], "path": "/speak", "session": "dev", "state": "live", "reason": None}
    gone = {"methods": ["GET"], "path": "/a", "session": "dev", "state": "gone", "reason": "the kernel died"}
    answer = {"endpoints": [{**live, "description": "Speak.\n\nMore."}, gone]}
    server.responses["GET", "/_owt/endpoints"] = as_json(answer)
    assert main.main(["endpoints", "--url", server.url]) == 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["METHODS", "PATH", "SESSION", "STATE", "ABOUT"]
    assert first.split() == ["GET,", "POST", "/speak", "dev", "live", "Speak."]
    assert second.endswith("the kernel died")
    assert main.main(["endpoints", "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == answer


def test_a_command_warns_of_a_misspelt_variable_once(server, capsys, monkeypatch):
    monkeypatch.setenv("OWT_CLIENTTOKEN", "secret")
    server.responses["GET", "/_owt/endpoints"] = as_json({"endpoints": []})
    assert main.main(["endpoints", "--url", server.url]) == 0
    warning = "owt: OWT_CLIENTTOKEN is no variable of owt and has no effect; did you mean OWT_CLIENT_TOKEN?\n"
    assert capsys.readouterr().err == warning


def test_endpoints_live_requests_no_endpoints_that_are_gone(server, capsys):
    server.responses["GET", "/_owt/endpoints?state=live"] = as_json({"endpoints": []})
    assert main.main(["endpoints", "--live", "--url", server.url]) == 0
    assert capsys.readouterr().out == "no endpoints\n"


def test_endpoints_command_reports_an_empty_list(server, capsys):
    server.responses["GET", "/_owt/endpoints"] = as_json({"endpoints": []})
    assert main.main(["endpoints", "--url", server.url]) == 0
    assert capsys.readouterr().out == "no endpoints\n"


def test_session_show_prints_one_fact_a_line(server, capsys):
    session = {**SESSION, "connection_file": "/run/kernel-1.json"}
    server.responses["GET", "/_owt/sessions/mine"] = as_json(session)
    assert main.main(["session", "show", "mine", "--url", server.url]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["name"] == "mine"
    assert lines["memory"] == "15.0 MiB"
    assert lines["restarted"] == "-"
    assert lines["connection"].split() == ["file", "/run/kernel-1.json"]


@pytest.mark.parametrize(("arguments", "document"), [(["list"], ANSWER), (["show", "mine"], SESSION)])
def test_json_option_prints_the_servers_document(server, capsys, arguments, document):
    server.responses["GET", "/_owt/sessions"] = as_json(ANSWER)
    server.responses["GET", "/_owt/sessions/mine"] = as_json(SESSION)
    assert main.main(["session", *arguments, "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize(
    ("command", "request_line", "printed"),
    [
        ("delete", ("DELETE", "/_owt/sessions/mine"), "deleted mine\n"),
        ("restart", ("POST", "/_owt/sessions/mine/restart"), "restarted mine\n"),
        ("interrupt", ("POST", "/_owt/sessions/mine/interrupt"), "interrupted mine\n"),
    ],
)
def test_session_commands_confirm_their_effect(server, monkeypatch, capsys, command, request_line, printed):
    monkeypatch.setenv("OWT_URL", server.url)
    monkeypatch.setenv("OWT_CLIENT_TOKEN", "secret")
    server.responses[request_line] = as_json({"interrupted": True} if command == "interrupt" else {})
    assert main.main(["session", command, "mine"]) == 0
    assert capsys.readouterr().out == printed
    [(*request, authorization)] = server.requests
    assert tuple(request) == request_line
    assert authorization == "Bearer secret"


RUN = {
    "id": "r-1", "state": "failed", "session": None, "path": "/x", "status": 500, "seconds": 0.25,
    "created": "2026-01-02T03:04:05Z",
    "failure": {"exception": "ValueError", "title": "the adaptor raised ValueError", "detail": "no"},
    "stdout": "printed\n", "stderr": "careful\n",
}  # fmt: skip


def test_runs_list_prints_aligned_columns(server, capsys):
    server.responses["GET", "/_owt/runs"] = as_json({"runs": [RUN]})
    assert main.main(["runs", "list", "--url", server.url]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ID", "STATE", "STATUS", "SESSION", "CREATED", "SECONDS", "PATH"]
    cells = {"ID": "r-1", "STATUS": "500", "SESSION": "-", "SECONDS": "0.250", "PATH": "/x"}
    for title, cell in cells.items():
        assert line[heading.index(title) :].startswith(cell)
    server.responses["GET", "/_owt/runs?limit=5&session=mine"] = as_json({"runs": []})
    assert main.main(["runs", "list", "--limit", "5", "--session", "mine", "--url", server.url]) == 0
    assert capsys.readouterr().out == "no runs\n"


def test_runs_show_prints_facts_and_runs_logs_the_printed_output(server, capsys):
    server.responses["GET", "/_owt/runs/r-1"] = as_json(RUN)
    assert main.main(["runs", "show", "r-1", "--url", server.url]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (lines["state"], lines["failure"]) == ("failed", "ValueError: no")
    assert "stdout" not in lines
    assert main.main(["runs", "logs", "r-1", "--url", server.url]) == 0
    assert capsys.readouterr() == ("printed\n", "careful\n")


def test_runs_logs_says_how_much_of_the_output_is_not_kept(server, capsys):
    server.responses["GET", "/_owt/runs/r-1"] = as_json({**RUN, "bytes": 30, "dropped": 14})
    assert main.main(["runs", "logs", "r-1", "--url", server.url]) == 0
    output, errors = capsys.readouterr()
    assert output == "printed\n"
    assert errors.splitlines() == [
        "owt: the oldest 14 of 30 bytes of the run's output are not kept "
        "(--run-journal, --journal-total, or its client has left)",
        "careful",
    ]


@pytest.mark.parametrize(
    ("arguments", "request_line", "answer", "printed"),
    [
        (["runs", "cancel", "r-1"], ("DELETE", "/_owt/runs/r-1"), {"cancelled": True}, "cancelled r-1\n"),
        (
            ["runs", "cancel", "../r"],
            ("DELETE", "/_owt/runs/..%2Fr"),
            {"cancelled": False},
            "run ../r has ended already\n",
        ),
        (
            ["runs", "cancel", "r-1"],
            ("DELETE", "/_owt/runs/r-1"),
            {"cancelled": False, "shared": 2},
            "run r-1 continues: it is also the run of other calls (2)\n",
        ),
        (["cache", "clear"], ("DELETE", "/_owt/cache"), {"deleted": 3}, "removed 3\n"),
        (["cache", "show"], ("GET", "/_owt/cache"), {"answers": 3}, "answers  3\n"),
    ],
)
def test_commands_for_runs_and_the_cache_print_their_effect(
    server, capsys, arguments, request_line, answer, printed
):
    server.responses[request_line] = as_json(answer)
    assert main.main([*arguments, "--url", server.url]) == 0
    assert capsys.readouterr().out == printed
    assert [tuple(request[:2]) for request in server.requests] == [request_line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_asks_the_command(capsys, monkeypatch, shell):
    assert main.main(["completion", shell]) == 0
    assert f"_OWT_COMPLETE={shell}_complete" in capsys.readouterr().out
    # fish sends the beginning of the word, the others its number.
    words = {"COMP_WORDS": "owt runs ", "COMP_CWORD": "" if shell == "fish" else "2"}
    for name, value in {**words, "_OWT_COMPLETE": f"{shell}_complete"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main.main([])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("list", "show", "cancel", "logs"))


def test_an_interrupt_without_effect_is_told_with_its_reason(server, capsys):
    answer = {"interrupted": False, "reason": "the kernel is stuck"}
    server.responses["POST", "/_owt/sessions/mine/interrupt"] = as_json(answer)
    assert main.main(["session", "interrupt", "mine", "--url", server.url]) == 0
    assert capsys.readouterr().out == "nothing to interrupt in mine: the kernel is stuck\n"


def test_a_password_may_contain_a_colon(server):
    server.responses["GET", "/_owt/sessions"] = as_json(ANSWER)
    assert main.main(["session", "list", "--url", server.url, "--auth", "ada:se:cret"]) == 0
    assert [authorization for *_, authorization in server.requests] == ["Basic YWRhOnNlOmNyZXQ="]


def test_a_refusal_prints_the_servers_message_with_status_1(server, capsys):
    problem = {"title": "no such session", "detail": "session: there is none with this name; got 'mine'"}
    server.responses["GET", "/_owt/sessions/mine"] = as_json(problem, 404)
    assert main.main(["session", "show", "mine", "--url", server.url]) == 1
    assert capsys.readouterr().err == "owt: session: there is none with this name; got 'mine'\n"


def test_an_unreachable_server_is_one_line_and_status_3(server, capsys):
    server.server_close()
    assert main.main(["session", "list", "--url", server.url]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert server.url in err
    assert "owt serve" in err


def test_console_opens_the_sessions_connection_file(server, monkeypatch, tmp_path):
    connection = tmp_path / "kernel.json"
    connection.write_text("{}")
    server.responses["GET", "/_owt/sessions/mine"] = as_json({"connection_file": str(connection)})
    executed = []
    monkeypatch.setattr(console, "find_spec", lambda name: name)
    monkeypatch.setattr(os, "execv", lambda program, arguments: executed.append((program, arguments)))
    main.main(["console", "mine", "--url", server.url])
    python = sys.executable
    assert executed == [(python, [python, "-m", "jupyter_console", "--existing", str(connection)])]


def test_console_names_the_extra_that_is_missing(server, monkeypatch, tmp_path, capsys):
    connection = tmp_path / "kernel.json"
    connection.write_text("{}")
    server.responses["GET", "/_owt/sessions/mine"] = as_json({"connection_file": str(connection)})
    monkeypatch.setattr(console, "find_spec", lambda name: None)
    assert main.main(["console", "mine", "--url", server.url]) == 1
    assert "pip install 'owt-server[notebook]'" in capsys.readouterr().err


@pytest.mark.parametrize("connection", [None, "/nowhere/kernel.json"])
def test_console_refuses_a_connection_file_of_another_machine(server, capsys, connection):
    server.responses["GET", "/_owt/sessions/mine"] = as_json({"connection_file": connection})
    assert main.main(["console", "mine", "--url", server.url]) == 1
    assert "run the console on the kernel's machine" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["starting", "dead"])
def test_console_waits_until_the_session_has_a_kernel(server, monkeypatch, tmp_path, state):
    connection = tmp_path / "kernel.json"
    connection.write_text("{}")
    server.responses["GET", "/_owt/sessions/mine"] = as_json({"state": state, "connection_file": None})
    server.responses["PUT", "/_owt/sessions/mine"] = as_json({"connection_file": str(connection)})
    executed = []
    monkeypatch.setattr(console, "find_spec", lambda name: name)
    monkeypatch.setattr(os, "execv", lambda program, arguments: executed.append(arguments[-1]))
    main.main(["console", "mine", "--url", server.url])
    assert executed == [str(connection)]


def test_console_reports_why_a_kernel_did_not_start(server, capsys):
    server.responses["GET", "/_owt/sessions/mine"] = as_json({"state": "dead", "connection_file": None})
    problem = {"title": "the kernel did not start", "detail": "the kernel exited with status 3"}
    server.responses["PUT", "/_owt/sessions/mine"] = as_json(problem, 502)
    assert main.main(["console", "mine", "--url", server.url]) == 1
    assert "the kernel exited with status 3" in capsys.readouterr().err


def test_console_reports_a_session_that_does_not_exist(server, capsys):
    problem = {"title": "no such session", "detail": "session: there is none with this name; got 'mine'"}
    server.responses["GET", "/_owt/sessions/mine"] = as_json(problem, 404)
    assert main.main(["console", "mine", "--url", server.url]) == 1
    assert "there is none with this name" in capsys.readouterr().err


def test_console_refuses_an_unreadable_connection_file(server, monkeypatch, tmp_path, capsys):
    connection = tmp_path / "kernel.json"
    connection.write_text("{}")
    server.responses["GET", "/_owt/sessions/mine"] = as_json({"connection_file": str(connection)})
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(connection))
    assert main.main(["console", "mine", "--url", server.url]) == 1
    assert "as the same user" in capsys.readouterr().err
