"""Authentication of requests: users with passwords (Basic, RFC 7617) and bearer tokens (RFC 6750)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from asyncio import get_running_loop
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from owt.errors import Busy
from owt.frontend.access.throttling import Throttle
from owt.frontend.config.credentials import BCRYPT, MAX_BCRYPT_PASSWORD, Credentials
from owt.frontend.problems import Headers, Problem, failed

SUBPROTOCOL = "owt.authorization."
"""Beginning of the subprotocol by which a page's WebSocket, which cannot have headers of its own, sends
credentials. The value of an Authorization header follows, in base64url without padding."""

TOKEN_USER = "token"
"""Name of the user for requests with a token."""

CHECK_THREADS = 2
"""Threads that check passwords. bcrypt keeps one processor busy per check, for a good part of a second."""

_BASIC = 'Basic realm="owt", charset="UTF-8"'
_BEARER = 'Bearer realm="owt"'


def authorization(headers: Mapping[str, str]) -> str | None:
    """Return the Authorization that a request's headers contain, as a subprotocol or as themselves."""
    if "Sec-WebSocket-Protocol" in headers:
        for protocol in headers["Sec-WebSocket-Protocol"].split(","):
            name, prefix, encoded = protocol.partition(SUBPROTOCOL)
            if prefix and not name.strip():
                padded = encoded.strip() + "=" * (-len(encoded.strip()) % 4)
                try:
                    return base64.b64decode(padded, b"-_", validate=True).decode()
                except ValueError:
                    return None
    return headers.get("Authorization")


class Unauthenticated(Struct, frozen=True):
    """The request has no valid credentials; the response is `problem` with `headers`."""

    problem: Problem
    headers: Headers


class Passwords:
    """Password hashes of all users.

    A check does the same work for every user, known or not: one SHA-256, and one bcrypt for each cost in
    use. So its duration does not reveal which users exist.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        """`users` maps names to hashes of the forms that `read_credential` accepts."""
        self._sha256: dict[bytes, bytes] = {}
        self._bcrypt: dict[int, dict[bytes, bytes]] = {}
        for user, digest in users.items():
            if match := BCRYPT.fullmatch(digest):
                self._bcrypt.setdefault(int(match["cost"]), {})[user.encode()] = digest.encode()
            else:
                self._sha256[user.encode()] = digest.lower().encode()

    def check(self, user: bytes, password: bytes) -> bool:
        """Return whether `password` is the user's password."""
        digest = hashlib.sha256(password).hexdigest().encode()
        matches = hmac.compare_digest(digest, self._sha256.get(user, b"-" * 64))
        for cost, hashes in self._bcrypt.items():
            matches |= _matches_bcrypt(password, hashes.get(user), cost)
        return matches


def _matches_bcrypt(password: bytes, digest: bytes | None, cost: int) -> bool:
    """Return whether `digest` is a bcrypt hash of `password`; without a digest False, after the same time."""
    import bcrypt

    matches = bcrypt.checkpw(password[:MAX_BCRYPT_PASSWORD], digest or b"$2b$%02d$" % cost + b"." * 53)
    # bcrypt repeats a password after a zero byte, so it cannot tell "a" from "a\0a".
    return matches and digest is not None and len(password) <= MAX_BCRYPT_PASSWORD and b"\0" not in password


class _Claim(Struct, frozen=True):
    """Credentials of an Authorization header. `user` is None for a token."""

    user: bytes | None
    secret: bytes


class Authenticator:
    """Decision on Authorization headers.

    Valid credentials are remembered as a keyed hash and then pass at once, even if their address has failed
    logins. All other credentials pass through the `Throttle`.

    `guarded` is whether the server requires credentials, `users` and `tokens` which kinds it accepts, and
    `pending` the number of requests that wait for a decision.
    """

    def __init__(self, credentials: Credentials, throttle: Throttle | None = None) -> None:
        self._passwords = Passwords(credentials.users)
        # Random, so that other processes cannot compute the hashes that are compared.
        self._key = secrets.token_bytes(32)
        self._tokens = [self._digest(_Claim(None, token.encode())) for token in credentials.tokens]
        # Bounded: each user and each token has one right claim.
        self._known: dict[bytes, str] = {}
        self._throttle = throttle or Throttle()
        self._threads = ThreadPoolExecutor(CHECK_THREADS, thread_name_prefix="owt-passwords")
        self.pending = 0
        self.users, self.tokens = bool(credentials.users), bool(credentials.tokens)
        self.guarded = self.users or self.tokens

    async def authenticate(self, authorization: str | None, address: str) -> str | Unauthenticated | None:
        """Return the user of a header from a client's address; None if the server requires no credentials.

        Suspends only for unknown credentials.
        """
        if not self.guarded:
            return None
        claim = self._read(authorization or "")
        if claim is None:
            return self._unauthorized("the server requires credentials")
        digest = self._digest(claim)
        if (known := self._known.get(digest)) is not None:
            return known
        self.pending += 1
        try:
            if not await self._throttle.attempt(address, digest, lambda: self._is_valid(claim, digest)):
                if claim.user is None:
                    # RFC 6750, section 3.1: an error code only if the request has a token.
                    return self._unauthorized("the token is not valid", ', error="invalid_token"')
                return self._unauthorized("the user or the password is wrong")
        except Busy as error:
            return Unauthenticated(Problem.of(failed(error)), [("Retry-After", str(error.retry_after))])
        finally:
            self.pending -= 1
        user = TOKEN_USER if claim.user is None else claim.user.decode()
        self._known[digest] = user
        return user

    def close(self) -> None:
        """Refuse all credentials that are unknown or pending. Known credentials stay valid."""
        self._throttle.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _is_valid(self, claim: _Claim, digest: bytes) -> bool:
        if claim.user is None:
            # Compares all tokens, so that the time does not depend on which one matches.
            return sum(hmac.compare_digest(digest, token) for token in self._tokens) > 0
        loop = get_running_loop()
        return await loop.run_in_executor(self._threads, self._passwords.check, claim.user, claim.secret)

    def _digest(self, claim: _Claim) -> bytes:
        # A user name has no colon (RFC 7617, section 2), so different claims are different texts.
        owner = b"bearer " if claim.user is None else b"basic " + claim.user + b":"
        return hmac.digest(self._key, owner + claim.secret, "sha256")

    def _read(self, authorization: str) -> _Claim | None:
        """Return the claim of a header, or None if the header has none of a kind that the server accepts."""
        scheme, _, value = authorization.strip().partition(" ")
        value = value.strip()
        match scheme.lower():
            case "basic" if self.users:
                try:
                    user, colon, password = base64.b64decode(value, validate=True).partition(b":")
                except (binascii.Error, ValueError):
                    return None
                return _Claim(user, password) if colon else None
            case "bearer" | "token" if self.tokens and value:
                # Jupyter's clients use the scheme `token`.
                return _Claim(None, value.encode("utf-8", "replace"))
        return None

    def _unauthorized(self, reason: str, token_error: str = "") -> Unauthenticated:
        examples = []
        headers: Headers = []
        if self.users:
            headers.append(("WWW-Authenticate", _BASIC))
            examples.append("curl -u user:password ...")
        if self.tokens:
            headers.append(("WWW-Authenticate", _BEARER + token_error))
            examples.append('curl -H "Authorization: Bearer TOKEN" ...')
        detail = f"{reason}; send valid credentials: {', or '.join(examples)}"
        return Unauthenticated(Problem("urn:owt:unauthorized", "not authorized", 401, detail), headers)
