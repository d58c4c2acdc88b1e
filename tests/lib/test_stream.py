"""Server-Sent Events that adaptors build themselves."""

import json
from collections.abc import Iterator

import pytest

from owt.lib import stream


def data(event: str) -> object:
    assert event.startswith("data: ")
    assert event.endswith("\n\n")
    assert event.count("\n") == 2
    return json.loads(event[len("data: ") :])


def test_event_is_one_line_of_json():
    fields = {"text": "one\ntwo\r\n\n", "n": 3, "other": ["ü", None]}
    assert data(stream.event(**fields)) == fields


def test_event_refuses_values_that_json_cannot_hold():
    with pytest.raises(TypeError):
        stream.event(value=object())


def test_response_sends_mappings_as_events_and_strings_unchanged():
    def numbers(count: int, *, last: str) -> Iterator[dict[str, int] | str]:
        for n in range(count):
            yield {"n": n}
        yield last

    events, headers = stream.response(numbers, 2, last=": a comment\n\n")
    assert list(events) == ['data: {"n":0}\n\n', 'data: {"n":1}\n\n', ": a comment\n\n", "data: [DONE]\n\n"]
    assert headers == {"Content-Type": "text/event-stream; charset=utf-8"}


def test_events_of_a_response_are_lazy():
    numbers_sent = []

    def numbers() -> Iterator[dict[str, int]]:
        for n in range(3):
            numbers_sent.append(n)
            yield {"n": n}

    events, _ = stream.response(numbers)
    assert numbers_sent == []
    next(events)
    assert numbers_sent == [0]


def test_failed_response_ends_without_done():
    def broken() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise ArithmeticError("no more")

    events, _ = stream.response(broken)
    seen = []
    with pytest.raises(ArithmeticError, match="no more"):
        seen.extend(events)
    assert stream.done() not in seen


def test_function_that_checks_its_arguments_fails_before_the_first_event():
    def checked(n: int) -> list[dict[str, int]]:
        if n < 0:
            raise ValueError("n: not below zero")
        return [{"n": n}]

    with pytest.raises(ValueError, match="below zero"):
        stream.response(checked, -1)
    assert list(stream.response(checked, 1)[0]) == ['data: {"n":1}\n\n', stream.done()]


def test_closing_a_response_closes_its_generator():
    closed = []

    def endless() -> Iterator[dict[str, int]]:
        try:
            while True:
                yield {}
        finally:
            closed.append(True)

    items = endless()
    events, _ = stream.response(lambda: items)
    next(events)
    events.close()
    assert closed == [True]


def test_headers_of_two_responses_are_not_shared():
    _, first = stream.response(list)
    first["X-Mine"] = "1"
    assert "X-Mine" not in stream.response(list)[1]
