"""Endpoints of a live server: curl, cells of notebooks, kernels that die."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient

from owt.testing import Gate, LiveServer, wait_until
from owt.wire.sse import Decoder


@pytest.fixture(scope="module")
def live() -> Iterator[LiveServer]:
    """Return a server that all tests share; each has its own session and paths."""
    with LiveServer("--max-sessions", "100", "--pool-max", "2", "--queue", "1") as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest, live: LiveServer) -> Iterator[str]:
    """Return a name for the session and the start of its paths."""
    name = f"e-{abs(hash(request.node.nodeid)) % 10**12}"
    yield name
    live.ask("DELETE", f"/_owt/sessions/{name}")


def curl(live: LiveServer, arguments: str, *, fail: bool = False) -> str:
    """Return the output of curl; its URLs start with `@`."""
    words = [live.url + word[1:] if word.startswith("@/") else word for word in shlex.split(arguments)]
    command = ["curl", "-sS", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode != 0) == fail, done.stderr
    return done.stdout


def define(live: LiveServer, name: str, code: str) -> None:
    """Run this in the session, where `@endpoint("/x")` stands for its own path."""
    answer = live.call(code.replace('@endpoint("/', f'@endpoint("/{name}/'), session=name)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def notebook(live: LiveServer, name: str) -> Iterator[Any]:
    """Return a client that is attached to the session, like a notebook."""
    live.call("0", session=name)
    client = BlockingKernelClient(connection_file=live.session(name)["connection_file"])
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=20)
        yield client
    finally:
        client.stop_channels()


def execute(notebook: Any, code: str) -> str:
    """Run a cell to its end, and return `ok` or `error`."""
    status: str = notebook.execute_interactive(code, timeout=30, output_hook=lambda message: None)["content"][
        "status"
    ]
    return status


SPEAK = '@endpoint("/speak")\ndef speak(text: str, times: int = 1):\n    return text.upper() * times\n'


def test_curl_calls_an_endpoint_without_code_and_session(live, name):
    define(live, name, SPEAK)
    assert curl(live, f"'@/{name}/speak?text=hi&times=2'") == "HIHI"
    assert curl(live, f"@/{name}/speak -d text=hi") == "HI"
    as_json = "-H 'Content-Type: application/json' -d '{\"text\": \"hi\", \"times\": 3}'"
    assert curl(live, f"@/{name}/speak {as_json}") == "HIHIHI"
    assert curl(live, f"-F text=hi @/{name}/speak") == "HI"


def test_an_uploaded_file_arrives_as_bytes(live, name, tmp_path):
    define(live, name, '@endpoint("/size")\ndef size(data: bytes): return len(data)\n')
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)
    assert curl(live, f"-F data=@{tmp_path}/file @/{name}/size") == str(1 << 20)


def test_path_parameters_are_decoded_after_the_path_is_split(live, name):
    define(live, name, '@endpoint("/greet/{who}")\ndef greet(who): return f"Hello, {who}!"\n')
    assert curl(live, f"@/{name}/greet/a%2Fb%20c") == "Hello, a/b c!"


def test_items_of_an_endpoint_arrive_when_they_are_yielded(live, name, tmp_path):
    gate = Gate(tmp_path)
    code = (
        "from typing import Iterator\n"
        '@endpoint("/count")\ndef count() -> Iterator[str]:\n    yield "one"\n'
        f'    open({str(gate)!r}).read()\n    yield "two"\n'
    )
    define(live, name, code)
    with subprocess.Popen(["curl", "-sSN", f"{live.url}/{name}/count"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == b"one"
        gate.open()
        assert process.stdout.read() == b"two"


def test_an_endpoint_may_answer_with_events(live, name):
    define(live, name, '@endpoint("/f")\ndef f(n: int):\n    print("said")\n    yield from range(n)\n')
    text = curl(live, f"'@/{name}/f?n=2&stream=sse'")
    decoder = Decoder()
    events = [(event.event, event.data) for event in decoder.feed(text.encode())]
    assert [event for event, _ in events] == ["stdout", "message", "message", "done"]


def test_an_endpoint_supports_detach_and_the_cache(live, name):
    define(live, name, SPEAK)
    run = json.loads(curl(live, f"'@/{name}/speak?text=hi&detach=1'"))
    wait_until(lambda: live.ask("GET", run["url"]).json()["state"] == "done")
    assert curl(live, f"@{run['answer']}") == "HI"

    def cached(text: str) -> tuple[str, str]:
        answer = live.ask("GET", f"/{name}/speak?text={text}&use_cache=1")
        return answer.headers["owt-cache"], answer.text

    assert [cached("a"), cached("a"), cached("b")] == [("miss", "A"), ("hit", "A"), ("miss", "B")]
    define(live, name, SPEAK.replace("upper", "title"))
    assert cached("ab") == ("miss", "Ab")
    assert cached("a") == ("miss", "A")


def test_arguments_that_do_not_fit_are_422_with_field_expectation_and_value(live, name):
    define(live, name, SPEAK)
    answer = live.ask(
        "GET", f"/{name}/speak?times=many&txt=1", headers={"Accept": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:owt:unprocessable"
    assert problem["detail"].startswith(
        "text: is missing. times: expected int; got 'many'. txt: is not one of its fields. "
    )
    assert problem["session"] == name
    assert curl(live, f"-w '%{{http_code}}' -o /dev/null @/{name}/speak") == "422"
    assert "event: error" in curl(live, f"'@/{name}/speak?stream=sse'")


def test_an_unsupported_method_is_405_with_the_supported_ones(live, name):
    define(live, name, '@endpoint("/a", methods=["PUT", "DELETE"])\ndef a(): return request.method\n')
    assert curl(live, f"-X PUT @/{name}/a") == "PUT"
    assert curl(live, f"-X DELETE @/{name}/a") == "DELETE"
    for method, status in {"GET": 405, "HEAD": 405, "OPTIONS": 204}.items():
        answer = live.ask(method, f"/{name}/a")
        assert (answer.status_code, answer.headers["allow"]) == (status, "PUT, DELETE, OPTIONS")


def test_code_wins_over_an_endpoint_at_its_path(live, name):
    define(live, name, SPEAK)
    assert curl(live, f"@/{name}/speak -d text=hi --data-urlencode 'code=1 + 1'") == "2"
    assert curl(live, f"@/{name}/speak -d text=hi -d code_b64=MSArIDE=") == "2"


def test_an_unknown_path_is_an_error_about_code_and_endpoints(live, name):
    assert f"code: is missing, and '/{name}/x' is no endpoint" in curl(live, f"@/{name}/x")


def test_an_endpoint_of_a_notebook_is_served_and_updated_immediately(live, name, notebook):
    assert execute(notebook, f'import itertools\nmodel = itertools.count(1)\nP = "/{name}/{{n}}"') == "ok"
    cell = '@endpoint(P)\ndef f(n: int):\n    return f"{next(model)} {n * 2}"\n'
    assert execute(notebook, cell) == "ok"
    assert curl(live, f"@/{name}/4") == "1 8"
    assert execute(notebook, cell.replace("n * 2", "n * 3")) == "ok"
    assert curl(live, f"@/{name}/4") == "2 12"
    assert execute(notebook, cell.replace("n * 2", "n * 4") + "unknown_name") == "error"
    assert curl(live, f"@/{name}/4") == "3 12"
    assert execute(notebook, "def f(n): return 'plain'") == "ok"
    assert curl(live, f"@/{name}/4") == "4 12"
    assert execute(notebook, "endpoint.remove(P)") == "ok"
    assert "is no endpoint" in curl(live, f"@/{name}/4")


def test_endpoint_can_be_imported_from_owt(live, name, notebook):
    assert execute(notebook, f"from owt import endpoint as e\n@e('/{name}/f')\ndef f(): return 'f'") == "ok"
    assert curl(live, f"@/{name}/f") == "f"


def test_a_running_call_finishes_on_the_old_function_and_the_next_uses_the_new_one(live, name, tmp_path):
    gate = Gate(tmp_path)
    live.ask("PUT", f"/_owt/sessions/{name}", json={"concurrency": 2})
    old = f'@endpoint("/f")\ndef f():\n    open({str(gate)!r}).read()\n    return "old"\n'
    define(live, name, old)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(curl, live, f"@/{name}/f")
        gate.reached()
        define(live, name, '@endpoint("/f")\ndef f(): return "new"\n')
        assert curl(live, f"@/{name}/f") == "new"
        gate.open()
        assert waiting.result() == "old"


def test_an_endpoint_uses_the_queue_of_its_session(live, name, tmp_path):
    gate = Gate(tmp_path)
    code = f'@endpoint("/f")\ndef f():\n    open({str(gate)!r}).read()\n'
    define(live, name, code + '@endpoint("/g")\ndef g(): 0\n')
    with ThreadPoolExecutor() as threads:
        first = threads.submit(curl, live, f"@/{name}/f")
        gate.reached()
        second = threads.submit(curl, live, f"@/{name}/g")
        wait_until(lambda: live.session(name)["queue"] == 1)
        answer = live.ask("GET", f"/{name}/g")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        gate.open()
        first.result()
        second.result()


def gone(live: LiveServer, name: str, path: str = "speak") -> str:
    answer = live.ask("GET", f"/{name}/{path}?text=hi")
    assert answer.status_code == 410, answer.text
    return answer.text


def state(live: LiveServer, name: str) -> list[tuple[str, str | None]]:
    """Return the entry of a session's endpoints in the listing."""
    listed = live.ask("GET", "/_owt/endpoints").json()["endpoints"]
    return [(entry["state"], entry["reason"]) for entry in listed if entry["session"] == name]


@pytest.mark.parametrize(
    ("ending", "reason"),
    [("delete", "was ended because its session was deleted"), ("restart", "was restarted on request")],
)
def test_an_endpoint_of_a_deleted_session_is_410_until_it_is_defined_again(live, name, ending, reason):
    define(live, name, SPEAK)
    if ending == "delete":
        live.ask("DELETE", f"/_owt/sessions/{name}")
    else:
        live.ask("POST", f"/_owt/sessions/{name}/restart")
    assert f"speak of session {name}, whose kernel {reason}; to restore it, run the cell" in gone(live, name)
    assert state(live, name) == [("gone", f"the kernel {reason}")]
    define(live, name, SPEAK)
    assert curl(live, f"'@/{name}/speak?text=hi'") == "HI"
    assert state(live, name) == [("live", None)]


def test_an_endpoint_of_a_crashed_kernel_is_410_with_the_reason(live, name):
    define(live, name, SPEAK)
    os.kill(live.session(name)["pid"], signal.SIGKILL)
    wait_until(lambda: state(live, name) != [("live", None)])
    assert "whose kernel was killed by SIGKILL" in gone(live, name)


def test_a_queued_call_of_an_endpoint_whose_kernel_died_is_410(live, name, tmp_path):
    gate = Gate(tmp_path)
    define(live, name, SPEAK)
    with ThreadPoolExecutor() as threads:
        blocking = threads.submit(live.call, f"open({str(gate)!r}).read()", session=name)
        gate.reached()
        waiting = threads.submit(live.ask, "GET", f"/{name}/speak?text=hi")
        wait_until(lambda: live.session(name)["queue"] == 1)
        os.kill(live.session(name)["pid"], signal.SIGKILL)
        assert blocking.result().status_code == 502
        answer = waiting.result()
    assert answer.status_code == 410
    assert f"this kernel of session {name} does not have it" in answer.text


def test_a_path_of_another_session_is_refused_in_the_cell(live, name, notebook):
    other = f"{name}-other"
    try:
        answer = live.call(f'@endpoint("/{name}/f")\ndef f(): return "other"\n', session=other)
        assert answer.status_code == 200
        errors: list[str] = []
        notebook.execute_interactive(
            f'@endpoint("/{name}/f")\ndef mine(): ...',
            timeout=30,
            output_hook=lambda message: errors.append(message["content"].get("evalue", "")),
        )
        assert f"GET /{name}/f is taken by f of session {other}" in "".join(errors)
        assert curl(live, f"@/{name}/f") == "other"
    finally:
        live.ask("DELETE", f"/_owt/sessions/{other}")


def test_a_call_without_a_session_cannot_have_endpoints(live, name):
    answer = live.call(f'@endpoint("/{name}/f")\ndef f(): ...\n')
    assert answer.status_code == 500
    assert "add session=NAME" in answer.text


def test_a_kernel_from_the_pool_supports_endpoints_of_its_session(live, name):
    # Sessions of the default kernelspec get a kernel of the pool.
    define(live, name, SPEAK)
    assert state(live, name) == [("live", None)]


def test_an_endpoint_at_the_root_replaces_the_start_page(live, name):
    assert live.call('@endpoint("/")\ndef f(): return "root"\n', session=name).status_code == 200
    assert curl(live, "@/") == "root"
    assert live.call('endpoint.remove("/")', session=name).status_code == 200
    assert "<title>owt</title>" in curl(live, "@/")


def test_the_listing_is_json_for_programs_and_a_page_for_browsers(live, name):
    define(live, name, SPEAK)
    listed = live.ask("GET", "/_owt/endpoints").json()["endpoints"]
    [speak] = [entry for entry in listed if entry["session"] == name]
    assert (speak["path"], speak["methods"]) == (f"/{name}/speak", ["GET", "POST"])
    html = curl(live, "-H 'Accept: text/html,*/*;q=0.8' @/_owt/endpoints")
    assert html.startswith("<!doctype html>")
    assert f"/{name}/speak" in html


def test_the_openapi_document_has_the_server_and_its_endpoints(live, name):
    define(live, name, SPEAK + '@endpoint("/greet/{who}")\ndef greet(who: str) -> dict[str, int]: ...\n')
    document = json.loads(curl(live, "@/_owt/openapi.json"))
    assert document["servers"] == [{"url": live.url}]
    assert {"get", "post"} == set(document["paths"][f"/{name}/speak"])
    assert document["paths"][f"/{name}/greet/{{who}}"]["get"]["parameters"][0]["in"] == "path"


def test_the_command_line_lists_endpoints(live, name):
    define(live, name, SPEAK)
    command = [sys.executable, "-m", "owt", "endpoints", "--url", live.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert any(line.split()[2:5] == [f"/{name}/speak", name, "live"] for line in done.stdout.splitlines())


def test_users_base_url_and_origins_apply_to_endpoints(tmp_path: Path) -> None:
    with LiveServer("--token", "robot-0123456789abcdef", "--base-url", "/owt") as server:
        allowed = {"Authorization": "Bearer robot-0123456789abcdef"}
        code = (
            '@endpoint("/who")\n'
            "def who(): return [request.remote_user, request.script_root, request.path]\n"
        )
        answer = server.ask("POST", "/owt/", data={"code": code, "session": "dev"}, headers=allowed)
        assert answer.status_code == 200, answer.text
        root = server.url.removesuffix("/owt")
        assert server.ask("GET", f"{root}/owt/who").status_code == 401
        assert server.ask("GET", f"{root}/owt/_owt/endpoints").status_code == 401
        assert server.ask("GET", f"{root}/owt/_owt/openapi.json").status_code == 401
        answer = server.ask("GET", f"{root}/owt/who", headers=allowed)
        assert answer.json() == ["token", "/owt", "/who"]
        foreign = {**allowed, "Sec-Fetch-Site": "cross-site", "Origin": "https://example.org"}
        assert server.ask("GET", f"{root}/owt/who", headers=foreign).status_code == 403
        document = server.ask("GET", f"{root}/owt/_owt/openapi.json", headers=allowed).json()
        assert document["servers"] == [{"url": f"{root}/owt"}]
        assert document["security"] == [{"token": []}]
        listed = server.ask("GET", f"{root}/owt/_owt/endpoints", headers=allowed).json()["endpoints"]
        assert [entry["path"] for entry in listed] == ["/owt/who"]
