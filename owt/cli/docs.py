"""`owt docs`: the place of the documentation."""

from __future__ import annotations

import sysconfig
from importlib.metadata import metadata
from pathlib import Path

import click

from owt.errors import DISTRIBUTION

PLACES = (
    Path(__file__).resolve().parents[2] / "docs",
    Path(sysconfig.get_path("data"), "share", "doc", "owt"),
)
"""Folders of the documentation: in a source tree, and of an installed package."""


@click.command("docs")
def docs() -> None:
    """Print the path of the documentation, or of the README if it is not installed."""
    for place in PLACES:
        if (place / "index.md").is_file():
            click.echo(place / "index.md")
            return
    click.echo(metadata(DISTRIBUTION)["Description"])
