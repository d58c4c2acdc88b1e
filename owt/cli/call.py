"""`owt call`: one call from the command line."""

from __future__ import annotations

import ast
import json
import math
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.util import decode_source
from pathlib import Path
from typing import Any

import click

from owt.cli.input import Lines, open_input, read_parts
from owt.cli.options import checked_by, environment_options, identity_options, new_client
from owt.client.caller import Caller
from owt.client.request import Address
from owt.client.upload import BODY
from owt.errors import BadRequest, CannotSend, OwtError, shortened
from owt.files import read_bounded
from owt.server import Server
from owt.wire.accept import checked_ranges
from owt.wire.names import adaptor_name, function_name, kernelspec_name, session_name

PRINT = "\0"
"""Value of `--url` without a value; no URL has this character."""
BROKEN_PIPE = 141
"""Exit status of a program that wrote to a pipe without a reader (128 and SIGPIPE)."""


def _check_timeout(_: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise BadRequest(parameter.opts[0], "must be a number of seconds above 0", value)
    return value


@click.command("call", no_args_is_help=True)
@click.argument("path", required=False)
@click.option(
    "--url",
    metavar="URL",
    # The name had another meaning: without a value, it is --print-url.
    is_flag=False,
    flag_value=PRINT,
    help="URL of the server, and a path  [OWT_URL; default: http://127.0.0.1:9876]",
)
@click.option("--address", hidden=True, help="Old name of --url")
@click.option("--code", metavar="TEXT", help="Code to run")
@click.option("--file", metavar="FILE", help="File with the code; - is standard input")
@click.option(
    "--adaptor",
    metavar="NAME",
    callback=checked_by(adaptor_name),
    help="Built-in adaptor of owt.lib, instead of code",
)
@click.option(
    "--run",
    metavar="EXPR",
    help="Function or pipeline to call; the expression may use names that --code or --file defines",
)
@click.option("--kwargs", metavar="TEXT", help="All arguments: a JSON object or a Python expression")
@click.option(
    "--arg",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Argument; VALUE is JSON or a Python literal, else text; @FILE sends a file, and @@ begins a text "
    "with @. Repeatable",
)
@click.option(
    "--input",
    "body",
    metavar="FILE",
    help="File that the code reads from request.stream while it is sent, and while its output is printed; "
    "- is standard input",
)
@click.option(
    "--lines",
    is_flag=True,
    help="Send each line of --input as a message, for request.messages and input()",
)
@click.option(
    "--method",
    type=click.Choice(["GET", "POST"], case_sensitive=False),
    default="POST",
    help="HTTP method; a GET has all fields in its URL  [default: POST]",
)
@click.option(
    "--fn-name", metavar="NAME", callback=checked_by(function_name), help="Function to call  [default: run]"
)
@click.option("--print-url", is_flag=True, help="Print the URL that makes this call, and send nothing")
@click.option(
    "--session", metavar="NAME", callback=checked_by(session_name), help="Session that runs the code"
)
@click.option(
    "--kernel",
    metavar="NAME",
    callback=checked_by(kernelspec_name),
    help="Kernelspec of a session that does not exist yet",
)
@environment_options
@click.option("--reload", is_flag=True, help="Load the code again, even if the kernel has loaded it already")
@click.option("--use-cache", is_flag=True, help="Use the response of an equal call, if the server has it")
@click.option("--detach", is_flag=True, help="Print the addresses of the run, which goes on without a reader")
@click.option("--accept", metavar="TYPES", default="*/*", help="Accept header, such as image/svg+xml")
@click.option(
    "--display",
    metavar="TYPES",
    callback=checked_by(checked_ranges),
    help="Media types as for --accept, also in events and URLs",
)
@click.option(
    "--header",
    "headers",
    metavar="NAME:VALUE",
    multiple=True,
    help="Header of the request, which the code can read. Repeatable",
)
@click.option(
    "--timeout", type=float, metavar="SECONDS", callback=_check_timeout, help="Maximum running time"
)
@click.option(
    "--retry",
    type=float,
    metavar="SECONDS",
    callback=_check_timeout,
    help="Time after a connection that broke or was refused in which the call is sent again; it runs once",
)
@click.option(
    "--stream",
    type=click.Choice(["auto", "sse", "raw"]),
    default="auto",
    help="sse: each event as it happens; raw: exactly the response's bytes; "
    "auto: sse on a terminal, raw into files and pipes  [default: auto]",
)
@identity_options
@click.option("--output", metavar="FILE", help="File for the response; - is standard output")
def call(
    *,
    path: str | None,
    url: str | None,
    address: str | None,
    print_url: bool,
    code: str | None,
    file: str | None,
    run: str | None,
    kwargs: str | None,
    arg: tuple[tuple[str, str], ...],
    auth: str | None,
    token: str | None,
    stream: str,
    output: str | None,
    method: str,
    headers: tuple[str, ...],
    body: str | None,
    lines: bool,
    **options: Any,
) -> int:
    """Run code on a server, or call the endpoint at PATH, and print the response as it arrives.

    Standard output, or --output, gets exactly the response, and what the code prints follows on stderr. With
    --stream sse, which is the default on a terminal, everything is shown when it happens, and what the
    code prints goes to stdout and stderr.

    Exit status: 0; 1 if the call failed, with its traceback on stderr; 2 for arguments that cannot be
    used; 3 if no server answers.
    """
    if kwargs is not None and arg:
        raise click.UsageError("give --kwargs or --arg, not both")
    if [file, body, *("-" if value == "@-" else "" for _, value in arg)].count("-") > 1:
        raise click.UsageError("standard input is read once: give - to --input or --file, or @- to an --arg")
    text = program(code, file, run, options["fn_name"])
    if path is not None and not path.startswith("/"):
        raise click.UsageError(f"the path of an endpoint begins with /; got {shortened(path)}")
    if text is not None and options["adaptor"] is not None:
        raise click.UsageError("give --adaptor or code, not both")
    arguments = {name: argument(value) for name, value in arg}
    if lines and body is None:
        raise click.UsageError("--lines: give --input FILE, or --input - for standard input")
    dialogue: Lines | None = None
    if body is not None and options["retry"] is not None:
        raise click.UsageError("give --input or --retry, not both: a body that was read cannot be sent again")
    if body is not None:
        if BODY in arguments:
            raise click.UsageError(f"give --input or --arg {BODY}, not both")
        is_printed = not (print_url or url == PRINT or options["detach"] or options["use_cache"])
        if lines and (not is_printed or method.upper() == "GET"):
            raise click.UsageError("--lines: cannot be used with --print-url, --detach, --use-cache or a GET")
        if lines:
            dialogue = Lines(open_input(body))
        else:
            arguments[BODY] = read_parts(open_input(body))
    pairs = [header(text) for text in headers]
    _refuse_repetition("--arg", [name for name, _ in arg])
    _refuse_repetition("--header", [name.lower() for name, _ in pairs])
    options |= {"kwargs": kwargs, "method": method.upper(), "headers": dict(pairs)}
    if url == PRINT:
        print_url, url = True, None
    if url is not None:
        Address.of(url, "--url")
    elif address is not None:
        url = address
        Address.of(url, "--address")
    if path is not None:
        url = _at_path(url, path)
    names_function = options["adaptor"] is not None or None not in (options["session"], options["fn_name"])
    if text is None and not names_function and not (url and Address.of(url).path):
        raise click.UsageError(
            "there is no code: give --code, --file, --run or --adaptor, or a function of a session by "
            "--session and --fn-name, or the path of an endpoint"
        )
    if print_url:
        options["stream"] = None if stream == "auto" else stream
        click.echo(Caller(url).with_options(**options).as_url(text, **arguments))
        return 0
    return _call(url, {"auth": auth, "token": token}, options, text, arguments, dialogue, stream, output)


def _call(
    url: str | None,
    identity: dict[str, str | None],
    options: dict[str, Any],
    code: str | None,
    arguments: dict[str, Any],
    lines: Lines | None,
    stream: str,
    path: str | None,
) -> int:
    with new_client(url, **identity) as client:
        from owt.cli.output import Output, print_dialogue, print_events, print_response

        is_watched = stream == "sse" or (stream == "auto" and path is None and sys.stdout.isatty())
        # The response of a detached run is one JSON object.
        is_watched = is_watched and not options["detach"]
        show = print_events if is_watched else print_response
        try:
            with Output(path) as output:
                client = client.with_options(**options)
                if lines is not None:
                    return print_dialogue(client, code, arguments, lines, output, is_raw=not is_watched)
                return show(client, code, arguments, output)
        except BrokenPipeError:
            # Python flushes stdout at its end, which must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except OSError as error:
            raise OwtError(f"the response cannot be written: {error.strerror or error}") from error


def _at_path(url: str | None, path: str) -> str:
    """Return the URL of a path on the server at `url`, by default on the current one."""
    root, _, query = (url or Server.current().url).partition("?")
    if query:
        raise click.UsageError(f"give the query after PATH; --url has {shortened('?' + query)}")
    return f"{root.rstrip('/')}{path}"


def program(code: str | None, file: str | None, run: str | None, fn_name: str | None = None) -> str | None:
    """Return the code of `--code`, `--file` and `--run`, or None if there is none. Raises `CannotSend`.

    An expression alone is the code: the server calls its value, or sends it if it is not callable. After
    other code, the expression becomes the value of `fn_name`. It is put into parentheses, so that it may
    have several lines.
    """
    if code and file:
        raise CannotSend("give --code or --file, not both")
    text = _read(file) if file else code
    if not run:
        return text or None
    if not text:
        return run
    name = fn_name or "run"
    return f"{text}\n{name} = (\n{run}\n)\n"


def _refuse_repetition(option: str, names: Sequence[str]) -> None:
    """Raise `CannotSend` if a name is given twice, since only one of the values could be sent."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise CannotSend(f"{option}: {shortened(name)} is given twice")


def header(text: str) -> tuple[str, str]:
    """Return name and value of a header. Raises `CannotSend`."""
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon:
        raise CannotSend(f"--header: give NAME:VALUE; got {shortened(text)}")
    return name, value


def argument(text: str) -> Any:
    """Return the value that an argument's text stands for.

    The text is read as JSON; else as a Python literal that is a str, a number, True, False, None, a list
    or a dict; else it is the value: `3` is a number, `owt` and `a, b` are text, and `"3"` is the text `3`.
    `@FILE` is the file, and `@-` standard input; `@@owt` is the text `@owt`.
    Raises `CannotSend` for a file that does not exist.
    """
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@"):
        if text == "@-":
            return sys.stdin.buffer
        if not (file := Path(text[1:])).exists():
            raise CannotSend(
                f"--arg: there is no file {shortened(str(file))}; a text that begins with @ is @{text}"
            )
        return file
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings(action="ignore"):
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if value is None or isinstance(value, str | int | float | list | dict) else text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _read(file: str) -> str:
    """Return the text of a Python file, in the encoding that it declares (PEP 263)."""
    try:
        if file == "-":
            return decode_source(read_bounded(sys.stdin.buffer))
        # Not `read_file`, which does not wait for the writer of a named pipe.
        with open(file, "rb") as source:
            return decode_source(read_bounded(source))
    except OSError as error:
        raise CannotSend(f"--file: {file} cannot be read: {error.strerror or error}") from None
    except (SyntaxError, ValueError) as error:
        raise CannotSend(f"--file: {file} is not text of its encoding: {error}") from None
