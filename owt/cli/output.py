"""Output of `owt call` to standard output or a file: a response's bytes, or each event as it happens."""

from __future__ import annotations

import getpass
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import click

from owt.cli.input import Lines
from owt.client.clients import Client
from owt.client.events import Event, container, is_bundle, is_prompt
from owt.client.following import Attempts
from owt.client.request import chosen_run
from owt.errors import CannotSend, ConfigError, OwtError, RemoteError, Unreachable

if TYPE_CHECKING:
    import httpx
    from rich.progress import Progress

PATIENCE = 0.5
"""Seconds of a download after which a progress line is shown."""


class Output:
    """Writer of a response's bytes to standard output (`path` None or `-`) or to a file. A context manager.

    A file is opened at once, so that an error comes before the call, and keeps its content until the
    response begins. Raises `ConfigError` if it cannot be opened.
    """

    def __init__(self, path: str | None, patience: float = PATIENCE) -> None:
        self.bytes = 0
        self.ends_in_newline = True
        self._path = None if path in (None, "-") else path
        self._patience = patience
        self._begun = False
        self._began = time.monotonic()
        self._total: int | None = None
        self._progress: Progress | None = None
        self._existed = self._path is not None and Path(self._path).exists()
        self._file: BinaryIO | None = None if self._path is None else _open(self._path)

    @property
    def is_file(self) -> bool:
        """True unless the destination is standard output."""
        return self._file is not None

    def begin(self, total: int | None) -> None:
        """Empty the file for a response, of `total` bytes if that is known. `write` does so too."""
        if self._begun:
            return
        self._begun = True
        if self._file is not None:
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.truncate(0)
            self._existed = True
        self._total = total
        self._began = time.monotonic()

    def write(self, data: bytes) -> None:
        """Write and flush the next part of the response."""
        if not data:
            return
        self.begin(None)
        file = sys.stdout.buffer if self._file is None else self._file
        file.write(data)
        file.flush()
        self.bytes += len(data)
        self.ends_in_newline = data.endswith(b"\n")
        if self._file is not None:
            self._show()

    def close(self) -> None:
        """Close the file, and remove it if this object made it and no response began."""
        if self._progress is not None:
            self._progress.stop()
        if self._file is not None and self._path is not None:
            self._file.close()
            if not self._existed:
                Path(self._path).unlink(missing_ok=True)

    def _show(self) -> None:
        if self._progress is None:
            if time.monotonic() - self._began < self._patience or not sys.stderr.isatty():
                return
            self._progress = _progress()
            self._progress.add_task(os.path.basename(self._path or ""), total=self._total)
            self._progress.start()
        self._progress.update(self._progress.task_ids[0], completed=self.bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open(path: str) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb")
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written: {error.strerror}") from None


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)


def print_response(client: Client, code: str | None, kwargs: dict[str, Any], output: Output) -> int:
    """Write the response's bytes to `output` as they arrive, and then what the call printed to stderr.

    With the option `retry`, a response that broke off is requested again, and its first bytes are skipped.
    Returns the exit status: 1 for a response of status 400 or above. Raises what `Client.open` raises.
    """
    retry, headers = client.options.retry, client.options.headers
    if retry is not None and chosen_run(headers) is None:
        client = client.with_options(headers={**headers, "Owt-Run": os.urandom(16).hex()})
    attempts = Attempts(chosen_run(client.options.headers), retry)
    try:
        while True:
            try:
                if output.bytes and attempts.run is not None:
                    # After a restart of the server, another run would send other bytes.
                    client.run(attempts.run)
                with client.open(code, **kwargs) as response:
                    _write_response(response, output)
                break
            except Unreachable as error:
                time.sleep(attempts.delay_after(error))
    except RemoteError as error:
        if error.run is not None:
            _write_printed(client, error.run)
        raise
    if not client.options.detach:
        _write_printed(client, response.headers["Owt-Run"])
    return _exit_status(response.status_code)


def _write_response(response: httpx.Response, output: Output) -> None:
    length = response.headers.get("Content-Length", "")
    output.begin(int(length) if length.isdecimal() else None)
    skipped = output.bytes
    for piece in response.iter_bytes():
        output.write(piece[skipped:])
        skipped = max(0, skipped - len(piece))


def print_events(client: Client, code: str | None, kwargs: dict[str, Any], output: Output) -> int:
    """Write what the call yields, displays and returns to `output`, and what it prints to stdout and stderr.

    Each event is written when it arrives. Returns the exit status, as `print_response` does. Raises what
    `Client.stream` raises.
    """

    def ask(event: Event) -> None:
        client.answer(event, _answer(event.data["prompt"], hidden=event.data["password"]))

    with closing(client.stream(code, **kwargs)) as events:
        return _print(events, output, ask)


def print_dialogue(
    client: Client, code: str | None, kwargs: dict[str, Any], lines: Lines, output: Output, *, is_raw: bool
) -> int:
    """Send lines while the call runs, and write events as `print_events` does.

    With `is_raw`, stderr gets what the call prints. The lines are also the answers to an `input()`.
    """

    def ask(event: Event) -> None:
        if event.data["password"]:
            lines.hide()
        _write_stderr(event.data["prompt"])

    with client.duplex(code, **kwargs) as stream:
        lines.send_to(stream)
        try:
            return _print(stream.events(), output, ask, is_raw=is_raw)
        except CannotSend as error:
            raise lines.error or error from None
        finally:
            lines.show()


def _print(
    events: Iterator[Event], output: Output, ask: Callable[[Event], None], *, is_raw: bool = False
) -> int:
    """Write events, and return the exit status. `ask` shows a question. With `is_raw`, what the call prints
    goes to stderr, and displays are left out."""
    status = 200
    try:
        for event in events:
            match event:
                case Event("done", {"status": int(response_status)}):
                    status = response_status
                case Event("stderr", str(text)):
                    _write_stderr(text)
                case Event("stdout", str(text)) if is_raw:
                    _write_stderr(text)
                case Event("stdout", str(text)) if output.is_file:
                    click.echo(text.encode(errors="replace"), nl=False)
                case Event("display") if is_raw:
                    pass
                case Event("input") if is_prompt(event):
                    ask(event)
                case Event("incomplete", data):
                    _write_stderr(f"owt: a value broke off after {len(data)} characters\n")
                case _:
                    output.write(event_bytes(event))
        output.begin(None)
    finally:
        if not output.is_file and not output.ends_in_newline and sys.stdout.isatty():
            click.echo()
    return _exit_status(status)


def _answer(prompt: str, *, hidden: bool) -> str | None:
    """Return what the user of the terminal answers; None for the end of the input, or without a terminal."""
    if not sys.stdin.isatty():
        return None
    try:
        if hidden:
            return getpass.getpass(prompt)
        # Line editing, by `input` itself.
        with suppress(ImportError):
            import readline  # noqa: F401
        if sys.stdout.isatty():
            return input(prompt)
        _write_stderr(prompt)
        return input()
    except EOFError:
        _write_stderr("\n")
        return None


def event_bytes(event: Event) -> bytes:
    """Return the bytes of an event for standard output.

    Yielded and returned text and bytes are unchanged. JSON has a line of its own, as in a response that is
    not a stream. A MIME bundle (a display, or a result that is a figure or a table) becomes its plain text. A
    result of None is empty.
    """
    match event:
        case Event(data=bytes(data)):
            return data
        case Event("stdout", str(text)):
            return text.encode(errors="replace")
        case Event("display", dict(bundle)):
            return _plain_text(bundle)
        case Event("result", "null", is_json=True):
            return b""
        case Event("message" | "result", str(text)):
            document = container(text) if event.is_json else None
            if event.name == "result" and isinstance(document, dict) and is_bundle(document):
                return _plain_text(document)
            return (f"{text}\n" if event.is_json else text).encode(errors="replace")
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
    click.echo(text, nl=False, err=True, color=True)
