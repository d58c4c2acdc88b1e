"""`owt docs`: the place of the documentation."""

from __future__ import annotations

from importlib.metadata import metadata
from pathlib import Path

import click

PACKAGE = Path(__file__).resolve().parent.parent
PLACES = (PACKAGE / "docs", PACKAGE.parent / "docs")
"""Folders of the documentation: of an installed package, and of a source tree."""


@click.command("docs")
def docs() -> None:
    """Print the path of the documentation, or the README where there is no other documentation."""
    for place in PLACES:
        if (place / "index.md").is_file():
            click.echo(place / "index.md")
            return
    click.echo(metadata("owt")["Description"])
