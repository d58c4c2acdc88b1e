"""A call as `owt call` shows it: the whole answer's bytes, or each event as it happens."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Any

from owt.cli.output import Output
from owt.client.clients import Client
from owt.client.events import Event, container, is_bundle
from owt.errors import OwtError, RemoteError


def print_answer(client: Client, code: str | None, kwargs: dict[str, Any], output: Output) -> int:
    """The answer's bytes, exactly, as they come; after them, on stderr, what the call printed.

    Gives the exit status: 1 for an answer of status 400 or above. Raises what `Client.open` does.
    """
    try:
        with client.open(code, **kwargs) as response:
            length = response.headers.get("Content-Length", "")
            output.begin(int(length) if length.isdecimal() else None)
            for piece in response.iter_bytes():
                output.write(piece)
    except RemoteError as error:
        if error.run is not None:
            _tell_printed(client, error.run)
        raise
    _tell_printed(client, response.headers["Owt-Run"])
    return _exit_status(response.status_code)


def print_events(client: Client, code: str | None, kwargs: dict[str, Any], output: Output) -> int:
    """What the call yields, prints, displays and returns, each as soon as it happens.

    Values go to `output`, what is printed to stdout and stderr. Gives the exit status, as above.
    Raises what `Client.stream` does.
    """
    status = 200
    try:
        with closing(client.stream(code, **kwargs)) as events:
            for event in events:
                match event:
                    case Event("done", {"status": int(code_of_answer)}):
                        status = code_of_answer
                    case Event("stderr", str(text)):
                        tell(text)
                    case Event("stdout", str(text)) if output.is_file:
                        _write_stdout(text.encode(errors="replace"))
                    case Event("incomplete", data):
                        tell(f"owt: a value broke off after {len(data)} characters\n")
                    case _:
                        output.write(shown(event))
        output.begin(None)
    finally:
        if not output.is_file and not output.ends_in_newline and sys.stdout.isatty():
            _write_stdout(b"\n")
    return _exit_status(status)


def shown(event: Event) -> bytes:
    """An event as its bytes on standard output.

    Yielded and returned text and bytes are as they are. A JSON object or list gets a line of its own,
    as the answer itself would have it; of a MIME bundle (a display, or the result that is a figure or
    a table) its plain text is shown, and None is nothing.
    """
    match event:
        case Event(data=bytes(data)):
            return data
        case Event("stdout", str(text)):
            return text.encode(errors="replace")
        case Event("display", dict(bundle)):
            return _bundle(bundle)
        case Event("result", "null"):
            return b""
        case Event("message" | "result", str(text)):
            document = container(text)
            if event.name == "result" and isinstance(document, dict) and is_bundle(document):
                return _bundle(document)
            return (text if document is None else f"{text}\n").encode(errors="replace")
        case Event(data=str(text)):
            return f"{text}\n".encode(errors="replace")
    return f"{json.dumps(event.data)}\n".encode()


def tell(text: str) -> None:
    """Say something that is not the answer."""
    sys.stderr.write(text)
    sys.stderr.flush()


def _tell_printed(client: Client, run: str) -> None:
    try:
        told = client.run(run)
    except OwtError:
        # The answer is here, and what was printed is not a part of it.
        return
    for stream in ("stdout", "stderr"):
        if text := told.get(stream):
            tell(text)


def _exit_status(status: int) -> int:
    if status < 400:
        return 0
    tell(f"owt: the adaptor answered {status}\n")
    return 1


def _write_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _bundle(bundle: dict[str, Any]) -> bytes:
    # Not for an answer that is no stream: of all the client loads, this takes the longest.
    from owt.wire.chunk import FACTS

    text = bundle.get("text/plain")
    kinds = [str(kind) for kind in bundle if kind != FACTS]
    if not kinds:
        # Earlier ones make way, which what is printed already cannot.
        return b""
    if not isinstance(text, str):
        text = f"<{', '.join(kinds)}>"
    return f"{text}\n".encode(errors="replace")
