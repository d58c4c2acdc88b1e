"""Fields of a request: read from query string, JSON object, form, multipart, or a body of Python code.

A field in the body wins over the field of the same name in the query, and the last one of repeated fields
counts. Nothing is interpreted here: a `Fields` maps names to text, or to the JSON that a JSON body has for
the name. Other names than owt's are left to the adaptor.

Sources: the URL standard (application/x-www-form-urlencoded), RFC 8259 (JSON), RFC 7578
(multipart/form-data), RFC 3629 (UTF-8), RFC 4648 (base64).
"""

from __future__ import annotations

import binascii
import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote_from_bytes

import msgspec
from msgspec import Raw
from tornado.escape import parse_qs_bytes
from tornado.httputil import ParseMultipartConfig, parse_multipart_form_data

from owt.errors import BadRequest
from owt.wire.call import FIELDS, RequestFacts

Field = str | bytes | Raw
"""Text or JSON; of a field in base64, also the bytes that it stands for."""

Fields = Mapping[str, Field]
"""Fields by their names, which are among `FIELDS`."""


class ReadFields(NamedTuple):
    """Fields of a request.

    `in_body` is True if the body holds the code or the kwargs (not as multipart). `mistyped` is a name that
    is no field, and the field that it resembles.
    """

    fields: Fields
    in_body: bool
    mistyped: tuple[str, str] | None = None


# More than any form needs. They bound work on the event loop.
MAX_PAIRS = 10_000
MAX_PARTS = 1_000
MAX_PART_HEAD = 10_000
SLICE = 256 * 1024
"""Size in bytes of what is percent-decoded at once."""
MAX_SMALL_JSON = 64 * 1024
"""Size of a JSON body, in bytes, up to which the names of all of its members are read."""
MAX_NAMES = 20
"""Maximum number of other names of a request that are compared with the fields."""
SIMILARITY = 0.85
"""Ratio of equal characters from which a name resembles a field: `cod`, `adapter`, `sesion`; not `mode`."""
_CODE = frozenset({"code", "code_b64", "kwargs", "kwargs_b64"})

# Only owt's fields of an object are kept: a body of 100 MB may have millions of others.
_objects = msgspec.json.Decoder(msgspec.defstruct("_Object", [(name, Raw, None) for name in sorted(FIELDS)]))
# Decodes base64 in the same pass, which takes two thirds of the time. It fails for any but the usual form.
_encoded_objects = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Encoded",
        [(name, bytes | None if name.endswith("_b64") else Raw, None) for name in sorted(FIELDS)],
    )
)
_members = msgspec.json.Decoder(dict[str, Raw])
_begins_an_object = re.compile(rb"[ \t\r\n]*\{")
_documents = msgspec.json.Decoder(Raw)
_multipart_limits = ParseMultipartConfig(max_parts=MAX_PARTS, max_part_header_size=MAX_PART_HEAD)
# Characters that may stand around or in base64 text, and those that stand for "+" and "/".
_TO_STANDARD = bytes.maketrans(b"-_ ", b"+/+")
_LINE_ENDS = b"\t\n\v\f\r"


def read_fields(facts: RequestFacts, content_type: str) -> ReadFields:
    """Return all fields of a request.

    `content_type` is the header's value. A body of a type without fields, or JSON that is no object, is left
    to the adaptor. Raises `BadRequest` for a query or a body that cannot be read.
    """
    body = facts.body
    essence, _, parameters = content_type.partition(";")
    essence = essence.strip().lower()
    if body and essence in ("text/x-python", "application/x-python"):
        return ReadFields(_from_python(facts.query, body, parameters), True)
    others: list[str] = []
    in_query = _from_pairs(_bytes(facts.query), "query", others) if facts.query else {}
    in_body: Fields = {}
    if body:
        match essence:
            case "application/json":
                in_body = _from_json(body, others)
            case "application/x-www-form-urlencoded":
                in_body = _from_pairs(body, "body", others)
            case "multipart/form-data":
                in_body = _from_multipart(body, parameters, others)
                return ReadFields({**in_query, **in_body}, False, _mistyped(others))
            case _:
                pass
    fields = {**in_query, **in_body} if in_query else in_body
    return ReadFields(fields, not _CODE.isdisjoint(in_body), _mistyped(others) if others else None)


def cut(value: str) -> str:
    """Return the two ends of a long `value`, enough for an error message, so that it is not copied."""
    return value if len(value) <= 200 else value[:100] + value[-100:]


def decode_base64(name: str, value: str | bytes) -> str:
    """Return the text that field `name` holds in base64; of bytes, the base64 is decoded already.

    Both alphabets are read, with or without padding, with line ends anywhere. Raises `BadRequest` unless it
    is base64 of UTF-8 text.
    """
    try:
        try:
            # As strict as binascii and four times as fast, which counts for large calls.
            data = msgspec.convert(value, bytes) if isinstance(value, str) else value
        except ValueError:
            data = binascii.a2b_base64(_repaired(str(value)), strict_mode=True)
    except ValueError:
        raise BadRequest(name, "is not base64", cut(str(value))) from None
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        reason = f"does not decode to UTF-8 text: {error.reason} at byte {error.start}"
        text = value if isinstance(value, str) else binascii.b2a_base64(data, newline=False).decode()
        raise BadRequest(name, reason, cut(text)) from None
    if "\0" in decoded:
        raise BadRequest(name, "has a NUL character in it", cut(decoded))
    return decoded


def _repaired(text: str) -> bytes:
    """Return `text` in the standard alphabet and padded, as far as it can be base64.

    A form turns "+" into a space. Base64 of UTF-8 text cannot begin with "+", so leading spaces are spaces;
    spaces at the end stand for "+" only if the length is then possible.
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


def _mistyped(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first name that resembles a field, with the field, or None."""
    for name in islice(names, MAX_NAMES):
        if len(name) <= 30 and (field := similar_field(name)) is not None:
            return name, field
    return None


@lru_cache(maxsize=1024)
def similar_field(name: str) -> str | None:
    """Return the field that a name which is none resembles: one of the same letters, or the most similar."""
    plain = name.strip().lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(plain, sorted(FIELDS), 1, SIMILARITY)), None)


def _from_pairs(text: bytes, where: str, others: list[str]) -> Fields:
    """Return the fields of a form or a query. Names that are no fields are added to `others`."""
    pairs = _pairs(text, where)
    fields = {name: _decoded(value, name) for name, value in pairs.items() if name in FIELDS}
    if len(fields) < len(pairs):
        others += pairs.keys() - FIELDS
    return fields


def _from_json(body: bytes, others: list[str]) -> Fields:
    try:
        if _begins_an_object.match(body):
            if len(body) <= MAX_SMALL_JSON:
                fields: dict[str, Raw] = {}
                for name, raw in _members.decode(body).items():
                    if name in FIELDS:
                        fields[name] = raw
                    else:
                        others.append(name)
                return fields
            try:
                document = _encoded_objects.decode(body)
            except msgspec.ValidationError:
                document = _objects.decode(body)
            return {name: raw for name in FIELDS if (raw := getattr(document, name)) is not None}
        _documents.decode(body)
    except RecursionError:
        raise BadRequest("body", "the JSON is nested too deeply") from None
    except ValueError as error:  # msgspec's own errors and UnicodeDecodeError
        raise BadRequest("body", f"is not valid JSON: {error}", _near(body, str(error))) from None
    return {}


def _from_multipart(body: bytes, parameters: str, others: list[str]) -> Fields:
    values: dict[str, list[bytes]] = {}
    boundary = _parameter(parameters, "boundary")
    try:
        if not boundary:
            raise ValueError("the Content-Type names no boundary")
        mark = boundary.encode("latin-1")
        parse_multipart_form_data(mark, _without_files(body, mark), values, {}, config=_multipart_limits)
    except Exception as error:  # the parser does not document its exceptions
        raise BadRequest("body", f"is not multipart/form-data: {error}", _start(body)) from None
    others += values.keys() - FIELDS
    fields: dict[str, str | Raw] = {}
    for name in FIELDS & values.keys():
        try:
            fields[name] = values[name][-1].decode()
        except UnicodeDecodeError as error:
            raise BadRequest(name, f"is not UTF-8: {error.reason}", _start(error.object)) from None
    return fields


def _without_files(body: bytes, boundary: bytes) -> bytes:
    """Return `body` without its files and arguments. They can be large, and every parser would copy them."""
    mark = b"--" + boundary
    kept: list[bytes] = []
    start = body.find(mark)
    for _ in range(MAX_PARTS + 1):
        end = body.find(b"\r\n" + mark, start + len(mark)) if start >= 0 else -1
        if end < 0:
            return b"".join([*kept, body[start:] if start >= 0 else b""])
        head, _, _ = body[start : min(end, start + MAX_PART_HEAD)].partition(b"\r\n\r\n")
        if b"filename" not in head.lower() and b'name="kwargs.' not in head:
            kept.append(body[start : end + 2])
        start = end + 2
    raise ValueError(f"more than {MAX_PARTS} parts")


def _from_python(query: str, body: bytes, parameters: str) -> Fields:
    charset = _parameter(parameters, "charset").lower()
    if charset not in ("", "utf-8", "utf8", "us-ascii", "ascii"):
        raise BadRequest("body", "code must be UTF-8", charset, hint="Leave the charset out")
    fields: dict[str, str | Raw] = {}
    others: dict[str, str] = {}
    for latin, value in _pairs(_bytes(query), "query").items():
        name = _decoded(latin.encode("latin-1"), "query")
        if name in FIELDS:
            fields[name] = _decoded(value, name)
        elif name or value:
            others[name] = _decoded(value, name)
    if "code" in fields or "code_b64" in fields:
        raise BadRequest("code", "is in the query, and the body is code too", hint="Send one of them")
    try:
        fields["code"] = body.decode()
    except UnicodeDecodeError as error:
        excerpt = body[max(error.start - 20, 0) : error.end + 20]
        raise BadRequest("body", f"code must be UTF-8: {error.reason}", excerpt) from None
    if others:
        if "kwargs" in fields or "kwargs_b64" in fields:
            hint = f"Move {cut(next(iter(others)))!r} into kwargs, or leave kwargs out"
            raise BadRequest("kwargs", "is given beside other query parameters", hint=hint)
        fields["kwargs"] = msgspec.json.encode(others).decode()
    return fields


def _pairs(text: bytes, where: str) -> dict[str, bytes]:
    """Return percent-decoded values by their names. Each character of a name stands for one byte."""
    if text.count(b"&") >= MAX_PAIRS:
        raise BadRequest(where, f"has more than {MAX_PAIRS} fields")
    pairs = {}
    for pair in filter(None, text.split(b"&")):
        name, _, value = pair.partition(b"=")
        pairs[_unquoted(name).decode("latin-1")] = _unquoted(value)
    return pairs


def _unquoted(text: bytes) -> bytes:
    """Return `text` without its percent-encoding. Other threads may run between two slices."""
    slices = []
    start = 0
    while start < len(text):
        end = start + SLICE
        if end < len(text):
            # Do not cut an escape in two.
            escape = text.rfind(b"%", end - 2, end)
            end = escape if escape > start else end
        # Tornado's, since the standard library takes a minute for 100 MiB of percent signs.
        slices += parse_qs_bytes(b"=" + text[start:end], keep_blank_values=True)[""]
        start = end
    return b"".join(slices)


def _decoded(value: bytes, field: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        excerpt = quote_from_bytes(value[max(error.start - 20, 0) : error.end + 20])
        raise BadRequest(
            cut(field) or "query", f"is not UTF-8 when percent-decoded: {error.reason}", excerpt
        ) from None


def _bytes(text: str) -> bytes:
    """Return a query's bytes. Each of its characters stands for one byte, unless it did not come by HTTP."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _parameter(parameters: str, name: str) -> str:
    """Return a parameter of a Content-Type, or "" (RFC 9110, section 5.6.6)."""
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""


def _start(body: bytes) -> str:
    return body[:60].decode("utf-8", "replace")


def _near(body: bytes, message: str) -> str:
    """Return the part of `body` that an error message of msgspec is about: around its byte, or the end."""
    at = re.search(r"byte (\d+)\)", message)
    middle = int(at[1]) if at else len(body)
    return body[max(middle - 25, 0) : middle + 25].decode("utf-8", "replace")
