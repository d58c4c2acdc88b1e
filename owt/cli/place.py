"""Place of a server of this user on this machine: its runtime directory and its process."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from owt.errors import ConfigError, OwtError, RemoteError, Unreachable

if TYPE_CHECKING:
    from owt.frontend.config.settings import Settings
    from owt.frontend.kept_dir import History
    from owt.frontend.kernels.host import Host

PLACE = ("address", "port", "unix_socket", "runtime_dir")
"""Settings that say where a server is."""

WILDCARDS = ("0.0.0.0", "::")
"""Addresses at which a server is reached by every address of its machine."""


HIDDEN = 0
"""Process id of a process that the system does not show to this user."""


class Place:
    """The place of a server: `path` is its runtime directory, or None if that was removed, `pid` the process
    id of the server or None, and `host` the template that waits for the next one."""

    host: Host | None = None
    pid: int | None = None

    def __init__(self, settings: Settings, explicit: set[str]) -> None:
        """Find the server. `explicit` are the settings that are not the default ones.

        Raises `Unreachable` if there is none, and `ConfigError` if that in the directory has another address.
        """
        from owt.frontend import kept_dir

        self.path: Path | None = kept_dir.kept_path(settings)
        kept_dir.check_owner(self.path)
        is_address_given = bool(explicit - {"runtime_dir"})
        if self._look(self.path):
            if settings.runtime_dir is not None and is_address_given:
                self._check_address(settings, explicit)
        elif settings.runtime_dir is None or is_address_given:
            self._find_listening(settings, explicit)
        if self.pid is None and self.host is None:
            is_hidden = settings.runtime_dir is None and HIDDEN in _listening(settings, explicit)
            raise Unreachable(_nothing(settings, kept_dir.kept_path(settings), is_hidden=is_hidden))
        self.history = self._read_history()

    @property
    def is_kept(self) -> bool:
        """Return True if the sessions outlive the server."""
        has_history = self.history is not None and self.history.keep > 0
        return has_history or self.host is not None

    def sessions(self, auth: str | None, token: str | None) -> list[str]:
        """Return the names of the sessions. A server without --keep needs the credentials to say them.

        Raises `OwtError` if it does not.
        """
        from owt.frontend import kept_dir

        if self.is_kept:
            assert self.path is not None
            return kept_dir.recorded_sessions(self.path)
        if self.history is None:
            raise OwtError("its runtime directory was removed")
        from owt.cli.options import new_client
        from owt.client.control import Control
        from owt.server import Server
        from owt.server.certificate import VARIABLE

        url = self.history.url
        assert self.path is not None
        if (certificate := self.path / "certificate.pem").exists():
            os.environ.update({"OWT_URL": url, VARIABLE: str(certificate)})
        if not url.startswith("http+unix:"):
            url = Server.from_url(url).as_reached().url
        with new_client(url, auth, token) as client:
            try:
                return sorted(session["name"] for session in Control(client).sessions()["sessions"])
            except RemoteError as error:
                if error.status != 401:
                    raise
                raise OwtError("give --token (OWT_CLIENT_TOKEN) or --auth (OWT_CLIENT_AUTH)") from None

    def document(self) -> dict[str, Any]:
        """Return what is known about the server, without its sessions."""
        history, ready = self.history, self.host and self.host.ready
        return {
            "server": self.pid,
            "url": history and history.url,
            "started": history and history.started,
            "restarts": history and history.restarts,
            "restarted": history and history.restarted,
            "without_server_since": ready and ready.since,
            "kept_for": round(ready.keep, 1) if ready else history and history.keep,
            "kept_by": self.host and self.host.pid,
            "runtime_dir": self.path and str(self.path),
        }

    def _read_history(self) -> History | None:
        from owt.frontend import kept_dir

        return None if self.path is None else kept_dir.read_history(self.path)

    def _look(self, path: Path) -> bool:
        """Return True if a server with --keep serves from this directory, or has left sessions there."""
        from owt.frontend import kept_dir
        from owt.frontend.kernels.host import Host
        from owt.wire.template import HOST_SOCKET

        self.pid = kept_dir.frontend_of(path)
        if self.pid is None and path.exists():
            self.host = Host.find(str(path / HOST_SOCKET))
        return self.pid is not None or self.host is not None

    def _check_address(self, settings: Settings, explicit: set[str]) -> None:
        from owt.frontend import kept_dir

        assert self.path is not None
        place = Path(os.path.realpath(self.path))
        # The template has the sockets and the directory, too, and the system may name it only.
        if any(_directory_of(pid) == place for pid in _listening(settings, explicit)):
            return
        if self.host is not None:
            self.host.close()
        history = kept_dir.read_history(self.path)
        names = [name for name in PLACE if name in explicit and name != "runtime_dir"]
        options = ", ".join(f"--{name.replace('_', '-')} (OWT_{name.upper()})" for name in names)
        raise ConfigError(
            f"{options}: the server in {self.path} does not serve at {address_of(settings)}, but at "
            f"{history.url if history else 'another address'}; give its address, or only --runtime-dir"
        )

    def _find_listening(self, settings: Settings, explicit: set[str]) -> None:
        """Find the server that listens at the address. Its process may have any title."""
        import psutil

        base = None if settings.runtime_dir is None else Path(os.path.realpath(settings.runtime_dir))
        for pid in _listening(settings, explicit):
            try:
                process = psutil.Process(pid)
                if process.uids().effective != os.geteuid():
                    continue
                words = " ".join(process.cmdline()).split()
            except psutil.Error:
                continue
            is_titled = "serve" in words and "owt" in [os.path.basename(word) for word in words]
            path = _directory_of(pid)
            if base is not None and (path is None or base not in (path, path.parent)):
                continue
            if path is None:
                if not is_titled:
                    continue
                self.pid, self.path = pid, None
            elif not self._look(path):
                self.pid, self.path = pid, path
            else:
                self.path = path
            return


def find_place(options: Mapping[str, Any]) -> Place:
    """Return the place that these options, or the environment, say. Raises what `Place` raises."""
    from owt.frontend.config.settings import Settings

    # What else the environment says about a server has no effect here.
    environ = {f"OWT_{name.upper()}": os.environ.get(f"OWT_{name.upper()}", "") for name in PLACE}
    chosen = {name: options.get(name) for name in PLACE}
    explicit = {name for name in PLACE if chosen[name] is not None or environ[f"OWT_{name.upper()}"]}
    settings = Settings.from_options({**chosen, "insecure": True}, environ)
    if settings.port == 0:
        # The server has any one.
        explicit.discard("port")
    return Place(settings, explicit)


def address_of(settings: Settings) -> str:
    """Return the path of the Unix socket, or the address and the port."""
    return str(settings.unix_socket or f"{settings.address}:{settings.port}")


def _nothing(settings: Settings, path: Path, *, is_hidden: bool) -> str:
    """Return the message that there is neither a server nor sessions that go on. `is_hidden` says that a
    process listens at the address that the system does not show."""
    from owt.frontend import kept_dir

    where = f"at {address_of(settings)}" if settings.runtime_dir is None else f"from {path}"
    if path.is_dir() and (lost := kept_dir.recorded_sessions(path)):
        return (
            f"no server of this user serves {where}. The sessions that one has left in {path} have lost "
            f"their state ({', '.join(lost)}): the kernel of each {kept_dir.ending_of(path)}. The next "
            "server there tells it to their clients"
        )
    hint = "" if settings.runtime_dir is None else "; a server without --keep is found by its --port"
    if is_hidden:
        hint = "; if the process that listens there is your server, give its --runtime-dir"
    return f"no server of this user serves {where}, and none has left sessions there{hint}"


def _listening(settings: Settings, explicit: set[str]) -> list[int]:
    """Return the processes that have a socket which listens at the address, the most likely ones first, and
    `HIDDEN` for one that the system does not name. The address counts only if it is given."""
    import psutil

    if settings.unix_socket is not None:
        path = os.path.abspath(settings.unix_socket)
        return [item.pid or HIDDEN for item in psutil.net_connections("unix") if str(item.laddr) == path]
    addresses: set[str] = set()
    with suppress(OSError):
        for *_, address in socket.getaddrinfo(settings.address, None, type=socket.SOCK_STREAM):
            addresses.add(str(address[0]))
    pids: list[int] = []
    for item in psutil.net_connections("tcp"):
        if item.status != psutil.CONN_LISTEN:
            continue
        pid = item.pid or HIDDEN
        ip, port, *_ = tuple(item.laddr)
        if settings.port not in (0, port):
            continue
        if ip in addresses:
            pids.insert(0, pid)
        elif "address" not in explicit or ip in WILDCARDS:
            pids.append(pid)
    return list(dict.fromkeys(pids))


def _directory_of(pid: int) -> Path | None:
    """Return the runtime directory that the process holds, without links in its path, or None."""
    from owt.frontend import kept_dir
    from owt.frontend.runtime_dir import ID_FILE

    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    for number in descriptors:
        try:
            path = Path(os.readlink(f"/proc/{pid}/fd/{number}"))
            if path.is_absolute() and (path / ID_FILE).exists() and kept_dir.is_own(path):
                return path
        except OSError:
            continue
    return None
