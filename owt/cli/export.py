"""`owt export`: a notebook as a plain adaptor file."""

from __future__ import annotations

from pathlib import Path

import click

from owt.errors import NotebookError


@click.command("export")
@click.argument("path", type=click.Path(path_type=Path), metavar="PATH")
@click.option("--endpoint", metavar="PATH", help="Endpoint to export; its function becomes run")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Output file  [default: stdout]"
)
def export(path: Path, endpoint: str | None, output: Path | None) -> None:
    """Write the notebook at PATH (.ipynb or .py) as a plain adaptor file, for owt call or curl.

    Magics and shell commands become comments.
    """
    from owt.notebook import export as notebook_export

    text = notebook_export.export(path, endpoint)
    if output is None or str(output) == "-":
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotebookError(f"--output: {output}: {error.strerror or error}") from None
