"""stdout, stderr and displays, routed to the run that made them.

Output of a run goes to its `Outlet`; output of cells in attached notebooks goes where ipykernel
sends it, to IOPub.
"""

from __future__ import annotations

import codecs
import os
import select
import selectors
import sys
import threading
from typing import Any

from ipykernel.iostream import OutStream
from ipykernel.jsonutil import encode_images, json_clean
from ipykernel.zmqshell import ZMQDisplayPublisher

from owt.kernel.calls import context
from owt.kernel.calls.output_sender import StreamName
from owt.wire.chunk import FACTS, Display

PATIENCE = 1000
"""Milliseconds in which the server's terminal is to take what it is shown."""


class RunStream(OutStream):
    """sys.stdout or sys.stderr of a kernel.

    What child processes and native code write to file descriptors 1 and 2 comes here as well, through
    a pipe that a thread reads; `drain` lets a run wait for its part of it, and `renew` begins another
    pipe for the next run.
    """

    _drains = False
    """Whether the pipes are this class's own. In a kernel that was another's they are not, and two
    that read from one at once could wait for each other."""

    _deaf = False
    """Whether the server's terminal took nothing the last time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._drains = True
        self._pipe_lock = threading.Lock()
        self._pipes: dict[int, codecs.IncrementalDecoder] = {}
        self._selector = selectors.DefaultSelector()
        # By itself ipykernel leaves the descriptors alone in whatever pytest has started.
        kwargs.setdefault("watchfd", "force")
        super().__init__(*args, **kwargs)

    def write(self, string: str) -> int:
        """Write text to the run that this code works for; without one, as ipykernel does."""
        if not self._is_master_process():
            # In a forked child: the process that it came from reads this descriptor.
            return self._write_to_descriptor(string)
        run = context.running()
        if run is not None and (not string or run.outlet.write(self._kind, string)):
            return len(string)
        return super().write(string) or 0

    def flush(self) -> None:
        """Send what was written so far."""
        if not self._is_master_process():
            return
        run = context.running()
        if run is None:
            super().flush()
        else:
            run.outlet.flush()

    def fileno(self) -> int:
        """The descriptor that a child process may be given, so that its output comes here."""
        return int(self._original_stdstream_fd if self._should_watch else super().fileno())

    def close(self) -> None:
        """Nothing, in a run: the kernel needs the stream for those that follow."""
        if context.running() is None:
            super().close()

    def drain(self) -> None:
        """Take what has been written to the descriptor by now, so that it belongs to this run."""
        if self._should_watch and self._drains:
            with self._pipe_lock:
                self._read_pipe(self._fid)

    def renew(self) -> None:
        """Part what is written from now on from what is written by processes that were started before:
        theirs belongs to no run any more."""
        if self._should_watch and self._drains:
            with self._pipe_lock:
                os.close(self._pipe_in)
                self._begin_pipe()

    def mend(self) -> None:
        """Have the descriptor again, if it was closed."""
        if self._should_watch and self._drains:
            try:
                os.fstat(self._original_stdstream_fd)
            except OSError:
                os.dup2(self._pipe_in, self._original_stdstream_fd)

    @property
    def _kind(self) -> StreamName:
        return "stderr" if self.name == "stderr" else "stdout"

    def _setup_stream_redirects(self, name: str) -> None:
        # As ipykernel's, with pipes that can be renewed.
        self._original_stdstream_fd = getattr(sys, name).fileno()
        self._original_stdstream_copy = os.dup(self._original_stdstream_fd)
        self._begin_pipe()
        self.watch_fd_thread = threading.Thread(target=self._watch_pipe_fd, daemon=True)
        self.watch_fd_thread.start()

    def _begin_pipe(self) -> None:
        # The second end for writing is kept, so that the pipe does not end when the first is closed.
        self._fid, self._pipe_in = os.pipe()
        os.set_blocking(self._fid, False)
        os.dup2(self._pipe_in, self._original_stdstream_fd)
        self._pipes[self._fid] = codecs.getincrementaldecoder("utf-8")("replace")
        self._selector.register(self._fid, selectors.EVENT_READ)

    def _watch_pipe_fd(self) -> None:
        """ipykernel's thread for this stream runs this."""
        while self._should_watch:
            for key, _ in self._selector.select():
                with self._pipe_lock:
                    self._read_pipe(key.fd)

    def _read_pipe(self, pipe: int | None) -> None:
        # Whoever calls this has the lock.
        while self._should_watch and pipe is not None and pipe in self._pipes:
            try:
                data = os.read(pipe, 64 * 1024)
            except BlockingIOError:
                return
            if not data:
                # An earlier one, and nobody is left who could write to it.
                self._selector.unregister(pipe)
                del self._pipes[pipe]
                os.close(pipe)
                return
            text = self._pipes[pipe].decode(data)
            run = context.running() if pipe == self._fid else None
            if run is not None and run.outlet.write(self._kind, text):
                continue
            # Nobody's: a cell's, for who is attached, or a crash report, for the server's terminal.
            super().write(text)
            self._echo(data)

    def _echo(self, data: bytes) -> None:
        """Write to the server's terminal. What nobody takes there is dropped: a full pipe of somebody who
        does not read holds up no kernel."""
        rest = memoryview(data)
        ready = select.poll()
        ready.register(self._original_stdstream_copy, select.POLLOUT)
        try:
            while rest:
                self._deaf = not ready.poll(0 if self._deaf else PATIENCE)
                if self._deaf:
                    return
                # As much as a pipe that is ready takes at once (POSIX, `write`).
                rest = rest[os.write(self._original_stdstream_copy, rest[: select.PIPE_BUF]) :]
        except OSError:
            # The terminal is gone.
            self._deaf = True

    def _write_to_descriptor(self, string: str) -> int:
        data = memoryview(string.encode("utf-8", "surrogateescape"))
        while data:
            data = data[os.write(self._original_stdstream_fd, data) :]
        return len(string)


class RunDisplayPublisher(ZMQDisplayPublisher):
    """What `display(...)` publishes through."""

    def publish(self, data: Any, metadata: Any = None, *args: Any, **kwargs: Any) -> None:
        """Publish a MIME bundle to the run that this code works for, or as ipykernel does."""
        run = context.running()
        if run is None:
            super().publish(data, metadata, *args, **kwargs)
        else:
            bundle = _keyed(json_clean(encode_images(data)))
            metadata = _keyed(json_clean(metadata or {}))
            if facts := _facts(metadata, *args, **kwargs):
                bundle[FACTS] = facts
            run.outlet.send([Display(bundle=bundle, metadata=metadata)])

    def clear_output(self, wait: bool = False) -> None:
        """Have who watches the run, or the cell, take away what was shown so far."""
        run = context.running()
        if run is None:
            super().clear_output(wait)
        else:
            run.outlet.send([Display(bundle={FACTS: {"clear": "wait" if wait else "now"}})])


def is_shown(shell: Any, code: str, value: object) -> bool:
    """Whether a notebook shows the value of a cell: not None, and not where a semicolon ends the cell."""
    return value is not None and not shell.displayhook.semicolon_at_end_of_expression(code)


def show(value: object) -> None:
    """Display a cell's value."""
    from IPython.display import display

    display(value)


def mime_bundle(shell: Any, value: object) -> Any:
    """The representations of a value as Jupyter's messages have them: images in base64."""
    data, _ = shell.display_formatter.format(value)
    return json_clean(encode_images(data))


def _keyed(items: dict[Any, Any]) -> dict[str, Any]:
    """A copy whose keys are text, as Jupyter's JSON makes them. A kernel that sends others is ended."""
    return {key if isinstance(key, str) else str(key): value for key, value in items.items()}


def _facts(
    metadata: dict[str, Any], source: Any = None, *, transient: Any = None, update: bool = False, **_: Any
) -> dict[str, Any]:
    """What a display says beside its representations, as far as it says anything: its id, whether it takes
    the place of an earlier one with this id, and its metadata."""
    facts = {"display_id": (transient or {}).get("display_id"), "update": update, "metadata": metadata}
    return {name: value for name, value in facts.items() if value}


class Streams:
    """The kernel's stdout and stderr, whatever user code makes of their names and descriptors."""

    def __init__(self) -> None:
        """Those that are in place now."""
        self._streams = {
            name: stream
            for name in ("stdout", "stderr")
            if isinstance(stream := getattr(sys, name, None), RunStream)
        }

    def take(self) -> None:
        """The only run there is ends: it gets what was written to the descriptors by now, and what
        processes that it leaves behind write from now on is nobody's."""
        self.mend()
        left = _has_children()
        for stream in self._streams.values():
            stream.drain()
            if left:
                stream.renew()

    def mend(self) -> None:
        """A run ends: the next one finds both in place."""
        for name, stream in self._streams.items():
            stream.mend()
            if getattr(sys, name, None) is None:
                setattr(sys, name, stream)


def _has_children() -> bool:
    """Whether there are child processes, ended ones that nobody has waited for among them."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except AttributeError:
        # macOS has no such call before Python 3.13.
        return True
    return True
