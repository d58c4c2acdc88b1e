"""Write the manual page of the command line, from the help texts of its commands.

    python docs/make_man.py FOLDER     write FOLDER/owt.1

Source: groff_man(7).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
from generate import commands

from owt.cli.main import cli
from owt.errors import DISTRIBUTION


def manual() -> str:
    """Return the manual page."""
    contexts = list(commands(cli, click.Context(cli, info_name="owt")))
    summary = _text(cli.get_short_help_str(200))
    lines = [
        f'.TH OWT 1 "" "owt {version(DISTRIBUTION)}" "User Commands"',
        ".SH NAME",
        rf"owt \- {summary}",
        ".SH SYNOPSIS",
        *(line for context in contexts if not _is_group(context) for line in _synopsis(context)),
        ".SH COMMANDS",
    ]
    for context in contexts:
        if context.parent is not None:
            lines += _section(context)
    return "\n".join(lines) + "\n"


def _is_group(context: click.Context) -> bool:
    return isinstance(context.command, click.Group)


def _synopsis(context: click.Context) -> Iterator[str]:
    yield f".B {_text(context.command_path)}"
    yield _text(" ".join(context.command.collect_usage_pieces(context)))
    yield ".br"


def _section(context: click.Context) -> Iterator[str]:
    yield f'.SS "{_text(context.command_path)}"'
    for paragraph in (context.command.help or "").split("\n\n"):
        yield _text(" ".join(paragraph.split()))
        yield ".PP"
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield ".TP"
            yield f".B {_text(record[0])}"
            yield _text(record[1])


def _text(text: str) -> str:
    """Return plain text without meaning to groff: neither escapes nor requests at the beginning of a line."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")
    return re.sub(r"^(?=[.'])", r"\\&", text)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "owt.1").write_text(manual(), encoding="utf-8")
