"""Where a request's fields come from: query string, JSON object, form, multipart, or the code itself.

A body's field wins over the query's field of the same name, and of a repeated field the last one
counts. Nothing is interpreted here: a `Fields` maps names to text, or to the JSON that a JSON body
had for it. Names that are no fields of ours may be in it and mean nothing; the adaptor reads them.

Sources: the URL standard (application/x-www-form-urlencoded), RFC 8259 (JSON), RFC 7578
(multipart/form-data), RFC 3629 (UTF-8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote_from_bytes

import msgspec
from msgspec import Raw
from tornado.escape import parse_qs_bytes
from tornado.httputil import ParseMultipartConfig, parse_multipart_form_data

from owt.errors import BadRequest
from owt.wire.call import FIELDS, RequestFacts

Fields = Mapping[str, str | Raw]

NAMES = FIELDS

# More than any form needs; the parsing happens on the server's event loop.
MAX_PAIRS = 10_000
MAX_PARTS = 1_000
MAX_PART_HEAD = 10_000
SLICE = 256 * 1024
"""Bytes that are percent-decoded in one go."""

# Of an object only our fields are kept: one of a hundred megabytes may have millions of others.
_objects = msgspec.json.Decoder(msgspec.defstruct("_Object", [(name, Raw, None) for name in sorted(NAMES)]))
_begins_an_object = re.compile(rb"[ \t\r\n]*\{")
_documents = msgspec.json.Decoder(Raw)
_multipart_limits = ParseMultipartConfig(max_parts=MAX_PARTS, max_part_header_size=MAX_PART_HEAD)


def gather(facts: RequestFacts, content_type: str) -> Fields:
    """All fields of a request. Raises `BadRequest` for a query or a body that cannot be read.

    `content_type` is the header's value. A body of a type that carries no fields (also JSON that
    is not an object) is left to the adaptor.
    """
    body = facts.body
    essence, _, parameters = content_type.partition(";")
    essence = essence.strip().lower()
    if body and essence in ("text/x-python", "application/x-python"):
        return _from_python(facts.query, body, parameters)
    found = _from_pairs(_bytes(facts.query), "query") if facts.query else {}
    fields: Fields
    match essence:
        case _ if not body:
            return found
        case "application/json":
            fields = _from_json(body)
        case "application/x-www-form-urlencoded":
            fields = _from_pairs(body, "body")
        case "multipart/form-data":
            fields = _from_multipart(body, parameters)
        case _:
            return found
    return {**found, **fields} if found else fields


def has_any(query: str) -> bool:
    """Whether any field of ours is in this query string, or it has more fields than may be read."""
    text = _bytes(query)
    return text.count(b"&") >= MAX_PAIRS or not NAMES.isdisjoint(_pairs(text, "query"))


def cut(value: str) -> str:
    """The two ends of `value`, enough for an error message, so that a long one is not copied."""
    return value if len(value) <= 200 else value[:100] + value[-100:]


def _from_pairs(text: bytes, where: str) -> Fields:
    return {name: _decoded(value, name) for name, value in _pairs(text, where).items() if name in NAMES}


def _from_json(body: bytes) -> Fields:
    try:
        if _begins_an_object.match(body):
            given = _objects.decode(body)
            return {name: raw for name in NAMES if (raw := getattr(given, name)) is not None}
        _documents.decode(body)
    except RecursionError:
        raise BadRequest("body", "the JSON is nested too deeply") from None
    except ValueError as error:  # msgspec's own errors and UnicodeDecodeError
        raise BadRequest("body", f"is not valid JSON: {error}", _near(body, str(error))) from None
    return {}


def _from_multipart(body: bytes, parameters: str) -> Fields:
    found: dict[str, list[bytes]] = {}
    boundary = _parameter(parameters, "boundary")
    try:
        if not boundary:
            raise ValueError("the Content-Type names no boundary")
        mark = boundary.encode("latin-1")
        parse_multipart_form_data(mark, _without_files(body, mark), found, {}, config=_multipart_limits)
    except Exception as error:  # the parser states no closed set of what it raises
        raise BadRequest("body", f"is not multipart/form-data: {error}", _start(body)) from None
    fields: dict[str, str | Raw] = {}
    for name in NAMES & found.keys():
        try:
            fields[name] = found[name][-1].decode()
        except UnicodeDecodeError as error:
            raise BadRequest(name, f"is not UTF-8: {error.reason}", _start(error.object)) from None
    return fields


def _without_files(body: bytes, boundary: bytes) -> bytes:
    """`body` without its files, which are large and would be copied twice to be thrown away."""
    mark = b"--" + boundary
    kept: list[bytes] = []
    start = body.find(mark)
    for _ in range(MAX_PARTS + 1):
        end = body.find(b"\r\n" + mark, start + len(mark)) if start >= 0 else -1
        if end < 0:
            return b"".join([*kept, body[start:] if start >= 0 else b""])
        head, _, _ = body[start : min(end, start + MAX_PART_HEAD)].partition(b"\r\n\r\n")
        if b"filename" not in head.lower():
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
        if name in NAMES:
            fields[name] = _decoded(value, name)
        elif name or value:
            others[name] = _decoded(value, name)
    if "code" in fields or "code_b64" in fields:
        raise BadRequest("code", "is in the query, and the body is code too", hint="Send one of them")
    try:
        fields["code"] = body.decode()
    except UnicodeDecodeError as error:
        place = body[max(error.start - 20, 0) : error.end + 20]
        raise BadRequest("body", f"code must be UTF-8: {error.reason}", place) from None
    if others:
        if "kwargs" in fields or "kwargs_b64" in fields:
            hint = f"Move {cut(next(iter(others)))!r} into kwargs, or leave kwargs out"
            raise BadRequest("kwargs", "is given beside other query parameters", hint=hint)
        fields["kwargs"] = msgspec.json.encode(others).decode()
    return fields


def _pairs(text: bytes, where: str) -> dict[str, bytes]:
    """Percent-decoded values by their names, whose characters stand for one byte each."""
    if text.count(b"&") >= MAX_PAIRS:
        raise BadRequest(where, f"has more than {MAX_PAIRS} fields")
    pairs = {}
    for pair in filter(None, text.split(b"&")):
        name, _, value = pair.partition(b"=")
        pairs[_unquoted(name).decode("latin-1")] = _unquoted(value)
    return pairs


def _unquoted(text: bytes) -> bytes:
    """`text` without its percent-encoding, decoded slice by slice: what takes long gives way to other
    threads between two slices only."""
    slices = []
    start = 0
    while start < len(text):
        end = start + SLICE
        if end < len(text):
            # No escape is cut in two.
            escape = text.rfind(b"%", end - 2, end)
            end = escape if escape > start else end
        # Tornado's, since the standard library's takes a minute for 100 MiB of percent signs.
        slices += parse_qs_bytes(b"=" + text[start:end], keep_blank_values=True)[""]
        start = end
    return b"".join(slices)


def _decoded(value: bytes, field: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        place = quote_from_bytes(value[max(error.start - 20, 0) : error.end + 20])
        raise BadRequest(
            cut(field) or "query", f"is not UTF-8 when percent-decoded: {error.reason}", place
        ) from None


def _bytes(text: str) -> bytes:
    """A query's bytes: each of its characters stands for one, unless it came from elsewhere than HTTP."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _parameter(parameters: str, wanted: str) -> str:
    """A parameter of a Content-Type, or nothing (RFC 9110, section 5.6.6)."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == wanted:
            return value.strip().strip('"')
    return ""


def _start(body: bytes) -> str:
    return body[:60].decode("utf-8", "replace")


def _near(body: bytes, message: str) -> str:
    """The part of `body` that a message of msgspec is about; it counts bytes, or means the end."""
    at = re.search(r"byte (\d+)\)", message)
    middle = int(at[1]) if at else len(body)
    return body[max(middle - 25, 0) : middle + 25].decode("utf-8", "replace")
