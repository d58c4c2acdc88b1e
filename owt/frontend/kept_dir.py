"""Runtime directory of a server with `--keep`, at a place where the next server finds it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from owt.errors import ConfigError
from owt.frontend.config.settings import Settings
from owt.frontend.kernels.host import Host
from owt.frontend.runtime_dir import ID_FILE, MAX_LENGTH, PREFIX, SESSIONS, RuntimeDirectory, problem_of
from owt.wire.template import HOST_SOCKET

log = logging.getLogger("owt")

HISTORY = "frontend.json"
"""File with the `History` of the server."""

FRONTEND_LOCK = "frontend.lock"
"""File that is locked while a frontend serves from the directory; it has the frontend's process id."""

RECORDS = (".json", ".log", ".run", ".jupyter")
"""Ends of the names of records that count also when the kernels have ended: of sessions, and of calls."""

TAKEOVER_TIMEOUT = 1.0
"""Seconds that the end of an earlier frontend may take after its kill."""
HOST_TIMEOUT = 20.0
"""Seconds in which a process that holds the directory answers, or has cleaned up."""
RETRY_INTERVAL = 0.01

_OWN_FILE = re.compile(
    r"server-id|certificate\.pem|sessions|frontend\..*|host[.-].*|k\d+-.*|kernel-\d+\.json"
)


class History(Struct, frozen=True):
    """Facts about a server whose frontend may change: the URL, the times when the first frontend and the
    present one started (in seconds since 1970; None: the first one is here), the number of frontends that
    followed the first, the seconds without one, and `keep`, the maximum (0: without --keep). `boot` is the id
    of the machine's start, and `ending` why the kernels have ended without a frontend, if that is known."""

    url: str
    started: float
    keep: float
    restarts: int = 0
    kept_seconds: float = 0.0
    boot: str = ""
    restarted: float | None = None
    ending: str = ""


def read_history(path: Path) -> History | None:
    """Return the history of the server in this runtime directory of this user, or None if there is none."""
    try:
        if not is_own(path):
            return None
        return msgspec.json.decode((path / HISTORY).read_bytes(), type=History)
    except (OSError, msgspec.MsgspecError):
        return None


def write_history(path: str, history: History) -> None:
    """Write the history of the server in this runtime directory, if that is possible."""
    with contextlib.suppress(OSError):
        Path(path, HISTORY).write_bytes(msgspec.json.encode(history))


def ending_of(path: Path) -> str:
    """Return why the kernels of a server have ended of which no process lives, in words that follow "the
    kernel"."""
    history = read_history(path)
    if history is not None and history.ending:
        return history.ending
    if history is not None and history.boot != boot_id():
        return "ended, because the machine was restarted"
    return "ended with the server and the process that kept it"


def recorded_sessions(path: Path) -> list[str]:
    """Return the names of the sessions that have records in this runtime directory."""
    return sorted(record.stem for record in Path(path, SESSIONS).glob("*.json"))


def boot_id() -> str:
    """Return an id of the machine's start."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def frontend_of(path: Path) -> int | None:
    """Return the process id of the frontend that serves from this runtime directory of this user, or None."""
    try:
        # Its place may be in a folder where every user can make one, with any number in it.
        if not is_own(path):
            return None
        with open(path / FRONTEND_LOCK) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0) or None
    except (OSError, ValueError):
        pass
    return None


def kept_path(settings: Settings) -> Path:
    """Return the directory of a server with these settings: --runtime-dir, or one that its address names."""
    if settings.runtime_dir is not None:
        return Path(os.path.abspath(settings.runtime_dir))
    if settings.unix_socket is not None:
        place = hashlib.blake2b(os.path.abspath(settings.unix_socket).encode(), digest_size=8).hexdigest()
    else:
        place = f"{settings.address[:24]}-{settings.port}".replace(":", "_")
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base, f"{PREFIX}{os.getuid()}-{place}")


class KeptDirectory(RuntimeDirectory):
    """Directory that only its owner can access. Two locks protect it:

    - that of the directory itself, as every server's: something of the server lives, the template or the
      frontend, so that no process cleans up;
    - that of a file in it: a frontend lives, so that no other one serves.

    `host` is the template that an earlier frontend has left, or None. `ending` is why kernels of an earlier
    frontend have ended that it does not keep, in words that follow "the kernel".
    """

    def __init__(
        self, path: Path, reaper: Sequence[str], *, lock: int | None = None, discard: str | None = None
    ) -> None:
        """Make the directory, or take over that of a frontend that is gone. The command `reaper` cleans up
        after a server of which no process lives. `lock` is the `frontend_lock` of an earlier frontend in this
        process. `discard` is a reason to end the sessions of an earlier frontend.

        Raises `ConfigError` if the directory cannot be used, or another server does.
        """
        self.path = str(path)
        self._discard = discard
        if len(self.path) > MAX_LENGTH - 16:
            raise ConfigError(
                f"--runtime-dir: its path is longer than {MAX_LENGTH - 16} bytes, too long for Unix sockets"
            )
        self.host: Host | None = None
        self.ending = "has ended"
        # Records of sessions and calls whose kernels have ended with the processes of the earlier server.
        self._lost: dict[str, bytes] = {}
        self._frontend_lock = -1 if lock is None else lock
        self._is_new = False
        start = time.monotonic()
        while not self._open(reaper, time.monotonic() - start):
            time.sleep(RETRY_INTERVAL)

    def _open(self, reaper: Sequence[str], elapsed: float) -> bool:
        """Take both locks, or that of the frontend and the template's connection. Returns False if something
        ends meanwhile."""
        try:
            self._is_new = _make(self.path) or self._is_new
            is_first = self._lock_frontend()
            directory = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._give_up()
            raise ConfigError(f"--runtime-dir: {problem_of(error, self.path)}") from None
        if not is_first:
            os.close(directory)
            if elapsed < TAKEOVER_TIMEOUT:
                return False
            pid = Path(self.path, FRONTEND_LOCK).read_text() or "unknown"
            raise ConfigError(
                f"another server (process {pid}) serves from {self.path}; end it with owt stop, or give "
                "another --port or --runtime-dir"
            )
        if self._try(directory):
            if not _is_at(directory, self.path):
                os.close(directory)
                return False
            self._lock = directory
            try:
                return self._begin(reaper)
            except OSError as error:
                self._give_up()
                raise ConfigError(f"--runtime-dir: {problem_of(error, self.path)}") from None
        os.close(directory)
        self.host = Host.find(os.path.join(self.path, HOST_SOCKET))
        if self.host is not None and self._discard is not None:
            self._lost, self.ending = dict(self._records()), self._discard
            log.warning("ending the sessions of an earlier server")
            if not self.host.end(HOST_TIMEOUT):
                raise ConfigError(f"the process {self.host.pid}, which keeps the sessions, does not end")
            self.host = None
            return False
        if self.host is not None:
            self.host.check()
            self._server_id = Path(self.path, ID_FILE).read_text()
            return True
        if elapsed > HOST_TIMEOUT:
            raise ConfigError(f"--runtime-dir: a process holds {self.path}, and does not answer")
        return False

    def _begin(self, reaper: Sequence[str]) -> bool:
        """Begin in a directory that no process holds. Returns False after cleaning up what was left there."""
        try:
            server_id = Path(self.path, ID_FILE).read_text()
        except OSError:
            self._server_id = secrets.token_hex(8)
            Path(self.path, ID_FILE).write_text(self._server_id)
            folder = Path(self.path, SESSIONS)
            folder.mkdir(mode=0o700, exist_ok=True)
            for name, record in self._lost.items():
                (folder / name).touch(0o600)
                (folder / name).write_bytes(record)
            return True
        self.ending = ending_of(Path(self.path))
        self._lost = dict(self._records())
        log.warning(
            "cleaning up after a server whose processes have ended: %s. These sessions have lost their "
            "state, as the kernel of each %s: %s",
            self.path, self.ending, ", ".join(recorded_sessions(Path(self.path))) or "none",
        )  # fmt: skip
        os.close(self._lock)
        subprocess.run([*reaper, server_id, self.path, "all"], stdin=subprocess.DEVNULL, check=False)
        return False

    def _records(self) -> Iterator[tuple[str, bytes]]:
        """Yield the records of sessions and calls, with the names of their files."""
        with contextlib.suppress(OSError):
            for path in Path(self.path, SESSIONS).iterdir():
                if path.suffix in RECORDS:
                    yield path.name, path.read_bytes()

    def _give_up(self) -> None:
        """Remove the directory if this server has made it, and it has no records of an earlier one."""
        if self._is_new and not self._lost:
            shutil.rmtree(self.path, ignore_errors=True)

    def take_over(self, lock: int) -> None:
        """Use this descriptor of the locked directory, which the template has kept."""
        self._lock = lock

    @property
    def lock(self) -> int:
        """Return the descriptor of the locked directory, for the template."""
        return self._lock

    @property
    def frontend_lock(self) -> int:
        """Return the descriptor of the lock that says that a frontend serves from here."""
        return self._frontend_lock

    def begin_history(self, url: str, keep: float) -> History:
        """Record that this frontend begins to serve at this URL, and return the history with it. Sessions
        outlive it by `keep` seconds."""
        history = read_history(Path(self.path)) if self.host is not None else None
        if history is None:
            history = History(url, time.time(), keep, boot=boot_id())
        else:
            assert self.host is not None
            gap = time.time() - (self.host.ready.since or time.time())
            kept = history.kept_seconds + max(0.0, gap)
            restarts = history.restarts + 1
            history = replace(
                history, url=url, keep=keep, restarts=restarts, kept_seconds=kept, restarted=time.time()
            )
        write_history(self.path, history)
        return history

    def discard(self) -> None:
        """Remove the directory again, of a server that cannot start, unless another one has left it, or its
        records."""
        if self.host is not None:
            self.host.close()
        elif self._lost:
            self.close()
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def restore(self) -> bool:
        """Make the directory again if it was removed; its sessions will not be kept then."""
        restored = super().restore()
        if restored:
            self._lock_frontend()
            log.warning(
                "sessions will not outlive this server any more: the next one cannot find the processes that "
                "keep them in the new directory"
            )
        return restored

    def close(self) -> None:
        """Leave the directory, with the reason `ending`, to the next server."""
        write_history(self.path, History("", time.time(), 0, boot=boot_id(), ending=self.ending))
        os.close(self._lock)
        os.close(self._frontend_lock)

    def unlock(self) -> None:
        """Close the lock, which the template has, too."""
        os.close(self._lock)

    def remove(self) -> None:
        """Do nothing: the template removes the directory, where another server may begin meanwhile."""

    def _lock_frontend(self) -> bool:
        path = os.path.join(self.path, FRONTEND_LOCK)
        if self._frontend_lock < 0 or not _is_at(self._frontend_lock, path):
            if self._frontend_lock >= 0:
                os.close(self._frontend_lock)
            self._frontend_lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._try(self._frontend_lock):
            return False
        pid = str(os.getpid()).encode()
        os.pwrite(self._frontend_lock, pid, 0)
        os.ftruncate(self._frontend_lock, len(pid))
        return True

    @staticmethod
    def _try(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_at(descriptor: int, path: str) -> bool:
    """Return True if the file at this path is the one of the descriptor."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def is_own(path: str | Path) -> bool:
    """Return True for a directory of this user. Raises OSError if there is none."""
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def check_owner(path: Path) -> None:
    """Raise `ConfigError` for a path that is not a directory of this user, if something is there."""
    try:
        if is_own(path):
            return
        status = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"--runtime-dir: {problem_of(error, path)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"--runtime-dir: {path} belongs to another user (uid {status.st_uid})")
    kind = "link" if stat.S_ISLNK(status.st_mode) else "file"
    raise ConfigError(f"--runtime-dir: {path} is a {kind}; give a directory")


def _make(path: str) -> bool:
    """Make the directory, or check that it is one of owt's. Returns True if it is new. Raises `ConfigError`
    and OSError."""
    is_new = not os.path.lexists(path)
    os.makedirs(path, 0o700, exist_ok=True)
    check_owner(Path(path))
    # It is removed at the end, with all that is in it.
    if foreign := [name for name in os.listdir(path) if not _OWN_FILE.fullmatch(name)]:
        raise ConfigError(
            f"--runtime-dir: with --keep, give a directory of its own: {path} has other files, such as "
            f"{foreign[0]}"
        )
    os.chmod(path, 0o700)
    return is_new
