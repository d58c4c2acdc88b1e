"""`owt endpoints`: list the endpoints of a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from owt.cli import tables
from owt.cli.options import json_option, server_options

if TYPE_CHECKING:
    from owt.client.control import Control


@click.command("endpoints")
@server_options
@json_option
def endpoints(control: Control, as_json: bool) -> None:
    """List the paths at which sessions of a running server have endpoints."""
    document = control.endpoints()
    if as_json:
        tables.print_json(document)
    else:
        tables.print_table(tables.ENDPOINT_COLUMNS, tables.endpoint_rows(document), "no endpoints")
