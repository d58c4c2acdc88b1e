"""Base64 of a text, as people's shells, URLs and forms let it through (RFC 4648)."""

from __future__ import annotations

import binascii

import msgspec

from owt.errors import BadRequest
from owt.frontend.http.fields import cut

# What is no base64 text but may stand around or in it, and what stands for "+" and "/".
_TO_STANDARD = bytes.maketrans(b"-_ ", b"+/+")
_LINE_ENDS = b"\t\n\v\f\r"


def decoded(name: str, text: str) -> str:
    """The text that field `name` has in base64: either alphabet, padding optional, line ends anywhere.

    Raises `BadRequest` for what is not base64 of UTF-8 text.
    """
    try:
        try:
            # As strict as binascii, and four times as fast; of a large call most of the time goes here.
            data = msgspec.convert(text, bytes)
        except ValueError:
            data = binascii.a2b_base64(_repaired(text), strict_mode=True)
    except ValueError:
        raise BadRequest(name, "is not base64", cut(text)) from None
    try:
        found = data.decode()
    except UnicodeDecodeError as error:
        reason = f"does not decode to UTF-8 text: {error.reason} at byte {error.start}"
        raise BadRequest(name, reason, cut(text)) from None
    if "\0" in found:
        raise BadRequest(name, "has a NUL character in it", cut(found))
    return found


def _repaired(text: str) -> bytes:
    """`text` in the standard alphabet and padded, as far as it can be base64 at all.

    A form turns "+" into a space. No UTF-8 text begins with a "+" in base64, so leading spaces
    are just spaces; at the end they were "+" if only so the length comes out right.
    """
    wrapped = text.encode("ascii").translate(None, _LINE_ENDS).lstrip(b" ")
    clean = wrapped.rstrip(b" ")
    if len(clean) % 4 and len(wrapped) % 4 == 0 and not clean.endswith(b"="):
        clean = wrapped
    clean = clean.translate(_TO_STANDARD)
    bare = clean.rstrip(b"=")
    if len(clean) - len(bare) > 2 or len(bare) % 4 == 1:
        raise ValueError("its length is not possible")
    return bare + b"=" * (-len(bare) % 4)
