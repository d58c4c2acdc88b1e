"""The protocols between systemd and a service: sockets that it passes, and notifications that it receives.

    passed_sockets   listening sockets (sd_listen_fds(3))
    with_sockets     settings of a server that listens on them
    notify           notification of the service's state (sd_notify(3))

They are variables with descriptors and a datagram, which systemd keeps stable. No library is used: each needs
C or a later Python, or cannot send MONOTONIC_USEC.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from owt.errors import ConfigError, shortened
from owt.frontend.config.settings import Settings
from owt.wire.http import is_loopback

log = logging.getLogger("owt")

VARIABLES = frozenset(
    {
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)
"""Variables that systemd sets for the server alone."""

FIRST = 3
"""First descriptor that systemd passes (SD_LISTEN_FDS_START)."""

NOTIFY_TIMEOUT = 5.0
"""Seconds within which systemd receives a notification."""


def passed_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd has passed to this process; those that other machines reach
    come first.

    They are duplicates, so that a program that replaces this one by exec finds the originals. Raises
    `ConfigError` for descriptors that a server cannot listen on.
    """
    count = environ.get("LISTEN_FDS", "")
    if not count:
        return []
    if (pid := environ.get("LISTEN_PID")) != str(os.getpid()):
        log.warning(
            "LISTEN_FDS: the sockets of systemd are not used, because they are for process %s, and this is "
            "process %d: let ExecStart= begin with owt serve, or with a program that executes it by exec",
            pid,
            os.getpid(),
        )
        return []
    if not (count.isascii() and count.isdecimal()):
        raise ConfigError(f"LISTEN_FDS: it is the number of sockets that are passed; got {shortened(count)}")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(_duplicate(FIRST + index, names[index] if index < len(names) else ""))
            for index in range(int(count))
        ]
        if len({sock.family == socket.AF_UNIX for sock in sockets}) > 1:
            raise ConfigError(
                "LISTEN_FDS: systemd passes both TCP and Unix sockets, and a server has only one kind; use "
                "two services"
            )
        stack.pop_all()
    return sorted(sockets, key=_is_local)


def passed_descriptors(environ: Mapping[str, str]) -> range:
    """Return the descriptors of the sockets that systemd has passed to this process."""
    count = environ.get("LISTEN_FDS", "")
    is_own = environ.get("LISTEN_PID") == str(os.getpid()) and count.isascii() and count.isdecimal()
    return range(FIRST, FIRST + int(count)) if is_own else range(0)


def _is_local(sock: socket.socket) -> bool:
    return sock.family == socket.AF_UNIX or is_loopback(sock.getsockname()[0])


def _duplicate(descriptor: int, name: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        raise _unusable(descriptor, name, "it is not a socket") from None
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        reason = "it is neither a TCP nor a Unix socket"
    elif sock.type != socket.SOCK_STREAM:
        reason = "it is not a stream socket"
    elif not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        reason = "it does not listen (Accept=yes passes connections)"
    elif not sock.getsockname() or isinstance(sock.getsockname(), bytes):
        reason = "it has no path, by which clients connect"
    else:
        return sock
    sock.close()
    raise _unusable(descriptor, name, reason)


def _unusable(descriptor: int, name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"LISTEN_FDS: the server cannot listen on descriptor {descriptor} ({name or 'without a name'}) of "
        f"systemd: {reason}; give ListenStream= with a port or a path, and Accept=no, in the socket unit"
    )


def with_sockets(settings: Settings, sockets: Sequence[socket.socket]) -> Settings:
    """Return the settings of a server that listens on these sockets of systemd.

    Raises `ConfigError` if --address, --port or --unix-socket have values that contradict the sockets, and
    for sockets that a server with these settings must not listen on.
    """
    if not sockets:
        return settings
    names = [sock.getsockname() for sock in sockets]
    place: dict[str, Any]
    accepted: dict[str, set[Any]]
    if sockets[0].family == socket.AF_UNIX:
        text = names[0]
        place = {"unix_socket": Path(text)}
        accepted = {"unix_socket": {None, *map(os.path.abspath, names)}}
        _warn_of_access(settings, names)
    else:
        address, port = names[0][:2]
        text = f"{address}, port {port}"
        addresses = {name[0] for name in names}
        if addresses <= _resolved(settings.address):
            # A name is also one that clients may send as Host.
            address = settings.address
        place = {"address": address, "port": port}
        accepted = {
            "unix_socket": {None},
            "address": {Settings.address, address},
            "port": {0, Settings.port, *(name[1] for name in names)},
        }
    path = settings.unix_socket and os.path.abspath(settings.unix_socket)
    values = {"unix_socket": path, "address": settings.address, "port": settings.port}
    for name in accepted:
        if values[name] not in accepted[name]:
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} (OWT_{name.upper()}): systemd passes a socket at {text}; leave out {option}, or "
                f"change ListenStream= in the socket unit; got {shortened(str(values[name]))}"
            )
    try:
        return replace(settings, **place)
    except ConfigError as error:
        raise ConfigError(f"{error}. The socket of systemd listens at {text}") from None


def _resolved(address: str) -> set[str]:
    with contextlib.suppress(OSError, UnicodeError):
        return {str(item[4][0]) for item in socket.getaddrinfo(address, None)}
    return set()


def _warn_of_access(settings: Settings, paths: Sequence[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            if os.stat(path).st_mode & stat.S_IWOTH and not settings.guarded:
                log.warning(
                    "every user of this machine can run code by the socket %s; give SocketMode=0600 in the "
                    "socket unit",
                    path,
                )


def notify_reloading() -> None:
    """Notify systemd that the server begins to restart in place. `READY=1` is to follow in any case."""
    moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify("RELOADING=1", f"MONOTONIC_USEC={moment}", "STATUS=restarting")


def notify(*assignments: str) -> None:
    """Send assignments such as `READY=1` to systemd, if it waits for them (`Type=notify`)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(NOTIFY_TIMEOUT)
            # An abstract address begins with a null byte (unix(7)).
            path = "\0" + address[1:] if address.startswith("@") else address
            lines = (assignment.replace("\n", " ") for assignment in assignments)
            sock.sendto("\n".join(lines).encode(), path)
    except OSError as error:
        log.warning("NOTIFY_SOCKET: cannot notify systemd at %s: %s", address, error)
