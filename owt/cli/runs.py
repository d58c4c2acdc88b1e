"""`owt runs` and `owt cache`: look at the runs and the cached responses of a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from owt.cli import tables
from owt.cli.options import checked_by, document_options, server_options
from owt.wire.names import session_name

if TYPE_CHECKING:
    from owt.client.control import Control


@click.group("runs")
def runs() -> None:
    """Look at the runs of a running server, and cancel them."""


@runs.command("list")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="List the newest N runs, newest first"
)
@click.option(
    "--session", metavar="NAME", callback=checked_by(session_name), help="List only the runs of this session"
)
@document_options(tables.runs)
def list_runs(limit: int | None, session: str | None, control: Control) -> dict[str, Any]:
    """List the runs that are queued, running, or have ended recently, oldest first."""
    return control.runs(limit, session)


@runs.command()
@click.argument("id")
@document_options(tables.run)
def show(id: str, control: Control) -> dict[str, Any]:
    """Show the state of the run ID, its times and its failure."""
    return control.run(id)


@runs.command()
@click.argument("id")
@server_options
def cancel(id: str, control: Control) -> None:
    """Cancel the run ID."""
    result = control.cancel(id)
    if "shared" in result:
        click.echo(f"run {id} continues: it is also the run of other calls ({result['shared']})")
    else:
        click.echo(f"cancelled {id}" if result["cancelled"] else f"run {id} has ended already")


@runs.command()
@click.argument("id")
@server_options
def logs(id: str, control: Control) -> None:
    """Print what the run ID has printed so far, to stdout and stderr."""
    document = control.run(id)
    if dropped := document.get("dropped"):
        click.echo(
            f"owt: the oldest {dropped} of {document['bytes']} bytes of the run's output are not kept "
            "(--run-journal, --journal-total, or its client has left)",
            err=True,
        )
    click.echo(document["stdout"], nl=False)
    click.echo(document["stderr"], nl=False, err=True)


@click.group("cache")
def cache() -> None:
    """Look at the response cache of a running server, and clear it."""


@cache.command("show")
@document_options(tables.facts)
def show_cache(control: Control) -> dict[str, Any]:
    """Show the number of cached responses, their size and its limit in bytes."""
    return control.cache()


@cache.command()
@server_options
def clear(control: Control) -> None:
    """Remove all cached responses."""
    click.echo(f"removed {control.clear_cache()['deleted']}")
