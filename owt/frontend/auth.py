"""Who may use the server: HTTP Basic authentication (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

REALM = 'Basic realm="owt", charset="UTF-8"'


class Doorkeeper:
    """Checks Authorization headers against one user and the SHA-256 of a password."""

    def __init__(self, auth: str | None) -> None:
        """`auth` is `user:sha256-in-hex`, or None: everybody may come in."""
        self._user: bytes | None = None
        self._digest = b""
        if auth is not None:
            user, _, digest = auth.rpartition(":")
            self._user = user.encode()
            self._digest = bytes.fromhex(digest)

    def admits(self, authorization: str | None) -> bool:
        """Whether this header lets its sender in. Takes as long for a wrong user as for a wrong
        password."""
        if self._user is None:
            return True
        user, password = _read(authorization or "")
        right_user = hmac.compare_digest(user, self._user)
        right_password = hmac.compare_digest(hashlib.sha256(password).digest(), self._digest)
        return right_user and right_password


def _read(authorization: str) -> tuple[bytes, bytes]:
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return b"", b""
    try:
        pair = base64.b64decode(rest.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b"", b""
    user, _, password = pair.partition(b":")
    return user, password
