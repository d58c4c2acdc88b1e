"""`owt session`: look at the sessions of a running server, and manage them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from owt.cli import tables
from owt.cli.options import json_option, server_options

if TYPE_CHECKING:
    from owt.client.control import Control


@click.group("session")
def session() -> None:
    """Look at the sessions of a running server, and manage them."""


@session.command("list")
@server_options
@json_option
def list_sessions(control: Control, as_json: bool) -> None:
    """List the sessions and the kernels of the pool."""
    document = control.sessions()
    if as_json:
        tables.print_json(document)
    else:
        tables.print_table(list(tables.COLUMNS.values()), tables.session_rows(document), "no sessions")


@session.command()
@click.argument("name")
@server_options
@json_option
def show(name: str, control: Control, as_json: bool) -> None:
    """Show all that the server knows about the session NAME."""
    document = control.session(name)
    if as_json:
        tables.print_json(document)
    else:
        click.echo(tables.facts(document), nl=False)


@session.command()
@click.argument("name")
@server_options
def delete(name: str, control: Control) -> None:
    """End the session NAME and its kernel, with all of its state."""
    control.delete(name)
    click.echo(f"deleted {name}")


@session.command()
@click.argument("name")
@server_options
def restart(name: str, control: Control) -> None:
    """Give the session NAME a fresh kernel."""
    control.restart(name)
    click.echo(f"restarted {name}")


@session.command()
@click.argument("name")
@server_options
def interrupt(name: str, control: Control) -> None:
    """Interrupt the code that the session NAME runs."""
    control.interrupt(name)
    click.echo(f"interrupted {name}")
