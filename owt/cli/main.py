"""The command line: `owt serve`, `owt call`, `owt session`, `owt endpoints`, `owt console`, `owt export` and
`owt hash-password`.

Exit status: 0; 1 when the server refused, or a call failed; 2 for a command or a setting that cannot
be used; 3 when no server answers. Whatever went wrong is one line on stderr, but a call's traceback.
What a command needs is imported when it runs, so that `owt --help` needs neither Tornado nor IPython.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from owt.cli import tables
from owt.cli.call import call
from owt.cli.export import command as export
from owt.cli.hash_password import hash_password
from owt.cli.identity_options import identity_options
from owt.client.control import Refused, Remote
from owt.client.identity import authorization, credentials
from owt.errors import CannotSend, ConfigError, MissingExtra, OwtError, Unreachable
from owt.frontend.config.settings import Settings, settings
from owt.server import Server


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line `args` (default: the process's own) and give its exit status."""
    try:
        outcome = cli.main(args=args, prog_name="owt", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "owt"
        _complain(command, f"{_sentence(error.format_message())}; see {command} --help")
        return 2
    except click.ClickException as error:
        _complain("owt", _sentence(error.format_message()))
        return 2
    except click.Abort:
        return 130
    except OwtError as error:
        _complain("owt", str(error))
        match error:
            case ConfigError() | CannotSend():
                return 2
            case Unreachable():
                return 3
            case _:
                return 1
    return outcome if isinstance(outcome, int) else 0


def _complain(command: str, problem: str) -> None:
    click.echo(f"{command}: {' '.join(problem.split())}", err=True)


def _sentence(message: str) -> str:
    """click's message in the manner of ours: `No such option: --x.` is `no such option: --x`."""
    return message[:1].lower() + message[1:].rstrip(".")


@click.group("owt", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="owt", message="%(prog)s %(version)s")
def cli() -> None:
    """Run the code that a request brings, in persistent IPython kernels."""


def _setting_options(command: Callable[..., object]) -> Callable[..., object]:
    """One option for each setting. Their text is read by the setting's own row, as a variable's is."""
    for row in reversed(settings()):
        about = f"{row.help}  [{row.variable}; default: {row.default_text}]"
        match row.kind:
            case "value":
                option = click.option(row.option, row.name, metavar=row.metavar, type=str, help=about)
            case "list":
                option = click.option(
                    row.option, row.name, metavar=row.metavar, type=str, multiple=True, help=about
                )
            case "switch":
                option = click.option(
                    f"{row.option}/--no-{row.option[2:]}", row.name, default=None, help=about
                )
            case "count":
                option = click.option(f"-{row.name[0]}", row.option, row.name, count=True, help=about)
        command = option(command)
    return command


@cli.command()
@_setting_options
@click.pass_context
def serve(context: click.Context, /, **given: object) -> None:
    """Start the server.

    Each option can also be given by the environment variable that stands beside it.
    """
    options = {
        name: value
        for name, value in given.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    chosen = Settings.from_options(options, os.environ)
    from owt.frontend import app

    context.exit(app.serve(chosen))


cli.add_command(call)
cli.add_command(hash_password)
cli.add_command(export)


def _remote_options(command: Callable[..., object]) -> Callable[..., object]:
    """The options that say which server, and as whom."""
    about = "The server, with its base URL  [OWT_URL; default: http://127.0.0.1:9876]"
    url = click.option("--url", metavar="URL", help=about)
    return url(identity_options(command))


def _remote(url: str | None, auth: str | None, token: str | None) -> Remote:
    return Remote(url or Server.sing().url, authorization(None if auth is None else credentials(auth), token))


@cli.group()
def session() -> None:
    """Look at the sessions of a running server, and manage them."""


@session.command("list")
@_remote_options
@click.option("--json", "raw", is_flag=True, help="Print what the server says, as JSON.")
def list_sessions(url: str | None, auth: str | None, token: str | None, raw: bool) -> None:
    """List the sessions and the pool's kernels."""
    answer = _remote(url, auth, token).sessions()
    if raw:
        _print_json(answer)
        return
    _print_table(list(tables.COLUMNS.values()), tables.rows(answer), "no sessions")


@cli.command("endpoints")
@_remote_options
@click.option("--json", "raw", is_flag=True, help="Print what the server says, as JSON.")
def list_endpoints(url: str | None, auth: str | None, token: str | None, raw: bool) -> None:
    """List the paths that sessions of a running server answer at."""
    answer = _remote(url, auth, token).endpoints()
    if raw:
        _print_json(answer)
        return
    _print_table(tables.ENDPOINT_COLUMNS, tables.endpoint_rows(answer), "no endpoints")


@session.command()
@click.argument("name")
@_remote_options
@click.option("--json", "raw", is_flag=True, help="Print what the server says, as JSON.")
def show(name: str, url: str | None, auth: str | None, token: str | None, raw: bool) -> None:
    """Show all that the server knows of the session NAME."""
    answer = _remote(url, auth, token).session(name)
    if raw:
        _print_json(answer)
    else:
        click.echo(tables.facts(answer), nl=False)


@session.command()
@click.argument("name")
@_remote_options
def delete(name: str, url: str | None, auth: str | None, token: str | None) -> None:
    """End the session NAME, and its kernel with all that is in it."""
    _remote(url, auth, token).delete(name)
    click.echo(f"deleted {name}")


@session.command()
@click.argument("name")
@_remote_options
def restart(name: str, url: str | None, auth: str | None, token: str | None) -> None:
    """Give the session NAME a fresh kernel."""
    _remote(url, auth, token).restart(name)
    click.echo(f"restarted {name}")


@session.command()
@click.argument("name")
@_remote_options
def interrupt(name: str, url: str | None, auth: str | None, token: str | None) -> None:
    """Interrupt what the session NAME runs."""
    _remote(url, auth, token).interrupt(name)
    click.echo(f"interrupted {name}")


@cli.command()
@click.argument("name")
@_remote_options
def console(name: str, url: str | None, auth: str | None, token: str | None) -> NoReturn:
    """Open a Jupyter console on the live session NAME, beside the calls that it serves.

    Ctrl-D leaves the console and keeps the session; `exit` in it ends the kernel.
    """
    remote = _remote(url, auth, token)
    state = remote.session(name)
    if state.get("state") in ("starting", "dead"):
        click.echo(f"session {name} has no kernel yet; waiting for it", err=True)
        state = remote.ready(name)
    connection = state.get("connection_file")
    if not connection or not os.access(connection, os.R_OK):
        raise Refused(
            f"session {name!r} has no connection file on this machine that you may read (the server says "
            f"{connection}); a console runs where the kernel does, as the same user",
            404,
        )
    if find_spec("jupyter_console") is None:
        raise MissingExtra("jupyter_console", "notebook")
    click.echo("Ctrl-D leaves the console and keeps the session; exit ends its kernel.", err=True)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jupyter_console", "--existing", str(connection)])


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))


def _print_table(heading: Sequence[str], rows: list[list[str]], nothing: str) -> None:
    """A table for a terminal, aligned columns for anything else, or that there is `nothing`."""
    if not rows:
        click.echo(nothing)
        return
    if not sys.stdout.isatty():
        click.echo(tables.columns(heading, rows), nl=False)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*heading, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
