"""owt.frontend.runs.resuming: event ids, and the position at which a client resumes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.errors import BadRequest
from owt.frontend.runs.resuming import (
    EventId,
    Resumed,
    check_same_call,
    lost_event,
    lost_problem,
    parse_after,
    parse_event_id,
    resume,
)
from owt.frontend.runs.runs import Run
from owt.testing.kernel import new_call
from owt.wire.call import Call, RequestFacts, Target
from owt.wire.chunk import Chunk, Data, Done, Failed, Head, Stdout
from owt.wire.sse import Decoder

HEAD = Head(200, ())
DONE = Done(200, 0.1)
RUN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{RUN}-0", EventId(RUN, 0)),
        (f" {RUN}-17 ", EventId(RUN, 17)),
        (f"{RUN}-over", EventId(RUN, None)),
        (None, None),
        ("", None),
        ("17", None),
        (RUN, None),
        (f"{RUN}-", None),
        (f"{RUN}--1", EventId(f"{RUN}-", 1)),
        (f"{RUN}-1.5", None),
        ("Client_s-own-17", EventId("Client_s-own", 17)),
        ("client-3", None),
        (f"{RUN}-{10**15}", None),
        (f"{RUN}-1\n", EventId(RUN, 1)),
        (f"a.{RUN}-1", None),
    ],
)
def test_parse_event_id_accepts_only_owts_ids(text: str | None, place: EventId | None) -> None:
    assert parse_event_id(text) == place


@pytest.mark.parametrize(("run", "generated"), [(RUN, True), (RUN.upper(), False), (f"{RUN}0", False)])
def test_ids_of_the_servers_form_are_generated(run: str, generated: bool) -> None:
    assert EventId(run, 1).is_generated is generated


@given(st.text() | st.from_regex(r"[0-9a-f]{16}-(\d{1,20}|over)", fullmatch=True))
def test_parse_event_id_returns_none_or_the_id_in_the_text(text: str) -> None:
    parsed = parse_event_id(text)
    if parsed is not None:
        number = "over" if parsed.number is None else text.strip().rpartition("-")[2]
        assert text.strip() == f"{parsed.run}-{number}"
        assert parsed.number is None or int(number) == parsed.number


@pytest.mark.parametrize(("text", "number"), [(None, 0), ("", 0), ("0", 0), ("12", 12)])
def test_parse_after_returns_a_number(text: str | None, number: int) -> None:
    assert parse_after(text) == number


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "\u0661", "9" * 16, " 1"])
def test_parse_after_refuses_other_text(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^after: must be the number N of an event's id RUN-N; got "):
        parse_after(text)


def a_run(*chunks: Chunk) -> Run:
    run = Run(RUN, new_call("x", session="s", sse=True), 1 << 20)
    run.feed(chunks)
    return run


def test_resume_continues_after_any_event_of_an_active_run() -> None:
    run = a_run(HEAD, Data(b"a", "text"), Data(b"b", "text"))
    for after in (0, 1, 2):
        resumed = resume(run, after)
        assert isinstance(resumed, Resumed)
        assert (resumed.run, resumed.after, resumed.reader.position) == (run, after, after + 1)
    assert resume(run, 3) == "lost"


def test_resume_after_the_last_event_of_an_ended_run_is_over() -> None:
    run = a_run(HEAD, Data(b"a", "text"), DONE)
    assert isinstance(resume(run, 1), Resumed)
    assert resume(run, 2) == resume(run, 3) == "over"


@pytest.mark.parametrize(
    "rest",
    [
        [],
        [Stdout("printed")],
        [Data(b"data: cut off", "text")],
    ],
)
def test_resume_of_an_adaptors_event_stream_is_over_when_no_event_follows(rest: list[Chunk]) -> None:
    head = Head(200, (("Content-Type", "text/event-stream"),))
    run = a_run(head, Data(b"data: x\n\n", "text"), *rest)
    assert isinstance(resume(run, 1), Resumed)
    run.feed([DONE])
    assert isinstance(resume(run, 0), Resumed)
    assert resume(run, 1) == "over"


def test_resume_of_a_failed_adaptors_event_stream_has_the_failure_event() -> None:
    head = Head(200, (("Content-Type", "text/event-stream"),))
    run = a_run(head, Data(b"data: x\n\n", "text"), Failed(500, "exception", "it failed", ""), DONE)
    assert isinstance(resume(run, 1), Resumed)
    assert isinstance(resume(run, 2), Resumed)
    assert resume(run, 3) == "over"


def test_resume_from_a_dropped_event_is_lost() -> None:
    run = Run(RUN, new_call("x"), 500)
    run.detach()
    run.feed([HEAD, *[Data(b"x" * 100, "text")] * 5])
    assert resume(run, 1) == "lost"
    assert isinstance(resume(run, 5), Resumed)


def test_check_same_call_refuses_a_different_call() -> None:
    run = a_run()
    check_same_call(run, new_call("x", session="s", accept="text/event-stream", sse=True, timeout=3))
    others = [
        new_call("y", session="s"),
        new_call("x"),
        new_call("x", session="s", kwargs="{}"),
        new_call("x", path="/a"),
    ]
    for other in others:
        with pytest.raises(BadRequest, match=r"Last-Event-ID: belongs to another call.*Leave the header out"):
            check_same_call(run, other)


def test_check_same_call_compares_the_fields_of_an_endpoint_call() -> None:
    def endpoint_call(query: str, edition: str = "k1.1") -> Call:
        facts = RequestFacts("GET", "/speak", query, (), b"", "localhost")
        return Call(facts, session="s", endpoint=Target("/speak", (), edition), sse_streams=True)

    run = Run("id", endpoint_call("text=x"), 1000)
    check_same_call(run, endpoint_call("text=x", "k1.2"))
    with pytest.raises(BadRequest, match="belongs to another call"):
        check_same_call(run, endpoint_call("text=y"))


def test_check_same_call_works_after_the_run_dropped_its_code() -> None:
    run = a_run()
    run.call = new_call(None)
    check_same_call(run, new_call("x", session="s"))
    with pytest.raises(BadRequest, match="belongs to another call"):
        check_same_call(run, new_call("y", session="s"))


def test_a_run_without_events_is_not_resumed() -> None:
    run = Run(RUN, new_call("x", session="s"), 1 << 20)
    with pytest.raises(BadRequest, match="belongs to another call"):
        check_same_call(run, new_call("x", session="s", sse=True))


def test_the_problem_of_lost_events_has_the_failure_of_the_run() -> None:
    run = Run(RUN, new_call("x"), 1000)
    last = EventId(RUN, 3)
    assert "has failed" not in lost_problem(last, run, 300).detail
    run.fail(Failed(502, "kernel-died", "the kernel died", "it was killed"))
    detail = lost_problem(last, run, 300).detail
    assert detail.endswith("; the run has failed: the kernel died: it was killed")


@pytest.mark.parametrize(("known", "words"), [(True, "--run-journal"), (False, "not known here")])
def test_lost_event_is_one_error_event_with_the_over_id(known: bool, words: str) -> None:
    run = Run(RUN, new_call("x"), 1000) if known else None
    [event] = Decoder().feed(lost_event(EventId(RUN, 3), run, 300))
    assert event.event == "error"
    assert words in json.loads(event.data)["detail"]
    # A client that resumes with this id gets 204.
    assert parse_event_id(event.id) == EventId(RUN, None)
