"""`owt console`: a Jupyter console on a session's kernel."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

import click

from owt.cli.options import server_options
from owt.errors import MissingExtra, OwtError

if TYPE_CHECKING:
    from owt.client.control import Control


@click.command("console")
@click.argument("name")
@server_options
def console(name: str, control: Control) -> NoReturn:
    """Open a Jupyter console on the session NAME, which continues to run calls.

    Ctrl-D leaves the console and keeps the session; `exit` in it ends the kernel.
    """
    session = control.session(name)
    if session.get("state") in ("starting", "dead"):
        click.echo(f"session {name} has no kernel yet; waiting for it", err=True)
        session = control.start(name)
    connection_file = session.get("connection_file")
    if not connection_file or not os.access(connection_file, os.R_OK):
        raise OwtError(
            f"session {name!r} has no connection file on this machine that you may read (the server names "
            f"{connection_file}); run the console on the kernel's machine, as the same user"
        )
    if find_spec("jupyter_console") is None:
        raise MissingExtra("jupyter_console", "notebook")
    click.echo("Ctrl-D leaves the console and keeps the session; exit ends its kernel.", err=True)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jupyter_console", "--existing", str(connection_file)])
