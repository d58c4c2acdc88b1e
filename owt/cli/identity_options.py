"""The options of commands that say who calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from owt.errors import ConfigError


def identity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--auth` and `--token` for a command, which is then given `auth` and `token`, at most one of them.

    An option goes before the other's variable. Raises `ConfigError`, when the command runs, for both and for
    a user without a password; it shows neither.
    """

    @wraps(command)
    def identified(*args: Any, auth: str | None, token: str | None, **given: Any) -> Any:
        if auth is not None and token is not None:
            source = click.get_current_context().get_parameter_source
            auth_given = source("auth") is ParameterSource.COMMANDLINE
            token_given = source("token") is ParameterSource.COMMANDLINE
            if auth_given == token_given:
                raise ConfigError(
                    "--token (OWT_CLIENT_TOKEN), --auth (OWT_CLIENT_AUTH): give one of them, not both"
                )
            auth, token = (auth, None) if auth_given else (None, token)
        if auth is not None and ":" not in auth:
            raise ConfigError(
                "--auth (OWT_CLIENT_AUTH): give user:password; there is no colon in what was given"
            )
        return command(*args, auth=auth, token=token, **given)

    by_password = click.option(
        "--auth", envvar="OWT_CLIENT_AUTH", metavar="USER:PASSWORD", help="Who calls  [OWT_CLIENT_AUTH]"
    )
    by_token = click.option(
        "--token",
        envvar="OWT_CLIENT_TOKEN",
        metavar="TOKEN",
        help="A token, instead of user and password  [OWT_CLIENT_TOKEN]",
    )
    return by_password(by_token(identified))
