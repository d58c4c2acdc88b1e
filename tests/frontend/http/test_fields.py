"""owt.frontend.http.fields: sources of fields; test_requests covers their meaning."""

from __future__ import annotations

import base64

import pytest
from msgspec import Raw

from owt.errors import BadRequest
from owt.frontend.http.fields import cut, decode_base64, read_fields
from owt.wire.call import RequestFacts

FORM = "application/x-www-form-urlencoded"
TEXT = "x = '\u00ff\u00fe?>~'\n"
STANDARD = base64.b64encode(TEXT.encode()).decode()
IN_URLS = base64.urlsafe_b64encode(TEXT.encode()).decode()


def read(query: str = "", body: bytes = b"", content_type: str = "") -> dict[str, object]:
    """Return the fields of a request, JSON as its bytes."""
    fields, _, _ = read_fields(RequestFacts("POST", "/", query, (), body, "localhost"), content_type)
    return {name: bytes(value) if isinstance(value, Raw) else value for name, value in fields.items()}


def test_fields_of_the_adaptor_are_left_to_it():
    assert read("code=1&text=hi&sessions=x") == {"code": "1"}
    assert read(body=b'{"code": "1", "text": [1]}', content_type="application/json") == {"code": b'"1"'}


def test_the_body_wins_over_the_query_and_the_last_of_repeated_fields_wins():
    assert read("code=1&code=2&stream=sse", b"code=3", FORM) == {"code": "3", "stream": "sse"}


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "", "application/problem+json"])
def test_a_body_of_another_type_has_no_fields(kind):
    assert read("code=1", b"code=3", kind) == {"code": "1"}


def test_a_file_with_the_name_of_a_field_is_no_field():
    body = (
        b'--X\r\nContent-Disposition: form-data; name="code"; filename="a.py"\r\n\r\n1\r\n'
        b'--X\r\nContent-Disposition: form-data; name="session"\r\n\r\ndev\r\n--X--\r\n'
    )
    assert read(body=body, content_type="multipart/form-data; boundary=X") == {"session": "dev"}


def test_a_python_body_is_code_and_other_query_parameters_are_its_kwargs():
    fields = read("session=dev&name=owt", b"x", "text/x-python")
    assert fields == {"session": "dev", "code": "x", "kwargs": '{"name":"owt"}'}


def test_an_unreadable_field_is_refused_with_its_name():
    with pytest.raises(BadRequest, match="code: is not UTF-8 when percent-decoded"):
        read("code=%FF")
    with pytest.raises(BadRequest, match="body: is not valid JSON"):
        read(body=b'{"code": }', content_type="application/json")


def test_cut_returns_the_two_ends_of_a_long_value():
    assert cut("short") == "short"
    assert len(cut("x" * 10**6)) == 200


@pytest.mark.parametrize(
    "encoded",
    [
        STANDARD,
        IN_URLS,
        STANDARD.rstrip("="),
        STANDARD.replace("+", " "),
        f" {STANDARD}\n",
        "\r\n".join(STANDARD[start : start + 4] for start in range(0, len(STANDARD), 4)),
    ],
)
def test_decode_base64_reads_every_dialect(encoded):
    assert decode_base64("code_b64", encoded) == TEXT


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("eA===", "code_b64: is not base64; got 'eA==='"),
        ("x", "code_b64: is not base64; got 'x'"),
        ("\u00fc", "code_b64: is not base64"),
        ("/w==", "code_b64: does not decode to UTF-8 text: invalid start byte at byte 0"),
        ("AA==", "code_b64: has a NUL character in it"),
    ],
)
def test_decode_base64_refuses_other_text_with_the_name_of_the_field(encoded, message):
    with pytest.raises(BadRequest) as error:
        decode_base64("code_b64", encoded)
    assert str(error.value).startswith(message)
