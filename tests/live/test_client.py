"""The Python clients against a real server."""

from __future__ import annotations

import asyncio
import functools
import io
import math
import re
import threading
from contextlib import aclosing, closing
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

import owt
from owt.client import (
    AsyncClient,
    CannotSend,
    Client,
    Event,
    RemoteError,
    UnexpectedValue,
    Unreachable,
    following,
)
from owt.testing import Gate, LiveServer, wait_until


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url) as client:
        yield client


def greet(name, *, code="no code", session="no session", timeout="no timeout"):
    return {"message": f"Hello, {name}!", "others": [code, session, timeout]}


def fails(x):
    def inner():
        return 1 / x

    return inner()


def speaks(n):
    import sys

    print("counting")
    for i in range(n):
        yield f"{i}\n"
    sys.stderr.write("done\n")
    yield {"count": n}
    yield b"\x00\xff"


def test_a_function_runs_on_the_server_and_its_response_is_decoded(client):
    assert client.call(greet, name="owt") == {
        "message": "Hello, owt!", "others": ["no code", "no session", "no timeout"],
    }  # fmt: skip


def test_every_keyword_argument_is_the_adaptors(client):
    names = {"code": 1, "session": 2, "timeout": 3}
    assert client.call(greet, name="x", **names)["others"] == [1, 2, 3]
    assert client.call("def run(self, fn_name, kwargs, method): return [self, fn_name, kwargs, method]",
                       self=1, fn_name=2, kwargs=3, method=4) == [1, 2, 3, 4]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("{'a': [1, None]}", {"a": [1, None]}),
        ("'text'", "text"),
        ("1 + 1", 2),
        ("3.5", 3.5),
        ("True", True),
        ("None", None),
        ("bytes(range(256))", bytes(range(256))),
        ("(b'abc', {'Content-Type': 'audio/wav'})", b"abc"),
        ("({'a': i} for i in range(2))", [{"a": 0}, {"a": 1}]),
        ("('a' for i in range(2))", "aa"),
        ("('', 204)", None),
    ],
)
def test_a_response_is_decoded_by_its_content_type(client, code, value):
    assert client.call(code) == value


def test_arrays_tables_and_images_come_back_as_what_they_are(client, tmp_path):
    array = client.call("__import__('numpy').arange(6, dtype='f4').reshape(2, 3).T")
    assert (array.tolist(), array.dtype) == ([[0, 3], [1, 4], [2, 5]], np.float32)
    table = "__import__('pandas').DataFrame({'a': [1, 2]})"
    pd.testing.assert_frame_equal(client.call(table), pd.DataFrame({"a": [1, 2]}))
    image = client.call("from PIL import Image\ndef run(): return Image.new('RGB', (2, 3), 'red')")
    assert (image.size, image.getpixel((0, 0))) == ((2, 3), (255, 0, 0))
    (tmp_path / "a.txt").write_bytes(b"text")
    assert client.call(f"open({str(tmp_path / 'a.txt')!r}, 'rb')") == b"text"
    # Bytes of the adaptor's own.
    assert client.call("bytes.fromhex('89504e470d0a1a0a')") == b"\x89PNG\r\n\x1a\n"


def test_an_array_makes_the_round_trip_unchanged(client):
    for array in (
        np.array([[1, 2]], order="F"),
        np.array(["ß"]),
        np.array([1j]),
        np.array(2.5),
        np.zeros((0, 3)),
    ):
        result = client.call("def run(x): return x", x=array)
        assert (result.dtype, result.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(result, array)


def test_a_type_selects_another_form_of_a_value(client, tmp_path):
    array, table = "__import__('numpy').eye(2)", "__import__('pandas').DataFrame({'a': [1, 2]})"
    assert client.call(array, list) == [[1, 0], [0, 1]]
    assert client.call(array, npt.NDArray[np.float64]).tolist() == [[1, 0], [0, 1]]
    assert client.call("[[1], [2]]", np.ndarray).tolist() == [[1], [2]]
    assert client.call(table, list[dict[str, int]]) == [{"a": 1}, {"a": 2}]
    image = "from PIL import Image\ndef run(): return Image.new('RGB', (2, 3))"
    assert client.call(image, bytes)[:4] == b"\x89PNG"
    assert client.call(image, Image.Image).size == (2, 3)
    (tmp_path / "a.txt").write_bytes(b"text")
    path = f"__import__('pathlib').Path({str(tmp_path / 'a.txt')!r})"
    assert (client.call(path), client.call(path, bytes)) == (str(tmp_path / "a.txt"), b"text")
    with pytest.raises(UnexpectedValue, match="no ndarray: expected lists of numbers; got 'text'"):
        client.call("'text'", np.ndarray)


def test_the_option_accept_selects_another_type(client):
    table = "__import__('pandas').DataFrame({'a': [1, 2]})"
    assert client.with_options(accept="text/csv").call(table).splitlines() == [",a", "0,1", "1,2"]


def test_arguments_that_json_does_not_have_arrive_as_what_they_are(client, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"text\r\n")

    def kinds(**kwargs):
        return {name: type(value).__name__ for name, value in kwargs.items()}

    def contents(array, image, data, path, file, n):
        return [array.tolist(), str(array.dtype), image.size, list(data), path, list(file), n]

    arguments = {
        "array": np.arange(6, dtype="f4").reshape(2, 3).T,
        "image": Image.new("RGB", (2, 3)),
        "data": b"\r\n\0",
        "path": tmp_path / "a.txt",
        "file": io.BytesIO(b"\x01"),
        "n": 1,
    }
    assert client.call(kinds, **arguments) == {
        "array": "ndarray", "image": "PngImageFile", "data": "bytes",
        "path": "str", "file": "bytes", "n": "int",
    }  # fmt: skip
    assert client.call(contents, **arguments) == [
        [[0, 3], [1, 4], [2, 5]], "float32", [2, 3], [13, 10, 0], "text\r\n", [1], 1,
    ]  # fmt: skip
    result, _ = client.stream("lambda x: [x.sum().item()]", x=np.ones(2))
    assert result.data == "[2.0]"


def test_an_annotation_decides_what_an_argument_is(client, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no png")
    code = "from pathlib import Path\ndef run(x: Path, y: bytes): return [x.name, x.read_text(), y.decode()]"
    assert client.call(code, x=tmp_path / "a.png", y=tmp_path / "a.png") == ["a.png", "no png", "no png"]


def test_an_endpoint_is_called_at_the_path_of_the_url(server, client, session):
    other = client.with_options(session=session)
    other.call("@endpoint('/client/half')\ndef half(data: bytes, n: int = 2): return [len(data) / n]")
    with Client(f"{server.url}/client/half") as endpoint:
        assert endpoint.call(data=b"1234", n=8) == [0.5]
        assert endpoint.call(data=b"1234") == [2]


def test_a_lambda_and_a_local_function_can_be_sent(client):
    def local(text):
        return text.upper()

    assert client.call(lambda x: [x, 1], x=2) == [2, 1]
    assert client.call(local, text="a") == "A"


def test_a_clients_session_keeps_its_state(server, session):
    with owt.Client(server.url, session=session) as client:
        client.call("x = 41")
        assert client.call("[x + 1]") == [42]
        client.call("def added(n):\n    return {'sum': x + n}")
        assert client.with_options(fn_name="added").call(n=1) == {"sum": 42}
        assert client.options.fn_name is None


def test_options_change_how_a_call_is_made(client, session):
    other = client.with_options(session=session, use_cache=True)
    first, second = (other.call("import random\ndef run(): return random.random()") for _ in range(2))
    assert first == second
    assert client.with_options(kwargs="{'x': {1, 2}}").call("def run(x): return sum(x)") == 3
    assert client.with_options(method="GET").call("def run(): return request.method") == "GET"
    with pytest.raises(CannotSend, match="'timout' is not an option"):
        client.with_options(timout=3)
    with pytest.raises(CannotSend, match="called by its own name"):
        client.with_options(fn_name="run").call(greet, name="x")


def test_method_as_url_returns_a_url_that_makes_the_call(client, http):
    url = client.as_url(greet, name="owt")
    assert http.get(url).json()["message"] == "Hello, owt!"


def test_the_path_of_the_url_is_the_adaptors(server):
    with Client(f"{server.url}/a/b?q=1") as client:
        assert client.call("[request.path, request.args['q']]") == ["/a/b", "1"]


def test_a_failure_has_the_remote_traceback(client, session):
    with pytest.raises(RemoteError) as caught:
        client.with_options(session=session).call(fails, x=0)
    error = caught.value
    assert str(error) == "ZeroDivisionError: division by zero"
    assert (error.status, error.exception, error.session) == (500, "ZeroDivisionError", session)
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert "return 1 / x" in error.traceback
    assert error.run is not None
    assert client.run(error.run)["state"] == "failed"


@pytest.mark.parametrize(
    ("code", "options", "status", "words"),
    [
        ("def run(:", {}, 400, "SyntaxError: code: line 1"),
        ("def run(x): pass", {}, 400, "missing 'x'"),
        ("1", {"kernel": "no/kernel"}, 400, "kernel"),
        (None, {"session": "t-none", "fn_name": "f"}, 404, "t-none"),
        ("while True: pass", {"timeout": 0.2}, 504, "longer than its timeout of 0.2 s"),
        ("import os; os._exit(3)", {}, 502, "3"),
        ("('no tea', 418)", {}, 418, "the adaptor answered 418: no tea"),
    ],
)
def test_each_failure_on_the_server_is_a_remote_error(client, code, options, status, words):
    with pytest.raises(RemoteError, match=words) as caught:
        client.with_options(**options).call(code)
    assert caught.value.status == status


def test_a_value_that_cannot_be_sent_makes_no_call(client):
    with pytest.raises(CannotSend, match="JSON has no set"):
        client.call("def run(x): pass", x={1})
    with pytest.raises(CannotSend, match="uses functools"):
        client.call(lambda: functools, x=1)
    with pytest.raises(CannotSend, match="no Python source"):
        client.stream(math.sqrt, x=1)
    with pytest.raises(CannotSend, match="there is no code"):
        client.call()


def nameless(event: Event) -> Event:
    """Return the event without its id, which begins with the id of the run."""
    assert re.fullmatch(r"[0-9a-f]{16}-\d+", event.id)
    return Event(event.name, event.data)


def test_a_stream_yields_named_events(client):
    events = list(client.stream(speaks, n=2))
    assert [(event.name, event.data) for event in events[:-1]] == [
        ("stdout", "counting\n"),
        ("message", "0\n"),
        ("message", "1\n"),
        ("stderr", "done\n"),
        ("message", '{"count":2}'),
        ("bytes", b"\x00\xff"),
    ]
    assert events[4].json() == {"count": 2}
    assert events[-1].name == "done"
    assert events[-1].data["status"] == 200


def test_a_stream_preserves_line_ends(client):
    text = "10 %\r20 %\r\n\r\r\n\n|\r"
    code = "def run(text):\n    print(text, end='')\n    yield text\n    return text"
    events = list(client.stream(code, text=text))[:-1]
    assert [(event.name, event.data) for event in events] == [
        ("stdout", text),
        ("message", text),
        ("result", text),
    ]


def test_a_stream_yields_events_when_they_happen(client, tmp_path):
    gate = Gate(tmp_path)
    code = "def run(gate):\n    yield 'first'\n    open(gate).read()\n    yield 'second'"
    with closing(client.stream(code, gate=str(gate))) as events:
        assert nameless(next(events)) == Event("message", "first")
        gate.open()
        assert nameless(next(events)) == Event("message", "second")


def test_an_adaptors_own_events_are_unchanged(client):
    code = (
        "def run():\n"
        "    return (f'event: tick\\nid: {i}\\ndata: {i}\\n\\n' for i in range(2)), "
        "{'Content-Type': 'text/event-stream'}"
    )
    assert [nameless(event) for event in client.stream(code)] == [Event("tick", "0"), Event("tick", "1")]


def test_a_stream_raises_a_failure_at_its_place(client):
    events = client.stream("def run():\n    yield 'one'\n    raise KeyError('two')")
    assert next(events).data == "one"
    with pytest.raises(RemoteError, match="KeyError: 'two'") as caught:
        next(events)
    assert "raise KeyError('two')" in caught.value.traceback
    with pytest.raises(RemoteError, match="code: line 1"):
        next(client.stream("def run(:"))


def test_a_broken_response_raises_the_failure_of_its_run(client):
    code = "def run():\n    yield b'one'\n    raise KeyError('two')"
    with pytest.raises(RemoteError, match="KeyError: 'two'") as caught:
        client.call(code)
    assert "raise KeyError('two')" in caught.value.traceback
    assert caught.value.status == 500
    with pytest.raises(RemoteError, match="KeyError"), client.open(code) as response:
        assert b"".join(response.iter_bytes()) == b"one"


def test_leaving_a_stream_cancels_its_run(client, server, session):
    events = client.with_options(session=session).stream("def run():\n    yield 'x'\n    while True: pass")
    assert next(events).data == "x"
    events.close()
    wait_until(lambda: server.session(session)["state"] == "idle")


def test_an_open_response_yields_bytes_as_they_arrive(client, tmp_path):
    gate = Gate(tmp_path)
    code = "def run(gate):\n    yield b'first'\n    open(gate).read()\n    yield b'second'"
    with client.open(code, gate=str(gate)) as response:
        pieces = response.iter_bytes()
        assert next(pieces) == b"first"
        gate.open()
        assert b"".join(pieces) == b"second"
    with client.open("('no tea', 418)") as response:
        assert (response.status_code, response.read()) == (418, b'"no tea"\n')


def test_a_client_serves_many_threads(client):
    answers: dict[int, Any] = {}

    def ask(n):
        answers[n] = client.call("def run(n): return [n]", n=n)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: [n] for n in range(8)}


def test_an_adaptor_can_be_a_client(client):
    code = "import owt\ndef run():\n    with owt.Client() as client:\n        return client.call('[1]')"
    assert client.call(code) == [1]


def test_a_closed_port_is_unreachable():
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unreachable, match="no server answers at"):
        client.call("1")


def test_a_host_that_is_not_a_name_is_refused():
    with pytest.raises(owt.errors.ConfigError, match=r"^url: .*; got 'http://xn--/'$"):
        Client("http://xn--/")


def test_a_server_that_dies_during_a_response_is_unreachable(monkeypatch):
    monkeypatch.setattr(following, "DELAYS", (0.0,))
    with LiveServer("--no-fork") as server, Client(server.url) as client:
        events = client.stream("def run():\n    yield 'x'\n    while True: pass")
        assert next(events).data == "x"
        server.stop(9)
        with pytest.raises(Unreachable, match="no server answers"):
            next(events)


def test_a_missing_password_is_an_error_with_the_remedy():
    sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    with LiveServer("--auth", f"ada:{sha256}") as server:
        with Client(server.url, auth="ada:secret") as client:
            assert client.call("[1]") == [1]
        with Client(server.url.replace("//", "//ada:secret@")) as client:
            assert client.call("[1]") == [1]
        with Client(server.url) as client, pytest.raises(RemoteError, match="password") as caught:
            client.call("1")
        assert caught.value.status == 401


def test_the_asynchronous_client_behaves_as_the_blocking_one(server, session, tmp_path):
    gate = Gate(tmp_path)

    async def check() -> None:
        async with AsyncClient(server.url, session=session) as client:
            assert (await client.call(greet, name="owt"))["message"] == "Hello, owt!"
            with pytest.raises(RemoteError, match="ZeroDivisionError") as caught:
                await client.call(fails, x=0)
            assert (await client.run(str(caught.value.run)))["state"] == "failed"
            names = [event.name async for event in client.stream(speaks, n=1)]
            assert names == ["stdout", "message", "stderr", "message", "bytes", "done"]
            with pytest.raises(RemoteError, match="KeyError"):
                await client.call("def run():\n    yield 'one'\n    raise KeyError('two')")
            code = "def run(gate):\n    yield 'first'\n    open(gate).read()\n    yield 'second'"
            async with aclosing(client.stream(code, gate=str(gate))) as events:
                assert nameless(await anext(events)) == Event("message", "first")
            async with client.open("bytes(range(256))") as response:
                assert b"".join([piece async for piece in response.aiter_bytes()]) == bytes(range(256))
            unnamed = client.with_options(session=None)
            assert await asyncio.gather(*(unnamed.call("def run(n): return [n]", n=n) for n in range(8))) == [
                [n] for n in range(8)
            ]

    asyncio.run(check())
    wait_until(lambda: server.session(session)["state"] == "idle")


def test_the_asynchronous_client_reports_a_closed_port():
    async def check() -> None:
        async with AsyncClient("http://127.0.0.1:1") as client:
            with pytest.raises(Unreachable):
                await client.call("1")

    asyncio.run(check())
