"""`owt status`, `owt restart` and `owt stop`: a server of this user on this machine, and what keeps its
sessions."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from owt.cli import tables
from owt.cli.serve import given_options, setting_options
from owt.errors import ConfigError, OwtError, Unreachable, counted

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
            "restarted": history and history.restarted,
            "without_server_since": ready and ready.since,
            "kept_for": f"{ready.keep:.0f} s more" if ready else history and f"{history.keep:g} s",
            "kept_by": self.host and self.host.pid,
            "runtime_dir": None if history is None else str(self.path),
            "sessions": sorted(path.stem for path in Path(self.path, "sessions").glob("*.json")),
        }


def find_place(options: Mapping[str, Any]) -> Place:
    """Return the place that these options, or the environment, say. Raises `Unreachable`."""
    from owt.frontend.config.settings import Settings

    # What else the environment says about a server has no effect here.
    environ = {f"OWT_{name.upper()}": os.environ.get(f"OWT_{name.upper()}", "") for name in PLACE}
    chosen = {name: options.get(name) for name in PLACE}
    return Place(Settings.from_options({**chosen, "insecure": True}, environ))


def _place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `owt serve` that say where a server is. The command is called with a `Place`.

    Raises `Unreachable`, when the command runs, if there is nothing.
    """
    from owt.frontend.config.settings import settings

    @wraps(command)
    def placed(*args: Any, **values: Any) -> Any:
        options = {name: values.pop(name) for name in PLACE}
        return command(*args, place=find_place(options), **values)

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


@click.command("restart")
@click.option("--discard", is_flag=True, help="End all sessions: none goes on")
@setting_options
@click.pass_context
def restart(context: click.Context, /, discard: bool, **values: Any) -> None:
    """Restart the server of this user at an address in its process, with the code that is installed now.

    The sessions of a server with --keep go on, and no connection is refused. Options of `owt serve` replace
    those of the same names that the server was started with; files that they name are read again. The exit
    status is 2 if the new code or its settings cannot go on; then the server goes on as it was.
    """
    from owt.frontend import kept_dir, process_title
    from owt.frontend.config.setting import read_path
    from owt.frontend.config.settings import settings
    from owt.frontend.kernels.template import REAPER
    from owt.frontend.replacement import NEEDS_KEEP
    from owt.frontend.restart import DISCARDED, Order, Orders

    options = given_options(context, values)
    if any(row.secret and row.name in options for row in settings()):
        process_title.hide_secrets(os.environ, sys.argv)
    for row in settings():
        # The server may have another working directory.
        if row.read is read_path and (value := options.get(row.name)) is not None:
            paths = [value] if isinstance(value, str) else value
            absolute = [os.path.abspath(os.path.expanduser(path)) if path else "" for path in paths]
            options[row.name] = absolute[0] if isinstance(value, str) else absolute
    place = find_place(options)
    if place.host is not None:
        count, kept = len(place.document()["sessions"]), f"{place.host.ready.keep:.0f} s"
        place.host.close()
        if not discard:
            verb = "is" if count == 1 else "are"
            raise Unreachable(
                f"no server; {counted(count, 'session')} {verb} kept for {kept}: start it by owt serve"
            )
        kept_dir.KeptDirectory(place.path, (sys.executable, "-I", REAPER), discard=DISCARDED).close()
        click.echo(f"ended {counted(count, 'session')}; no server is there: start it by owt serve")
        return
    assert place.pid is not None
    if kept_dir.frontend_of(place.path) is None:
        raise ConfigError(f"the server (process {place.pid}) has no --keep: {NEEDS_KEEP}")
    with Orders(place.path) as orders:
        outcome = orders.give(Order(options, discard), place.pid)
    if outcome.problem is not None:
        raise ConfigError(f"no restart: {outcome.problem}")
    verb = "ended" if discard else "goes on" if outcome.sessions == 1 else "go on"
    click.echo(
        f"restarted the server (process {outcome.pid}) in {outcome.seconds:.1f} s; "
        f"{counted(outcome.sessions, 'session')} {verb}"
    )


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
