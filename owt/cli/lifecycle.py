"""`owt status` and `owt stop`: a server of this user on this machine, and what keeps its sessions."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from owt.cli import tables
from owt.errors import OwtError, Unreachable

if TYPE_CHECKING:
    from owt.frontend.config.settings import Settings
    from owt.frontend.kernels.host import Host

STOP_TIMEOUT = 60.0
"""Seconds that the end of a server may take."""

PLACE = ("address", "port", "unix_socket", "runtime_dir")
"""Settings that say where a server is."""


class Place:
    """The place of a server: `path` is its runtime directory with `--keep`, `pid` the process id of the
    server or None, and `host` the template that waits for the next one."""

    def __init__(self, settings: Settings) -> None:
        from owt.frontend import kept_dir
        from owt.frontend.kernels.host import Host
        from owt.wire.template import HOST_SOCKET

        self.path = kept_dir.kept_path(settings)
        self.history = kept_dir.read_history(self.path)
        self.pid = kept_dir.frontend_of(self.path) or _listening_process(settings)
        self.host: Host | None = None
        if self.pid is None and self.path.exists():
            self.host = Host.find(str(self.path / HOST_SOCKET))
        if self.pid is None and self.host is None:
            place = settings.unix_socket or f"{settings.address}:{settings.port}"
            raise Unreachable(f"no server of this user serves at {place}, and none has left sessions there")

    def document(self) -> dict[str, Any]:
        """Return what is known about the server."""
        history, ready = self.history, self.host and self.host.ready
        return {
            "server": self.pid,
            "url": history and history.url,
            "started": history and history.started,
            "restarts": history and history.restarts,
            "without_server_since": ready and ready.since,
            "kept_for": f"{ready.keep:.0f} s more" if ready else history and f"{history.keep:g} s",
            "kept_by": self.host and self.host.pid,
            "runtime_dir": None if history is None else str(self.path),
            "sessions": sorted(path.stem for path in Path(self.path, "sessions").glob("*.json")),
        }


def _place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `owt serve` that say where a server is. The command is called with a `Place`.

    Raises `Unreachable`, when the command runs, if there is nothing.
    """
    from owt.frontend.config.settings import Settings, settings

    @wraps(command)
    def placed(*args: Any, **values: Any) -> Any:
        options = {name: values.pop(name) for name in PLACE}
        # What else the environment says about a server has no effect here.
        environ = {f"OWT_{name.upper()}": os.environ.get(f"OWT_{name.upper()}", "") for name in PLACE}
        chosen = Settings.from_options({**options, "insecure": True}, environ)
        return command(*args, place=Place(chosen), **values)

    for row in reversed(settings()):
        if row.name in PLACE:
            help = f"{row.help}  [{row.variable}; default: {row.default_text}]"
            placed = click.option(row.option, row.name, metavar=row.metavar, type=str, help=help)(placed)
    return placed


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON")
@_place_options
def status(place: Place, as_json: bool) -> None:
    """Show the server of this user at an address, and the sessions that outlive it.

    Give the options of `owt serve`. The exit status is 3 if there is neither.
    """
    document = place.document()
    if place.host is not None:
        place.host.close()
    click.echo(json.dumps(document, indent=2) if as_json else tables.facts(document), nl=as_json)


@click.command("stop")
@_place_options
def stop(place: Place) -> None:
    """End the server of this user at an address, with all of its sessions, and those that it has left.

    Give the options of `owt serve`. Running calls get the `--drain` of the server.
    """
    import psutil

    if place.host is not None:
        if not place.host.end(STOP_TIMEOUT):
            raise OwtError(f"the process {place.host.pid}, which keeps the sessions, has not ended in time")
        click.echo(f"ended the sessions in {place.path}")
        return
    assert place.pid is not None
    try:
        process = psutil.Process(place.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise OwtError(f"the server (process {place.pid}) has not ended in {STOP_TIMEOUT:.0f} s") from None
    click.echo(f"ended the server (process {place.pid})")


def _listening_process(settings: Settings) -> int | None:
    """Return the process id of the server that listens at the address, or None."""
    import psutil

    if settings.runtime_dir is not None:
        # The address of its server need not be the default one.
        return None
    if settings.unix_socket is not None:
        pids = _peer(os.path.abspath(settings.unix_socket))
    else:
        pids = {
            item.pid
            for item in psutil.net_connections("tcp")
            if item.status == psutil.CONN_LISTEN and item.laddr[1:] == (settings.port,)
        }
    for pid in pids - {None}:
        try:
            words = " ".join(psutil.Process(pid).cmdline()).split()
        except psutil.Error:
            continue
        if "serve" in words and "owt" in [os.path.basename(word) for word in words]:
            return pid
    return None


def _peer(path: str) -> set[int | None]:
    """Return the process id of the server of a Unix socket."""
    from owt.frontend.kernels.host import peer

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
            return {peer(client)[0]}
        except (OSError, AttributeError):
            return set()
