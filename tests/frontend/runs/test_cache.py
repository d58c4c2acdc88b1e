"""owt.frontend.runs.cache: keys, lookups and limits of cached results."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from owt.frontend.runs.cache import ENTRY_OVERHEAD, Cache, key_of
from owt.frontend.runs.runs import Run
from owt.wire.call import Caching, Call, RequestFacts, Target
from owt.wire.chunk import Chunk, Data, Done, Failed, Head, Stdout, size

FACTS = RequestFacts("GET", "/", "", (), b"", "localhost")
CALL = Call(FACTS, code="1", caching=Caching())
PLAIN = Head(200, (("Content-Type", "text/html"),))
VARYING = Head(200, (("Content-Type", "image/png"), ("Vary", "Accept")))
DONE = Done(200, 0.1)


def changed(**fields: Any) -> Call:
    return msgspec.structs.replace(CALL, **fields)


def run_of(call: Call, *chunks: Chunk, journal: int = 10_000) -> Run:
    run = Run("id", call, journal)
    run.feed(chunks)
    return run


def find(cache: Cache, call: Call) -> tuple[Chunk, ...] | None:
    return cache.find(key_of(call), call.accept)


def find_live(cache: Cache, call: Call) -> Run | None:
    return cache.find_live(key_of(call), call)


def observe(cache: Cache, run: Run) -> None:
    cache.observe(run, key_of(run.call))


def kept(cache: Cache, call: Call, *chunks: Chunk, journal: int = 10_000) -> tuple[Chunk, ...] | None:
    """Return the chunks that an equal call gets after a call with these chunks."""
    run = run_of(call, journal=journal)
    # The run has no reader, so the journal keeps no chunks beyond its limit.
    run.detach()
    observe(cache, run)
    run.feed(chunks)
    return find(cache, call)


@pytest.fixture
def cache() -> Cache:
    return Cache(10_000)


@pytest.mark.parametrize(
    "other",
    [
        changed(session="s"),
        changed(request=msgspec.structs.replace(FACTS, path="/other")),
        changed(code="2"),
        changed(code=None, adaptor="speak"),
        changed(fn_name="other"),
        changed(sse=True),
        changed(timeout=1.0),
        changed(kernel="python3"),
        changed(caching=Caching(with_kwargs=True)),
        changed(caching=Caching(key="mine")),
    ],
)
def test_calls_with_different_code_session_or_options_have_different_keys(other: Call) -> None:
    assert key_of(other) != key_of(CALL)


@pytest.mark.parametrize(
    "other",
    [
        changed(kwargs="{}"),
        changed(accept="text/html"),
        changed(reload=True),
        changed(request=msgspec.structs.replace(FACTS, method="POST", query="x=1", body=b"x")),
    ],
)
def test_kwargs_accept_and_request_are_not_part_of_the_key(other: Call) -> None:
    assert key_of(other) == key_of(CALL)


ENDPOINT = changed(code=None, endpoint=Target("/speak", (), "k1.1"))


@pytest.mark.parametrize(
    "other",
    [
        {"endpoint": Target("/speak", (), "k1.2")},
        {"kwargs": "{}"},
        {"request": msgspec.structs.replace(FACTS, query="text=x")},
        {"request": msgspec.structs.replace(FACTS, body=b"text=x")},
        {"request": msgspec.structs.replace(FACTS, method="POST")},
        {"request": msgspec.structs.replace(FACTS, headers=(("content-type", "application/json"),))},
    ],
)
def test_the_key_of_an_endpoint_call_has_its_request_and_edition(other: dict[str, Any]) -> None:
    assert key_of(msgspec.structs.replace(ENDPOINT, **other)) != key_of(ENDPOINT)


def test_with_kwargs_makes_kwargs_part_of_the_key() -> None:
    one, two = (changed(kwargs=text, caching=Caching(with_kwargs=True)) for text in "12")
    assert key_of(one) != key_of(two)


@pytest.mark.parametrize("call", [CALL, changed(caching=Caching(key="mine"))], ids=["code", "explicit key"])
def test_the_key_of_every_call_has_its_user_and_timeout(call: Call) -> None:
    limited = msgspec.structs.replace(call, timeout=2.0)
    keys = [key_of(call), key_of(call, "ada"), key_of(call, "bob"), key_of(limited), key_of(limited, "ada")]
    assert len(set(keys)) == len(keys)
    assert key_of(call, "ada") == keys[1]


def test_a_key_is_short_whatever_the_call_brings() -> None:
    large = "x" * 1_000_000
    caching = Caching(with_kwargs=True)
    calls = [
        changed(code=large),
        changed(kwargs=large, caching=caching),
        changed(caching=Caching(key=large)),
        changed(request=msgspec.structs.replace(FACTS, path=large)),
        msgspec.structs.replace(ENDPOINT, request=msgspec.structs.replace(FACTS, body=large.encode())),
    ]
    assert {len(key_of(call)) for call in calls} == {32}


def test_the_size_of_the_cache_includes_its_keys(cache: Cache) -> None:
    for n in range(40):
        kept(cache, changed(code=str(n)), DONE)
    assert cache.bytes <= 10_000
    assert cache.count == 10_000 // (ENTRY_OVERHEAD + size(DONE))


def test_an_explicit_key_replaces_all_but_user_timeout_and_stream_format() -> None:
    mine = Caching(key="mine")
    assert key_of(changed(caching=mine)) == key_of(changed(caching=mine, session="s", code="2", kwargs="3"))
    assert key_of(changed(caching=mine)) != key_of(changed(caching=mine, sse=True))


def test_every_chunk_of_a_result_is_cached(cache: Cache) -> None:
    chunks = (Stdout("x\n"), PLAIN, Data(b"1", "text", True), DONE)
    assert kept(cache, CALL, *chunks) == chunks
    assert cache.count == 1


@pytest.mark.parametrize(
    "chunks",
    [
        (Failed(500, "exception", "t", "d"), Done(500, 0.1)),
        (PLAIN, Data(b"1", "text"), Failed(500, "exception", "t", "d"), Done(500, 0.1)),
        (Head(404, ()), Data(b"no", "text", True), Done(404, 0.1)),
    ],
)
def test_a_failure_is_not_cached(cache: Cache, chunks: tuple[Chunk, ...]) -> None:
    assert kept(cache, CALL, *chunks) is None


def test_a_result_with_dropped_chunks_is_not_cached(cache: Cache) -> None:
    assert kept(cache, CALL, PLAIN, Data(b"x" * 500, "bytes"), DONE, journal=400) is None


def test_a_result_larger_than_the_cache_is_not_cached(cache: Cache) -> None:
    assert kept(cache, CALL, PLAIN, Data(b"x" * 20_000, "bytes", True), DONE, journal=50_000) is None


def test_a_cache_of_0_bytes_stores_nothing() -> None:
    assert kept(Cache(0), CALL, PLAIN, DONE) is None


def test_a_negotiated_result_is_cached_per_accept_header(cache: Cache) -> None:
    png, svg = changed(accept="image/png"), changed(accept="image/svg+xml")
    chunks = (VARYING, Data(b"png", "bytes", True), DONE)
    assert kept(cache, png, *chunks) == chunks
    assert find(cache, svg) is None
    others = (VARYING, Data(b"svg", "text", True), DONE)
    assert kept(cache, svg, *others) == others
    assert find(cache, png) == chunks


def test_a_stream_is_cached_for_its_accept_header_only(cache: Cache) -> None:
    kept(cache, CALL, PLAIN, Data(b"1", "text"), DONE)
    assert find(cache, changed(accept="text/html")) is None


def test_a_result_without_negotiation_is_cached_for_every_accept_header(cache: Cache) -> None:
    chunks = (PLAIN, Data(b"1", "text", True), DONE)
    kept(cache, CALL, *chunks)
    assert find(cache, changed(accept="text/html")) == chunks


@pytest.mark.parametrize(
    ("head", "done"),
    [
        (Head(200, (("set-cookie", "a=1"),)), DONE),
        (Head(200, (("X-A", "1"), ("Set-Cookie", ""))), DONE),
        (Head(200, (("Cache-Control", "max-age=5, Private"),)), DONE),
        (Head(200, (("Cache-Control", "no-store"),)), DONE),
        (Head(200, (("Cache-Control", 'private="x"'),)), DONE),
        (Head(200, (("Vary", "Accept"), ("Vary", "Accept-Language, Cookie"))), DONE),
        (Head(200, (("Vary", "*"),)), DONE),
        (Head(200, (), True), DONE),
        (PLAIN, Done(200, 0.1, True)),
    ],
)
def test_an_answer_for_its_client_alone_is_not_cached(cache: Cache, head: Head, done: Done) -> None:
    assert kept(cache, CALL, head, Data(b"1", "text", True), done) is None
    assert cache.count == 0


def test_an_answer_that_others_may_have_is_cached(cache: Cache) -> None:
    chunks = (Head(200, (("Cache-Control", "public, max-age=60"), ("X-Cookie", "1"))), DONE)
    assert kept(cache, CALL, *chunks) == chunks


class TestFindLive:
    def test_find_live_returns_the_run_of_an_equal_call(self, cache: Cache) -> None:
        run = run_of(CALL)
        observe(cache, run)
        assert find_live(cache, CALL) is run
        assert find_live(cache, changed(code="2")) is None

    def test_find_live_ignores_a_run_with_another_accept_header(self, cache: Cache) -> None:
        observe(cache, run_of(CALL))
        assert find_live(cache, changed(accept="text/html")) is None

    @pytest.mark.parametrize(
        "other",
        [
            {"remote": "192.0.2.2"},
            {"headers": (("Cookie", "a=1"),)},
            {"headers": (("authorization", "Basic YTpi"),)},
            {"headers": (("X-Forwarded-For", "192.0.2.2"),)},
        ],
    )
    def test_events_and_streams_are_joined_by_their_client_only(
        self, cache: Cache, other: dict[str, Any]
    ) -> None:
        facts = msgspec.structs.replace(FACTS, **other)
        observe(cache, events := run_of(changed(sse=True)))
        assert find_live(cache, changed(sse=True)) is events
        assert find_live(cache, changed(sse=True, request=facts)) is None
        observe(cache, plain := run_of(CALL))
        assert find_live(cache, changed(request=facts)) is plain
        item = Data(b"1", "text")
        assert cache.may_share(plain, CALL)(item)
        assert not cache.may_share(plain, changed(request=facts))(item)
        assert cache.may_share(plain, changed(request=facts))(Data(b"1", "text", True))

    @pytest.mark.parametrize("head", [Head(200, (), True), Head(200, (("Set-Cookie", "a=1"),))])
    def test_no_other_call_may_share_a_personal_answer(self, cache: Cache, head: Head) -> None:
        observe(cache, run := run_of(CALL))
        assert not cache.may_share(run, CALL)(head)
        assert cache.may_share(run, CALL)(PLAIN)

    def test_find_live_ignores_a_run_that_is_being_cancelled(self, cache: Cache) -> None:
        run = run_of(CALL)
        observe(cache, run)
        run.cancel_reason = "cancelled"
        assert find_live(cache, CALL) is None

    def test_find_live_ignores_a_run_with_dropped_chunks(self, cache: Cache) -> None:
        run = run_of(CALL, journal=100)
        run.detach()
        observe(cache, run)
        run.feed([PLAIN, Data(b"x" * 200, "bytes")])
        assert find_live(cache, CALL) is None

    def test_find_live_ignores_an_ended_run(self, cache: Cache) -> None:
        run = run_of(CALL)
        observe(cache, run)
        run.feed([PLAIN, DONE])
        assert find_live(cache, CALL) is None

    def test_find_live_returns_the_latest_run(self, cache: Cache) -> None:
        first, second = run_of(CALL), run_of(CALL)
        observe(cache, first)
        observe(cache, second)
        first.feed([PLAIN, DONE])
        assert find_live(cache, CALL) is second


def test_clear_returns_the_number_of_entries(cache: Cache) -> None:
    kept(cache, CALL, PLAIN, DONE)
    kept(cache, changed(code="2"), PLAIN, DONE)
    assert cache.bytes > 0
    assert cache.clear() == 2
    assert (cache.count, cache.bytes, find(cache, CALL)) == (0, 0, None)


def form_of(boundary: str, value: str) -> Call:
    head = 'Content-Disposition: form-data; name="kwargs.n"'
    body = f"--{boundary}\r\n{head}\r\n\r\n{value}\r\n--{boundary}--\r\n"
    facts = msgspec.structs.replace(FACTS, method="POST", body=body.encode())
    return changed(request=facts, caching=Caching(with_kwargs=True))


def test_arguments_that_are_parts_of_a_form_are_arguments_of_the_key():
    assert key_of(form_of("A", "1")) == key_of(form_of("B", "1"))
    assert key_of(form_of("A", "1")) != key_of(form_of("A", "2"))
    without = msgspec.structs.replace(form_of("A", "1"), caching=Caching())
    assert key_of(without) == key_of(msgspec.structs.replace(form_of("A", "2"), caching=Caching()))
