"""owt.wire.endpoint: paths, and limits of endpoint descriptions."""

from __future__ import annotations

import pytest

from owt.errors import EndpointError
from owt.wire.endpoint import MAX_ENDPOINTS, MAX_SIZE, Endpoint, check, parameters, segments, shape


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ()),
        ("/speak", ("speak",)),
        ("/greet/{name}", ("greet", None)),
        ("/a/{b}/c.d/{e_1}", ("a", None, "c.d", None)),
        ("/grüße", ("grüße",)),
        ("/_owty", ("_owty",)),
    ],
)
def test_segments_are_text_or_parameters(path, expected):
    assert segments(path) == expected


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("speak", "begins with a slash"),
        ("", "begins with a slash"),
        (None, "begins with a slash"),
        ("/_owt", "the server's own"),
        ("/_owt/runs", "the server's own"),
        ("/a/", "an empty segment"),
        ("//a", "an empty segment"),
        ("/a/../b", r"segment '\.\.' cannot be"),
        ("/a b", "segment 'a b' cannot be"),
        ("/a?b", "cannot be"),
        ("/a%20b", "cannot be"),
        ("/a\nb", "cannot be"),
        ("/a/x{b}", "cannot be"),
        ("/{b", "cannot be"),
        ("/{}", "the parameter '' is no name"),
        ("/{1}", "the parameter '1' is no name"),
        ("/{class}", "the parameter 'class' is no name"),
        ("/{a}/{a}", "the parameter 'a' is there twice"),
        ("/" + "x" * 500, "at most 500 characters"),
        ("/x" * 31, "at most 30 segments"),
    ],
)
def test_an_invalid_path_is_refused_with_the_reason(path, why):
    with pytest.raises(EndpointError, match=why):
        segments(path)


def test_shape_ignores_the_names_of_parameters():
    assert shape("/greet/{name}") == shape("/greet/{who}") == "/greet/{}"
    assert parameters("/{a}/b/{c}") == ["a", "c"]


@pytest.mark.parametrize(
    ("endpoints", "why"),
    [
        ([Endpoint("/a", (), "f")], "its methods are"),
        ([Endpoint("/a", ("BREW",), "f")], "its methods are .*BREW"),
        ([Endpoint("/_owt/a", ("GET",), "f")], "the server's own"),
        ([Endpoint("/a", ("GET",), "f", "x" * MAX_SIZE)], f"the limit is {MAX_SIZE}"),
        (
            [Endpoint(f"/{n}", ("GET",), "f") for n in range(MAX_ENDPOINTS + 1)],
            f"at most {MAX_ENDPOINTS} endpoints",
        ),
    ],
)
def test_check_refuses_endpoints_beyond_the_limits(endpoints, why):
    with pytest.raises(EndpointError, match=why):
        check(endpoints)


def test_check_accepts_the_maximum_number_of_endpoints_and_no_more():
    endpoints = [Endpoint(f"/{n}", ("GET",), "f") for n in range(MAX_ENDPOINTS)]
    check(endpoints)
    with pytest.raises(EndpointError, match=f"^/more: a session has at most {MAX_ENDPOINTS} endpoints"):
        check([*endpoints, Endpoint("/more", ("GET",), "f")])
