"""Messages for running calls, and the answers to their `input()`, by real clients."""

from __future__ import annotations

import asyncio
import subprocess
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import owt
import owt.client
from owt.errors import CannotSend, RemoteError
from owt.testing import Gate, LiveServer, wait_until
from owt.testing.waiting import PATIENCE

ECHO = """
def run(**kwargs):
    for message in request.messages:
        yield f"{message!r}\\n"
    yield len(request.get_data()) > 10**5
"""
ECHO_ASYNC = """
async def run(**kwargs):
    async for message in request.messages:
        yield f"{message!r}\\n"
    yield len(request.get_data()) > 10**5
"""


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


def detached(http: httpx.Client, session: str, code: str, **fields: Any) -> str:
    """Begin a detached run, and return its id."""
    fields = {"session": session, "code": code, "detach": True, **fields}
    return str(http.post("/", json=fields).headers["Owt-Run"])


def curl(server: LiveServer, run: str, *options: str, query: str = "") -> str:
    command = ["curl", "-sS", "-X", "POST", *options, f"{server.url}/_owt/runs/{run}/input{query}"]
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE, check=True, text=True).stdout


@pytest.mark.parametrize("code", [ECHO, ECHO_ASYNC])
@pytest.mark.parametrize("large", [False, True])
def test_curl_sends_messages_to_a_call(
    server: LiveServer, http: httpx.Client, session: str, code: str, large: bool
) -> None:
    kwargs = {"kwargs": {"padding": "x" * 10**5}} if large else {}
    run = detached(http, session, code, **kwargs)
    assert curl(server, run, "-d", "one é") == f'{{"run":"{run}","received":1}}\n'
    assert '"received":2' in curl(server, run, "-d", "two", "-H", "Owt-Input: 2")
    assert '"received":2' in curl(server, run, "-d", "two", "-H", "Owt-Input: 2")
    assert '"received":3' in curl(
        server, run, "--data-binary", "three", "-H", "Content-Type: application/octet-stream"
    )
    assert "409" in curl(server, run, "-d", "5", "-H", "Owt-Input: 5", "-w", "%{http_code}")
    assert '"received":3' in curl(server, run, query="?end=1")
    answer = http.get(f"/_owt/runs/{run}/answer").text
    assert answer.splitlines() == ["'one é'", "'two'", "b'three'", str(large).lower()]
    assert "409" in curl(server, run, "-d", "late", "-w", "%{http_code}")


def test_a_large_body_is_read_between_messages(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = """
        def run(padding):
            first = next(request.messages)
            size = len(request.get_data())
            return [first, size > 10**5, next(request.messages), request.get_json()["session"]]
    """
    run = detached(http, session, textwrap.dedent(code), kwargs={"padding": "x" * 10**5})
    for message in ("a", "b"):
        curl(server, run, "-d", message)
    assert http.get(f"/_owt/runs/{run}/answer").json() == ["a", True, "b", session]


# input(), getpass(), debuggers ------------------------------------------------------------------

HELLO = "def run():\n    return 'hello ' + input('Name? ')"


def conversation(client: owt.Client, code: str, *answers: str | None) -> tuple[list[str], list[str]]:
    """Return the prompts of a call that is answered, and its texts."""
    prompts, texts, rest = [], [], list(answers)
    for event in client.stream(code):
        if event.name == "input":
            prompts.append(f"{event.data['prompt']}{'*' * event.data['password']}")
            client.answer(event, rest.pop(0))
        elif event.name in ("stdout", "result"):
            texts.append(event.data)
    return prompts, texts


@pytest.fixture
def client(server: LiveServer, session: str) -> Iterator[owt.Client]:
    with owt.Client(server.url, session=session) as client:
        yield client


@pytest.mark.parametrize(
    ("code", "answers", "prompts", "result"),
    [
        (HELLO, ["Ada é"], ["Name? "], "hello Ada é"),
        ("async " + HELLO, [""], ["Name? "], "hello "),
        ("def run():\n    return [input(), input(2)]", ["a\n", "b"], ["", "2"], '["a","b"]'),
        ("from getpass import getpass\ndef run():\n    return getpass()", ["x"], ["Password: *"], "x"),
        ("import getpass\ndef run():\n    return getpass.getpass('PIN')", ["1"], ["PIN*"], "1"),
        ("name = input('Cell? ')\nname", ["b"], ["Cell? "], "b"),
        ("import asyncio\nasync def run():\n    return await asyncio.to_thread(input)", ["t"], [""], "t"),
        ("def run():\n    try: input()\n    except EOFError as error: return str(error)", [None], [""],
         "the client has ended the input of this call"),
    ],
)  # fmt: skip
def test_the_client_answers_input(
    client: owt.Client, code: str, answers: list[str], prompts: list[str], result: str
) -> None:
    assert conversation(client, code, *answers) == (prompts, [result])


def test_the_asynchronous_client_answers_input(server: LiveServer, session: str) -> None:
    async def talk(answer: str | None) -> list[Any]:
        results = []
        async with owt.AsyncClient(server.url, session=session) as client:
            async for event in client.stream(HELLO):
                if event.name == "input":
                    await client.answer(event, answer)
                results.append((event.name, event.data))
            with pytest.raises(CannotSend, match="asks for no answer"):
                await client.answer(owt.client.Event("message", "x", "r-1"), "x")
        return results

    assert asyncio.run(talk("Ada é"))[:2] == [
        ("input", {"prompt": "Name? ", "password": False}), ("result", "hello Ada é")
    ]  # fmt: skip
    with pytest.raises(RemoteError, match="EOFError"):
        asyncio.run(talk(None))


DEBUGGERS = {
    "breakpoint": "def run():\n    y = 5\n    breakpoint()\n    return y",
    "pdb": "def run():\n    y = 5\n    import pdb; pdb.set_trace()\n    return y",
    "debug": "import sys\ny = 5\ntry:\n    y / 0\nexcept Exception:\n"
    "    sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()\n%debug\n7",
}


@pytest.mark.parametrize("kind", DEBUGGERS)
def test_the_client_debugs_a_call(client: owt.Client, kind: str) -> None:
    answers = ["p y + 1", "q"] if kind == "debug" else ["p y + 1", "y = 7", "c"]
    prompts, texts = conversation(client, DEBUGGERS[kind], *answers)
    assert prompts == ["ipdb> "] * len(answers)
    assert "6" in "".join(texts).split()
    assert texts[-1] == "7"


@pytest.mark.parametrize("code", [HELLO, "breakpoint()", "import getpass\ngetpass.getpass()"])
def test_a_plain_call_cannot_ask(http: httpx.Client, session: str, code: str) -> None:
    answer = http.post("/", data={"session": session, "code": code})
    assert answer.status_code == 500
    assert "EOFError: no client can answer this input(): " in answer.text
    assert "stream=sse" in answer.text


@pytest.mark.parametrize("padding", [0, 10**5])
@pytest.mark.parametrize(
    "code",
    [
        "def run(padding): return list(request.messages)",
        "async def run(padding): return [message async for message in request.messages]",
    ],
)
def test_messages_of_a_plain_call_raise_eof_error(
    http: httpx.Client, session: str, code: str, padding: int
) -> None:
    kwargs = {"padding": "x" * padding}
    answer = http.post("/", json={"session": session, "code": code, "kwargs": kwargs})
    assert answer.status_code == 500
    assert "EOFError: no client can send messages to this call: " in answer.text


def test_the_id_of_a_plain_call_whose_answer_has_begun_takes_messages(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = "def run():\n    yield 'begun '\n    yield from request.messages"
    with http.stream("POST", "/", json={"session": session, "code": code}) as answer:
        curl(server, answer.headers["Owt-Run"], "-d", "one", query="?end=1")
        assert answer.read() == b"begun one"


def test_the_id_that_a_client_has_chosen_takes_messages(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = "def run():\n    return list(request.messages)"
    run = f"{session}-chosen"
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(
            http.post, "/", json={"session": session, "code": code}, headers={"Owt-Run": run}
        )
        wait_until(lambda: http.get(f"/_owt/runs/{run}").status_code == 200)
        curl(server, run, "-d", "one", query="?end=1")
        assert answer.result().json() == ["one"]


def test_a_call_that_reads_its_body_cannot_ask(http: httpx.Client) -> None:
    code = "def run():\n    return input()"
    answer = http.post("/", params={"code": code, "stream": "sse"}, content=b"x" * 10**6)
    assert "the input of this call is the body of its request" in answer.text


def test_a_run_shows_that_it_waits_for_input(server: LiveServer, http: httpx.Client, session: str) -> None:
    run = detached(http, session, HELLO)
    document = wait_until(
        lambda: (document := http.get(f"/_owt/runs/{run}").json())["prompt"] is not None and document
    )
    assert (document["state"], document["prompt"]) == ("waiting-for-input", "Name? ")
    listed = http.get("/_owt/runs", params={"session": session}).json()["runs"]
    assert [entry["state"] for entry in listed] == ["waiting-for-input"]
    document = server.session(session)
    assert (document["state"], document["waiting_for_input"]) == ("busy", [run])
    curl(server, run, "-d", "Ada")
    assert http.get(f"/_owt/runs/{run}/answer").text == "hello Ada"
    document = http.get(f"/_owt/runs/{run}").json()
    assert (document["state"], document["prompt"], document["inputs"]) == ("done", None, 1)
    events = http.get(f"/_owt/runs/{run}/events").text
    assert f'event: input\nid: {run}-1\ndata: {{"prompt":"Name? ","password":false}}\n' in events


def test_a_posted_message_answers_before_the_question(
    server: LiveServer, http: httpx.Client, session: str, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    code = f"def run():\n    open({str(gate)!r}).read()\n    return input('Name? ')"
    run = detached(http, session, code)
    curl(server, run, "-d", "Ada")
    gate.open()
    assert http.get(f"/_owt/runs/{run}/answer").text == "Ada"


WAITS = {
    "input": HELLO,
    "async input": "async " + HELLO,
    "messages": "def run():\n    return next(request.messages)",
    "async messages": "async def run():\n    async for message in request.messages: pass",
    "thread": "import asyncio\nasync def run():\n    return await asyncio.to_thread(input)",
    "getpass": "import getpass\ndef run():\n    return getpass.getpass()",
    "pdb": "def run():\n    import pdb; pdb.set_trace()",
    "breakpoint": "def run():\n    breakpoint()",
}


@pytest.mark.parametrize("how", ["cancel", "interrupt", "timeout", "session"])
@pytest.mark.parametrize("kind", WAITS)
def test_a_wait_for_input_ends_and_the_next_call_is_fine(
    server: LiveServer, http: httpx.Client, session: str, kind: str, how: str
) -> None:
    run = detached(http, session, WAITS[kind], **({"timeout": 0.3} if how == "timeout" else {}))
    states = ("running",) if "messages" in kind else ("waiting-for-input",)
    if how != "timeout":
        wait_until(lambda: http.get(f"/_owt/runs/{run}").json()["state"] in states)
    match how:
        case "cancel":
            http.delete(f"/_owt/runs/{run}")
        case "interrupt":
            http.post(f"/_owt/sessions/{session}/interrupt")
        case "session":
            http.delete(f"/_owt/sessions/{session}")
    status = http.get(f"/_owt/runs/{run}/answer").status_code
    assert status == {"cancel": 499, "interrupt": 499, "timeout": 504, "session": 502}[how]
    assert http.post("/", data={"session": session, "code": "1 + 1"}).text == "2"
    # No kernel was killed because it did not stop.
    assert server.session(session)["restarts"] == 0


def test_an_answer_after_a_question_is_not_cached(http: httpx.Client, session: str) -> None:
    code = "def run():\n    return input()"
    fields = {"session": session, "code": code, "use_cache": True, "stream": "sse"}
    for name in ("a", "b"):
        with http.stream("POST", "/", json=fields) as answer:
            text = ""
            for line in answer.iter_lines():
                text += line + "\n"
                if line == "event: input":
                    http.post(f"/_owt/runs/{answer.headers['Owt-Run']}/input", content=name)
        assert f"\ndata: {name}\n" in text
