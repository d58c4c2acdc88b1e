"""`owt status`, `owt restart` and `owt stop`: a server of this user on this machine, and what keeps its
sessions."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from owt.cli import tables
from owt.cli.options import identity_options
from owt.cli.place import PLACE, Place, find_place
from owt.cli.serve import given_options, setting_options
from owt.errors import ConfigError, OwtError, Unreachable, counted

STOP_TIMEOUT = 60.0
"""Seconds that the end of a server may take."""


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
@identity_options
@_place_options
def status(place: Place, as_json: bool, auth: str | None, token: str | None) -> None:
    """Show the server of this user at an address, and the sessions that outlive it.

    Give the options of `owt serve`. A server without --keep wants credentials to say which sessions it has.
    The exit status is 0 if there is a server, or sessions wait for one, 3 if there is neither, and 2 if the
    options do not fit together.
    """
    document, sessions, problem = place.document(), None, None
    if place.host is not None:
        place.host.close()
    try:
        sessions = place.sessions(auth, token)
    except OwtError as error:
        problem = f"its sessions are not known: {error}"
    if as_json:
        click.echo(json.dumps({**document, "sessions": sessions, "problem": problem}, indent=2))
        return
    if (seconds := document["kept_for"]) is not None:
        more = " more" if place.host else ""
        document["kept_for"] = f"{seconds:g} s{more}" if place.is_kept else "not kept (no --keep)"
    facts = {**document, "sessions": sessions, **({"problem": problem} if problem else {})}
    click.echo(tables.facts(facts), nl=False)


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
        assert place.path is not None
        count, kept = len(kept_dir.recorded_sessions(place.path)), f"{place.host.ready.keep:.0f} s"
        place.host.close()
        if not discard:
            verb = "is" if count == 1 else "are"
            raise Unreachable(
                f"no server; {counted(count, 'session')} {verb} kept for {kept}: start it by owt serve"
            )
        kept_dir.KeptDirectory(place.path, (sys.executable, "-I", REAPER), discard=DISCARDED).close()
        click.echo(
            f"ended {counted(count, 'session')}; no server is there: start it by owt serve. It tells the "
            f"reason to their clients; until then, {place.path} has their names"
        )
        return
    assert place.pid is not None
    if place.path is None or not place.is_kept:
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
