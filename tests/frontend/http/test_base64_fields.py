"""owt.frontend.http.base64_fields: base64 as shells, URLs and forms let it through."""

from __future__ import annotations

import base64

import pytest

from owt.errors import BadRequest
from owt.frontend.http.base64_fields import decoded

TEXT = "x = '\u00ff\u00fe?>~'\n"
STANDARD = base64.b64encode(TEXT.encode()).decode()
IN_URLS = base64.urlsafe_b64encode(TEXT.encode()).decode()


@pytest.mark.parametrize(
    "sent",
    [
        STANDARD,
        IN_URLS,
        STANDARD.rstrip("="),
        STANDARD.replace("+", " "),
        f" {STANDARD}\n",
        "\r\n".join(STANDARD[start : start + 4] for start in range(0, len(STANDARD), 4)),
    ],
)
def test_every_dialect_says_the_same(sent):
    assert decoded("code_b64", sent) == TEXT


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("eA===", "code_b64: is not base64; got 'eA==='"),
        ("x", "code_b64: is not base64; got 'x'"),
        ("\u00fc", "code_b64: is not base64"),
        ("/w==", "code_b64: does not decode to UTF-8 text: invalid start byte at byte 0"),
        ("AA==", "code_b64: has a NUL character in it"),
    ],
)
def test_what_is_none_is_told_with_its_field(sent, why):
    with pytest.raises(BadRequest) as error:
        decoded("code_b64", sent)
    assert str(error.value).startswith(why)
