"""Media types that an Accept header names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.wire.accept import media_ranges, names, prefers_json, ranks_first


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
        ("a/b;q=.2, *; q=.3", ["*/*", "a/b"]),
        ("", []),
    ],
)
def test_media_ranges_are_ordered_by_quality(accept: str, expected: list[str]) -> None:
    assert [name for name, quality in media_ranges(accept) if quality] == expected


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
def test_a_wildcard_does_not_name_a_type(accept: str, expected: bool) -> None:
    assert names(accept, "text/event-stream") is expected


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
def test_prefers_json_if_json_is_ranked_first(accept: str, expected: bool) -> None:
    assert prefers_json(accept) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", True),
        ("", True),
        ("image/png", True),
        ("text/html, */*;q=0.8", False),
        ("text/plain;q=0.5, */*;q=0.8", True),
        ("text/*", False),
        ("*/*, application/json;q=0", False),
    ],
)
def test_json_can_be_the_default_of_clients_that_prefer_nothing(accept: str, expected: bool) -> None:
    assert prefers_json(accept, by_default=True) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("a/b", True),
        ("A/B, c/d", True),
        ("c/d, a/b", False),
        ("c/d;q=.5, a/b;q=.6", True),
        ("", False),
        ("*/*", False),
    ],
)
def test_a_type_ranks_first_by_quality_and_then_by_order(accept: str, expected: bool) -> None:
    assert ranks_first(accept, "a/b") is expected


@given(st.text())
def test_every_header_can_be_read(accept: str) -> None:
    assert isinstance(media_ranges(accept), tuple)
    assert prefers_json(accept) in (True, False)


medias = st.from_regex(r"([a-z]{1,5}|\*)/([a-z+.-]{1,5}|\*)", fullmatch=True)
weights = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


@given(st.lists(st.tuples(medias, weights)), st.sampled_from(["", " ", ";charset=utf-8", ";a=b ; c"]))
def test_ranges_of_equal_quality_keep_their_order(
    listed: list[tuple[str, float]], parameter: str
) -> None:
    header = ", ".join(f"{media}{parameter};q={weight:.3f}" for media, weight in listed)
    expected = [media for media, weight in sorted(listed, key=lambda pair: -pair[1]) if weight]
    assert [name for name, quality in media_ranges(header) if quality] == expected
    for media in {media for media, _ in listed}:
        assert names(header, media) is (media in expected)
