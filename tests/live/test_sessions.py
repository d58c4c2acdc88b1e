"""Sessions: state, order, limits, names, and the server's pages about them."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from owt.testing import Gate, LiveServer, wait_until

WAIT = "def run(path): return open(path).read()"


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


def test_state_is_kept_across_calls(server, session):
    server.call("class Model: calls = 0\nmodel = Model()", session=session)
    code = "def run():\n    state.model.calls += 1\n    return state.model.calls"
    assert [server.call(code, session=session).text for _ in range(3)] == ["1", "2", "3"]


def test_sessions_have_separate_namespaces(server, session):
    other = f"{session}-other"
    server.call("secret = 'own'", session=session)
    server.call("secret = 'other'", session=other)
    assert server.call("secret", session=session).text == "own"
    assert server.call("secret", session=other).text == "other"
    assert server.session(session)["pid"] != server.session(other)["pid"]
    server.ask("DELETE", f"/_owt/sessions/{other}")
    assert server.call("secret = globals().get('secret')\nsecret", session=other).text == ""
    server.ask("DELETE", f"/_owt/sessions/{other}")


def test_every_response_names_its_run_and_session(server, session):
    answer = server.call("1", session=session)
    assert answer.headers["owt-session"] == session
    assert server.ask("GET", f"/_owt/runs/{answer.headers['owt-run']}").json()["session"] == session
    assert "owt-session" not in server.call("1").headers


def test_a_header_may_name_the_session(server, session):
    for code in ("x = 5", "x"):
        answer = server.ask("POST", "/", data={"code": code}, headers={"Owt-Session": session})
    assert answer.text == "5"


def test_calls_to_one_session_run_in_order_of_arrival(server, session, tmp_path):
    server.call("order = []", session=session)
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        calls = []
        for number in range(8):
            calls.append(threads.submit(server.call, f"state.order.append({number})", session=session))
            wait_until(lambda number=number: server.session(session)["queue"] == number + 1)
        gate.open()
        for call in calls:
            call.result()
    assert server.call("order", session=session).json() == list(range(8))


@pytest.fixture(scope="module")
def narrow():
    """Server with small limits."""
    with LiveServer("--queue", "2", "--max-sessions", "3", "--pool-max", "1", "--pool-min", "1") as server:
        yield server


def test_a_full_queue_gets_503_with_the_name_of_the_limit(narrow, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        calls = [threads.submit(narrow.call, WAIT, session="full", **waiting(gate))]
        gate.reached()
        calls += [threads.submit(narrow.call, "'next'", session="full") for _ in range(2)]
        wait_until(lambda: narrow.session("full")["queue"] == 2)
        refused = narrow.call("'one too many'", session="full")
        assert narrow.call("'elsewhere'", session="empty").text == "elsewhere"
        gate.open()
        assert [call.result().text for call in calls] == ["", "next", "next"]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "--queue 2" in refused.text
    assert "session full" in refused.text
    assert narrow.call("'again'", session="full").text == "again"
    for name in ("full", "empty"):
        narrow.ask("DELETE", f"/_owt/sessions/{name}")


def test_a_full_pool_gets_503_with_the_names_of_both_limits(narrow, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        calls = [threads.submit(narrow.call, WAIT, **waiting(gate))]
        gate.reached()
        calls += [threads.submit(narrow.call, "'next'") for _ in range(2)]
        wait_until(lambda: narrow.ask("GET", "/_owt/sessions").json()["waiting"] == 2)
        refused = narrow.call("'one too many'")
        gate.open()
        assert [call.result().text for call in calls] == ["", "next", "next"]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "--queue 2" in refused.text
    assert "--pool-max" in refused.text


def test_sessions_beyond_max_sessions_get_503(narrow):
    names = ["a", "b", "c"]
    assert [narrow.call("1", session=name).status_code for name in names] == [200, 200, 200]
    refused = narrow.call("1", session="d")
    assert refused.status_code == 503
    assert "--max-sessions 3" in refused.text
    assert "owt session delete" in refused.text
    assert "retry-after" in refused.headers
    assert narrow.ask("PUT", "/_owt/sessions/d").status_code == 503
    narrow.ask("DELETE", "/_owt/sessions/a")
    assert narrow.call("1", session="d").status_code == 200
    for name in ("b", "c", "d"):
        assert narrow.ask("DELETE", f"/_owt/sessions/{name}").json() == {"deleted": name}


@pytest.mark.parametrize("name", ["a", "x" * 64, "A.b_c-9", "a..b"])
def test_valid_session_names_are_accepted(server, name):
    assert server.call("'ok'", session=name).text == "ok"
    assert server.session(name)["name"] == name
    assert server.ask("DELETE", f"/_owt/sessions/{name}").status_code == 200


@pytest.mark.parametrize("name", ["x" * 65, "a b", "a/b", "ä", "a\nb"])
def test_invalid_session_names_get_400(server, name):
    answer = server.call("1", session=name)
    assert answer.status_code == 400
    assert "session" in answer.text


def test_a_session_that_idles_too_long_is_ended():
    with LiveServer("--session-idle", "0.2", "--pool-min", "0", "--no-fork") as server:
        pid = server.call("import os\nos.getpid()", session="idler").text
        wait_until(lambda: server.ask("GET", "/_owt/sessions/idler").status_code == 404)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


# The pages under /_owt/ ---------------------------------------------------------------------------


def test_a_session_shows_its_state_and_current_run(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        busy = server.session(session)
        gate.open()
        answer = call.result()
    assert busy["state"] == "busy"
    assert busy["current_run"] == answer.headers["owt-run"]
    assert busy["queue"] == 0
    idle = server.session(session)
    assert idle["name"] == session
    assert idle["state"] == "idle"
    assert idle["current_run"] is None
    assert idle["kernel"] == "owt"
    assert idle["pid"] == int(server.call("import os\nos.getpid()", session=session).text)
    assert idle["memory"] > 1 << 20
    assert idle["started"] <= idle["last_used"]
    assert idle["restarts"] == 0
    assert idle["restarted"] is None
    assert idle["concurrency"] == 1
    listed = {entry["name"]: entry for entry in server.ask("GET", "/_owt/sessions").json()["sessions"]}
    assert {**listed[session], "memory": 0} == {**server.session(session), "memory": 0}


def test_a_session_whose_kernel_is_not_ready_is_starting(tmp_path):
    gate = Gate(tmp_path)
    startup = tmp_path / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "wait.py").write_text(gate.wait)
    env = {"IPYTHONDIR": str(tmp_path)}
    with LiveServer("--pool-min", "0", env=env) as server, ThreadPoolExecutor(16) as threads:
        call = threads.submit(server.call, "'hello'", session="slow")
        gate.reached()
        assert server.session("slow")["state"] == "starting"
        gate.open()
        assert call.result().text == "hello"
        assert server.session("slow")["state"] == "idle"


def test_put_creates_a_session(server, session):
    created = server.ask("PUT", f"/_owt/sessions/{session}", json={"kernel": "owt", "concurrency": 2})
    assert created.status_code == 201
    assert created.json()["state"] == "idle"
    assert created.json()["concurrency"] == 2
    again = server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 2})
    assert again.status_code == 200
    assert again.json()["pid"] == created.json()["pid"]
    other = server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 3})
    assert other.status_code == 400
    assert "Delete it first" in other.text


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "body"),
        (b'{"colour": "red"}', "colour"),
        (b'{"concurrency": "many"}', "concurrency"),
        (b'{"concurrency": 0}', "concurrency"),
        (b'{"concurrency": -1}', "concurrency"),
        (b'{"concurrency": 100000}', "concurrency"),
        (b'{"kernel": "nosuch"}', "nosuch"),
        (b'{"kernel": "../etc"}', "kernel"),
        (b"[]", "body"),
        (b"\xff\xfe", "body"),
    ],
)
def test_a_malformed_put_gets_400_with_the_name_of_the_field(server, session, body, named):
    answer = server.ask("PUT", f"/_owt/sessions/{session}", content=body)
    assert answer.status_code == 400
    assert named in answer.text
    assert server.ask("GET", f"/_owt/sessions/{session}").status_code == 404


def test_unknown_resources_get_404_with_their_name(server):
    for method, path in [
        ("GET", "/_owt/sessions/unknown"),
        ("DELETE", "/_owt/sessions/unknown"),
        ("POST", "/_owt/sessions/unknown/interrupt"),
        ("POST", "/_owt/sessions/unknown/restart"),
        ("GET", "/_owt/runs/0123"),
        ("DELETE", "/_owt/runs/0123"),
        ("GET", "/_owt/nothing/here"),
    ]:
        answer = server.ask(method, path, headers={"Accept": "application/json"})
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert path.split("/")[3] in answer.json()["detail"]


def test_a_restart_gives_a_fresh_kernel(server, session):
    server.call("x = 1", session=session)
    before = server.session(session)
    after = server.ask("POST", f"/_owt/sessions/{session}/restart").json()
    assert after["pid"] != before["pid"]
    assert after["restarts"] == 1
    assert after["restarted"] > before["started"]
    assert after["state"] == "idle"
    assert server.call("'x' in state", session=session).text == "False"
    wait_until(lambda: not os.path.exists(f"/proc/{before['pid']}"))


def test_a_restart_fails_the_running_call_and_keeps_the_queue(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        flying = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        queued = threads.submit(server.call, "'queued'", session=session)
        wait_until(lambda: server.session(session)["queue"] == 1)
        server.ask("POST", f"/_owt/sessions/{session}/restart")
        assert flying.result().status_code == 502
        assert "was restarted on request" in flying.result().text
        assert queued.result().text == "queued"


def test_a_deleted_session_fails_its_calls_and_leaves_no_process(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        flying = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        queued = threads.submit(server.call, "'queued'", session=session)
        wait_until(lambda: server.session(session)["queue"] == 1)
        pid = server.session(session)["pid"]
        assert server.ask("DELETE", f"/_owt/sessions/{session}").json() == {"deleted": session}
        assert not os.path.exists(f"/proc/{pid}")
        for call in (flying, queued):
            assert call.result().status_code == 502
            assert "its session was deleted" in call.result().text


def test_runs_are_listed_and_shown(server, session):
    code = "import sys\ndef run():\n    print('out')\n    print('err', file=sys.stderr)\n    return 'answer'"
    id = server.call(code, session=session).headers["owt-run"]
    assert id in [run["id"] for run in server.ask("GET", "/_owt/runs").json()["runs"]]
    run = server.ask("GET", f"/_owt/runs/{id}").json()
    assert (run["state"], run["status"], run["session"], run["path"]) == ("done", 200, session, "/")
    assert (run["stdout"], run["stderr"]) == ("out\n", "err\n")
    assert run["created"] <= run["started"] <= run["ended"]
    assert run["seconds"] >= 0
    assert run["failure"] is None


def test_a_failed_run_shows_its_failure(server):
    id = server.call("1 / 0").headers["owt-run"]
    run = server.ask("GET", f"/_owt/runs/{id}").json()
    assert (run["state"], run["status"]) == ("failed", 500)
    assert "ZeroDivisionError" in run["failure"]["title"]


def test_health_reports_a_server_that_accepts_calls(server):
    answer = server.ask("GET", "/_owt/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health["status"] == "ok"
    assert health["pool"]["spare"] >= 0
    assert health["sessions"] == len(server.ask("GET", "/_owt/sessions").json()["sessions"])


def test_health_does_not_wait_behind_a_busy_kernel(narrow, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        call = threads.submit(narrow.call, WAIT, **waiting(gate))
        gate.reached()
        assert narrow.ask("GET", "/_owt/health").json()["runs"] == 1
        gate.open()
        call.result()


# owt session ---------------------------------------------------------------------------------------


def owt(server, *words):
    done = subprocess.run(
        [sys.executable, "-m", "owt", "session", *words, "--url", server.url],
        capture_output=True, text=True, timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_owt_session_manages_the_sessions_of_a_live_server(server, session, tmp_path):
    gate = Gate(tmp_path)
    server.call("x = 1", session=session)
    before = server.session(session)
    status, out, err = owt(server, "list")
    assert (status, err) == (0, "")
    [line] = [line for line in out.splitlines() if line.startswith(f"{session} ")]
    assert str(before["pid"]) in line
    assert " idle " in line
    status, out, err = owt(server, "show", session)
    assert (status, err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert facts["name"] == session
    assert facts["pid"] == str(before["pid"])
    with ThreadPoolExecutor(16) as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        assert owt(server, "interrupt", session) == (0, f"interrupted {session}\n", "")
        assert call.result().status_code == 499
    assert server.call("x", session=session).text == "1"
    assert owt(server, "restart", session) == (0, f"restarted {session}\n", "")
    assert server.session(session)["restarts"] == 1
    assert owt(server, "delete", session) == (0, f"deleted {session}\n", "")
    status, out, err = owt(server, "show", session)
    assert (status, out) == (1, "")
    assert "no session has this name" in err
    assert err.count("\n") == 1
