"""The users and tokens that may come in, from the settings and from files, which are read once."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from owt.errors import ConfigError, shortened
from owt.frontend.config.access import Access, read_credential, read_token

log = logging.getLogger("owt.auth")


@dataclass(frozen=True)
class Credentials:
    """Names of users with the hashes of their passwords, and bearer tokens; neither: all may come in."""

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: Sequence[str] = field(default=(), repr=False)

    @classmethod
    def of(cls, access: Access) -> Self:
        """Those of the options and of the files that these name.

        Raises `ConfigError` for a file that cannot be read or used, and for a user who is there twice.
        """
        users: dict[str, str] = {}
        for credential in access.auth:
            _add(users, credential, "--auth (OWT_AUTH)")
        if access.auth_file is not None:
            where = f"--auth-file (OWT_AUTH_FILE): {access.auth_file}"
            found = _read(access.auth_file, where, read_credential, "owt hash-password USER")
            for place, credential in found:
                _add(users, credential, place)
        tokens = [*access.token]
        if access.token_file is not None:
            where = f"--token-file (OWT_TOKEN_FILE): {access.token_file}"
            found = _read(access.token_file, where, read_token, "openssl rand -hex 32")
            tokens += [token for _, token in found]
        return cls(users, tokens)


def _add(users: dict[str, str], credential: str, where: str) -> None:
    user, _, kept = credential.partition(":")
    if user in users:
        raise ConfigError(f"{where}: the user {shortened(user)} is there twice; keep one password of theirs")
    users[user] = kept


def _read(path: Path, where: str, read: Callable[[str], str], how: str) -> list[tuple[str, str]]:
    """What the lines of a file say, each with its place, but for comments and empty lines. `how` makes
    a line."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = path.stat().st_mode
            lines = file.read().splitlines()
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: this is not text in UTF-8") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        log.warning("%s: other users may read or change it; run: chmod 600 %s", where, path)
    said = []
    for number, line in enumerate(lines, 1):
        if (text := line.strip()) and not text.startswith("#"):
            place = f"{where}, line {number}"
            try:
                said.append((place, read(text)))
            except ValueError as error:
                raise ConfigError(f"{place}: {error}") from None
    if not said:
        raise ConfigError(f"{where}: there is nothing in it; make a line with: {how}")
    return said
