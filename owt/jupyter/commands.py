"""The command lines of `%owt` and `%%owt`, read as the shell's are: options, then what they apply to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from owt.cli.options import identity_options
from owt.errors import CannotSend
from owt.jupyter.arguments import is_argument, unquoted


@dataclass(frozen=True)
class Connect:
    """`%owt`: tell, connect, or stop the notebook's own server."""

    words: tuple[str, ...]
    session: str | None
    auth: str | None
    token: str | None
    identified: bool = False
    """Whether the line itself says who calls, and not the environment."""


@dataclass(frozen=True)
class Serve:
    """`%owt serve`: start a server of the notebook's own, with these options of `owt serve`."""

    options: tuple[str, ...]
    session: str | None


@dataclass(frozen=True)
class Run:
    """`%%owt`: send the cell. `arguments` are words `name=value`."""

    arguments: tuple[str, ...]
    local: bool
    quiet: bool
    options: dict[str, Any]


@click.command("%owt", add_help_option=False)
@click.argument("words", nargs=-1, metavar="[URL | serve [OPTIONS] | stop]", type=click.UNPROCESSED)
@click.option("--session", "-s", metavar="NAME", help="The session; '' is none: each call borrows a kernel")
@identity_options
def connect(words: tuple[str, ...], session: str | None, auth: str | None, token: str | None) -> Connect:
    """Connect this notebook to an owt server, and say what is there.

    %owt                          say what one is connected to
    %owt URL --session tour       connect
    %owt --session tour           the same server, another session
    %owt --token TOKEN            the same server and session, as somebody else
    %owt serve                    start a server for this notebook, on a free port, and connect to it; with
                                  the options of `owt serve`. It ends with this notebook's kernel
    %owt stop                     end it now

    OWT_URL is set to the server, so that Client(), !owt call and !curl "$OWT_URL" mean the same one.

    %%owt? tells how a cell is sent.

    Without a URL the server is that of OWT_URL, or http://127.0.0.1:9876; in a kernel of owt's, its own.
    """
    source = click.get_current_context().get_parameter_source
    identified = ParameterSource.COMMANDLINE in (source("auth"), source("token"))
    return Connect(words, session, auth, token, identified)


@click.command("%owt serve", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--session", "-s", metavar="NAME")
def serve(options: tuple[str, ...], session: str | None) -> Serve:
    """Start a server for this notebook; whatever else is given are options of `owt serve`."""
    return Serve(options, session)


@click.command("%%owt", add_help_option=False)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE ...]", type=click.UNPROCESSED)
@click.option("--session", "-s", metavar="NAME", help="The session, for this cell")
@click.option("--kernel", metavar="NAME", help="The kernelspec, if the session is new")
@click.option("--fn-name", metavar="NAME", help="The function to call, of those that the cell defines")
@click.option("--timeout", type=float, metavar="SECONDS", help="The longest running time")
@click.option("--reload", is_flag=True, help="Load the code again, even if the kernel has it already")
@click.option("--quiet", "-q", is_flag=True, help="Show nothing; the value is in _owt")
@click.option("--local", is_flag=True, help="Run it in this notebook's own kernel, where %debug finds it")
def run(arguments: tuple[str, ...], local: bool, quiet: bool, **options: Any) -> Run:
    """Send the cell to the server as an adaptor, show what comes back as it comes, and keep it in _owt.

    %%owt --session tour text="Hello" times=3 rows=$rows n={len(rows)}
    def run(text, times, rows, n):
        ...

    A value is a Python literal; $variable or {expression} stands for its value in this notebook. Interrupting
    the cell cancels the run. _owt is the value: a text, bytes, what JSON holds, a list of what was yielded;
    after a failure what had come by then.
    """
    said = {name: value for name, value in options.items() if value not in (None, False)}
    if local and (elsewhere := [f"--{name}" for name in ("session", "kernel", "timeout") if name in said]):
        raise CannotSend(f"{elsewhere[0]}: with --local no server is called")
    return Run(arguments, local, quiet, said)


def parsed(command: click.Command, words: Sequence[str]) -> Any:
    """What a line says, as the command's function gives it. Raises `CannotSend`, and `ConfigError`."""
    args = [word if is_argument(word) else unquoted(word) for word in words]
    try:
        return command.main(args=args, prog_name=command.name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        raise CannotSend(error.format_message()) from None
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        raise CannotSend(f"{message[:1].lower()}{message[1:]}; {command.name}? lists the options") from None


def described(command: click.Command) -> str:
    """The docstring of a magic: what `%owt?` shows."""
    context = click.Context(command, info_name=command.name, max_content_width=100)
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    about = (command.callback.__doc__ or "").replace("\n    ", "\n") if command.callback else ""
    formatter.write(f"\n{about.strip()}\n")
    command.format_options(context, formatter)
    return formatter.getvalue()


def option_names(command: click.Command) -> list[str]:
    """The options of a command, long and short."""
    return [name for each in command.params if isinstance(each, click.Option) for name in each.opts]
