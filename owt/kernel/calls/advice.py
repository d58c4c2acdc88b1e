"""Advice in the failure of a call that was written in a way that is easy to get wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import structs

from owt.errors import BadRequest
from owt.kernel.code.arguments import MissingArguments
from owt.kernel.context import build_request
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Failed

_PLUS = re.compile(rb"(?:^|&)(code|kwargs)=[^&]*\+")
MAX_VALUE = 40
"""Maximum length of a field's value that is part of an example, in characters."""


def with_advice(failed: Failed, error: BaseException, call: Call, namespace: Mapping[str, Any]) -> Failed:
    """Return the failure with advice about the call, if there is any.

    A plus sign in code or kwargs is a space in a form and in a URL. Fields beside `kwargs` are not arguments.
    A function does not see the variables of the session, the `namespace`, and an expression not the `kwargs`.
    """
    facts = call.request
    # `isinstance` would ask the exception for its class.
    if type(error) is NameError:
        advice = _advice_about_name(error, call, namespace)
        if not advice:
            return failed
        # Text shows the traceback, and documents both.
        trace = f"{failed.traceback.rstrip()}\n{advice}\n" if failed.traceback else ""
        return structs.replace(failed, detail=f"{failed.detail}\n{advice}", traceback=trace)
    if not issubclass(type(error), BadRequest):
        return failed
    assert isinstance(error, BadRequest)
    if error.field not in ("code", "kwargs"):
        return failed
    try:
        advice = " ".join((_advice_about_stream if facts.input_size else _advice)(error, facts))
    except Exception:
        # werkzeug's parsers do not document what they raise for a body that is not of its type.
        return failed
    return structs.replace(failed, detail=f"{failed.detail}\n{advice}") if advice else failed


def _advice_about_name(error: NameError, call: Call, namespace: Mapping[str, Any]) -> str:
    # Python 3.9 does not say which name.
    name = getattr(error, "name", None)
    if type(name) is not str:
        return ""
    if name in namespace:
        return f"{name!r} is a variable of the session: a function reads it as state.{name}"
    try:
        arguments = json.loads(call.kwargs or "null")
    except ValueError:
        return ""
    if type(arguments) is dict and name in arguments:
        return f"{name!r} is in kwargs, which are the arguments of a function: write lambda {name}: ..."
    return ""


def _advice_about_stream(error: BadRequest, facts: RequestFacts) -> Iterator[str]:
    if isinstance(error, MissingArguments) and build_request(facts).mimetype == "multipart/form-data":
        yield "A form larger than --max-body has no arguments: read its files from request.files"


def _advice(error: BadRequest, facts: RequestFacts) -> Iterator[str]:
    request = build_request(facts)
    if isinstance(error, MissingArguments):
        fields: Mapping[str, Any] = {**request.args, **request.form, **_members(request)}
        if values := {name: fields[name] for name in error.names if name in fields}:
            names = ", ".join(map(repr, values))
            example = json.dumps({name: _excerpt(value) for name, value in values.items()})
            yield f"Fields are not arguments: send {names} in kwargs, as in kwargs={example}"
        return
    text = facts.query.encode("latin-1")
    if request.mimetype == "application/x-www-form-urlencoded":
        text += b"&" + facts.body
    if any(match[1].decode() == error.field for match in _PLUS.finditer(text)):
        yield "In a form and in a URL, + is a space: write %2B, or use curl's --data-urlencode"


def _excerpt(value: Any) -> Any:
    return value if len(repr(value)) <= MAX_VALUE else "..."


def _members(request: Any) -> Mapping[str, Any]:
    document = request.get_json(silent=True)
    return document if isinstance(document, dict) else {}
