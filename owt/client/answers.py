"""Decoding of responses by Content-Type, and of failures to exceptions.

    application/json, ...+json        the decoded JSON
    application/x-ndjson              a list with the value of each line
    text/..., XML, JavaScript         str
    anything else (images, audio, ...) bytes

A body that does not match its type is str if it can be decoded, else bytes. For the values that the header
`Owt-Value` names, `owt.client.values` comes first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, get_origin

from owt.errors import CannotSend, RemoteError, UnexpectedValue, shortened

PROBLEM = "application/problem+json"
ANYTHING = "application/json, */*;q=0.9"
"""Accept header of a response in text: tables as records, figures as images, everything else unchanged."""

Value = TypeVar("Value")


def check_type(returns: object) -> None:
    """Raise `CannotSend` for what is neither a type nor None: an argument without its name."""
    if returns is not None and not isinstance(returns, type) and get_origin(returns) is None:
        raise CannotSend(
            f"after the code comes the type of its value; got {shortened(returns)}. Arguments of the code "
            "are keyword arguments: call(code, name=value)"
        )


def converted(value: Any, returns: type[Value]) -> Value:
    """Return a decoded value as a type. Raises `UnexpectedValue`.

    Text is also read as a number or a bool, because an adaptor's response has the text of these. An empty
    text is also read as None and as an empty list: it is the response for None, and for a stream without
    items.
    """
    # `owt call` does not need it, and its import takes time.
    import msgspec

    try:
        return msgspec.convert(value, returns, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        if value == "":
            empties: tuple[object, ...] = (None, [])
            for empty in empties:
                with suppress(msgspec.ValidationError):
                    return msgspec.convert(empty, returns)
        raise UnexpectedValue(f"the value: {error}; got {shortened(value)}") from None


def decoded(content_type: str, body: bytes) -> Any:
    """Return the value of a response. An empty body without a type is None."""
    kind, charset = _parts(content_type)
    match kind:
        case "":
            return body or None
        case "application/x-ndjson":
            # Only at LF: JSON strings may contain other characters that `splitlines` splits at.
            return _json(body, lambda: [json.loads(line) for line in body.split(b"\n") if line.strip()])
        case _ if kind == "application/json" or kind.endswith("+json"):
            return _json(body, lambda: json.loads(body))
        case _ if kind.startswith("text/") or kind.endswith(("/xml", "+xml", "/javascript")):
            return _text(body, charset)
    return body


def failure(status: int, headers: Mapping[str, str], body: bytes) -> RemoteError:
    """Return the error for a response of status 400 or above. Names in `headers` ignore case.

    The response of an adaptor itself may have such a status; `detail` contains its text then.
    """
    run, session = headers.get("Owt-Run"), headers.get("Owt-Session")
    if is_problem(headers):
        problem = decoded(PROBLEM, body)
        if isinstance(problem, dict):
            return RemoteError({"status": status, "run": run, "session": session} | problem)
    text = decoded(headers.get("Content-Type", ""), body)
    if not isinstance(text, str):
        text = decoded("text/plain", body)
    detail = text.strip() if isinstance(text, str) else f"{len(body)} bytes"
    title = f"the {'server' if run is None else 'adaptor'} answered {status}"
    detail = f"{title}: {detail}" if detail else title
    return RemoteError({"title": title, "detail": detail, "status": status, "run": run, "session": session})


def is_problem(headers: Mapping[str, str]) -> bool:
    """Return whether a response is a problem document (RFC 9457), the form of the server's own failures."""
    return _parts(headers.get("Content-Type", ""))[0] == PROBLEM


def run_failure(run: Mapping[str, Any]) -> RemoteError | None:
    """Return the error of a run that failed, or None; `run` is the document of `/_owt/runs/ID`."""
    failure = run.get("failure")
    if not isinstance(failure, dict):
        return None
    facts = {"status": run.get("status"), "run": run.get("id"), "session": run.get("session")}
    return RemoteError(facts | failure | {"type": f"urn:owt:{failure.get('type')}"})


def _parts(content_type: str) -> tuple[str, str]:
    """Return the media type in lower case, and its charset or "" (RFC 9110, section 8.3)."""
    kind, *parameters = content_type.split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return kind.strip().lower(), value.strip().strip('"')
    return kind.strip().lower(), ""


def _json(body: bytes, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, RecursionError):
        return _text(body, "")


def _text(body: bytes, charset: str) -> str | bytes:
    try:
        return body.decode(charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return body
