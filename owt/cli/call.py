"""`owt call`: one call from the command line."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from owt.cli.identity_options import identity_options
from owt.cli.program import argument, program
from owt.client.caller import Caller
from owt.client.request import Address
from owt.errors import OwtError, RemoteError

BROKEN_PIPE = 141
"""The exit status of a program that wrote into a pipe that nobody reads (128 and SIGPIPE)."""


@click.command("call", no_args_is_help=True)
@click.option(
    "--address", metavar="URL", help="The server, and a path  [OWT_URL; default: http://127.0.0.1:9876]"
)
@click.option("--code", metavar="TEXT", help="The code")
@click.option("--file", metavar="FILE", help="A file with the code; - is standard input")
@click.option("--adaptor", metavar="NAME", help="A ready adaptor of owt.lib, instead of code")
@click.option(
    "--run",
    metavar="EXPR",
    help="What is called, a function or a pipeline; it may use what --code or --file defines",
)
@click.option("--kwargs", metavar="TEXT", help="All arguments: a JSON object or a Python expression")
@click.option(
    "--arg",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="An argument; VALUE is JSON or a Python literal, else text. Can be given many times",
)
@click.option(
    "--method",
    type=click.Choice(["GET", "POST"], case_sensitive=False),
    default="POST",
    help="How it is sent; a GET has everything in its URL  [default: POST]",
)
@click.option("--fn-name", metavar="NAME", help="The function to call  [default: run]")
@click.option("--url", is_flag=True, help="Print the URL that makes this call, and call nothing")
@click.option("--session", metavar="NAME", help="The session")
@click.option("--kernel", metavar="NAME", help="The kernelspec for a session that is new")
@click.option("--timeout", type=float, metavar="SECONDS", help="The longest running time")
@click.option(
    "--stream",
    type=click.Choice(["auto", "sse", "raw"]),
    default="auto",
    help="sse: everything as it happens; raw: exactly the answer's bytes; "
    "auto: sse on a terminal, raw into files and pipes  [default: auto]",
)
@identity_options
@click.option("--output", metavar="FILE", help="Where the answer goes; - is standard output")
def _command(
    *,
    address: str | None,
    code: str | None,
    file: str | None,
    run: str | None,
    kwargs: str | None,
    arg: tuple[tuple[str, str], ...],
    auth: str | None,
    token: str | None,
    url: bool,
    stream: str,
    output: str | None,
    method: str,
    **given: Any,
) -> int:
    """Run code on a server, and print its answer as it comes.

    The answer goes to stdout or to --output, and nothing else does, unless it is shown event by event
    (--stream sse, which is what happens on a terminal): then what the code prints goes to stdout and
    stderr when it is printed. Otherwise it follows the answer, on stderr.

    Exit status: 0; 1 if the call failed, with its traceback on stderr; 2 for arguments that cannot be
    used; 3 when no server answers.
    """
    if kwargs is not None and arg:
        raise click.UsageError("give --kwargs or --arg, not both")
    text = program(code, file, run, given["fn_name"])
    if text is None and given["adaptor"] is None and None in (given["session"], given["fn_name"]):
        raise click.UsageError(
            "there is no code: give --code, --file, --run or --adaptor, or a function of a session by "
            "--session and --fn-name"
        )
    if text is not None and given["adaptor"] is not None:
        raise click.UsageError("give --adaptor or code, not both")
    arguments = {name: argument(value) for name, value in arg}
    options = {**given, "kwargs": kwargs, "method": method.upper(), "accept": "*/*"}
    if address is not None:
        Address.of(address, "--address")
    if url:
        options["stream"] = None if stream == "auto" else stream
        click.echo(Caller(address).with_options(**options).as_url(text, **arguments))
        return 0
    return _call(address, {"auth": auth, "token": token}, options, text, arguments, stream, output)


call: click.Command = _command


def _call(
    address: str | None,
    identity: dict[str, str | None],
    options: dict[str, Any],
    code: str | None,
    arguments: dict[str, Any],
    stream: str,
    path: str | None,
) -> int:
    _import_httpx()
    from owt.cli.output import Output
    from owt.cli.printing import print_answer, print_events, tell
    from owt.client.clients import Client

    watched = stream == "sse" or (stream == "auto" and path is None and sys.stdout.isatty())
    show = print_events if watched else print_answer
    try:
        with Client(address, **identity).with_options(**options) as client, Output(path) as output:
            return show(client, code, arguments, output)
    except RemoteError as error:
        notes = [] if error.traceback else getattr(error, "__notes__", [])
        tell(f"{error.traceback or '; '.join([f'owt: {error}', *notes])}".rstrip() + "\n")
        return 1
    except BrokenPipeError:
        # Or Python would complain when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        raise OwtError(f"the answer cannot be written: {error.strerror or error}") from error


def _import_httpx() -> None:
    """Import httpx, and httpcore below it, without its own command line and without trio.

    They take both where they are installed, need neither here, and would be twice as slow to start.
    """
    if "httpx" in sys.modules:
        return
    unwanted = {"httpx._main", "trio"} - sys.modules.keys()
    # What is None here cannot be imported (Language Reference, "The module cache").
    sys.modules.update(dict.fromkeys(unwanted))  # type: ignore[arg-type]
    try:
        import_module("httpx")
        import_module("httpcore")
    finally:
        for name in unwanted:
            del sys.modules[name]
