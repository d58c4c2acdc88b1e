"""Who may use the server: users with passwords (Basic, RFC 7617), and bearer tokens (RFC 6750)."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from asyncio import get_running_loop
from concurrent.futures import ThreadPoolExecutor

from cachetools import LRUCache
from msgspec import Struct

from owt.errors import Busy
from owt.frontend.access.credentials import Credentials
from owt.frontend.access.throttling import Attempts, TooMany
from owt.frontend.config.passwords import Passwords
from owt.frontend.problems import Headers, Problem, failed

TOKEN_USER = "token"
"""What whoever brings a token is called."""

CHECKERS = 2
"""Threads that check bcrypt hashes, which keeps one processor busy each."""

_BASIC = 'Basic realm="owt", charset="UTF-8"'
_BEARER = 'Bearer realm="owt"'


class Admitted(Struct, frozen=True):
    """May come in. `user` is None where nobody is asked for a name."""

    user: str | None = None


class Refused(Struct, frozen=True):
    """May not, and is answered this."""

    problem: Problem
    headers: Headers


Admission = Admitted | Refused

_EVERYBODY = Admitted()


class _Given(Struct, frozen=True):
    """The credentials of an Authorization header."""

    user: bytes | None
    secret: bytes


class Authenticator:
    """Says of Authorization headers whether they let their sender in.

    What was found right once is remembered as a keyed hash, and passes from then on at once, whatever
    its address has failed meanwhile. Everything else is an attempt: see `Attempts`.

    `guarded` is whether anybody is asked, `users` and `tokens` for what, `asked` how many wait for an answer.
    """

    def __init__(self, credentials: Credentials, attempts: Attempts | None = None) -> None:
        """Without users and tokens everybody may come in."""
        self._passwords = Passwords(credentials.users)
        # Of this process only, so that nobody outside can compute what is compared.
        self._key = secrets.token_bytes(32)
        self._tokens = [self._digest(_Given(None, token.encode())) for token in credentials.tokens]
        # A user and a token have one right answer each.
        self._known: LRUCache[bytes, Admitted] = LRUCache(max(1, len(self._passwords) + len(self._tokens)))
        self._attempts = attempts or Attempts()
        self._checkers = ThreadPoolExecutor(CHECKERS, thread_name_prefix="owt-passwords")
        self.asked = 0
        self.users, self.tokens = bool(credentials.users), bool(credentials.tokens)
        self.guarded = self.users or self.tokens

    async def admit(self, authorization: str | None, address: str) -> Admission:
        """Whether whoever sends this header from this address may come in.

        Suspends only where the answer takes time, which is with credentials that are new.
        """
        if not self.guarded:
            return _EVERYBODY
        given = self._read(authorization or "")
        if given is None:
            return self._refused("this server lets in only whom it knows")
        digest = self._digest(given)
        if (known := self._known.get(digest)) is not None:
            return known

        async def check() -> bool:
            return await self._is_right(given, digest)

        self.asked += 1
        try:
            if not await self._attempts.make(address, digest, check):
                if given.user is None:
                    # RFC 6750, section 3.1: a code only where there was a token.
                    return self._refused("the server knows no such token", ', error="invalid_token"')
                return self._refused("there is no such user, or the password is another one")
        except TooMany as error:
            return _too_many(error)
        except Busy as error:
            return Refused(Problem.of(failed(error)), [("Retry-After", str(error.retry_after))])
        finally:
            self.asked -= 1
        name = TOKEN_USER if given.user is None else given.user.decode()
        # Not again by those that shared the attempt.
        return self._known.setdefault(digest, Admitted(name))

    def close(self) -> None:
        """Check no more credentials, also those that wait. Who is known already passes."""
        self._attempts.close()
        self._checkers.shutdown(wait=False, cancel_futures=True)

    async def _is_right(self, given: _Given, digest: bytes) -> bool:
        if given.user is None:
            # All of them are looked at, whichever it is.
            return sum(hmac.compare_digest(digest, token) for token in self._tokens) > 0
        if not self._passwords.slow:
            return self._passwords.check(given.user, given.secret)
        check = self._passwords.check
        return await get_running_loop().run_in_executor(self._checkers, check, given.user, given.secret)

    def _digest(self, given: _Given) -> bytes:
        # A user's name has no colon in it (RFC 7617, section 2), so no two credentials are one text.
        who = b"bearer " if given.user is None else b"basic " + given.user + b":"
        return hmac.digest(self._key, who + given.secret, "sha256")

    def _read(self, authorization: str) -> _Given | None:
        """The credentials of a header, if they are of a kind that may let somebody in."""
        scheme, _, rest = authorization.strip().partition(" ")
        rest = rest.strip()
        match scheme.lower():
            case "basic" if len(self._passwords):
                try:
                    user, colon, password = base64.b64decode(rest, validate=True).partition(b":")
                except (binascii.Error, ValueError):
                    return None
                return _Given(user, password) if colon else None
            case "bearer" | "token" if self._tokens and rest:
                # Jupyter's programs say `token`.
                return _Given(None, rest.encode("utf-8", "replace"))
        return None

    def _refused(self, why: str, token_error: str = "") -> Refused:
        ways = []
        headers: Headers = []
        if len(self._passwords):
            headers.append(("WWW-Authenticate", _BASIC))
            ways.append("curl -u user:password ...")
        if self._tokens:
            headers.append(("WWW-Authenticate", _BEARER + token_error))
            ways.append('curl -H "Authorization: Bearer TOKEN" ...')
        detail = f"{why}; say who you are: {', or '.join(ways)}"
        return Refused(Problem("urn:owt:unauthorized", "not authorized", 401, detail), headers)


def _too_many(error: TooMany) -> Refused:
    detail = (
        f"too many attempts with wrong passwords or tokens come from your address; "
        f"try again in {error.retry_after} s"
    )
    problem = Problem("urn:owt:too-many-attempts", "too many attempts", 429, detail)
    return Refused(problem, [("Retry-After", str(error.retry_after))])
