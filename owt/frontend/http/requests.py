"""HTTP pieces to a `Call`, or a `BadRequest` that names the field and shows what arrived.

Pure, and the only place where a request's fields get their meaning; `owt.frontend.http.fields` says
where they come from. Rules that the table of fields leaves open:

- Plain text and base64 of the same thing (`code` and `code_b64`, `kwargs` and `kwargs_b64`) is
  ambiguous, even when one is in the query and the other in the body: 400. So is `adaptor` with code.
- Empty `code` and `kwargs` count as not given; every other field must hold something, except that
  a switch without a value (`?reload`) is on.
- The field `session` wins over the header `Owt-Session`.
- `cache_kwargs` and `cache_key_override` without `use_cache` change nothing.
- Code wins over an endpoint at the request's path, and so does `fn_name` with a session.
- In a JSON body `kwargs` may be JSON of any kind; a JSON string is taken as the text that it holds.
"""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from owt.errors import BadRequest, MethodNotAllowed
from owt.frontend import nesting
from owt.frontend.accept import lists
from owt.frontend.endpoints import Match
from owt.frontend.http import base64_fields
from owt.frontend.http.fields import Fields, cut, gather, has_any
from owt.wire.call import Caching, Call, RequestFacts, Target
from owt.wire.names import MAX_NAME_LENGTH, session_name

METHODS = ("GET", "POST")
"""The methods of a call that brings code, or names it."""
_KERNEL_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ADAPTOR_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SWITCH = {"": True, "1": True, "true": True, "yes": True, "on": True} | {
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_SWITCH_NUMBER = {0: False, 1: True}  # and so also False and True
_EXAMPLE = "For example: curl localhost:9876/ --data-urlencode 'code=1 + 1'"

_strings = msgspec.json.Decoder(str | None)
_numbers = msgspec.json.Decoder(int | float | str | None)
_switches = msgspec.json.Decoder(bool | int | str | None)


def parse(
    facts: RequestFacts, *, max_nesting: int = 100, find: Callable[[], Match | None] = lambda: None
) -> Call:
    """The call that a request asks for. Raises `BadRequest` and `MethodNotAllowed`, whatever arrives,
    and what `find` raises.

    In `kwargs`, at most `max_nesting` brackets may be open at once. `find` gives the endpoint at the
    request's path; it is not asked when the request says what to run.
    """
    content_type = ""
    accepts: list[str] = []
    header_session = None
    for name, value in facts.headers:
        match name.lower():
            case "content-type":
                content_type = value
            case "accept":
                accepts.append(value)
            case "owt-session":
                header_session = value.strip()
    # A repeated header is a list written in several lines (RFC 9110, section 5.3).
    accept = ",".join(filter(None, accepts)) or "*/*"
    fields = gather(facts, content_type)
    code = _either(fields, "code", _text(fields, "code"))
    kwargs = _either(fields, "kwargs", _kwargs(fields))
    if kwargs is not None:
        nesting.check("kwargs", kwargs, max_nesting)
    adaptor = _matching(fields, "adaptor", _ADAPTOR_NAME, "a name like 'speak'")
    session = _session(fields, header_session)
    fn_name = _fn_name(fields)
    if code and adaptor:
        raise BadRequest("adaptor", "stands for code, and the request has code too", adaptor)
    target = None
    if not code and not adaptor and not (session and fn_name):
        found = find()
        if found is not None:
            session, target = _at(found, session, fn_name)
        elif facts.method in METHODS:
            none = f"is missing, and {cut(facts.path)!r} is no endpoint (/_owt/endpoints lists them)"
            raise BadRequest("code", none, hint=_hint(facts, content_type))
    if target is None and facts.method not in METHODS:
        raise MethodNotAllowed(facts.method, facts.path, METHODS)
    return Call(
        request=facts,
        code=code.removeprefix("\ufeff") if code else None,
        adaptor=adaptor,
        kwargs=kwargs,
        fn_name=fn_name or "run",
        session=session,
        kernel=_matching(fields, "kernel", _KERNEL_NAME, "the name of a kernelspec"),
        accept=accept,
        sse=_sse(fields, accept),
        reload=_switch(fields, "reload"),
        timeout=_timeout(fields),
        caching=_caching(fields),
        detach=_switch(fields, "detach"),
        endpoint=target,
    )


def is_blank(facts: RequestFacts) -> bool:
    """Whether this is a GET of `/` without any field: a browser that opens the page."""
    return (
        facts.method in ("GET", "HEAD")
        and facts.path in ("", "/")
        and not facts.body
        and not has_any(facts.query)
        and not any(name.lower() == "owt-session" for name, _ in facts.headers)
    )


def _at(found: Match, session: str | None, fn_name: str | None) -> tuple[str, Target]:
    """The session and the target of a call of an endpoint, which leave nothing to choose."""
    if session not in (None, found.session):
        rule = f"the endpoint {found.target.path} is in session {found.session}"
        raise BadRequest("session", rule, session, hint="Leave it out")
    if fn_name is not None:
        rule = f"the endpoint {found.target.path} says itself which function that is"
        raise BadRequest("fn_name", rule, fn_name, hint="Leave it out, or name the session too")
    return found.session, found.target


def _hint(facts: RequestFacts, content_type: str) -> str:
    """What to do about missing code. curl calls any body a form if it is not told better."""
    essence = content_type.partition(";")[0].strip().lower()
    if facts.body and essence == "application/x-www-form-urlencoded":
        if facts.body.lstrip()[:1] == b"{":
            return "The body looks like JSON: say so with -H 'Content-Type: application/json'"
        return "If the body is the code itself, say so with -H 'Content-Type: text/x-python'"
    if facts.body and essence == "multipart/form-data":
        return "Files are for the adaptor; curl -F 'code=<adaptor.py' sends a file's text as a field"
    return _EXAMPLE


def _text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    text = value if isinstance(value, str) else _from_raw(_strings, value, name, "text")
    if text is not None and "\0" in text:
        raise BadRequest(name, "has a NUL character in it", cut(text))
    return text


def _from_raw(decoder: msgspec.json.Decoder[Any], raw: Raw, name: str, kind: str) -> Any:
    try:
        return decoder.decode(raw)
    except ValueError:  # msgspec's own errors and UnicodeDecodeError
        raise BadRequest(name, f"must be {kind}", _shown(raw)) from None


def _shown(value: str | Raw) -> str:
    """A field's value for an error message; of JSON, its own text."""
    if isinstance(value, str):
        return cut(value)
    return bytes(memoryview(value)[:100]).decode("utf-8", "replace")


def _either(fields: Fields, name: str, plain: str | None) -> str | None:
    """Field `name` from its plain text or from its base64 form; None when it is empty."""
    text = _text(fields, f"{name}_b64")
    if text is None:
        return plain or None
    if plain is not None:
        raise BadRequest(name, f"is ambiguous: both {name} and {name}_b64 are there", cut(plain))
    return base64_fields.decoded(f"{name}_b64", text) or None


def _kwargs(fields: Fields) -> str | None:
    value = fields.get("kwargs")
    if isinstance(value, Raw):
        raw = memoryview(value)
        if bytes(raw[:1]) not in (b'"', b"n"):
            try:
                return str(raw, "utf-8")
            except UnicodeDecodeError as error:
                raise BadRequest("kwargs", f"is not UTF-8: {error.reason}") from None
    text = _text(fields, "kwargs")
    return "" if text is not None and text.isspace() else text


def _matching(fields: Fields, name: str, pattern: re.Pattern[str], kind: str) -> str | None:
    text = _text(fields, name)
    if text is not None and (len(text) > MAX_NAME_LENGTH or not pattern.fullmatch(text)):
        raise BadRequest(name, f"must be {kind} ({pattern.pattern})", cut(text))
    return text


def _fn_name(fields: Fields) -> str | None:
    text = _text(fields, "fn_name")
    if text is None:
        return None
    if len(text) > MAX_NAME_LENGTH or not text.isidentifier() or keyword.iskeyword(text):
        raise BadRequest("fn_name", "must be a Python identifier", cut(text))
    # Python reads identifiers in this form (Language Reference, "Identifiers and keywords").
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _session(fields: Fields, header: str | None) -> str | None:
    name = _text(fields, "session")
    if name is not None:
        return session_name(name)
    return None if header is None else session_name(header, "Owt-Session")


def _sse(fields: Fields, accept: str) -> bool:
    match _text(fields, "stream"):
        case "sse":
            return True
        case "raw":
            return False
        case "auto" | None:
            return lists(accept, "text/event-stream")
        case other:
            raise BadRequest("stream", "must be sse, raw or auto", cut(other))


def _switch(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    kind = "true or false (or 1, 0, yes, no, on, off)"
    given = value if isinstance(value, str) else _from_raw(_switches, value, name, kind)
    if given is None:
        return False
    # An int is compared and not printed: Python refuses to print one of thousands of digits.
    known = _SWITCH.get(given.strip().lower()) if isinstance(given, str) else _SWITCH_NUMBER.get(given)
    if known is None:
        raise BadRequest(name, f"must be {kind}", _shown(value))
    return known


def _timeout(fields: Fields) -> float | None:
    value = fields.get("timeout")
    if value is None:
        return None
    kind = "a number of seconds above 0"
    given = value if isinstance(value, str) else _from_raw(_numbers, value, "timeout", kind)
    if given is None:
        return None
    try:
        seconds = float(given)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not (seconds > 0 and math.isfinite(seconds)):
        raise BadRequest("timeout", f"must be {kind}", _shown(value))
    return seconds


def _caching(fields: Fields) -> Caching | None:
    with_kwargs = _switch(fields, "cache_kwargs")
    key = _text(fields, "cache_key_override")
    return Caching(with_kwargs, key) if _switch(fields, "use_cache") else None
