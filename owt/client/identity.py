"""Credentials of a client: user and password, or a bearer token, as an Authorization header."""

from __future__ import annotations

import re
from base64 import b64encode

from owt.errors import ConfigError


def credentials(auth: str) -> tuple[str, str]:
    """Split user and password; the password may contain colons. Raises `ConfigError` without the value."""
    user, colon, password = auth.partition(":")
    if not colon:
        raise ConfigError("auth: give user:password; the value has no colon")
    return user, password


def authorization(auth: tuple[str, str] | None, token: str | None) -> dict[str, str]:
    """Return the Authorization header (RFC 7617, RFC 6750). Raises `ConfigError` without the secret."""
    if auth is not None and token is not None:
        raise ConfigError("token: give auth or token, not both")
    if auth is not None:
        pair = ":".join(auth).encode("utf-8", "surrogateescape")
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}
    if token is None:
        return {}
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError("token: give letters, digits and signs without blanks")
    return {"Authorization": f"Bearer {token}"}
