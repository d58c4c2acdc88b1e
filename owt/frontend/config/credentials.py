"""Users with password hashes, and bearer tokens, from options and from files.

Files are read once, when the server starts. Error messages never show a hash, a token or a text that may be
a password.
"""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from owt.errors import ConfigError, shortened
from owt.files import read_file

log = logging.getLogger("owt.auth")

MAX_BCRYPT_PASSWORD = 72
"""Maximum length of a password for bcrypt, which ignores the bytes after it, in bytes."""

SHA256 = re.compile(r"[0-9a-fA-F]{64}")
# 16 bytes of salt and 23 of hash, each in base64 of its own: the salt's last character has two bits.
BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")


def read_credential(text: str) -> str:
    """Return a valid `user:hash`; digits of SHA-256 in lower case. Raises ValueError for any other text."""
    user, colon, digest = text.partition(":")
    hint = "give user:hash, the output of `owt hash-password USER`"
    if not colon or not user:
        raise ValueError(f"the user name before the colon is missing; {hint}")
    if not user.isprintable():
        raise ValueError(f"the user name {shortened(user)} has unprintable characters; {hint}")
    if SHA256.fullmatch(digest):
        return f"{user}:{digest.lower()}"
    if BCRYPT.fullmatch(digest):
        return text
    raise ValueError(
        f"the text after {shortened(user + ':')} is neither a SHA-256 hash of 64 hexadecimal digits nor a "
        f"bcrypt hash (htpasswd -B); {hint}"
    )


def read_token(text: str) -> str:
    """Return a valid bearer token (RFC 6750, section 2.1). Raises ValueError for any other text."""
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,}=*", text):
        raise ValueError(
            "a token has 16 or more letters, digits and - . _ ~ + /; make one with: openssl rand -hex 32"
        )
    return text


@dataclass(frozen=True)
class Credentials:
    """Names of users with the hashes of their passwords, and bearer tokens. Without any, access is open."""

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: Sequence[str] = field(default=(), repr=False)

    @classmethod
    def load(
        cls, auth: Sequence[str], auth_file: Path | None, token: Sequence[str], token_file: Path | None
    ) -> Self:
        """Return the credentials of the four settings with these names.

        Raises `ConfigError` for a file that cannot be read, for an invalid line and for a duplicate user.
        """
        entries = [("--auth (OWT_AUTH)", credential) for credential in auth]
        tokens = [*token]
        if auth_file is not None:
            option = "--auth-file (OWT_AUTH_FILE)"
            entries += _read_file(auth_file, option, read_credential, "owt hash-password USER")
        if token_file is not None:
            option = "--token-file (OWT_TOKEN_FILE)"
            tokens += [text for _, text in _read_file(token_file, option, read_token, "openssl rand -hex 32")]
        users: dict[str, str] = {}
        for source, credential in entries:
            user, _, digest = credential.partition(":")
            if user in users:
                raise ConfigError(f"{source}: duplicate user {shortened(user)}; remove one of the entries")
            users[user] = digest
        return cls(users, tokens)


def _read_file(path: Path, option: str, read: Callable[[str], str], hint: str) -> list[tuple[str, str]]:
    """Return the valid lines of a file, each with its source; skip comments and empty lines. `hint` is the
    command that makes a line."""
    source = f"{option}: {path}"
    try:
        lines = read_file(path, pipe=True).decode("utf-8-sig").splitlines()
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: the file is not UTF-8 text") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        log.warning("%s: other users can read or change the file; run: chmod 600 %s", source, path)
    entries = []
    for number, line in enumerate(lines, 1):
        if (text := line.strip()) and not text.startswith("#"):
            try:
                entries.append((f"{source}, line {number}", read(text)))
            except ValueError as error:
                raise ConfigError(f"{source}, line {number}: {error}") from None
    if not entries:
        raise ConfigError(f"{source}: the file has no entries; make a line with: {hint}")
    return entries
