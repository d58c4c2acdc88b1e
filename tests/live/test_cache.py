"""Cache of a live server: stored responses, and calls that share one run."""

import contextlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from owt.testing import Gate, LiveServer
from owt.wire.sse import Decoder

# Returns the number of its executions in the session.
COUNTING = "import itertools\ncount = itertools.count(1)\ndef run(**kwargs): return str(next(count))"
SVG = "image/svg+xml"


@pytest.fixture(scope="module")
def small() -> Iterator[httpx.Client]:
    """Client of a server with a cache of 20,000 bytes."""
    with (
        LiveServer("--cache-bytes", "20000", "--pool-min", "0", "--pool-max", "1") as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def once(gate: Gate) -> str:
    """Return an expression that waits at the gate until the test removes it."""
    return f"__import__('os').path.exists({str(gate)!r}) and {gate.wait}"


def call(
    http: httpx.Client, code: str, session: str | None, path: str = "/", accept: str = "*/*", **fields: str
) -> httpx.Response:
    """Send a call with use_cache; without a session it runs in a kernel of the pool."""
    data = {"code": code, "use_cache": "1", **({"session": session} if session else {}), **fields}
    return http.post(path, data=data, headers={"Accept": accept})


def cached(answer: httpx.Response) -> tuple[str, str]:
    return answer.headers["owt-cache"], answer.text


class TestHits:
    def test_an_equal_call_is_answered_without_running(self, http: httpx.Client, session: str) -> None:
        assert [cached(call(http, COUNTING, session)) for _ in range(3)] == [
            ("miss", "1"), ("hit", "1"), ("hit", "1"),
        ]

    def test_a_call_without_use_cache_neither_reads_nor_stores(
        self, http: httpx.Client, session: str
    ) -> None:
        call(http, COUNTING, session)
        answer = http.post("/", data={"code": COUNTING, "session": session})
        assert answer.text == "2"
        assert "owt-cache" not in answer.headers
        assert cached(call(http, COUNTING, session)) == ("hit", "1")

    def test_the_other_cache_fields_do_not_enable_the_cache(self, http: httpx.Client, session: str) -> None:
        fields = {"use_cache": "false", "cache_kwargs": "1", "cache_key_override": "x"}
        for expected in ("1", "2"):
            answer = call(http, COUNTING, session, **fields)
            assert answer.text == expected
            assert "owt-cache" not in answer.headers

    def test_status_and_headers_are_cached(self, http: httpx.Client, session: str) -> None:
        code = "def run(): return 'made', 201, [('X-A', '1'), ('X-B', 'a=1'), ('X-B', 'b=2')]"
        miss, hit = call(http, code, session), call(http, code, session)
        assert (miss.headers["owt-cache"], hit.headers["owt-cache"]) == ("miss", "hit")
        assert (hit.status_code, hit.text, hit.headers["x-a"]) == (201, "made", "1")
        assert hit.headers.get_list("x-b") == ["a=1", "b=2"]
        assert hit.headers["owt-session"] == session
        assert hit.headers["owt-run"] != miss.headers["owt-run"]

    def test_an_empty_response_is_cached(self, http: httpx.Client, session: str) -> None:
        assert [cached(call(http, "def run(): return None", session)) for _ in range(2)] == [
            ("miss", ""), ("hit", ""),
        ]

    def test_a_response_of_many_megabytes_is_cached(self, http: httpx.Client, session: str) -> None:
        code = "def run():\n    for n in range(20): yield bytes([n]) * 1_000_000"
        answers = [call(http, code, session) for _ in range(2)]
        assert [answer.headers["owt-cache"] for answer in answers] == ["miss", "hit"]
        assert answers[0].content == answers[1].content
        assert len(answers[1].content) == 20_000_000

    def test_a_cache_hit_needs_no_kernel(self, http: httpx.Client, session: str) -> None:
        call(http, COUNTING, session)
        http.delete(f"/_owt/sessions/{session}")
        assert cached(call(http, COUNTING, session)) == ("hit", "1")
        assert http.get(f"/_owt/sessions/{session}").status_code == 404


class TestKeys:
    def test_sessions_do_not_share_cached_responses(self, http: httpx.Client, session: str) -> None:
        code = "def run(): return 'of a session'"
        assert call(http, code, session).headers["owt-cache"] == "miss"
        assert call(http, code, None).headers["owt-cache"] == "miss"
        assert call(http, code, f"{session}-2").headers["owt-cache"] == "miss"
        assert call(http, code, None).headers["owt-cache"] == "hit"
        http.delete(f"/_owt/sessions/{session}-2")

    def test_paths_do_not_share_cached_responses(self, http: httpx.Client, session: str) -> None:
        assert cached(call(http, COUNTING, session, "/a")) == ("miss", "1")
        assert cached(call(http, COUNTING, session, "/b")) == ("miss", "2")
        assert cached(call(http, COUNTING, session, "/a")) == ("hit", "1")

    def test_different_code_has_its_own_cache_entry(self, http: httpx.Client, session: str) -> None:
        assert cached(call(http, COUNTING, session)) == ("miss", "1")
        assert cached(call(http, COUNTING + "\n", session)) == ("miss", "1")

    def test_a_different_function_has_its_own_cache_entry(self, http: httpx.Client, session: str) -> None:
        code = "def a(): return 'a'\ndef b(): return 'b'"
        assert cached(call(http, code, session, fn_name="a")) == ("miss", "a")
        assert cached(call(http, code, session, fn_name="b")) == ("miss", "b")

    def test_kwargs_are_not_part_of_the_key_by_default(self, http: httpx.Client, session: str) -> None:
        assert cached(call(http, COUNTING, session, kwargs='{"a": 1}')) == ("miss", "1")
        assert cached(call(http, COUNTING, session, kwargs='{"a": 2}')) == ("hit", "1")

    def test_kwargs_are_part_of_the_key_with_cache_kwargs(self, http: httpx.Client, session: str) -> None:
        def with_kwargs(kwargs: str) -> tuple[str, str]:
            return cached(call(http, COUNTING, session, kwargs=kwargs, cache_kwargs="1"))

        assert with_kwargs('{"a": 1}') == ("miss", "1")
        assert with_kwargs('{"a": 2}') == ("miss", "2")
        assert with_kwargs('{"a": 1}') == ("hit", "1")
        assert cached(call(http, COUNTING, session)) == ("miss", "3")

    def test_cache_key_override_replaces_the_whole_key(self, http: httpx.Client, session: str) -> None:
        def with_key(code: str, path: str, key: str) -> tuple[str, str]:
            return cached(call(http, code, session, path, cache_key_override=f"{session}-{key}"))

        assert with_key(COUNTING, "/a", "x") == ("miss", "1")
        assert with_key("def run(): return 'other code'", "/b", "x") == ("hit", "1")
        assert with_key(COUNTING, "/a", "y") == ("miss", "2")

    def test_base64_and_plain_text_of_equal_code_share_a_key(
        self, http: httpx.Client, session: str
    ) -> None:
        assert cached(call(http, "'same'", session)) == ("miss", "same")
        fields = {"code_b64": "J3NhbWUn", "use_cache": "true", "session": session}
        assert cached(http.get("/", params=fields)) == ("hit", "same")

    def test_events_and_plain_responses_are_cached_separately(self, http: httpx.Client, session: str) -> None:
        assert cached(call(http, COUNTING, session)) == ("miss", "1")
        assert call(http, COUNTING, session, stream="sse").headers["owt-cache"] == "miss"
        assert cached(call(http, COUNTING, session)) == ("hit", "1")


PERSONAL = {
    "user": "request.remote_user",
    "address": "request.remote_addr",
    "route": "request.access_route",
    "authorization": "request.authorization",
    "absent cookie": "request.cookies.get('a')",
    "cookie header": "request.headers.get('Cookie')",
    "all headers": "dict(request.headers)",
    "environment": "dict(request.environ)",
    "flask": "__import__('flask').request.remote_addr",
}


class TestPersonalAnswers:
    @pytest.mark.parametrize("look", PERSONAL.values(), ids=PERSONAL)
    def test_an_answer_that_may_depend_on_its_client_is_not_cached(
        self, http: httpx.Client, session: str, look: str
    ) -> None:
        code = f"{COUNTING}, str({look})[:0]"
        answers = [call(http, code, session) for _ in range(2)]
        assert [cached(answer) for answer in answers] == [("miss", '["1",""]\n'), ("miss", '["2",""]\n')]

    def test_a_stream_that_looks_at_its_client_late_is_not_cached(
        self, http: httpx.Client, session: str
    ) -> None:
        code = "def run():\n    yield 'a'\n    request.remote_addr\n    yield 'b'"
        assert [cached(call(http, code, session)) for _ in range(2)] == [("miss", "ab")] * 2

    @pytest.mark.parametrize(
        "look",
        [
            "request.args",
            "request.form",
            "request.url",
            "request.headers['Accept']",
            "__import__('flask').request.args",
        ],
    )
    def test_an_answer_from_the_rest_of_the_request_is_cached(
        self, http: httpx.Client, session: str, look: str
    ) -> None:
        code = f"{COUNTING}, str({look})[:0]"
        assert [call(http, code, session).headers["owt-cache"] for _ in range(2)] == ["miss", "hit"]

    @pytest.mark.parametrize(
        "header", ["'Set-Cookie': 'a=1'", "'Cache-Control': 'private'", "'Vary': 'Cookie'"]
    )
    def test_an_answer_whose_headers_are_for_one_client_is_not_cached(
        self, http: httpx.Client, session: str, header: str
    ) -> None:
        code = COUNTING + ", 200, {" + header + "}"
        assert [cached(call(http, code, session)) for _ in range(2)] == [("miss", "1"), ("miss", "2")]

    def test_no_joined_call_gets_the_cookie_of_another(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = (
            "import itertools\ncount = itertools.count(1)\n"
            f"def run():\n    n = next(count)\n    n == 1 and {gate.wait}\n"
            "    return str(n), 200, {'Set-Cookie': f'id={n}'}\n"
        )

        def joined() -> float:
            metrics = http.get("/_owt/metrics").text
            [number] = re.findall(r'owt_cache_lookups_total{result="joined"} (.+)', metrics)
            return float(number)

        before = joined()
        with ThreadPoolExecutor() as threads:
            calls = [threads.submit(call, http, code, session) for _ in range(3)]
            while joined() < before + 2:
                pass
            gate.open()
            answers = [answer.result() for answer in calls]
        assert sorted(answer.text for answer in answers) == ["1", "2", "3"]
        assert all(answer.headers["set-cookie"] == f"id={answer.text}" for answer in answers)


class TestNegotiation:
    FIGURE = (
        "from matplotlib.figure import Figure\n"
        "import itertools\n"
        "count = itertools.count(1)\n"
        "def run(): return Figure(figsize=(1, 1)), {'X-Count': str(next(count))}\n"
    )

    def test_a_cached_png_is_not_sent_to_a_client_that_accepts_svg(
        self, http: httpx.Client, session: str
    ) -> None:
        def seen(accept: str) -> tuple[str, str, str]:
            answer = call(http, self.FIGURE, session, accept=accept)
            assert "Accept" in answer.headers.get_list("vary", split_commas=True)
            return answer.headers["owt-cache"], answer.headers["content-type"], answer.headers["x-count"]

        assert seen("*/*") == ("miss", "image/png", "1")
        assert seen(SVG) == ("miss", SVG, "2")
        assert seen("*/*") == ("hit", "image/png", "1")
        assert seen(SVG) == ("hit", SVG, "2")

    def test_a_response_without_negotiation_is_cached_for_every_accept(
        self, http: httpx.Client, session: str
    ) -> None:
        counting = COUNTING.replace("str(next(count))", "[next(count)]")
        assert cached(call(http, counting, session)) == ("miss", "[1]\n")
        assert cached(call(http, counting, session, accept="text/html")) == ("hit", "[1]\n")

    def test_text_is_cached_apart_from_its_json(self, http: httpx.Client, session: str) -> None:
        assert cached(call(http, COUNTING, session)) == ("miss", "1")
        assert cached(call(http, COUNTING, session, accept="application/json")) == ("miss", '"2"\n')
        assert cached(call(http, COUNTING, session)) == ("hit", "1")

    def test_a_cached_stream_with_a_png_is_not_sent_to_a_client_that_accepts_svg(
        self, http: httpx.Client, session: str
    ) -> None:
        code = (
            "from matplotlib.figure import Figure\n"
            "def run():\n    yield 'caption:'\n    yield Figure(figsize=(1, 1))\n"
        )
        assert call(http, code, session).content.startswith(b"caption:\x89PNG")
        answer = call(http, code, session, accept=SVG)
        assert answer.headers["owt-cache"] == "miss"
        assert answer.content.startswith(b"caption:<?xml")


class TestStreams:
    def test_a_cached_stream_is_replayed_chunk_by_chunk(self, http: httpx.Client, session: str) -> None:
        code = "def run():\n    yield 'a'\n    yield b'b'\n    yield {'c': 1}\n    return 'end'"

        def events() -> tuple[str, list[tuple[str, str]]]:
            answer = call(http, code, session, stream="sse")
            received = Decoder().feed(answer.content)
            return answer.headers["owt-cache"], [(event.event, event.data) for event in received]

        miss, first = events()
        hit, second = events()
        assert (miss, hit) == ("miss", "hit")
        assert first == second
        assert [name for name, _ in first] == ["message", "bytes", "message", "result", "done"]

    def test_cached_prints_and_displays_are_replayed(self, http: httpx.Client, session: str) -> None:
        code = (
            "from IPython.display import display\n"
            "def run():\n    print('printed')\n    display({'a': 1})\n    return 'x'\n"
        )
        for expected in ("miss", "hit"):
            answer = call(http, code, session, stream="sse")
            assert answer.headers["owt-cache"] == expected
            assert [event.event for event in Decoder().feed(answer.content)] == [
                "stdout", "display", "result", "done",
            ]

    def test_a_cached_plain_stream_is_replayed_complete(self, http: httpx.Client, session: str) -> None:
        code = "def run():\n    for n in range(1000): yield n"
        for expected in ("miss", "hit"):
            answer = call(http, code, session)
            assert answer.headers["owt-cache"] == expected
            assert answer.headers["content-type"] == "application/x-ndjson"
            assert answer.text.split() == [str(n) for n in range(1000)]


class TestJoining:
    def test_two_equal_streams_at_once_run_once(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = (
            "import itertools\ncount = itertools.count(1)\n"
            f"def run():\n    yield f'run {{next(count)}}, '\n    {gate.wait}\n    yield 'end'\n"
        )
        data = {"code": code, "session": session, "use_cache": "1"}
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(http.stream("POST", "/", data=data))
            pieces = first.iter_raw()
            assert next(pieces) == b"run 1, "
            second = stack.enter_context(http.stream("POST", "/", data=data))
            others = second.iter_raw()
            assert next(others) == b"run 1, "
            assert (first.headers["owt-cache"], second.headers["owt-cache"]) == ("miss", "joined")
            assert first.headers["owt-run"] == second.headers["owt-run"]
            http.post("/", data={"code": gate.opening})
            assert b"".join(pieces) == b"".join(others) == b"end"
        assert cached(call(http, code, session)) == ("hit", "run 1, end")

    def test_two_equal_calls_at_once_run_once(self, http: httpx.Client, session: str, gate: Gate) -> None:
        code = (
            "import itertools\ncount = itertools.count(1)\n"
            f"def run():\n    {gate.wait}\n    return next(count)\n"
        )
        data = {"code": code, "session": session, "use_cache": "1", "stream": "sse"}
        with contextlib.ExitStack() as stack:
            answers = [stack.enter_context(http.stream("POST", "/", data=data)) for _ in range(3)]
            assert [answer.headers["owt-cache"] for answer in answers] == ["miss", "joined", "joined"]
            http.post("/", data={"code": gate.opening})
            texts = [answer.read() for answer in answers]
        assert texts[0] == texts[1] == texts[2]
        assert Decoder().feed(texts[0])[0].data == "1"

    def test_a_joined_call_continues_when_the_first_client_disconnects(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    yield 'a'\n    {gate.wait}\n    yield 'b'"
        data = {"code": code, "session": session, "use_cache": "1"}
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(http.stream("POST", "/", data=data))
            # Keep the iterator: dropping it closes the connection.
            from_first = first.iter_raw()
            assert next(from_first) == b"a"
            second = stack.enter_context(http.stream("POST", "/", data=data))
            assert second.headers["owt-cache"] == "joined"
            pieces = second.iter_raw()
            assert next(pieces) == b"a"
            first.close()
            gate.open()
            assert b"".join(pieces) == b"b"

    def test_the_cancel_of_one_joined_call_leaves_the_others_running(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        data = {"code": f"def run():\n    {gate.wait}\n    return 'b'", "session": session, "use_cache": "1"}
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(http.stream("POST", "/", data=data | {"stream": "sse"}))
            second = stack.enter_context(http.stream("POST", "/", data=data | {"stream": "sse"}))
            run = f"/_owt/runs/{first.headers['owt-run']}"
            assert http.delete(run).json()["shared"] == 1
            first.close()
            assert http.get(run).json()["ended"] is None
            gate.open()
            assert [event.event for event in Decoder().feed(second.read())] == ["result", "done"]

    def test_a_call_with_another_timeout_does_not_join(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        data = {"code": f"def run():\n    {once(gate)}\n    return 'b'", "session": session, "use_cache": "1"}
        with contextlib.ExitStack() as stack:
            data["stream"] = "sse"
            first, second = (
                stack.enter_context(http.stream("POST", "/", data=data | {"timeout": timeout}))
                for timeout in ("0.1", "60")
            )
            assert second.headers["owt-cache"] == "miss"
            assert "timed out" in first.read().decode()
            gate.open()
            assert [event.event for event in Decoder().feed(second.read())] == ["result", "done"]

    def test_a_joined_call_fails_like_the_first(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    {gate.wait}\n    raise ValueError('shared')"
        data = {"code": code, "session": session, "use_cache": "1", "stream": "sse"}
        with contextlib.ExitStack() as stack:
            answers = [stack.enter_context(http.stream("POST", "/", data=data)) for _ in range(2)]
            gate.open()
            for answer in answers:
                error = Decoder().feed(answer.read())[0]
                assert json.loads(error.data)["detail"] == "shared"

    def test_calls_with_different_accept_headers_do_not_join(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    yield 'a'\n    {gate.wait}\n"
        data = {"code": code, "use_cache": "1"}
        with contextlib.ExitStack() as stack:
            readers = []
            for accept in ("text/html", "text/plain"):
                answer = stack.enter_context(http.stream("POST", "/", data=data, headers={"Accept": accept}))
                readers.append(answer.iter_raw())
                assert next(readers[-1]) == b"a"
                assert answer.headers["owt-cache"] == "miss"


class TestFailures:
    @pytest.mark.parametrize(
        "line",
        [
            "raise ValueError('no')",
            "return 'not found', 404",
            "return 'broken', 500",
            "return object()",
        ],
    )
    def test_a_failure_is_never_cached(self, http: httpx.Client, session: str, line: str) -> None:
        code = f"def run():\n    state.runs = getattr(state, 'runs', 0) + 1\n    {line}"
        statuses = []
        for _ in range(2):
            answer = call(http, code, session)
            assert answer.headers["owt-cache"] == "miss"
            statuses.append(answer.status_code)
        assert statuses[0] == statuses[1] >= 400
        assert http.post("/", data={"code": "runs", "session": session}).text == "2"

    def test_a_stream_that_fails_late_is_not_cached(self, http: httpx.Client, session: str) -> None:
        code = "def run():\n    yield 'a'\n    raise ValueError"
        data = {"code": code, "session": session, "use_cache": "1"}
        for _ in range(2):
            with http.stream("POST", "/", data=data) as answer:
                assert answer.headers["owt-cache"] == "miss"
                with pytest.raises(httpx.RemoteProtocolError):
                    answer.read()

    def test_a_response_whose_client_disconnected_is_not_cached(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    yield 'a'\n    {once(gate)}\n    yield 'b'"
        data = {"code": code, "session": session, "use_cache": "1"}
        with http.stream("POST", "/", data=data) as answer:
            assert next(answer.iter_raw()) == b"a"
        while http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()["ended"] is None:
            pass
        gate.path.unlink()
        assert cached(call(http, code, session)) == ("miss", "ab")

    def test_a_run_that_is_being_cancelled_is_not_joined(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = (
            f"def run():\n    try:\n        yield 'a'\n        print('on', flush=True)\n        {gate.wait}\n"
            f"    except KeyboardInterrupt:\n        yield 'stopping'\n        {gate.wait}\n        raise\n"
        )
        data = {"code": code, "session": session, "use_cache": "1", "stream": "sse"}
        with http.stream("POST", "/", data=data) as first:
            pieces = first.iter_raw()
            decoder = Decoder()
            received = (event for piece in pieces for event in decoder.feed(piece))
            # After the second event the code is inside its `try`, no longer at its `yield`.
            assert [next(received).data for _ in range(2)] == ["a", "on\n"]
            http.delete(f"/_owt/runs/{first.headers['owt-run']}")
            assert next(received).data == "stopping"
            with http.stream("POST", "/", data=data) as second:
                assert second.headers["owt-cache"] == "miss"
                gate.open()
                assert [event.event for event in Decoder().feed(b"".join(pieces))] == ["error", "done"]
                gate.open()
                joined_events = [event.event for event in Decoder().feed(second.read())]
                assert joined_events == ["message", "stdout", "done"]

    def test_a_timeout_is_not_cached(self, http: httpx.Client, session: str, gate: Gate) -> None:
        code = f"def run():\n    {once(gate)}\n    return 'done'"
        assert call(http, code, session, timeout="0.05").status_code == 504
        gate.path.unlink()
        assert cached(call(http, code, session)) == ("miss", "done")


class TestCacheSize:
    def test_delete_empties_the_cache(self, small: httpx.Client) -> None:
        call(small, "'kept'", None)
        assert small.get("/_owt/cache").json()["answers"] == 1
        assert small.delete("/_owt/cache").json() == {"deleted": 1}
        assert small.get("/_owt/cache").json() == {"answers": 0, "bytes": 0, "limit": 20000}
        assert call(small, "'kept'", None).headers["owt-cache"] == "miss"

    def test_the_least_recently_used_response_is_evicted_first(self, small: httpx.Client) -> None:
        small.delete("/_owt/cache")

        def ask(name: str) -> str:
            return str(call(small, f"'{name}' * 6000", None).headers["owt-cache"])

        assert [ask(name) for name in "abc"] == ["miss"] * 3
        assert ask("a") == "hit"
        assert ask("d") == "miss"
        assert small.get("/_owt/cache").json()["answers"] == 3
        assert ask("a") == "hit"
        assert ask("b") == "miss"

    def test_the_cache_never_exceeds_its_limit(self, small: httpx.Client) -> None:
        for size in range(1000, 20_000, 1500):
            call(small, f"'x' * {size}", None)
            assert small.get("/_owt/cache").json()["bytes"] <= 20_000

    def test_a_response_above_the_limit_is_not_cached_and_evicts_none(self, small: httpx.Client) -> None:
        small.delete("/_owt/cache")
        call(small, "'small'", None)
        for _ in range(2):
            answer = call(small, "'x' * 30_000", None)
            assert (answer.headers["owt-cache"], len(answer.text)) == ("miss", 30_000)
        assert call(small, "'small'", None).headers["owt-cache"] == "hit"
