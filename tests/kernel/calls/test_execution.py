"""owt.kernel.calls.execution: from a call to its chunks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner_bench import RunnerBench, bodies, call

from owt.kernel.calls.execution import SEPARATE_FRAME
from owt.wire.call import ChangeDirectory, RemoveEndpoint
from owt.wire.chunk import Chunk, Data, Done, Failed, Head


def failure(chunks: list[Chunk]) -> Failed:
    failed = chunks[-2]
    assert isinstance(failed, Failed)
    return failed


# Calling


@pytest.mark.parametrize(
    ("code", "fields", "answer"),
    [
        ("def run(a, b): return a + b", {"kwargs": '{"a": 1, "b": 2}'}, "3"),
        ("def other(): return 'other'", {"fn_name": "other"}, "other"),
        ("async def run(): return 'later'", {}, "later"),
        ("lambda x: x.upper()", {"kwargs": '"text"'}, "TEXT"),
        ("6 * 7", {}, "42"),
        ("pipe().kwarg('x').f(str.upper)", {"kwargs": "dict(x='owt')"}, "OWT"),
        ("pipe().f(lambda x: x + 1)", {"kwargs": "41"}, "42"),
        ("path().last()", {"path": "/a/b/c"}, "c"),
        ("x = 41\nx + 1", {}, "42"),
        ("y = a + b\ny", {"kwargs": '{"a": 1, "b": 2}'}, "3"),
        ("y = __last__\ny", {"kwargs": "[1, 2]"}, "[1,2]"),
        ("def run(): return Server.sing().port > 0", {}, "True"),
        ("def run(): return request.path", {"path": "/here"}, "/here"),
        ("def run(): return None", {"kwargs": "null"}, ""),
    ],
)
def test_every_kind_of_code_is_answered(
    bench: RunnerBench, code: str, fields: dict[str, Any], answer: str
) -> None:
    assert bench.text(code, **fields) == answer


def test_a_session_function_is_called_by_its_name(bench: RunnerBench) -> None:
    bench.ask("def mine(n): return n + 1\nx = 0")
    assert bench.text(fn_name="mine", kwargs='{"n": 41}') == "42"


def test_an_adaptor_that_owt_ships_is_called_by_its_name(bench: RunnerBench) -> None:
    failed = failure(bench.ask(adaptor="speak", kwargs="{}"))
    assert failed.type == "bad-request"
    assert "missing 'text'" in failed.detail


def test_the_server_changes_the_directory_without_running_code(
    bench: RunnerBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it's").mkdir()
    bench.ask(operation=ChangeDirectory(str(tmp_path / "it's")))
    assert Path.cwd() == tmp_path / "it's"
    failed = failure(bench.ask(operation=ChangeDirectory(str(tmp_path / "missing"))))
    assert failed.exception == "FileNotFoundError"


def test_the_server_removes_an_endpoint_without_running_code(bench: RunnerBench) -> None:
    bench.runner.endpoints.session = "s"
    bench.ask("@endpoint('/a', methods=['GET', 'POST'])\ndef a(): return 'a'\n1")
    bench.ask(operation=RemoveEndpoint("/a", "GET"))
    [left] = bench.registrations[-1].endpoints
    assert (left.path, left.methods) == ("/a", ("POST",))


def test_a_callable_made_from_the_request_is_called_with_that_of_its_call(bench: RunnerBench) -> None:
    code = "pipe().const(request.path)"
    assert [bench.text(code, path=path) for path in ("/a", "/b")] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("code", "fields", "detail"),
    [
        ("def run(a): pass", {}, "kwargs: missing 'a'. The signature is run(a)"),
        ("def run(): pass", {"kwargs": "{"}, "kwargs: is neither JSON nor a Python expression"),
        ("run = 1", {}, "fn_name: the code binds it to 1"),
        (None, {"fn_name": "gone"}, "fn_name: the session has no such function"),
        (None, {"adaptor": "gone"}, "adaptor: owt has no such adaptor"),
        ("1 +", {}, "code: line 1: invalid syntax"),
    ],
)
def test_an_impossible_call_fails_with_the_reason(
    bench: RunnerBench, code: str | None, fields: dict[str, Any], detail: str
) -> None:
    chunks = bench.ask(code, **fields)
    assert len(chunks) == 2
    assert failure(chunks).detail.startswith(detail)


def test_a_type_error_in_the_adaptor_is_an_exception_of_the_adaptor(bench: RunnerBench) -> None:
    failed = failure(bench.ask("def run(): return len(1)"))
    assert (failed.status, failed.exception) == (500, "TypeError")
    assert failed.traceback.splitlines()[1].endswith("line 1, in run")


def test_cells_and_calls_trigger_the_events_of_the_shell(bench: RunnerBench) -> None:
    seen: list[str] = []
    events = bench.runner._environment.shell.events
    hooks = [(name, lambda name=name: seen.append(name)) for name in ("pre_execute", "post_execute")]
    for name, hook in hooks:
        events.register(name, hook)
    try:
        bench.ask("x = 1")
        bench.ask("x = 1\n1 / 0")
        bench.ask("import asyncio\nawait asyncio.sleep(0)")
        bench.ask("def run(): pass")
    finally:
        for name, hook in hooks:
            events.unregister(name, hook)
    assert seen == ["pre_execute", "post_execute"] * 4


def test_events_of_cells_surround_a_call_whatever_its_end(bench: RunnerBench) -> None:
    seen: list[tuple[str, str]] = []
    events = bench.runner._environment.shell.events

    def before(info: Any) -> None:
        seen.append(("before", info.raw_cell[-9:]))
        raise ValueError("an error of the function")

    def after(result: Any) -> None:
        seen.append(("after", result.info.raw_cell[-9:]))

    events.register("pre_run_cell", before)
    events.register("post_run_cell", after)
    try:
        for code in ("def run(): return 1", "def run(): 1 / 0", "async def run(): 1", "def run(): yield 1"):
            bench.ask(code)
            assert seen == [("before", code[-9:]), ("after", code[-9:])]
            seen.clear()
    finally:
        events.unregister("pre_run_cell", before)
        events.unregister("post_run_cell", after)


def test_a_plain_adaptor_may_run_an_event_loop(bench: RunnerBench) -> None:
    assert bench.text("import asyncio\ndef run(): return asyncio.run(asyncio.sleep(0, 'own'))") == "own"


# Sending


def test_a_short_answer_and_its_end_are_one_frame(bench: RunnerBench) -> None:
    bench.run(a=call("def run(): return 'short'"))
    assert len(bench.frames["a"]) == 1


def test_a_large_answer_is_sent_in_several_frames(bench: RunnerBench) -> None:
    bench.run(a=call(f"def run(): return b'x' * {3 * SEPARATE_FRAME}"))
    frames = bench.frames["a"]
    assert [type(chunk) for chunk in bench.chunks("a")] == [Head, Data, Done]
    assert [type(chunk) for chunk in frames[-1]] == [Done]
    assert len(frames) == 3


@pytest.mark.parametrize(
    "code",
    [
        "def run():\n    yield 'a'\n    yield 'b'\n    return 'c'\n",
        "async def run():\n    yield 'a'\n    yield 'b'\n",
        "def run(): return iter(['a', 'b'])",
        "async def items():\n    yield 'a'\n    yield 'b'\nasync def run(): return items()\n",
        "async def run():\n    return (item for item in 'ab')\n",
    ],
    ids=["generator", "async generator", "iterator", "awaited async generator", "awaited generator"],
)
def test_items_are_sent_when_they_are_yielded(bench: RunnerBench, code: str) -> None:
    bench.run(a=call(code))
    frames = bench.frames["a"]
    assert [type(chunk) for chunk in frames[0]] == [Head]
    assert [bodies(frame) for frame in frames[1:3]] == [[b"a"], [b"b"]]
    assert isinstance(frames[-1][-1], Done)


def test_a_generator_is_resumed_only_while_there_is_credit(new_bench: Callable[..., RunnerBench]) -> None:
    bench = new_bench(window=2500)
    code = "def run():\n    for n in range(9):\n        state.last_item = n\n        yield 'x' * 968\n"
    produced: list[int] = []

    def look() -> None:
        produced.append(bench.names["last_item"])
        bench.runner.grant("a", 1000)

    bench.on_chunk("a", Data, look)
    bench.run(a=call(code))
    # At most three for which there is credit, and one that waits to be sent.
    assert all(now <= n + 3 for n, now in enumerate(produced))
    assert len(produced) == 9


def test_an_async_stream_without_credit_does_not_block_other_runs(
    new_bench: Callable[..., RunnerBench]
) -> None:
    bench = new_bench(window=500, concurrency=2)
    stream = "async def run():\n    for n in range(3): yield 'x' * 968\n"
    bench.on_chunk("b", Done, lambda: bench.runner.grant("a", 1 << 20))
    chunks = bench.run(a=call(stream), b=call("async def run(): return 'b'"))
    assert bodies(chunks["b"]) == [b"b"]
    assert len(bodies(chunks["a"])) == 3


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_failing_stream_has_sent_its_earlier_items(bench: RunnerBench, prefix: str) -> None:
    chunks = bench.ask(f"{prefix}def run():\n    yield 'a'\n    1 / 0\n")
    assert [type(chunk) for chunk in chunks] == [Head, Data, Failed, Done]
    assert failure(chunks).exception == "ZeroDivisionError"


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_stream_whose_item_cannot_be_sent_is_closed(bench: RunnerBench, prefix: str) -> None:
    code = (
        f"{prefix}def run():\n    try:\n        yield object()\n    finally:\n        state.closed = True\n"
    )
    assert failure(bench.ask(code)).exception == "TypeError"
    assert bench.text("closed") == "True"


def test_a_generators_return_value_follows_its_items(bench: RunnerBench) -> None:
    chunks = bench.ask("def run():\n    yield 'a'\n    return {'b': 1}\n", sse=True)
    assert [(chunk.body, chunk.result) for chunk in chunks if isinstance(chunk, Data)] == [
        (b"a", False),
        (b'{"b":1}', True),
    ]


# Arguments that are parts of a form


def with_parts(*parts: tuple[str, bytes], **fields: Any) -> dict[str, Any]:
    """Return fields of a call whose form has these parts, each the rest of its head and its data."""
    body = b"".join(
        b"--B\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % (head.encode(), data)
        for head, data in parts
    )
    header = ("Content-Type", "multipart/form-data; boundary=B")
    return {"body": body + b"--B--\r\n", "headers": (header,), **fields}


NUMBER = ('"kwargs.n"', b"3")
BYTES = ('"kwargs.data"; filename="f"\r\nContent-Type: application/octet-stream', b"\xff\x00")
LIST = ('"kwargs.items"\r\nContent-Type: application/json', b"[1, 2]")


@pytest.mark.parametrize(
    ("code", "parts", "kwargs", "text"),
    [
        ("def run(n): return repr(n)", [NUMBER], None, "'3'"),
        ("def run(n: int): return repr(n)", [NUMBER], None, "3"),
        ("from __future__ import annotations\ndef run(n: int): return repr(n)", [NUMBER], None, "3"),
        ("def run(n): return repr(n)\nrun.__annotations__ = {'n': 'Unknown'}", [NUMBER], None, "'3'"),
        ("def run(**more: int): return repr(more)", [NUMBER], None, "{'n': 3}"),
        ("def run(data): return repr(data)", [BYTES], None, r"b'\xff\x00'"),
        ("def run(items, a): return repr((items, a))", [LIST], '{"a": 5}', "([1, 2], 5)"),
        ("def run(n): return repr(n)", [NUMBER, NUMBER], None, "['3', '3']"),
        ("def run(n: list[int]): return repr(n)", [NUMBER, NUMBER], None, "[3, 3]"),
        ("lambda data: repr(data)", [BYTES], None, r"b'\xff\x00'"),
        ("x = len(data)\nrepr((x, n))", [BYTES, NUMBER], None, "(2, '3')"),
        ("pipe().const(1)", [], None, "1"),
        ("def run(value, n: int): return repr((value, n))", [NUMBER], "[7]", "([7], 3)"),
    ],
)
def test_parts_of_a_form_are_arguments(
    bench: RunnerBench, code: str, parts: list[tuple[str, bytes]], kwargs: str | None, text: str
) -> None:
    assert bench.text(code, **with_parts(*parts, kwargs=kwargs)) == text


@pytest.mark.parametrize(
    ("part", "kwargs", "detail"),
    [
        (('"kwargs.n"', b"x"), None, "kwargs.n: expected int; got 'x'. run takes n"),
        (NUMBER, '{"n": 1}', "kwargs.n: is in kwargs too; send one of them"),
        (('"kwargs."', b"x"), None, "kwargs.: names no argument"),
        (('"kwargs.m"', b"x"), '{"n": 1}', "kwargs: unexpected 'm'"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(
    bench: RunnerBench, part: tuple[str, bytes], kwargs: str | None, detail: str
) -> None:
    failed = failure(bench.ask("def run(n: int): return n", **with_parts(part, kwargs=kwargs)))
    assert failed.status in (400, 422)
    assert failed.detail.startswith(detail)


def test_the_file_of_an_argument_is_removed_when_the_call_has_ended(bench: RunnerBench) -> None:
    code = (
        "from pathlib import Path\n"
        "def run(data: Path):\n    yield str(data)\n    yield f'|{data.name} {data.read_bytes()}'"
    )
    path, _, content = bench.text(code, **with_parts(BYTES)).partition("|")
    assert content == r"f b'\xff\x00'"
    assert not Path(path).parent.exists()
    bench.ask(f"{code}\n    1 / 0", **with_parts(BYTES))


# Habits of the program that owt succeeds


@pytest.mark.parametrize(
    ("code", "fields", "answer"),
    [
        ("def run(request, kwargs): return [request.path, kwargs]", {"kwargs": '{"a": 1}'}, '["/x",{"a":1}]'),
        ("def run(request, kwargs): return [request.path, kwargs]", {}, '["/x",{}]'),
        ("def run(request, kwargs=None): return [request.path, kwargs]", {}, '["/x",{}]'),
        ("def run(request, kwargs): return request, kwargs", {"kwargs": '{"request":1,"kwargs":2}'}, "[1,2]"),
        ("def run(request, kwargs=3): return [request, kwargs]", {"kwargs": "dict(request=1)"}, "[1,3]"),
        ("lambda request, kwargs: kwargs['a']", {"kwargs": '{"a": 1}'}, "1"),
        ("async def run(request, kwargs): yield kwargs['a']", {"kwargs": '{"a": 1}'}, "1"),
        ("def run(request, kwargs, more=1): return 1", {"kwargs": '{"more": 1}'}, None),
        ("def run(request): return 1", {"kwargs": "{}"}, None),
        ("def run(request, kwargs): return kwargs", {"kwargs": "{'a': (1,),}"}, '{"a":[1]}'),
        ("def run(): return [_SERVER.address, _SERVER.port > 0]", {}, '["127.0.0.1",true]'),
        ("from owt import _SERVER\ndef run(): return _SERVER.url.startswith('http://')", {}, "True"),
    ],
)
def test_adaptors_of_the_earlier_program_work(
    bench: RunnerBench, code: str, fields: dict[str, Any], answer: str | None
) -> None:
    if answer is None:
        assert failure(bench.ask(code, path="/x", **fields)).detail.startswith("kwargs: missing 'request'")
    else:
        assert bench.text(code, path="/x", **fields) == answer
