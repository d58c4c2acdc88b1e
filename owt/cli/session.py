"""`owt session` and `owt endpoints`: look at the sessions of a running server, and manage them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from owt.cli import tables
from owt.cli.options import document_options, environment_options, server_options

if TYPE_CHECKING:
    from owt.client.control import Control


@click.command("endpoints")
@click.option("--live", is_flag=True, help="List only the endpoints that answer, and none that are gone")
@document_options(tables.endpoints)
def endpoints(live: bool, control: Control) -> dict[str, Any]:
    """List the paths at which sessions of a running server have endpoints.

    An endpoint whose kernel has ended is `gone`. It stays in the list for a day, and the newest 200 of them
    at most.
    """
    return control.endpoints("live" if live else None)


@click.group("session")
def session() -> None:
    """Look at the sessions of a running server, and manage them."""


@session.command("list")
@document_options(tables.sessions)
def list_sessions(control: Control) -> dict[str, Any]:
    """List the sessions and the kernels of the pool."""
    return control.sessions()


@session.command()
@click.argument("name")
@document_options(tables.facts)
def show(name: str, control: Control) -> dict[str, Any]:
    """Show the state of the session NAME, of its kernel and of its runs."""
    return control.session(name)


@session.command()
@click.argument("name")
@click.option("--kernel", metavar="NAME", help="Kernelspec  [default: that of the server's --kernel]")
@click.option("--concurrency", type=int, metavar="N", help="Number of calls that may overlap  [default: 1]")
@environment_options
@server_options
def create(name: str, control: Control, **options: Any) -> None:
    """Create the session NAME, and wait until its kernel is ready.

    A variable is set before the kernel's first import. DIR is a directory of the server's machine.
    """
    document = control.start(name, **{key: value for key, value in options.items() if value is not None})
    click.echo(f"{name} is ready (kernel {document['kernel']}, process {document['pid']})")


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
    document = control.interrupt(name)
    if document["interrupted"]:
        click.echo(f"interrupted {name}")
    else:
        click.echo(f"nothing to interrupt in {name}: {document.get('reason', 'no call is running')}")
