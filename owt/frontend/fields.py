"""Where a request's fields come from: query string, JSON object, form, multipart, or the code itself.

A body's field wins over the query's field of the same name, and of a repeated field the last one
counts. Nothing is interpreted here: a `Fields` maps names to text, or to the JSON that a JSON body
had for it. Names that are no fields of ours may be in it and mean nothing; the adaptor reads them.

Sources: the URL standard (application/x-www-form-urlencoded), RFC 8259 (JSON), RFC 7578
(multipart/form-data), RFC 3629 (UTF-8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw
from tornado.httputil import ParseMultipartConfig, parse_multipart_form_data

from owt.errors import BadRequest
from owt.wire.call import RequestFacts

Fields = Mapping[str, str | Raw]

NAMES = frozenset(
    {
        "code_b64",
        "code",
        "kwargs_b64",
        "kwargs",
        "adaptor",
        "fn_name",
        "session",
        "kernel",
        "use_cache",
        "cache_kwargs",
        "cache_key_override",
        "timeout",
        "reload",
        "stream",
        "detach",
    }
)

# More than any form needs; the parsing happens on the server's event loop.
MAX_PAIRS = 10_000
MAX_PARTS = 1_000
MAX_PART_HEAD = 10_000

_objects = msgspec.json.Decoder(dict[str, Raw])
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
    found = _from_pairs(facts.query, "query") if facts.query else {}
    fields: Fields
    match essence:
        case _ if not body:
            return found
        case "application/json":
            fields = _from_json(body)
        case "application/x-www-form-urlencoded":
            fields = _from_pairs(body.decode("latin-1"), "body")
        case "multipart/form-data":
            fields = _from_multipart(body, parameters)
        case _:
            return found
    return {**found, **fields} if found else fields


def has_any(query: str) -> bool:
    """Whether any field of ours is in this query string."""
    return any(_name(pair.partition("=")[0]) in NAMES for pair in query.split("&"))


def cut(value: str) -> str:
    """The two ends of `value`, enough for an error message, so that a long one is not copied."""
    return value if len(value) <= 200 else value[:100] + value[-100:]


def _from_pairs(text: str, where: str) -> Fields:
    fields: dict[str, str | Raw] = {}
    for name, value in _pairs(text, where):
        name = _name(name)
        if name in NAMES:
            fields[name] = _decoded(value, name)
    return fields


def _from_json(body: bytes) -> Fields:
    try:
        if body.lstrip(b" \t\r\n").startswith(b"{"):
            return _objects.decode(body)
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
    for name, value in _pairs(query, "query"):
        name = _decoded(name, "query")
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


def _pairs(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Names and values as they stand, still percent-encoded."""
    if text.count("&") >= MAX_PAIRS:
        raise BadRequest(where, f"has more than {MAX_PAIRS} fields")
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        yield name, value


def _name(text: str) -> str:
    """A field's name; one that is not UTF-8 is none of ours."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _decoded(text: str, field: str) -> str:
    """`text` without its percent-encoding; each character of `text` stands for one byte."""
    if text.isascii() and "%" not in text:
        return text.replace("+", " ")
    try:
        return unquote_to_bytes(_bytes(text.replace("+", " "))).decode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise BadRequest(
            cut(field) or "query", f"is not UTF-8 when percent-decoded: {error.reason}", cut(text)
        ) from None


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


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
