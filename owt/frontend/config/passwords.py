"""What is kept of passwords, and whether a password fits it: SHA-256 and bcrypt."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

LONGEST = 72
"""Bytes of a password that bcrypt looks at. A longer one fits no bcrypt hash: its end would not count."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
# 16 bytes of salt and 23 of the hash, each in its own base64: the salt's last character holds two bits.
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")


# How other hashes begin that may stand in a password file (htpasswd, crypt(5)).
_OTHERS = {
    "$apr1$": "MD5",
    "$1$": "MD5",
    "{SHA}": "SHA-1",
    "{SSHA}": "SHA-1",
    "$5$": "SHA-256 crypt",
    "$6$": "SHA-512 crypt",
    "$y$": "yescrypt",
    "$argon2": "Argon2",
}


def hash_problem(text: str) -> str:
    """Why this is not a hash to check passwords by; empty if it is one. Does not show it."""
    if _SHA256.fullmatch(text) or _BCRYPT.fullmatch(text):
        return ""
    found = next((name for beginning, name in _OTHERS.items() if text.startswith(beginning)), None)
    if found is not None:
        return f"a hash of kind {found}, which owt does not check"
    return "neither a SHA-256 hash in 64 hexadecimal digits nor a bcrypt hash"


class Passwords:
    """The users, and the hashes of their passwords.

    A check does the same work for every user, known or not: one SHA-256, and one bcrypt for each cost
    that is in use. So the time that it takes does not tell who is a user.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        """`users` maps names to hashes, for which there is no `hash_problem`."""
        self._sha256: dict[bytes, bytes] = {}
        self._bcrypt: dict[int, dict[bytes, bytes]] = {}
        for user, kept in users.items():
            if found := _BCRYPT.fullmatch(kept):
                self._bcrypt.setdefault(int(found["cost"]), {})[user.encode()] = kept.encode()
            else:
                self._sha256[user.encode()] = kept.lower().encode()

    def __len__(self) -> int:
        return len(self._sha256) + sum(map(len, self._bcrypt.values()))

    @property
    def slow(self) -> bool:
        """Whether a check takes a processor for a good part of a second, as bcrypt does on purpose."""
        return bool(self._bcrypt)

    def check(self, user: bytes, password: bytes) -> bool:
        """Whether this is the user's password."""
        digest = hashlib.sha256(password).hexdigest().encode()
        right = hmac.compare_digest(digest, self._sha256.get(user, b"-" * 64))
        for cost, hashes in self._bcrypt.items():
            right |= _fits(password, hashes.get(user), cost)
        return right


def _fits(password: bytes, kept: bytes | None, cost: int) -> bool:
    """Whether a bcrypt hash is that of a password. Without a hash it takes as long, and is not."""
    import bcrypt

    against = b"$2b$%02d$" % cost + b"." * 53 if kept is None else kept
    same = bcrypt.checkpw(password[:LONGEST], against)
    # bcrypt repeats a password with a zero byte after it, and so takes "a" and "a\0a" for the same.
    return same and kept is not None and len(password) <= LONGEST and b"\0" not in password
