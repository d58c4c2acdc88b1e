"""`owt serve`: start the server."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from owt.errors import CannotListen, ConfigError
from owt.frontend.config.settings import settings
from owt.server import parent_watch
from owt.server.startup import Startup, write_report


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Import in the block without garbage collections, each of which walks through all that is there."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each setting. The setting's own row reads the text, as it reads a variable's."""
    for row in reversed(settings()):
        help = f"{row.help}  [{row.variable}; default: {row.default_text}]"
        match row.kind:
            case "value":
                option = click.option(row.option, row.name, metavar=row.metavar, type=str, help=help)
            case "list":
                option = click.option(
                    row.option, row.name, metavar=row.metavar, type=str, multiple=True, help=help
                )
            case "switch":
                option = click.option(
                    f"{row.option}/--no-{row.option[2:]}", row.name, default=None, help=help
                )
            case "count":
                option = click.option(f"-{row.name[0]}", row.option, row.name, count=True, help=help)
        command = option(command)
    return command


def given_options(context: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the values that come from the command line."""
    return {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


@click.command("serve")
@setting_options
@click.option("--report-fd", type=int, hidden=True, help="Descriptor to report the start to")
@click.option("--watch-parent", is_flag=True, hidden=True, help="End when the parent process ends")
@click.option("--check", is_flag=True, hidden=True, help="Check the settings of a restart")
@click.option("--handover-fd", type=int, hidden=True, help="Descriptor of what a restart hands over")
@click.pass_context
def serve(
    context: click.Context,
    /,
    report_fd: int | None,
    watch_parent: bool,
    check: bool,
    handover_fd: int | None,
    **values: object,
) -> int:
    """Start the server.

    The environment variable beside an option has the same effect.
    """
    if sys.platform == "win32":
        raise ConfigError(
            "the server needs Linux or macOS; on Windows, install it in WSL (wsl --install). "
            "owt call and the Python client work here"
        )
    # All that serves: a check is to notice what cannot be imported.
    with _without_garbage_collection():
        from owt.frontend import app, replacement

    if check:
        replacement.main()
        return 0
    handover = None
    if handover_fd is None:
        pipe = parent_watch.watch_parent() if watch_parent else None
        launch = replacement.Launch.of(given_options(context, values), os.environ, pipe)
    else:
        handover = replacement.Handover.load(handover_fd)
        launch = handover.launch
        if launch.parent is not None:
            parent_watch.watch_parent(launch.parent)
    chosen = launch.settings(os.environ)
    if report_fd is None:
        return app.serve(chosen, lambda url: None, launch, handover)
    # The processes that the server starts must not keep the pipe open.
    os.set_inheritable(report_fd, False)
    try:
        return app.serve(chosen, partial(write_report, report_fd), launch)
    except CannotListen:
        write_report(report_fd, Startup.CANNOT_LISTEN)
        raise
