"""Options that several commands share, and the clients that are made of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from owt.errors import ConfigError

if TYPE_CHECKING:
    from owt.client.clients import Client

Command = Callable[..., Any]


def checked_by(check: Callable[[str, str], str]) -> Callable[..., str | None]:
    """Return a callback of an option whose value `check(value, option)` returns, or refuses by
    `BadRequest`."""

    def callback(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        return None if value is None else check(value, parameter.opts[0])

    return callback


def environment_options(command: Command) -> Command:
    """Add `--env` and `--cwd` to a command, which is called with the variables as `env` and with an absolute
    path as `cwd`, or None for each. Raises `ConfigError`, when the command runs."""
    env_option = click.option(
        "--env",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda _context, _parameter, pairs: read_variables(pairs) or None,
        help="Variable of a session that does not exist yet; repeatable",
    )
    cwd_option = click.option(
        "--cwd",
        metavar="DIR",
        callback=lambda _context, _parameter, path: None if path is None else os.path.abspath(path),
        help="Working directory of such a session  [default: the server's]",
    )
    return env_option(cwd_option(command))


def identity_options(command: Command) -> Command:
    """Add `--auth` and `--token` to a command, which is called with `auth` and `token`, at most one of them.

    An option comes before the other one's variable. Raises `ConfigError`, when the command runs, for both,
    and for a user without a password; the message contains neither.
    """

    @wraps(command)
    def identified(*args: Any, auth: str | None, token: str | None, **values: Any) -> Any:
        if auth is not None and token is not None:
            source = click.get_current_context().get_parameter_source
            is_auth_option = source("auth") is ParameterSource.COMMANDLINE
            is_token_option = source("token") is ParameterSource.COMMANDLINE
            if is_auth_option == is_token_option:
                raise ConfigError(
                    "--token (OWT_CLIENT_TOKEN), --auth (OWT_CLIENT_AUTH): give one of them, not both"
                )
            auth, token = (auth, None) if is_auth_option else (None, token)
        if auth is not None and ":" not in auth:
            raise ConfigError("--auth (OWT_CLIENT_AUTH): give user:password; the value has no colon")
        return command(*args, auth=auth, token=token, **values)

    auth_option = click.option(
        "--auth",
        envvar="OWT_CLIENT_AUTH",
        metavar="USER:PASSWORD",
        help="User and password for basic authentication  [OWT_CLIENT_AUTH]",
    )
    token_option = click.option(
        "--token",
        envvar="OWT_CLIENT_TOKEN",
        metavar="TOKEN",
        help="Bearer token, instead of user and password  [OWT_CLIENT_TOKEN]",
    )
    return auth_option(token_option(identified))


def server_options(command: Command) -> Command:
    """Add the options for a running server to a command, which is called with a `Control` as `control`."""

    @wraps(command)
    def controlling(*args: Any, url: str | None, auth: str | None, token: str | None, **values: Any) -> Any:
        from owt.client.control import Control
        from owt.client.request import Address

        if url is not None:
            Address.of(url, "--url")
        with new_client(url, auth, token) as client:
            return command(*args, control=Control(client), **values)

    url_option = click.option(
        "--url",
        metavar="URL",
        help="URL of the server, with its base URL  [OWT_URL; default: http://127.0.0.1:9876]",
    )
    return url_option(identity_options(controlling))


def document_options(text: Callable[[Mapping[str, Any]], str]) -> Callable[[Command], Any]:
    """Add `--json` and the options for a server to a command that returns a document of the server.

    The command prints the document as `text` makes it, or as JSON.
    """

    def decorate(command: Command) -> Any:
        @wraps(command)
        def printing(as_json: bool, **values: Any) -> None:
            document = command(**values)
            click.echo(f"{json.dumps(document, indent=2)}\n" if as_json else text(document), nl=False)

        json_option = click.option("--json", "as_json", is_flag=True, help="Print the server's JSON")
        return server_options(json_option(printing))

    return decorate


def read_variables(pairs: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of options such as `--env NAME=VALUE`. Raises `ConfigError`."""
    env = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"--env: give NAME=VALUE; got {pair!r}")
        env[name] = value
    return env


def new_client(url: str | None, auth: str | None, token: str | None) -> Client:
    """Return a client of the server at `url`. Raises `ConfigError`."""
    _import_httpx()
    from owt.client.clients import Client

    return Client(url, auth=auth, token=token)


def _import_httpx() -> None:
    """Import httpx and httpcore without httpx's own command line and without trio.

    They import both where these are installed, need neither here, and would take twice as long.
    """
    if "httpx" in sys.modules:
        return
    unwanted = {"httpx._main", "trio"} - sys.modules.keys()
    # An entry that is None cannot be imported (Language Reference, "The module cache").
    sys.modules.update(dict.fromkeys(unwanted))  # type: ignore[arg-type]
    try:
        import_module("httpx")
        import_module("httpcore")
    finally:
        for name in unwanted:
            del sys.modules[name]
