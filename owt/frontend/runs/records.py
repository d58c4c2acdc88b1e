"""Records of runs for the next frontend, which runs the calls that no kernel has (`owt serve --keep`).

All are frames of one file, the log:

    header   40 bytes   what changes; overwritten when the call is sent, is cancelled, or has ended
    call     msgpack    a `KeptRun`

A frame is written before the client knows the run. That takes some microseconds, where a file of its own
would take a hundred. Only a large call is a file of its own, which a thread writes; it is removed when the
kernel has confirmed the call. There, the body of the request follows the frame.

When a run has ended, or a kernel has confirmed a large call, an *outline* of the call is enough: the kernel
has the rest. So a run is known that is lost with its kernel, until it is forgotten.

What a kernel says of its runs wins over the records. A record says with which message to which kernel the
call was sent. So a call that the kernel does not have was lost on its way, and is sent again, or it has ended
with its kernel.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec

from owt.frontend.runs.runs import CancelReason, Run, RunState
from owt.frontend.unsaved import Unsaved
from owt.wire.call import Call
from owt.wire.messages import KeptRun

log = logging.getLogger("owt.runs")

LOG = "runs.log"
"""Name of the log in the folder of records."""
SUFFIX = ".run"
"""End of the name of a file with one large call."""
UNFINISHED = ".part"
"""End of the name of a file that is being written. No record of a session has it."""
MAX_INLINE = 256 * 1024
"""Size of a call, in bytes, beyond which it is large. A smaller one is written in 0.1 ms."""
GARBAGE = 4 * 1024 * 1024
"""Size of the ended frames, in bytes, from which the log is written anew."""
CONFIRMATION = 0.2
"""Seconds that an idle kernel gets to confirm a large call before its file is written."""

# State, id of the kernel, number of the message, time without a reader since, sizes of call and body.
_HEADER = struct.Struct("<B15sQdII")
_LIVE, _OUTLINE, _FORGOTTEN = 0, 0xFE, 0xFF
_REASONS: tuple[CancelReason, ...] = get_args(CancelReason)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(KeptRun)


class RecordedRun(NamedTuple):
    """Run of an earlier frontend, as its record says: the call, the kernel that was sent it, and the number
    of that message, the time since which it has no reader (0: it had one), and why it was cancelled.

    With `is_outline`, only the kernel has the call.
    """

    record: Record
    kept: KeptRun
    sent_to: str | None
    number: int
    unread_since: float
    cancel_reason: CancelReason | None
    is_outline: bool = False


class Record:
    """Record of one run, in the log. `offset` is its position there; None if it is in memory only.

    `recorded` is done when it has been written; None if it is not to be waited for. `is_safe` is True while a
    kernel has the call, so that it goes on without the record.
    """

    recorded: asyncio.Future[None] | None = None
    is_safe = False

    def __init__(self, records: RunRecords) -> None:
        self.offset: int | None = None
        self.is_outline = False
        self.sizes = (0, 0)
        self._records = records
        self._run: Run | None = None

    def attach(self, run: Run) -> None:
        """Follow this run until it ends."""
        self._run, run.record = run, self
        run.observe(self)

    @property
    def run(self) -> Run:
        """Return the run that is recorded."""
        assert self._run is not None
        return self._run

    @property
    def size(self) -> int:
        """Return the size of the frame."""
        return _HEADER.size + sum(self.sizes)

    @property
    def is_missing(self) -> bool:
        """Return True if the record has to be written."""
        return self.offset is None

    def begin(self) -> None:
        """Write the record."""
        self._records.append(self)

    def header(self) -> bytes:
        """Return the header for what the run is now."""
        run = self.run
        if self.is_outline:
            state = _OUTLINE
        else:
            state = _LIVE if run.cancel_reason is None else 1 + _REASONS.index(run.cancel_reason)
        kernel = (run.sent_to or "").encode()
        return _HEADER.pack(state, kernel, run.number, run.unread_since, *self.sizes)

    def frame(self) -> bytearray:
        """Return the whole frame."""
        return self._encode(self.run.call.outline() if self.is_outline else self.run.call)

    def _encode(self, call: Call, body_size: int = 0) -> bytearray:
        """Return the frame, without a body of this size that is to follow it."""
        run = self.run
        keep = run.keep
        assert keep is not None
        frame = bytearray(512)
        _encoder.encode_into(KeptRun(run.id, call, keep, ended=run.ended_at), frame, _HEADER.size)
        self.sizes = len(frame) - _HEADER.size, body_size
        frame[: _HEADER.size] = self.header()
        return frame

    def update(self) -> None:
        """Record that the run was sent, taken back, cancelled, or left by its readers."""
        self.is_safe = self.is_safe and self.run.sent_to is not None
        if self.offset is not None:
            self._records.overwrite(self.offset, self.header())

    def confirmed(self) -> None:
        """Handle that the kernel has the call. The record tells what was lost if the kernel dies."""
        self.is_safe = True

    def run_ended(self, run: Run) -> None:
        """Record that the kernel has the answer, if one was sent the call, or remove the record."""
        if run.sent_to is None:
            self.forget()
        else:
            self._records.replace(self)

    def forget(self) -> None:
        """Remove the record."""
        self._records.remove(self.run.id)


class LargeRecord(Record):
    """Record of a large call: a file that is there while no kernel has confirmed the call."""

    def __init__(self, records: RunRecords, path: Path, *, written: bool = False) -> None:
        super().__init__(records)
        self._path = path
        self._needed = self._written = written
        self.task: asyncio.Task[None] | None = None

    @property
    def is_missing(self) -> bool:
        """Return True if the record has to be written."""
        return self._needed and not self._written

    def begin(self) -> None:
        """Write the file: at once, or if an idle kernel does not confirm the call soon."""
        if self._needed and self.task is not None and not self.task.done():
            return
        if self.is_outline:
            self._records.drop_outline(self)
        loop = asyncio.get_running_loop()
        self._needed, self.recorded = True, loop.create_future()
        delay = 0 if self.run.state is RunState.QUEUED else CONFIRMATION
        self.task = loop.create_task(self._write(self.recorded, delay, self.task))

    async def _write(
        self, recorded: asyncio.Future[None], delay: float, previous: asyncio.Task[None] | None
    ) -> None:
        if previous is not None:
            await previous
        if delay:
            await asyncio.wait([recorded], timeout=delay)
        if self._needed:
            try:
                await asyncio.to_thread(self._write_file)
                self._written = True
            except OSError as error:
                self._records.fail(self, error)
        if self._needed:
            # It may have been sent meanwhile.
            self.update()
        else:
            self._remove_file()
        if not recorded.done():
            recorded.set_result(None)

    def _write_file(self) -> None:
        new = self._path.with_suffix(UNFINISHED)
        with open(new, "wb", buffering=0, opener=_open_private) as file:
            body = self.run.call.request.body
            for part in (self._encode(self.run.call.with_body(b""), len(body)), body):
                rest = memoryview(part)
                while rest:
                    rest = rest[file.write(rest) :]
        new.replace(self._path)

    def update(self) -> None:
        """Record the state; also the call again if it was taken back from a kernel that had it."""
        run = self.run
        self.is_safe = self.is_safe and run.sent_to is not None
        if not (self._needed or run.ended or run.sent_to):
            self.begin()
        elif self.is_outline:
            super().update()
        elif self._written:
            try:
                with open(self._path, "r+b") as file:
                    file.write(self.header())
            except OSError as error:
                self._records.fail(self, error)

    def confirmed(self) -> None:
        """Replace the file by an outline in the log, as a kernel has the call."""
        super().confirmed()
        self._needed = False
        if self.recorded is not None and not self.recorded.done():
            self.recorded.set_result(None)
        self._records.replace(self)
        self._remove_file()

    def run_ended(self, run: Run) -> None:
        """Do what every record does, without the file."""
        super().run_ended(run)
        self._discard_file()

    def forget(self) -> None:
        """Remove the record and the file."""
        super().forget()
        self._discard_file()

    def _discard_file(self) -> None:
        self._needed = False
        if self.recorded is not None and not self.recorded.done():
            self.recorded.set_result(None)
        self._remove_file()

    def _remove_file(self) -> None:
        if self._written:
            self._written = False
            self._path.unlink(missing_ok=True)


class RunRecords:
    """Records of the live runs of a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Those that could not be written, and the last reason.
        self._failed: dict[str, Record] = {}
        self._error: OSError | None = None
        self._log = -1
        self._end = 0
        # Size of the frames of live runs.
        self._live = 0
        self._records: dict[str, Record] = {}
        # True if a header could not be overwritten.
        self._is_stale = False

    @property
    def unsaved(self) -> Unsaved | None:
        """Return how many runs are in memory only, as they could not be written; None if nothing would be
        lost with this process."""
        count = sum(record.is_missing and not record.is_safe for record in self._failed.values())
        if self._error is None or not (count or self._is_stale):
            return None
        return Unsaved(count, str(self._error))

    def read(self) -> list[RecordedRun]:
        """Return the runs that an earlier frontend has left, in the order in which they came."""
        runs: dict[str, RecordedRun] = {}
        try:
            self._open()
            for recorded in self._frames((self.folder / LOG).read_bytes()):
                if (earlier := runs.get(recorded.kept.run)) is not None:
                    # The frontend ended before it had marked the frame that this one replaces.
                    assert earlier.record.offset is not None
                    self.overwrite(earlier.record.offset, bytes([_FORGOTTEN]))
                    self._live -= earlier.record.size
                runs[recorded.kept.run] = recorded
            # What follows was being written when the frontend ended.
            os.ftruncate(self._log, self._end)
            for path in (*self.folder.glob(f"*{SUFFIX}"), *self.folder.glob(f"*{UNFINISHED}")):
                if path.suffix == UNFINISHED or path.stem in runs:
                    path.unlink()
                    continue
                large = LargeRecord(self, path, written=True)
                if (run := _decode(memoryview(path.read_bytes()), large)) is not None:
                    runs[run.kept.run] = run
        except OSError as error:
            log.warning("calls that waited may be lost: %s", error)
        self._records = {id: recorded.record for id, recorded in runs.items()}
        return sorted(runs.values(), key=_created)

    def add(self, run: Run) -> None:
        """Record a run, if a client can ask for its answer after the end of this frontend."""
        if not (run.detached or run.resumable) or run.ended or run.keep is None:
            return
        if _size(run.call) > MAX_INLINE:
            record: Record = LargeRecord(self, self.folder / f"{run.id}{SUFFIX}")
        else:
            record = Record(self)
        self._records[run.id] = record
        record.attach(run)
        record.begin()

    def append(self, record: Record) -> None:
        """Write a record to the log, unless that fails."""
        frame = record.frame()
        try:
            self._open()
            if os.pwrite(self._log, frame, self._end) < len(frame):
                os.ftruncate(self._log, self._end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.fail(record, error)
            return
        record.offset = self._end
        self._end += len(frame)
        self._live += len(frame)

    def overwrite(self, offset: int, data: bytes) -> None:
        """Replace a header, or its beginning."""
        if self._log < 0:
            return
        try:
            os.pwrite(self._log, data, offset)
        except OSError as error:
            self._is_stale, self._error = True, error

    def replace(self, record: Record) -> None:
        """Replace the record of a run, unless it was removed, by an outline, which is in the log."""
        if record.run.id not in self._records:
            return
        if record.is_outline and (not record.run.ended or record.run.known_end is not None):
            return
        offset, size, sizes, was_outline = record.offset, record.size, record.sizes, record.is_outline
        record.is_outline, record.offset = True, None
        self.append(record)
        if record.offset is None:
            record.is_outline, record.offset, record.sizes = was_outline, offset, sizes
        else:
            self._free(offset, size)

    def drop_outline(self, record: Record) -> None:
        """Remove the outline of a call that no kernel has any more."""
        self._free(record.offset, record.size)
        record.is_outline, record.offset = False, None

    def remove(self, id: str) -> None:
        """Remove the record of a run."""
        self._failed.pop(id, None)
        if (record := self._records.pop(id, None)) is not None:
            self._free(record.offset, record.size)

    def _free(self, offset: int | None, size: int) -> None:
        """Mark a frame as one that is not needed any more."""
        if offset is None:
            return
        self.overwrite(offset, bytes([_FORGOTTEN]))
        self._live -= size
        if self._end - self._live > GARBAGE + self._live:
            self._rewrite()

    def check(self) -> None:
        """Write what could not be written before, if there is such a problem, and if it is possible now."""
        if self._is_stale:
            self._rewrite()
        for id, record in list(self._failed.items()):
            if record.is_missing:
                record.begin()
            if not record.is_missing:
                self._failed.pop(id, None)

    async def settle(self) -> None:
        """Wait for the large records that are being written."""
        large = [record for record in self._records.values() if isinstance(record, LargeRecord)]
        if tasks := [record.task for record in large if record.task is not None]:
            await asyncio.wait(tasks)

    def fail(self, record: Record, error: OSError) -> None:
        """Note that a record could not be written."""
        self._error = error
        if record.run.id in self._records:
            self._failed[record.run.id] = record

    def close(self) -> None:
        """Close the log. It stays for the next frontend."""
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _open(self) -> None:
        if self._log < 0:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._log = _open_private(self.folder / LOG, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    def _rewrite(self) -> None:
        """Write the log anew, with the live runs only; if that fails, go on with the one that is there."""
        new = self.folder / f"{LOG}{UNFINISHED}"
        inline = [record for record in self._records.values() if record.offset is not None]
        frames = [record.frame() for record in inline]
        try:
            with open(new, "wb", opener=_open_private) as file:
                file.writelines(frames)
                file.flush()
                new.replace(self.folder / LOG)
                # Its offsets are those of the descriptor from now on.
                os.dup2(file.fileno(), self._log, inheritable=False)
        except OSError as error:
            self._error = error
            return
        self._end = 0
        for record, frame in zip(inline, frames, strict=True):
            record.offset = self._end
            self._end += len(frame)
        self._live, self._is_stale = self._end, False

    def _frames(self, data: bytes) -> Iterator[RecordedRun]:
        """Yield the live runs of a log, up to the first frame that is not complete."""
        view = memoryview(data)
        while len(view) - self._end >= _HEADER.size:
            record = Record(self)
            state, *_, call, body = _HEADER.unpack_from(view, self._end)
            record.sizes = call, body
            if record.size > len(view) - self._end:
                return
            if state != _FORGOTTEN:
                recorded = _decode(view[self._end :], record)
                if recorded is None:
                    return
                record.offset = self._end
                self._live += record.size
                yield recorded
            self._end += record.size


def _decode(data: memoryview, record: Record) -> RecordedRun | None:
    """Return the run of the frame at the beginning of `data`; None if that is no whole frame."""
    try:
        state, kernel, number, unread_since, *sizes = _HEADER.unpack_from(data)
        size = _HEADER.size + sizes[0]
        kept = _decoder.decode(data[_HEADER.size : size])
        body = bytes(data[size : size + sizes[1]])
        reason = None if state in (_LIVE, _OUTLINE) else _REASONS[state - 1]
        sent_to = kernel.rstrip(b"\0").decode() or None
    except (struct.error, msgspec.MsgspecError, IndexError, UnicodeDecodeError) as error:
        log.warning("the record of a call cannot be read: %s", error)
        return None
    if kept.keep is None or len(body) < sizes[1]:
        return None
    record.sizes, record.is_outline = (sizes[0], sizes[1]), state == _OUTLINE
    if body:
        kept = msgspec.structs.replace(kept, call=kept.call.with_body(body))
    return RecordedRun(record, kept, sent_to, number, unread_since, reason, record.is_outline)


def _created(recorded: RecordedRun) -> float:
    return 0.0 if recorded.kept.keep is None else recorded.kept.keep.created


def _open_private(path: str | Path, flags: int) -> int:
    # It may have secrets.
    return os.open(path, flags, 0o600)


def _size(call: Call) -> int:
    """Return the size of a call, less what is always small."""
    return len(call.request.body) + len(call.code or "") + len(call.kwargs or "")
