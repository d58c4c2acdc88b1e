"""Variables, working directory and process title of a session's kernels."""

import asyncio
import json
from pathlib import Path

import pytest

from owt.cli import main
from owt.client import AsyncClient, Client
from owt.errors import RemoteError

CODE = "import os\nimport sys\n[os.environ.get('COLOUR'), os.getcwd(), os.environ.get('OMP_NUM_THREADS')]"


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("form", ["json", "data"])
def test_the_first_call_gives_its_session_an_environment(server, session, tmp_path, form):
    env = {"COLOUR": "$red", "OMP_NUM_THREADS": 3}
    fields = {"code": CODE, "session": session, "cwd": str(tmp_path)}
    fields["env"] = env if form == "json" else json.dumps(env)
    expected = ["$red", str(tmp_path), "3"]
    assert server.ask("POST", "/", **{form: fields}).json() == expected
    # The same values do not differ, and a call that names none gets the session's.
    assert server.ask("POST", "/", **{form: fields}).json() == expected
    assert server.call(CODE, session=session).json() == expected
    server.ask("POST", f"/_owt/sessions/{session}/restart")
    assert server.call(CODE, session=session).json() == expected


def test_a_client_gives_a_new_session_an_environment(server, session, tmp_path):
    # An array is sent in a form.
    code = f"def run(data):\n    import os\n    return {CODE.splitlines()[-1]} + [len(data)]"
    for method, data in (("POST", b"abc"), ("POST", "abc"), ("GET", "abc")):
        with Client(server.url, session=session) as client:
            options = {"env": {"COLOUR": "red", "OMP_NUM_THREADS": 3}, "cwd": tmp_path, "method": method}
            client = client.with_options(**options)
            assert client.call(code, data=data) == ["red", str(tmp_path), "3", 3]
            with pytest.raises(RemoteError, match=r"has another environment .* delete the session first"):
                client.with_options(env={}).call(code, data=data)


def test_an_asynchronous_client_gives_a_new_session_an_environment(server, session, tmp_path):
    async def call():
        async with AsyncClient(server.url, session=session) as client:
            return await client.with_options(env={"COLOUR": "red"}, cwd=str(tmp_path)).call(CODE)

    assert asyncio.run(call()) == ["red", str(tmp_path), None]


def test_a_call_of_the_command_line_gives_a_new_session_an_environment(server, session, tmp_path, capfd):
    call = ["call", "--url", server.url, "--session", session, "--code", CODE, "--stream", "raw"]
    assert main.main([*call, "--env", "COLOUR=red", "--cwd", str(tmp_path)]) == 0
    assert capfd.readouterr().out == f'["red","{tmp_path}",null]\n'
    assert main.main([*call, "--env", "COLOUR=blue"]) == 1
    error = capfd.readouterr().err
    assert f"session {session} has another environment (COLOUR)" in error.replace("\n", " ")
    assert "delete the session first" in error.replace("\n", " ")


def test_a_session_can_be_created_with_an_environment(server, session, tmp_path):
    options = {"env": {"COLOUR": "red"}, "cwd": str(tmp_path)}
    created = server.ask("PUT", f"/_owt/sessions/{session}", json=options)
    assert created.status_code == 201
    # Values may be secrets.
    assert (created.json()["env"], created.json()["cwd"]) == (["COLOUR"], str(tmp_path))
    assert server.call(CODE, session=session).json()[:2] == ["red", str(tmp_path)]
    assert server.ask("PUT", f"/_owt/sessions/{session}", json=options).status_code == 200


def test_a_module_of_the_directory_can_be_imported_and_one_of_the_servers_cannot(server, session, tmp_path):
    (tmp_path / "only_there.py").write_text("import os\nCOLOUR = os.environ['COLOUR']\n")
    code = "import sys, os, only_there\n[only_there.COLOUR, sys.path[0]]"
    answer = server.call(code, session=session, env='{"COLOUR": "red"}', cwd=str(tmp_path))
    assert answer.json() == ["red", str(tmp_path)]


@pytest.mark.parametrize(
    ("field", "other"), [("env", '{"COLOUR": "blue"}'), ("env", "{}"), ("cwd", "/"), ("cwd", "/usr")]
)
def test_another_environment_of_an_existing_session_is_a_conflict(server, session, tmp_path, field, other):
    server.call("1", session=session, env='{"COLOUR": "red"}', cwd=str(tmp_path))
    value = json.loads(other) if field == "env" else other
    called = server.call("1", session=session, **{field: other})
    put = server.ask("PUT", f"/_owt/sessions/{session}", json={field: value})
    for answer in (called, put):
        assert answer.status_code == 409
        assert f"{field}: session {session} " in answer.text
        assert "delete the session first" in answer.text
        assert "red" not in answer.text


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"env": "COLOUR=red", "session": "x"}, "env: must be a JSON object"),
        ({"env": '{"A=B": "1"}', "session": "x"}, "env: must have names of environment variables"),
        ({"env": '{"OWT_URL": "1"}', "session": "x"}, "env: variables that begin with OWT_"),
        ({"cwd": "relative", "session": "x"}, "cwd: must be an absolute path"),
        ({"cwd": "/nonexistent", "session": "x"}, "cwd: there is no such directory"),
        ({"env": "{}"}, "env: a call that names it needs a session"),
        ({"cwd": "/"}, "cwd: a call that names it needs a session"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused(server, fields, problem):
    answer = server.call("1", **fields)
    assert answer.status_code == 400
    assert problem in answer.text
    assert server.ask("GET", "/_owt/sessions/x").status_code == 404


def test_variables_that_a_program_reads_at_its_start_make_the_kernel_a_program_of_its_own(server, session):
    forked = f"{session}-forked"
    server.call("1", session=forked, env='{"COLOUR": "red"}')
    server.call("1", session=session, env='{"OMP_NUM_THREADS": "2"}')
    assert parent_of(server.session(session)["pid"]) == server.pid
    assert parent_of(server.session(forked)["pid"]) != server.pid
    server.ask("DELETE", f"/_owt/sessions/{forked}")


@pytest.mark.parametrize("env", ["{}", '{"OMP_NUM_THREADS": "2"}'])
def test_the_title_of_the_process_is_the_name_of_the_session(server, session, env):
    server.call("1", session=session, env=env)
    process = Path("/proc", str(server.session(session)["pid"]))
    assert process.joinpath("cmdline").read_text().rstrip("\0") == f"owt: {session}"
    assert process.joinpath("comm").read_text().rstrip("\n") == f"owt: {session}"[:15]
    # By these the server finds its processes.
    assert "OWT_SERVER_ID=" in process.joinpath("environ").read_text()


def test_a_command_creates_a_session(server, session, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create = ["session", "create", session, "--url", server.url, "--env", "COLOUR=red", "--cwd", "."]
    assert main.main([*create, "--kernel", "owt", "--concurrency", "2"]) == 0
    pid = server.session(session)["pid"]
    assert capsys.readouterr().out == f"{session} is ready (kernel owt, process {pid})\n"
    assert server.session(session)["concurrency"] == 2
    assert server.call(CODE, session=session).json()[:2] == ["red", str(tmp_path)]
    assert main.main([*create[:5], "--env", "COLOUR=blue"]) == 1
    assert "has another environment (COLOUR)" in capsys.readouterr().err
