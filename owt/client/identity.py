"""Who calls: a user with a password, or whoever has a token; as an Authorization header."""

from __future__ import annotations

import re
from base64 import b64encode

from owt.errors import ConfigError


def credentials(auth: str) -> tuple[str, str]:
    """User and password, which may have colons in it. Raises `ConfigError`, which does not show it."""
    user, colon, password = auth.partition(":")
    if not colon:
        raise ConfigError("auth: give user:password; there is no colon in what was given")
    return user, password


def authorization(auth: tuple[str, str] | None, token: str | None) -> dict[str, str]:
    """The headers that say who calls (RFC 7617, RFC 6750). Raises `ConfigError`, which shows no secret."""
    if auth is not None and token is not None:
        raise ConfigError("token: give auth or token, not both")
    if auth is not None:
        pair = ":".join(auth).encode("utf-8", "surrogateescape")
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}
    if token is None:
        return {}
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError("token: a token is of letters, digits and signs, without blanks between")
    return {"Authorization": f"Bearer {token}"}
