"""The command lines of `%owt` and `%%owt`: their words and options, and the adaptor's arguments among them.

    %%owt --session tour text="Hello, owt!" times=3 words=["a", "b"] table=$table n={len(rows) + 1}

A word ends at a blank outside of quotes and brackets. `name=value` is an argument: a Python literal, or
`$variable` or `{expression}`, which the notebook evaluates.
"""

from __future__ import annotations

import ast
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from owt.cli.options import environment_options, identity_options
from owt.errors import CannotSend, shortened

_ARGUMENT = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)
# `--session="tour"`, and the variable of `--env NAME="two words"`.
_OPTION = re.compile(r"(--[\w-]+=(?:\w+=)?|\w+=)(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$[^\W\d]\w*")
# Tokens of a line: a text with its quotes, a bracket, blanks, any other character.
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\[({]|[\])}]|\s+|.""", re.DOTALL)
_REMOTE = ("session", "kernel", "env", "cwd", "timeout")
_HOW = 'a Python literal such as "text" or 3, $variable or {expression}'


@dataclass(frozen=True)
class Connect:
    """`%owt`: describe the connection, connect, or stop the notebook's server."""

    words: tuple[str, ...]
    session: str | None
    auth: str | None
    token: str | None
    has_credentials: bool = False
    """True if the line has credentials, and not the environment alone."""


@dataclass(frozen=True)
class Serve:
    """`%owt serve`: start a server for the notebook, with these options of `owt serve`."""

    options: tuple[str, ...]
    session: str | None


@dataclass(frozen=True)
class Run:
    """`%%owt`: run the cell. `arguments` are words `name=value`."""

    arguments: tuple[str, ...]
    local: bool
    quiet: bool
    options: dict[str, Any]


@click.command("%owt", add_help_option=False)
@click.argument("words", nargs=-1, metavar="[URL | serve [OPTIONS] | stop]", type=click.UNPROCESSED)
@click.option("--session", "-s", metavar="NAME", help="Session of the calls; '' is none")
@identity_options
def connect(words: tuple[str, ...], session: str | None, auth: str | None, token: str | None) -> Connect:
    """Connect this notebook to an owt server, and describe the connection.

    %owt                          describe the connection
    %owt URL --session tour       connect
    %owt --session tour           the same server, another session
    %owt --token TOKEN            the same server and session, with other credentials
    %owt serve                    start a server for this notebook, on a free port, and connect to it; with
                                  the options of `owt serve`. It ends with this notebook's kernel
    %owt stop                     end it now

    OWT_URL is set to the server's URL, so that Client(), !owt call and !curl "$OWT_URL" use the same server.

    %%owt? describes how a cell is sent.

    Without a URL the server is that of OWT_URL, or http://127.0.0.1:9876; in a kernel of an owt server,
    that server.
    """
    source = click.get_current_context().get_parameter_source
    has_credentials = ParameterSource.COMMANDLINE in (source("auth"), source("token"))
    return Connect(words, session, auth, token, has_credentials)


@click.command("%owt serve", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--session", "-s", metavar="NAME")
def serve(options: tuple[str, ...], session: str | None) -> Serve:
    """Start a server for this notebook, with options of `owt serve`."""
    return Serve(options, session)


@click.command("%%owt", add_help_option=False)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE ...]", type=click.UNPROCESSED)
@click.option("--session", "-s", metavar="NAME", help="Session that runs this cell")
@click.option("--kernel", metavar="NAME", help="Kernelspec of a session that does not exist yet")
@environment_options
@click.option("--fn-name", metavar="NAME", help="Function of the cell to call  [default: run]")
@click.option("--timeout", type=float, metavar="SECONDS", help="Maximum running time")
@click.option("--reload", is_flag=True, help="Load the code again if the kernel has loaded it already")
@click.option("--quiet", "-q", is_flag=True, help="Show nothing; the result is in _owt")
@click.option("--local", is_flag=True, help="Run the cell in this notebook's kernel, for %debug")
def run(arguments: tuple[str, ...], local: bool, quiet: bool, **options: Any) -> Run:
    """Send the cell to the server as an adaptor, show its output as it arrives, and keep the result in _owt.

    %%owt --session tour text="Hello" times=3 rows=$rows n={len(rows)}
    def run(text, times, rows, n):
        ...

    A value is a Python literal; $variable and {expression} are evaluated in this notebook. Interrupting the
    cell cancels the run. The result in _owt is text, bytes, decoded JSON, or a list of yielded values; after
    a failure, the part that had arrived.
    """
    options = {name: value for name, value in options.items() if value not in (None, False)}
    if local and (remote := [f"--{name}" for name in _REMOTE if name in options]):
        raise CannotSend(f"{remote[0]}: with --local no server is called")
    return Run(arguments, local, quiet, options)


def parse(command: click.Command, words: Sequence[str]) -> Any:
    """Parse a line; return what the command's function returns. Raises `CannotSend` and `ConfigError`."""
    args = []
    for before, word in zip(("", *words), words, strict=False):
        args.append(word if is_argument(word) and before != "--env" else unquoted(word))
    try:
        return command.main(args=args, prog_name=command.name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        raise CannotSend(error.format_message()) from None
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        raise CannotSend(f"{message[:1].lower()}{message[1:]}; {command.name}? lists the options") from None


def described(command: click.Command) -> str:
    """Return the docstring of a magic, which `%owt?` shows."""
    context = click.Context(command, info_name=command.name, max_content_width=100)
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    text = (command.callback.__doc__ or "").replace("\n    ", "\n") if command.callback else ""
    formatter.write(f"\n{text.strip()}\n")
    command.format_options(context, formatter)
    return formatter.getvalue()


def option_names(command: click.Command) -> list[str]:
    """Return the names of a command's options, long and short."""
    return [name for option in command.params if isinstance(option, click.Option) for name in option.opts]


def split_words(line: str) -> list[str]:
    """Return the words of a line, with their quotes and brackets."""
    words, word, depth = [], "", 0
    for token in _TOKEN.findall(line):
        if token.isspace() and not depth:
            words.append(word)
            word = ""
            continue
        depth += (token in "([{") - (token in ")]}" and depth > 0)
        word += token
    return [word for word in (*words, word) if word]


def unquoted(word: str) -> str:
    """Return an option or its value without the quotes around the value."""
    name, value = ("", word)
    if match := _OPTION.fullmatch(word):
        name, value = match.groups()
    return name + (value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value)


def is_argument(word: str) -> bool:
    """Return whether a word is `name=value`."""
    return _ARGUMENT.fullmatch(word) is not None


def evaluate(words: list[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in these words, evaluated in the notebook's namespace.

    Raises `CannotSend` for a word that is not an argument, and what an expression raises.
    """
    arguments: dict[str, Any] = {}
    for word in words:
        match = _ARGUMENT.fullmatch(word)
        if match is None:
            raise CannotSend(
                f"arguments are name=value, without blanks around the =; got {shortened(word)}. "
                "Options begin with --; %%owt? lists them"
            )
        name, text = match.groups()
        if name in arguments:
            raise CannotSend(f"{name}: there are two of them")
        arguments[name] = _value(name, text.removesuffix(","), namespace)
    return arguments


def _value(name: str, text: str, namespace: Mapping[str, Any]) -> Any:
    for expression in _expressions(text):
        try:
            return eval(compile(expression, f"<{name}>", "eval"), {**namespace})
        except NameError as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename != f"<{name}>":
                # Code that the expression calls raised it.
                raise
            raise CannotSend(f"{name}: the notebook has no {error.name}; got {shortened(text)}") from None
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        hint = f"; for the text, write {name}={text!r}" if text.replace("-", "").isalnum() else ""
        raise CannotSend(f"{name}: give {_HOW}; got {shortened(text)}{hint}") from None


def _expressions(text: str) -> Iterator[ast.Expression]:
    """Yield the expression of a value, unless the value is a literal, such as a dict in braces."""
    inner = None
    if _VARIABLE.fullmatch(text):
        inner = text[1:]
    elif text.startswith("{") and text.endswith("}") and text != "{}":
        inner = text[1:-1].strip()
    if inner is not None:
        try:
            yield ast.parse(inner, mode="eval")
        except SyntaxError:
            return
