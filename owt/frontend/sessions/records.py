"""Records of sessions, by which the next frontend goes on with them (`owt serve --keep`).

Each is a file in the runtime directory, written when the session or its kernel changes. What changes with
every call, the kernel's memory has.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from owt.frontend.kernels.kernel import Kernel
from owt.frontend.sessions.events import KernelEvent, SessionObservers
from owt.frontend.unsaved import Unsaved

log = logging.getLogger("owt.sessions")


class SessionRecord(Struct, frozen=True):
    """Facts about a session. `kernel` is the id of its kernel, `calls` the number of calls of the kernels
    before. Times are seconds since 1970."""

    name: str
    spec: str
    concurrency: int
    created: float
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    kernel: str | None = None
    calls: int = 0
    last_used: float | None = None
    restarts: int = 0
    restarted: float | None = None
    last_death: str | None = None


class RecordedSession(Protocol):
    """The part of a session that is recorded."""

    name: str | None
    spec: str
    concurrency: int
    created: float
    env: Mapping[str, str]
    cwd: str | None
    kernel: Kernel | None
    calls: int
    restarts: int
    restarted: float | None
    last_death: str | None
    observers: SessionObservers

    @property
    def used(self) -> float | None:
        """Return the time when a call or a cell last began or ended, or None."""


_Record = TypeVar("_Record", bound=Struct)

_decoder = msgspec.json.Decoder(SessionRecord)


class Records:
    """The records of all named sessions.

    `ending` is why kernels of an earlier frontend have ended that were not kept.
    """

    def __init__(self, folder: Path, ending: str = "has ended") -> None:
        self.ending = ending
        self._folder = folder
        # Records that could not be written, each with its session or None, and the last reason.
        self._missing: dict[Path, tuple[str | None, Struct]] = {}
        self._error = ""

    @property
    def unsaved(self) -> Unsaved | None:
        """Return how many sessions have a record in memory only, as it could not be written, or None."""
        names = {session for session, _ in self._missing.values() if session is not None}
        return Unsaved(len(names), self._error) if self._missing else None

    def read(self) -> list[SessionRecord]:
        """Return the records that an earlier frontend has left."""
        records = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                records.append(_decoder.decode(path.read_bytes()))
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("a session is lost: its record %s cannot be read: %s", path, error)
        return records

    def follow(self, session: RecordedSession) -> None:
        """Record the session now, and whenever its kernel changes, until it is closed."""
        session.observers.add(_Follower(self, session))
        self.write(session)

    def write(self, session: RecordedSession) -> None:
        """Record what the session is now."""
        assert session.name is not None
        kernel = session.kernel
        record = SessionRecord(
            name=session.name,
            spec=session.spec,
            concurrency=session.concurrency,
            created=session.created,
            env=dict(session.env),
            cwd=session.cwd,
            kernel=None if kernel is None else kernel.id,
            calls=session.calls - (0 if kernel is None else kernel.usage()[0]),
            last_used=session.used,
            restarts=session.restarts,
            restarted=session.restarted,
            last_death=session.last_death,
        )
        self._write(self._path(session.name), session.name, record)

    def remove(self, name: str) -> None:
        """Remove the record of a session that has ended."""
        self._missing.pop(self._path(name), None)
        # If there is no folder, there was no record.
        with contextlib.suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def check(self) -> None:
        """Write what could not be written before, if there is anything, and if it is possible now."""
        for path, (session, record) in list(self._missing.items()):
            self._write(path, session, record)

    def write_notebook(self, session: str, notebook: Struct) -> None:
        """Record the notebook that runs in a session."""
        self._write(self._notebook_path(session), session, notebook)

    def read_notebook(self, session: str, kind: type[_Record]) -> _Record | None:
        """Return the record of the notebook that ran in a session, or None."""
        return _read(self._notebook_path(session), kind)

    def write_gateway(self, part: str, record: Struct) -> None:
        """Record a part of what the gateway has told Jupyter's clients."""
        self._write(self._gateway_path(part), None, record)

    def read_gateway(self, part: str, kind: type[_Record]) -> _Record | None:
        """Return a part of what the gateway had told Jupyter's clients, or None."""
        return _read(self._gateway_path(part), kind)

    def _write(self, path: Path, session: str | None, record: Struct) -> None:
        new = path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            # It may have secrets, as the directory has, which only its owner can access.
            with open(new, "wb", opener=partial(os.open, mode=0o600)) as file:
                file.write(msgspec.json.encode(record))
            new.replace(path)
            self._missing.pop(path, None)
        except OSError as error:
            self._missing[path], self._error = (session, record), str(error)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _gateway_path(self, part: str) -> Path:
        return self._folder / f"{part}.jupyter"

    def _notebook_path(self, name: str) -> Path:
        return self._folder / f"{name}.notebook"


def _read(path: Path, kind: type[_Record]) -> _Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


class _Follower:
    """Observer that records one session."""

    def __init__(self, records: Records, session: RecordedSession) -> None:
        self._records = records
        self._session = session

    def kernel_changed(self, event: KernelEvent) -> None:
        if event is KernelEvent.CLOSED:
            assert self._session.name is not None
            self._records.remove(self._session.name)
        else:
            self._records.write(self._session)
