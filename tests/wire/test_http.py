"""owt.wire.http: statuses, header names, loopback addresses."""

from __future__ import annotations

import re

import pytest

from owt.wire.http import (
    MAX_HEADERS,
    MAX_HEADERS_SIZE,
    TOKEN,
    headers_problem,
    is_final_status,
    is_loopback,
)


@pytest.mark.parametrize("status", [200, 204, 404, 599])
def test_statuses_from_200_to_599_are_final(status: int) -> None:
    assert is_final_status(status)


@pytest.mark.parametrize("status", [199, 600, -200, True, "200", 200.0, None])
def test_other_values_are_no_final_status(status: object) -> None:
    assert not is_final_status(status)


def test_a_token_has_no_separators_of_http() -> None:
    assert re.fullmatch(TOKEN, "X-Name_1.~!#$%&'*+^`|")
    for character in '"(),/:;<=>?@[\\]{} \t\n\x7fé':
        assert not re.fullmatch(TOKEN, f"a{character}b"), character
    assert not re.fullmatch(TOKEN, "")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost", "owt.localhost"]
)
def test_loopback_addresses_and_localhost_names_are_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["localhost.example.org", "notlocalhost", "128.0.0.1", "::2", ""])
def test_other_addresses_and_names_are_not_loopback(address: str) -> None:
    assert not is_loopback(address)


LIMIT = f"an answer has at most {MAX_HEADERS} headers; got {MAX_HEADERS + 1}"


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ([("X-A", "1")] * MAX_HEADERS, None),
        ([("X-A", "1")] * (MAX_HEADERS + 1), LIMIT),
        ([("X-A", "1" * (MAX_HEADERS_SIZE - 3))], None),
        ([("X-B", ""), ("X-A", "1" * MAX_HEADERS_SIZE)], f"at most {MAX_HEADERS_SIZE} characters"),
        ([("X-B", ""), ("X-A", "1" * MAX_HEADERS_SIZE)], "most of them in 'X-A'"),
        ([("X-A", "1"), ("X B", "1")], "header 'X B'"),
    ],
)
def test_headers_of_an_answer_are_limited(headers: list[tuple[str, str]], problem: str | None) -> None:
    message = headers_problem(headers)
    assert message is None if problem is None else problem in (message or "")


def test_headers_that_a_kernel_adds_do_not_count() -> None:
    headers = [("X-A", "1")] * MAX_HEADERS + [("Content-Type", "text/html"), ("Vary", "Accept")]
    assert headers_problem(headers) is not None
    assert headers_problem(headers, added=2) is None
