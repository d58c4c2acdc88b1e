"""stdout and stderr of a kernel, routed to the run that writes to them.

Output of a run goes to its `OutputSender`. Output of cells in attached notebooks goes where ipykernel sends
it, to IOPub.
"""

from __future__ import annotations

import codecs
import io
import mmap
import os
import select
import selectors
import sys
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, ClassVar

from ipykernel.iostream import OutStream

from owt.kernel import context
from owt.kernel.calls.handover import FrontendEnd
from owt.kernel.exit import process_id
from owt.wire.unsent import REGION, SIZE, Region, StreamName

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

TERMINAL_TIMEOUT = 1000
"""Milliseconds that a write waits for the server's terminal to accept it."""


class RunStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a kernel: sends text to the current run, else through ipykernel's
    OutStream.

    Its `pipe` collects what child processes and native code write to file descriptor 1 or 2.
    """

    frontend: ClassVar[FrontendEnd | None] = None
    """The frontend's end of the output; set before the streams are created."""

    def __init__(
        self, session: Any, pub_thread: Any, name: StreamName, *, echo: Any = None, watchfd: bool = True
    ) -> None:
        """Create the stream with the arguments of ipykernel's OutStream, which its app passes."""
        pipe = None
        if watchfd:
            # Without a frontend, the output has no other reader.
            end = self.frontend or FrontendEnd(mmap.mmap(-1, SIZE), None)
            region = end.unsent.reading[name]
            pipe = StdPipe(getattr(sys, name).fileno(), self._receive, region, end.keep)
        if pipe is not None and echo is not None and _descriptor(echo) == pipe.descriptor:
            # An echo to the descriptor that is redirected here would never end.
            echo = io.TextIOWrapper(io.FileIO(os.dup(pipe.terminal), "w"))
        # The pipe above replaces ipykernel's, which cannot be drained.
        self._wrap(OutStream(session, pub_thread, name, echo=echo, watchfd=False), pipe)
        if pipe is not None:
            # ipykernel's app reads this attribute: its log goes there, rather than into the stream.
            self._original_stdstream_copy = pipe.terminal
            pipe.start()

    @classmethod
    def replace(cls, name: StreamName) -> Self:
        """Put a RunStream around the OutStream that is `sys.stdout` or `sys.stderr`, and return it.

        ipykernel's pipe stays in use. It cannot be drained, because two threads that read one pipe could
        block each other.
        """
        stream: OutStream = getattr(sys, name)
        wrapper = cls.__new__(cls)
        wrapper._wrap(stream, None)
        if _descriptor(stream) is not None:
            # Not the one that ipykernel returns, which leads to the terminal, past its pipe.
            wrapper._descriptor = _NUMBERS[name]
        setattr(sys, name, wrapper)
        return wrapper

    def _wrap(self, stream: OutStream, pipe: StdPipe | None) -> None:
        self._stream = stream
        # The class's method: IPython puts another `write` into an instance while a cell runs.
        self._publish: Callable[[str], int | None] = OutStream.write.__get__(stream)
        self.pipe = pipe
        self._buffer: StreamBuffer | None = None
        self._descriptor = None if pipe is None else pipe.descriptor
        self._process = process_id()
        self._kind: StreamName = "stderr" if stream.name == "stderr" else "stdout"

    def route(self) -> None:
        """Send what is written to the OutStream to the current run too: text from ipykernel's pipe, and from
        objects that keep the OutStream."""
        self._stream.write = self.write  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of ipykernel's stream, such as `set_parent` and `register_hook`."""
        if name.startswith("__") or name == "_stream":
            raise AttributeError(name)
        return getattr(self._stream, name)

    mode = "w"
    # What callers find; the text travels as text.
    encoding = "UTF-8"
    errors = "strict"
    line_buffering = False
    write_through = False

    @property
    def buffer(self) -> StreamBuffer:
        """Binary stream that writes to this one."""
        if self._buffer is None:
            self._buffer = StreamBuffer(self)
        return self._buffer

    def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Accept what `io.TextIOWrapper.reconfigure` does. Encodings have no effect: text travels as text."""
        if line_buffering is not None:
            self.line_buffering = bool(line_buffering)
        if write_through is not None:
            self.write_through = bool(write_through)

    def write(self, string: str) -> int:
        """Write text to the current run; without one, to attached notebooks. Raises TypeError for anything
        but text."""
        if not issubclass(type(string), str):
            raise TypeError(f"write() argument must be str, not {type(string).__name__}")
        # The methods of a subclass of str are user code.
        string = str.__str__(string)
        if process_id() != self._process:
            # A forked child: the process that it was forked from reads this descriptor.
            return self._write_to_descriptor(string)
        run = context.running()
        if run is not None and (not string or run.sender.write(self._kind, string)):
            return len(string)
        return self._publish(string) or 0

    def flush(self) -> None:
        """Send the text that was written so far."""
        if process_id() != self._process:
            return
        run = context.running()
        if run is None:
            self._stream.flush()
        else:
            run.sender.flush()

    def fileno(self) -> int:
        """Return the descriptor whose output comes here; a child process may inherit it."""
        return int(self._stream.fileno() if self._descriptor is None else self._descriptor)

    def isatty(self) -> bool:
        """Return False unless ipykernel says that notebooks show the stream as a terminal does."""
        return bool(self._stream.isatty())

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the stream; in a run, do nothing: the kernel needs the stream for the next run."""
        if context.running() is None and not self.closed:
            if self.pipe is not None:
                self.pipe.stop()
            self._stream.close()

    def detach(self) -> StreamBuffer:  # type: ignore[override]
        """Return the binary stream; this one stays usable: the kernel needs it for the next run."""
        return self.buffer

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return bool(self._stream.closed)

    def _receive(self, text: str, data: bytes, region: Region | None) -> None:
        """Handle text from a pipe, and the bytes that it was read from: into the region, if it is the current
        pipe."""
        run = context.running() if region is not None else None
        if run is None or not run.sender.write(self._kind, text, region):
            # A cell's output, for attached notebooks, or a crash report, for the server's terminal.
            self._publish(text)
            assert self.pipe is not None
            self.pipe.echo(data)

    def _write_to_descriptor(self, string: str) -> int:
        descriptor = _NUMBERS[self._kind] if self._descriptor is None else self._descriptor
        data = memoryview(string.encode("utf-8", "surrogateescape"))
        while data:
            data = data[os.write(descriptor, data) :]
        return len(string)


class StreamBuffer(io.BufferedIOBase):
    """Binary stream in front of a `RunStream`: bytes are decoded as UTF-8."""

    mode = "wb"

    def __init__(self, stream: RunStream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def name(self) -> str:
        """Name of the text stream."""
        return str(self._stream.name)

    def write(self, data: Buffer, /) -> int:
        """Write bytes; a character whose bytes are incomplete waits for the rest."""
        with memoryview(data) as view:
            size = view.nbytes
            self._stream.write(self._decoder.decode(bytes(view)))
        return size

    def flush(self) -> None:
        """Send what was written so far."""
        self._stream.flush()

    def close(self) -> None:
        """Flush. The stream stays open: a `TextIOWrapper` that is discarded closes this."""
        self.flush()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return what the stream does."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True


class StdPipe:
    """Pipe in place of a standard file descriptor, and the thread that reads it.

    Pipes that were renewed are read until the last process that can write to them has ended.
    """

    def __init__(
        self,
        descriptor: int,
        receive: Callable[[str, bytes, Region | None], None],
        region: Region,
        keep: Callable[[int, int], None],
    ) -> None:
        """Redirect `descriptor`. `receive(text, data, region)` gets what is read, after `start`.

        Data of the current pipe is read into `region`, and `keep(descriptor, output)` gets the end of that
        pipe from which it is read.
        """
        self.descriptor = descriptor
        self.terminal = os.dup(descriptor)
        self._receive = receive
        self._region = region
        self._keep = keep
        self._lock = threading.Lock()
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}
        self._selector = selectors.DefaultSelector()
        self._terminal_blocks = False
        self._running = True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._open()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and restore the descriptor."""
        self._running = False
        # The thread wakes up only when there is something to read.
        os.write(self._input, b"\0")
        self._thread.join()
        os.dup2(self.terminal, self.descriptor)
        for end in (*self._decoders, self._input, self.terminal):
            os.close(end)
        self._decoders.clear()
        self._selector.close()

    def read(self) -> None:
        """Receive what has been written to the current pipe by now, so that it belongs to this run."""
        if self._running:
            with self._lock:
                self._read(self.output)

    def settle(self) -> None:
        """Wait until the thread has passed on what it has read."""
        with self._lock:
            pass

    def renew(self) -> None:
        """Replace the current pipe: later output of processes that exist now belongs to no run."""
        if self._running:
            with self._lock:
                os.close(self._input)
                self._open()

    def restore(self) -> None:
        """Redirect the descriptor again if it was closed."""
        if self._running:
            try:
                os.fstat(self.descriptor)
            except OSError:
                os.dup2(self._input, self.descriptor)

    def echo(self, data: bytes) -> None:
        """Write to the server's terminal. Data that it does not accept in time is dropped: a terminal that
        nothing reads must not block the kernel."""
        rest = memoryview(data)
        ready = select.poll()
        ready.register(self.terminal, select.POLLOUT)
        try:
            while rest:
                self._terminal_blocks = not ready.poll(0 if self._terminal_blocks else TERMINAL_TIMEOUT)
                if self._terminal_blocks:
                    return
                # A pipe that is ready accepts this much at once (POSIX, `write`).
                rest = rest[os.write(self.terminal, rest[: select.PIPE_BUF]) :]
        except OSError:
            # The terminal is gone.
            self._terminal_blocks = True

    def _open(self) -> None:
        # The second end for writing is kept, so that the pipe stays open when the descriptor is closed.
        self.output, self._input = os.pipe()
        os.set_blocking(self.output, False)
        self._keep(self.descriptor, self.output)
        os.dup2(self._input, self.descriptor)
        self._decoders[self.output] = codecs.getincrementaldecoder("utf-8")("replace")
        self._selector.register(self.output, selectors.EVENT_READ)

    def _watch(self) -> None:
        while self._running:
            for key, _ in self._selector.select():
                with self._lock:
                    self._read(key.fd)

    def _read(self, pipe: int) -> None:
        # The caller holds the lock.
        while self._running and pipe in self._decoders:
            region = self._region if pipe == self.output else None
            try:
                data = os.read(pipe, REGION) if region is None else region.read(pipe)
            except BlockingIOError:
                return
            if not data:
                # An earlier pipe, and no process is left that could write to it.
                self._selector.unregister(pipe)
                del self._decoders[pipe]
                os.close(pipe)
                return
            try:
                self._receive(self._decoders[pipe].decode(data), data, region)
            finally:
                if region is not None:
                    region.clear()


_NUMBERS: dict[StreamName, int] = {"stdout": 1, "stderr": 2}


def _descriptor(file: IO[str] | OutStream) -> int | None:
    try:
        return int(file.fileno())
    except (OSError, AttributeError):
        return None


class Streams:
    """The kernel's stdout and stderr, whatever user code does to their names and descriptors."""

    def __init__(self) -> None:
        """Remember the streams that are in place now."""
        self._streams = {
            name: stream
            for name in ("stdout", "stderr")
            if isinstance(stream := getattr(sys, name, None), RunStream)
        }
        self._pipes = [stream.pipe for stream in self._streams.values() if stream.pipe is not None]
        self._poll = self._new_poll()

    def collect(self) -> None:
        """Give the run that ends, the only one, what was written to the descriptors by now. Later output of
        child processes that it leaves behind belongs to no run."""
        # One system call tells which pipe has data and which descriptor is closed: this is in every call.
        for descriptor, event in self._poll.poll(0):
            for pipe in self._pipes:
                if descriptor == pipe.descriptor and event & select.POLLNVAL:
                    pipe.restore()
                elif descriptor == pipe.output:
                    pipe.read()
        self._restore_names()
        for pipe in self._pipes:
            pipe.settle()
        if _has_children():
            for pipe in self._pipes:
                pipe.renew()
            self._poll = self._new_poll()

    def restore(self) -> None:
        """Put both streams in place for the next run."""
        for pipe in self._pipes:
            pipe.restore()
        self._restore_names()

    def _restore_names(self) -> None:
        for name, stream in self._streams.items():
            if getattr(sys, name, None) is None:
                setattr(sys, name, stream)

    def _new_poll(self) -> select.poll:
        poll = select.poll()
        for pipe in self._pipes:
            poll.register(pipe.output, select.POLLIN)
            # No event but POLLNVAL, which needs no registration.
            poll.register(pipe.descriptor, 0)
        return poll


def _has_children() -> bool:
    """Return True if there are child processes, running ones or zombies."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except AttributeError:
        # macOS has no waitid before Python 3.13.
        return True
    return True
