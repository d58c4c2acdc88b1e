from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.frontend.accept import lists, prefers_json, ranges


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", ["*/*"]),
        ("text/html, application/json;q=0.9, */*;q=0.8", ["text/html", "application/json", "*/*"]),
        ("a/b;q=0.1, c/d;Q=0.5, e/f; q = 0.5", ["c/d", "e/f", "a/b"]),
        ("a/b;q=0, c/d;q=0.000", []),
        ("a/b;q=rubbish, c/d;q=1.9, e/f;q=nan, g/h;q=-1", ["a/b", "c/d", "e/f", "g/h"]),
        ("Text/HTML;charset=utf-8;level=1", ["text/html"]),
        (" , nonsense, ;q=1", []),
        ("", []),
    ],
)
def test_media_ranges_are_ordered_by_weight(accept: str, expected: list[str]) -> None:
    assert ranges(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/html, text/event-stream;q=0.1", True),
        ("text/event-stream;charset=utf-8", True),
        ("text/event-stream;q=0", False),
        ("text/event-streams", False),
        ("text/*, */*", False),
    ],
)
def test_a_wildcard_does_not_list_a_type(accept: str, expected: bool) -> None:
    assert lists(accept, "text/event-stream") is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", True),
        ("application/problem+json", True),
        ("Application/*", True),
        ("application/json, text/plain, */*", True),
        ("text/plain, application/json", False),
        ("text/html;q=0.5, application/json", True),
        ("application/json;q=0.5, */*", False),
        ("text/event-stream, application/json", True),
        ("application/json;q=0", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/xml", False),
        ("*/*", False),
    ],
)
def test_an_error_is_json_for_clients_that_rank_json_first(accept: str, expected: bool) -> None:
    assert prefers_json(accept) is expected


@given(st.text())
def test_no_header_is_an_error(accept: str) -> None:
    assert isinstance(ranges(accept), list)
    assert prefers_json(accept) in (True, False)


medias = st.from_regex(r"([a-z]{1,5}|\*)/([a-z+.-]{1,5}|\*)", fullmatch=True)
weights = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


@given(st.lists(st.tuples(medias, weights)), st.sampled_from(["", " ", ";charset=utf-8", ";a=b ; c"]))
def test_a_list_of_any_ranges_is_sorted_by_weight_and_then_by_place(
    listed: list[tuple[str, float]], parameter: str
) -> None:
    header = ", ".join(f"{media}{parameter};q={weight:.3f}" for media, weight in listed)
    expected = [media for media, weight in sorted(listed, key=lambda pair: -pair[1]) if weight]
    assert ranges(header) == expected
    for media in {media for media, _ in listed}:
        assert lists(header, media) is (media in expected)
