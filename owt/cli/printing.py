"""Output of `owt call`: the bytes of a response, or each event as it happens."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Any

from owt.cli.output import Output
from owt.client.clients import Client
from owt.client.events import Event, container, is_bundle
from owt.errors import OwtError, RemoteError


def print_response(client: Client, code: str | None, kwargs: dict[str, Any], output: Output) -> int:
    """Write the response's bytes to `output` as they arrive, and then what the call printed to stderr.

    Returns the exit status: 1 for a response of status 400 or above. Raises what `Client.open` raises.
    """
    try:
        with client.open(code, **kwargs) as response:
            length = response.headers.get("Content-Length", "")
            output.begin(int(length) if length.isdecimal() else None)
            for piece in response.iter_bytes():
                output.write(piece)
    except RemoteError as error:
        if error.run is not None:
            _write_printed(client, error.run)
        raise
    _write_printed(client, response.headers["Owt-Run"])
    return _exit_status(response.status_code)


def print_events(client: Client, code: str | None, kwargs: dict[str, Any], output: Output) -> int:
    """Write what the call yields, displays and returns to `output`, and what it prints to stdout and stderr.

    Each event is written when it arrives. Returns the exit status, as `print_response` does. Raises what
    `Client.stream` raises.
    """
    status = 200
    try:
        with closing(client.stream(code, **kwargs)) as events:
            for event in events:
                match event:
                    case Event("done", {"status": int(response_status)}):
                        status = response_status
                    case Event("stderr", str(text)):
                        _write_stderr(text)
                    case Event("stdout", str(text)) if output.is_file:
                        _write_stdout(text.encode(errors="replace"))
                    case Event("incomplete", data):
                        _write_stderr(f"owt: a value broke off after {len(data)} characters\n")
                    case _:
                        output.write(event_bytes(event))
        output.begin(None)
    finally:
        if not output.is_file and not output.ends_in_newline and sys.stdout.isatty():
            _write_stdout(b"\n")
    return _exit_status(status)


def event_bytes(event: Event) -> bytes:
    """Return the bytes of an event for standard output.

    Yielded and returned text and bytes are unchanged. A JSON object or list has a line of its own, as in a
    response that is not a stream. A MIME bundle (a display, or a result that is a figure or a table)
    becomes its plain text. A result of None is empty.
    """
    match event:
        case Event(data=bytes(data)):
            return data
        case Event("stdout", str(text)):
            return text.encode(errors="replace")
        case Event("display", dict(bundle)):
            return _plain_text(bundle)
        case Event("result", "null"):
            return b""
        case Event("message" | "result", str(text)):
            document = container(text)
            if event.name == "result" and isinstance(document, dict) and is_bundle(document):
                return _plain_text(document)
            return (text if document is None else f"{text}\n").encode(errors="replace")
        case Event(data=str(text)):
            return f"{text}\n".encode(errors="replace")
    return f"{json.dumps(event.data)}\n".encode()


def _plain_text(bundle: dict[str, Any]) -> bytes:
    # Imported for streams only: the module takes longer to load than the rest of the client.
    from owt.wire.chunk import FACTS

    text = bundle.get("text/plain")
    kinds = [str(kind) for kind in bundle if kind != FACTS]
    if not kinds:
        # It clears earlier displays, which a terminal cannot do.
        return b""
    if not isinstance(text, str):
        text = f"<{', '.join(kinds)}>"
    return f"{text}\n".encode(errors="replace")


def _write_printed(client: Client, run: str) -> None:
    try:
        facts = client.run(run)
    except OwtError:
        # The response is complete without what the call printed.
        return
    for stream in ("stdout", "stderr"):
        if text := facts.get(stream):
            _write_stderr(text)


def _exit_status(status: int) -> int:
    if status < 400:
        return 0
    _write_stderr(f"owt: the adaptor answered {status}\n")
    return 1


def _write_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _write_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
