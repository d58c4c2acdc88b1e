"""The command line: all commands, and their exit statuses.

Exit status: 0; 1 if the server refused a request or a call failed; 2 for a command or a setting that
cannot be used; 3 if no server answers. An error is one line on stderr, except for a call's traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from owt.cli.completion import VARIABLE
from owt.errors import (
    DISTRIBUTION,
    BadRequest,
    CannotSend,
    ConfigError,
    OwtError,
    RemoteError,
    Unreachable,
    continued,
)
from owt.frontend.config.settings import warnings_about

COMMANDS = {
    "serve": "serve",
    "status": "lifecycle",
    "restart": "lifecycle",
    "stop": "lifecycle",
    "call": "call",
    "session": "session",
    "kernel": "kernel",
    "endpoints": "session",
    "runs": "runs",
    "cache": "runs",
    "console": "console",
    "export": "export",
    "hash-password": "hash_password",
    "completion": "completion",
    "docs": "docs",
}
"""Names of all commands, with the modules that have them."""


class Commands(click.Group):
    """Group that imports the module of a command when the command is needed: `owt serve` starts faster."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (module := COMMANDS.get(cmd_name)) is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"owt.cli.{module}"), cmd_name.replace("-", "_")
        )
        return command


@click.group("owt", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION, message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, /) -> None:
    """Run the code that a request brings, in persistent IPython kernels.

    Documentation: docs/index.md in the source tree; `owt docs` prints its path.
    """
    # The server warns in its log.
    if context.invoked_subcommand != "serve":
        for sentence in warnings_about(os.environ):
            _print_error("owt", sentence)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line `args` (default: the process's own) and return its exit status."""
    open_standard_streams()
    try:
        _check_package()
        status = cli.main(args=args, prog_name="owt", complete_var=VARIABLE, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else _command_path(sys.argv[1:] if args is None else args)
        _print_error(path, continued(_sentence(error.format_message()), f"see {path} --help", ";"))
        return 2
    except click.ClickException as error:
        _print_error("owt", _sentence(error.format_message()))
        return 2
    except click.Abort:
        return 130
    except RemoteError as error:
        if error.traceback:
            click.echo(error.traceback.rstrip(), err=True)
        else:
            text = f"owt: {error}"
            for note in getattr(error, "__notes__", ()):
                text = continued(text, note, ";")
            click.echo(text.rstrip(), err=True)
        return 1
    except OwtError as error:
        _print_error("owt", str(error))
        match error:
            # A server refuses by `RemoteError`.
            case ConfigError() | CannotSend() | BadRequest():
                return 2
            case Unreachable():
                return 3
            case _:
                return 1
    return status if isinstance(status, int) else 0


def open_standard_streams() -> None:
    """Open the null device in place of the standard streams that are closed.

    The next files would get their numbers otherwise, and what processes print would go there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one. The processes that are started inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            if getattr(sys, name) is None:
                mode = "r" if number == 0 else "w"
                stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)


def _check_package() -> None:
    """Raise `ConfigError` if another distribution has replaced or removed the package's own module.

    The package index has another product named `owt`, which installs into the same folder.
    """
    if not hasattr(sys.modules["owt"], "load_ipython_extension"):
        raise ConfigError(
            "the files of another distribution named owt have replaced those of this one; run: "
            f"pip uninstall owt; pip install --force-reinstall --no-deps {DISTRIBUTION}"
        )


def _command_path(args: Sequence[str]) -> str:
    """Return the command that the arguments name. The errors of click's parser do not name it."""
    command: click.Command = cli
    path = "owt"
    for name in args:
        if not isinstance(command, click.Group):
            break
        if (named := command.get_command(click.Context(command), name)) is None:
            break
        command = named
        path = f"{path} {name}"
    return path


def _print_error(command: str, problem: str) -> None:
    click.echo(f"{command}: {' '.join(problem.split())}", err=True)


def _sentence(message: str) -> str:
    """Return click's message in the form of owt's: `No such option: --x.` becomes `no such option: --x`."""
    return message[:1].lower() + message[1:].rstrip(".")
