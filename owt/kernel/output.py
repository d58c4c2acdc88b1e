"""stdout, stderr and displays, routed to the run that made them.

Output of a run goes to its `Outlet`; output of cells in attached notebooks goes where ipykernel
sends it, to IOPub.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
import threading
from functools import cached_property
from typing import Any

from ipykernel.iostream import OutStream
from ipykernel.jsonutil import encode_images, json_clean
from ipykernel.zmqshell import ZMQDisplayPublisher

from owt.kernel import context
from owt.kernel.outlet import StreamName
from owt.wire.chunk import Display


class RunStream(OutStream):
    """sys.stdout or sys.stderr of a kernel.

    What child processes and native code write to file descriptors 1 and 2 comes here as well, through
    a pipe that a thread reads; `drain` lets a run wait for its part of it.
    """

    _drains = False
    """Whether the thread that reads the pipe is this class's own. In a kernel that was another's it is
    not, and two that read at once could wait for each other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._drains = True
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

    def drain(self) -> None:
        """Take what has been written to the descriptor by now, so that it belongs to this run."""
        if self._should_watch and self._drains:
            with self._pipe_lock:
                self._read_pipe()

    @property
    def _kind(self) -> StreamName:
        return "stderr" if self.name == "stderr" else "stdout"

    @property
    def _pipe_lock(self) -> threading.Lock:
        # The watching thread begins before `__init__` has ended, so whoever comes first makes it.
        lock: threading.Lock = self.__dict__.setdefault("_the_pipe_lock", threading.Lock())
        return lock

    @cached_property
    def _pipe_poll(self) -> select.poll:
        """Whether the pipe holds anything; used by whoever has the lock."""
        return self._new_poll()

    def _new_poll(self) -> select.poll:
        poll = select.poll()
        assert self._fid is not None
        poll.register(self._fid, select.POLLIN)
        return poll

    @cached_property
    def _decoder(self) -> codecs.IncrementalDecoder:
        return codecs.getincrementaldecoder("utf-8")("replace")

    def _watch_pipe_fd(self) -> None:
        """ipykernel's thread for this stream runs this."""
        waiting = self._new_poll()
        while self._should_watch:
            waiting.poll()
            with self._pipe_lock:
                self._read_pipe()

    def _read_pipe(self) -> None:
        assert self._fid is not None
        while self._should_watch and self._pipe_poll.poll(0):
            data = os.read(self._fid, 64 * 1024)
            text = self._decoder.decode(data)
            run = context.running()
            if run is not None and run.outlet.write(self._kind, text):
                continue
            # Nobody's: a cell's, for who is attached, or a crash report, for the server's terminal.
            super().write(text)
            os.write(self._original_stdstream_copy, data)

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
            bundle = json_clean(encode_images(data))
            run.outlet.send([Display(bundle=bundle, metadata=json_clean(metadata or {}))])

    def clear_output(self, wait: bool = False) -> None:
        """There is nothing to clear in a call's answer: what was sent is sent."""
        if context.running() is None:
            super().clear_output(wait)


def drain() -> None:
    """Have stdout and stderr take what was written to their descriptors by now."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, RunStream):
            stream.drain()
