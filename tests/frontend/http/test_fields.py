"""owt.frontend.http.fields: where a request's fields come from; `test_requests` says what they mean."""

from __future__ import annotations

import pytest
from msgspec import Raw

from owt.errors import BadRequest
from owt.frontend.http.fields import NAMES, cut, gather, has_any
from owt.wire.call import RequestFacts

FORM = "application/x-www-form-urlencoded"


def gathered(query: str = "", body: bytes = b"", kind: str = "") -> dict[str, object]:
    found = gather(RequestFacts("POST", "/", query, (), body, "localhost"), kind)
    return {name: bytes(value) if isinstance(value, Raw) else value for name, value in found.items()}


def test_only_owts_own_are_gathered_and_the_rest_is_left_to_the_adaptor():
    assert gathered("code=1&text=hi&sessions=x") == {"code": "1"}
    assert gathered(body=b'{"code": "1", "text": [1]}', kind="application/json") == {"code": b'"1"'}


def test_a_body_wins_over_the_query_and_the_last_of_several_counts():
    assert gathered("code=1&code=2&stream=sse", b"code=3", FORM) == {"code": "3", "stream": "sse"}


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "", "application/problem+json"])
def test_a_body_of_another_type_has_none(kind):
    assert gathered("code=1", b"code=3", kind) == {"code": "1"}


def test_a_file_is_no_field_even_if_it_has_the_name_of_one():
    body = (
        b'--X\r\nContent-Disposition: form-data; name="code"; filename="a.py"\r\n\r\n1\r\n'
        b'--X\r\nContent-Disposition: form-data; name="session"\r\n\r\ndev\r\n--X--\r\n'
    )
    assert gathered(body=body, kind="multipart/form-data; boundary=X") == {"session": "dev"}


def test_code_as_the_body_takes_what_else_the_query_has_as_its_arguments():
    found = gathered("session=dev&name=owt", b"x", "text/x-python")
    assert found == {"session": "dev", "code": "x", "kwargs": '{"name":"owt"}'}


def test_what_cannot_be_read_is_told_with_its_place():
    with pytest.raises(BadRequest, match="code: is not UTF-8 when percent-decoded"):
        gathered("code=%FF")
    with pytest.raises(BadRequest, match="body: is not valid JSON"):
        gathered(body=b'{"code": }', kind="application/json")


def test_whether_there_is_any_is_told_without_reading_them():
    assert [has_any(query) for query in ("", "text=1", "%63ode=1")] == [False, False, True]


def test_a_long_value_is_cut_for_a_message():
    assert cut("short") == "short"
    assert len(cut("x" * 10**6)) == 200


def test_the_names_are_those_that_no_endpoints_parameter_has():
    assert {"code", "kwargs", "session", "timeout", "stream", "detach"} < NAMES
