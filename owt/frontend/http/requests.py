"""HTTP requests to calls.

    parsed = parse_fields(facts)                  call of the request's fields
    match = the endpoint at the path, if `parsed.needs_endpoint`
    call = parse_call(parsed, match)

Both functions are pure and raise `BadRequest`, which names the field and shows its value. They alone give the
fields their meaning; `owt.frontend.http.fields` reads them from query and body. Rules beyond the table of
fields:

- Plain text and base64 of the same field (`code` and `code_b64`, `kwargs` and `kwargs_b64`) are ambiguous,
  also if one is in the query and the other in the body: 400. So are `adaptor` and code.
- Empty `code` and `kwargs` count as missing. Every other field must have a value, but a switch without one
  (`?reload`) is on.
- The field `session` wins over the header `Owt-Session`, and `display` over `Accept`, which still decides
  whether the answer is events.
- `cache_kwargs` and `cache_key_override` have no effect without `use_cache`.
- Code wins over an endpoint at the request's path. `fn_name` with a session does, too.
- In a JSON body `kwargs` may be any JSON. A JSON string stands for the text in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

import msgspec
from msgspec import Raw, Struct

from owt.errors import BadRequest, MethodNotAllowed, NoSuchEndpoint
from owt.frontend import nesting
from owt.frontend.config.setting import SWITCH
from owt.frontend.endpoints import Match
from owt.frontend.http.fields import Field, cut, decode_base64, read_fields
from owt.frontend.runs.claims import Claim
from owt.wire import sse
from owt.wire.accept import PROBLEM, checked_ranges, names, prefers_json, ranks_first
from owt.wire.call import Caching, Call, RequestFacts, Target
from owt.wire.names import (
    adaptor_name,
    directory,
    environment,
    function_name,
    kernelspec_name,
    run_id,
    session_name,
)

METHODS = ("GET", "POST")
"""Methods of calls that bring code, or name it. HEAD is read as GET."""
UPLOAD_METHODS = (*METHODS, "PUT")
"""Those of calls with a body that has no fields: curl uploads by PUT."""
_HEADERS = frozenset({"content-type", "accept", "owt-session", "owt-run", "owt-caller"})
LARGE_TEXT = 4096
"""Size of a JSON string, in bytes, from which it pays to look for escapes before it is decoded."""
_SWITCH = SWITCH | {"": True}
_SWITCH_NUMBER = {0: False, 1: True}  # also False and True

_strings = msgspec.json.Decoder(str | None)
_numbers = msgspec.json.Decoder(int | float | str | None)
_objects = msgspec.json.Decoder(dict[str, str | int] | None)
_switches = msgspec.json.Decoder(bool | int | str | None)


class ParsedRequest(Struct, frozen=True):
    """The call that a request asks for, except an endpoint at its path.

    `blank` is True for a request that has no field at all. `mistyped` is as in `ReadFields`. `claim` is for a
    client that has chosen the id of the run.
    """

    call: Call
    blank: bool
    mistyped: tuple[str, str] | None = None
    claim: Claim | None = None

    @property
    def needs_endpoint(self) -> bool:
        """Return True if the fields do not say what to run, so that the path has to."""
        return not (self.call.code or self.call.adaptor or (self.call.session and self.call.fn_name))


def parse_fields(facts: RequestFacts, *, max_nesting: int = 100) -> ParsedRequest:
    """Return the call of a request's fields.

    At most `max_nesting` brackets may be open at once in `kwargs`. Raises `BadRequest`.
    """
    content_type = ""
    accepts: list[str] = []
    header_session = caller = chosen_id = None
    for name, value in facts.headers:
        if (lower := name.lower()) not in _HEADERS:
            continue
        match lower:
            case "content-type":
                content_type = value
            case "accept":
                accepts.append(value)
            case "owt-session":
                header_session = value.strip()
            case "owt-run":
                chosen_id = value.strip()
            case "owt-caller":
                caller = value.strip()
    # A repeated header is a list written in several lines (RFC 9110, section 5.3).
    accept = ",".join(filter(None, accepts)) or "*/*"
    fields, in_body, mistyped = read_fields(facts, content_type)
    values = {name: _READERS[name](name, field) for name, field in fields.items()}
    code = _either(values, "code")
    kwargs = _either(values, "kwargs")
    if kwargs is not None:
        nesting.check("kwargs", kwargs, max_nesting)
    adaptor = values.get("adaptor")
    if code and adaptor:
        raise BadRequest("adaptor", "cannot be combined with code", adaptor)
    if mistyped is not None and (adaptor or (code and mistyped[0] not in code)):
        # An adaptor that reads a field of this name mentions it.
        raise BadRequest(mistyped[0], f"is no field of owt; did you mean {mistyped[1]}?")
    session = values.get("session")
    if session is None and header_session is not None:
        session = session_name(header_session, "Owt-Session")
    caching = None
    if values.get("use_cache"):
        caching = Caching(values.get("cache_kwargs", False), values.get("cache_key_override"))
    events = _events(values.get("stream"), accept)
    if display := values.get("display"):
        # The form of a failure is still that of the header.
        accept = f"{PROBLEM}, {display}" if prefers_json(accept) else display
    call = Call(
        request=facts,
        code=code.removeprefix("\ufeff") if code else None,
        adaptor=adaptor,
        kwargs=kwargs,
        session=session,
        fn_name=values.get("fn_name"),
        kernel=values.get("kernel"),
        accept=accept,
        sse=events == "always",
        sse_streams=events == "streams",
        reload=values.get("reload", False),
        timeout=values.get("timeout"),
        caching=caching,
        detach=values.get("detach", False),
        body_parsed=in_body,
        caller=caller,
        env=values.get("env"),
        cwd=values.get("cwd"),
    )
    claim = None
    if chosen_id is not None:
        claim = Claim(run_id(chosen_id), facts, content_type, header_session)
    return ParsedRequest(call, not fields and header_session is None, mistyped, claim)


def is_view(parsed: ParsedRequest) -> bool:
    """Return True for a GET without any field, by which a browser asks for a page or its icon."""
    facts = parsed.call.request
    return parsed.blank and not parsed.mistyped and facts.method in ("GET", "HEAD") and not facts.body


def parse_call(
    parsed: ParsedRequest, match: Match | None = None, methods: Sequence[str] = METHODS
) -> Call:
    """Return the call that a request asks for, by one of these methods or HEAD.

    `match` is the endpoint at the request's path; it counts only if the fields do not say what to run. Raises
    `BadRequest`, `NoSuchEndpoint` for what browsers and crawlers ask for, and `MethodNotAllowed`.
    """
    call, facts = parsed.call, parsed.call.request
    if parsed.needs_endpoint:
        if match is not None:
            session, target = _at(match, call.session, call.fn_name)
            return msgspec.structs.replace(call, session=session, endpoint=target, body_parsed=False)
        if facts.method in methods or facts.method == "HEAD":
            endpoints = f"{facts.root}/_owt/endpoints"
            missing = f"is missing, and {cut(facts.path)!r} is no endpoint ({endpoints} lists them)"
            # A field of another name at `/` is a mistyped one.
            error = NoSuchEndpoint if is_view(parsed) and facts.path not in ("", "/") else BadRequest
            raise error("code", missing, hint=_hint(parsed))
    if facts.method not in methods and facts.method != "HEAD":
        raise MethodNotAllowed(facts.method, facts.path, methods)
    return call


def _at(match: Match, session: str | None, fn_name: str | None) -> tuple[str, Target]:
    """Return session and target of a call of an endpoint, which leaves neither to the request."""
    if session not in (None, match.session):
        rule = f"the endpoint {match.target.path} is in session {match.session}"
        raise BadRequest("session", rule, session, hint="Leave it out")
    if fn_name is not None:
        rule = f"the endpoint {match.target.path} says itself which function that is"
        raise BadRequest("fn_name", rule, fn_name, hint="Leave it out, or name the session too")
    return match.session, match.target


def _hint(parsed: ParsedRequest) -> str:
    """Return advice about missing code. curl sends any body as a form unless it has a Content-Type."""
    if parsed.mistyped is not None:
        return f"{parsed.mistyped[0]} is no field of owt; did you mean {parsed.mistyped[1]}?"
    facts = parsed.call.request
    content_type = next((value for name, value in facts.headers if name.lower() == "content-type"), "")
    essence = content_type.partition(";")[0].strip().lower()
    if facts.body and essence == "application/x-www-form-urlencoded":
        if facts.body.lstrip()[:1] == b"{":
            return "The body looks like JSON: send -H 'Content-Type: application/json'"
        return "If the body is the code itself, send -H 'Content-Type: text/x-python'"
    if facts.body and essence == "multipart/form-data":
        return "Files are for the adaptor; curl -F 'code=<adaptor.py' sends a file's text as a field"
    # curl's option for a Unix socket goes beside the URL, and the URL's host is of no importance.
    url = f"{facts.scheme}://{facts.host or 'localhost'}{facts.root}/"
    return f"For example: curl {url} --data-urlencode 'code=1 + 1'"


def _text(name: str, field: Field) -> str | None:
    text = field if isinstance(field, str) else _json_text(cast(Raw, field), name)
    if text is not None and "\0" in text:
        raise BadRequest(name, "has a NUL character in it", cut(text))
    return text


def _json_text(raw: Raw, name: str) -> str | None:
    json = bytes(raw)
    try:
        if len(json) > LARGE_TEXT and json[:1] == b'"' and b"\\" not in json:
            # Valid JSON without escapes: several times as fast as the decoder.
            return str(memoryview(json)[1:-1], "utf-8")
        return _strings.decode(raw)
    except ValueError:  # msgspec's own errors and UnicodeDecodeError
        kind = "a JSON string" if _is_utf8(json) else "UTF-8 text"
        raise BadRequest(name, f"must be {kind}", _excerpt(raw)) from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode(decoder: msgspec.json.Decoder[Any], raw: Raw, name: str, kind: str) -> Any:
    try:
        return decoder.decode(raw)
    except ValueError:  # msgspec's own errors and UnicodeDecodeError
        raise BadRequest(name, f"must be {kind}", _excerpt(raw)) from None


class _Json(str):
    """JSON text that error messages show without quotes."""

    __repr__ = str.__str__


def _excerpt(value: str | bytes | Raw) -> str:
    """Return a field's value for an error message; JSON as its own text."""
    if isinstance(value, str):
        return cut(value)
    return _Json(bytes(memoryview(value)[:100]).decode("utf-8", "replace"))


def _either(values: dict[str, Any], name: str) -> str | None:
    """Return field `name` from its plain text or its base64 form; None if it is empty."""
    plain, encoded = values.get(name), values.get(f"{name}_b64")
    if encoded is None:
        return plain or None
    if plain is not None:
        raise BadRequest(name, f"is ambiguous: both {name} and {name}_b64 are there", cut(plain))
    return decode_base64(f"{name}_b64", encoded) or None


def _encoded(name: str, field: Field) -> str | bytes | None:
    return field if type(field) is bytes else _text(name, field)


def _kwargs(name: str, field: Field) -> str | None:
    if isinstance(field, Raw):
        raw = memoryview(field)
        if bytes(raw[:1]) not in (b'"', b"n"):
            try:
                return str(raw, "utf-8")
            except UnicodeDecodeError as error:
                raise BadRequest(name, f"is not UTF-8: {error.reason}") from None
    text = _text(name, field)
    return "" if text is not None and text.isspace() else text


def _checked(check: Callable[[str, str], str], name: str, field: Field) -> str | None:
    text = _text(name, field)
    return None if text is None else check(text, name)


def _env(name: str, field: Field) -> dict[str, str] | None:
    kind = 'a JSON object such as {"OMP_NUM_THREADS": "4"}'
    raw = Raw(field.encode()) if isinstance(field, str) else cast(Raw, field)
    variables = _decode(_objects, raw, name, kind)
    return None if variables is None else environment(variables)


def _stream(name: str, field: Field) -> str | None:
    text = _text(name, field)
    if text not in ("sse", "raw", "auto", None):
        raise BadRequest(name, "must be sse, raw or auto", cut(text))
    return text


def _events(stream: str | None, accept: str) -> Literal["always", "streams", "never"]:
    """Return when to answer with events: a client that ranks another type first gets them of a stream."""
    if stream == "sse":
        return "always"
    if stream == "raw" or not names(accept, sse.CONTENT_TYPE):
        return "never"
    return "always" if ranks_first(accept, sse.CONTENT_TYPE) else "streams"


def _switch(name: str, field: Field) -> bool:
    kind = "true or false (or 1, 0, yes, no, on, off)"
    value = field if isinstance(field, str) else _decode(_switches, cast(Raw, field), name, kind)
    if value is None:
        return False
    # An int is compared rather than printed: Python does not print one of thousands of digits.
    switch = _SWITCH.get(value.strip().lower()) if isinstance(value, str) else _SWITCH_NUMBER.get(value)
    if switch is None:
        raise BadRequest(name, f"must be {kind}", _excerpt(field))
    return switch


def _timeout(name: str, field: Field) -> float | None:
    kind = "a number of seconds above 0"
    value = field if isinstance(field, str) else _decode(_numbers, cast(Raw, field), name, kind)
    if value is None:
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not (seconds > 0 and math.isfinite(seconds)):
        raise BadRequest(name, f"must be {kind}", _excerpt(field))
    return seconds


_READERS: dict[str, Callable[[str, Field], Any]] = {
    "code": _text,
    "code_b64": _encoded,
    "kwargs": _kwargs,
    "kwargs_b64": _encoded,
    "adaptor": partial(_checked, adaptor_name),
    "fn_name": partial(_checked, function_name),
    "session": partial(_checked, session_name),
    "kernel": partial(_checked, kernelspec_name),
    "env": _env,
    "cwd": partial(_checked, directory),
    "use_cache": _switch,
    "cache_kwargs": _switch,
    "cache_key_override": _text,
    "timeout": _timeout,
    "reload": _switch,
    "stream": _stream,
    "display": partial(_checked, checked_ranges),
    "detach": _switch,
}
"""Function that returns the value of each field, or None for JSON's null. It raises `BadRequest`."""
