"""owt.frontend.access.authentication: who is let in."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import bcrypt
import pytest
from played import scene, settle

from owt.frontend.access.authentication import Admitted, Authenticator, Refused
from owt.frontend.access.credentials import Credentials
from owt.frontend.access.throttling import MOST_WAITING, Attempts
from owt.frontend.config.passwords import Passwords

TOKEN = "0123456789abcdef"
BEARER = f"Bearer {TOKEN}"


def users(**passwords: str) -> dict[str, str]:
    return {user: hashlib.sha256(password.encode()).hexdigest() for user, password in passwords.items()}


def basic(user: str, password: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def authenticator(*tokens: str, **passwords: str) -> Authenticator:
    return Authenticator(Credentials(users(**passwords), tokens), Attempts(sleep=no_sleep))


@pytest.mark.parametrize(
    ("user", "password"),
    [("me", "secret"), ("me", "se:cr:et"), ("me", ""), ("ключ", "пароль"), ("token", "x")],
)
@scene
async def test_the_right_user_with_the_right_password_is_let_in(user: str, password: str) -> None:
    door = authenticator(**{"other": "x", user: password})
    for _ in range(2):
        assert await door.admit(basic(user, password), "::1") == Admitted(user)


@pytest.mark.parametrize(
    "header",
    [
        basic("me", "wrong"),
        basic("you", "secret"),
        basic("me", "Secret"),
        basic("me", ""),
        basic("", "secret"),
        basic("", ""),
        basic("me", "secret")[:-4],
        basic("me", TOKEN),
        "Basic " + base64.b64encode(b"me").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic !!!",
        "Basic",
        "Basic ключ",
        "Bearer " + base64.b64encode(b"me:secret").decode(),
        "Bearer",
        "Bearer ключ",
        BEARER + "0",
        BEARER[:-1],
        TOKEN,
        base64.b64encode(b"me:secret").decode(),
        "me:secret",
        "",
        None,
    ],
)
@scene
async def test_nobody_else_is(header: str | None) -> None:
    refused = await authenticator(TOKEN, me="secret").admit(header, "::1")
    assert isinstance(refused, Refused)
    assert refused.problem.status == 401


@pytest.mark.parametrize("scheme", ["basic ", "BASIC ", "Basic  ", "  Basic "])
@scene
async def test_the_scheme_is_read_as_the_rfc_says(scheme: str) -> None:
    header = scheme + base64.b64encode(b"me:secret").decode()
    assert await authenticator(me="secret").admit(header, "::1") == Admitted("me")


@scene
async def test_each_of_several_tokens_lets_in() -> None:
    door = authenticator(TOKEN, TOKEN + "==")
    for header in (BEARER, f"bearer  {TOKEN}==", BEARER):
        assert await door.admit(header, "::1") == Admitted("token")


@pytest.mark.parametrize("header", [None, "", "Basic !!!", basic("me", "secret"), BEARER])
@scene
async def test_without_users_and_tokens_everybody_is_let_in(header: str | None) -> None:
    door = authenticator()
    assert not door.guarded
    assert await door.admit(header, "::1") == Admitted(None)


@pytest.mark.parametrize(
    ("door", "schemes", "how"),
    [
        (authenticator(me="x"), ["Basic"], ["curl -u user:password"]),
        (authenticator(TOKEN), ["Bearer"], ['curl -H "Authorization: Bearer']),
        (authenticator(TOKEN, me="x"), ["Basic", "Bearer"], ["curl -u", 'or curl -H "Authorization: Bearer']),
    ],
)
@scene
async def test_a_refusal_says_how_to_come_in(door: Authenticator, schemes: list[str], how: list[str]) -> None:
    refused = await door.admit(None, "::1")
    assert isinstance(refused, Refused)
    assert [(name, value.split()[0]) for name, value in refused.headers] == [
        ("WWW-Authenticate", scheme) for scheme in schemes
    ]
    assert all(word in refused.problem.detail for word in how)


@scene
async def test_a_wrong_token_is_told_from_none() -> None:
    door = authenticator(TOKEN)
    for header, code in ((None, False), ("Bearer wrong", True)):
        refused = await door.admit(header, "::1")
        assert isinstance(refused, Refused)
        [(_, challenge)] = refused.headers
        assert ('error="invalid_token"' in challenge) == code


@scene
async def test_a_wrong_user_is_not_told_from_a_wrong_password() -> None:
    door = authenticator(me="secret")
    assert await door.admit(basic("me", "wrong"), "::1") == await door.admit(basic("you", "wrong"), "::1")


class Sleepers:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self.count = 0
        self.wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.count += 1
        await self.wake.wait()


@scene
async def test_what_was_right_once_passes_at_once_whatever_its_address_has_failed() -> None:
    sleep = Sleepers()
    door = Authenticator(Credentials(users(me="secret", you="other"), [TOKEN]), Attempts(sleep=sleep))
    assert await door.admit(basic("me", "secret"), "::1") == Admitted("me")
    assert await door.admit(BEARER, "::1") == Admitted("token")
    await door.admit(basic("me", "wrong"), "::1")
    waiting = [asyncio.create_task(door.admit(basic("you", "other"), "::1"))]
    waiting += [asyncio.create_task(door.admit(basic("me", f"{n}"), "::1")) for n in range(MOST_WAITING - 1)]
    await settle()
    assert sleep.count == 1
    assert await door.admit(basic("me", "secret"), "::1") == Admitted("me")
    assert await door.admit(BEARER, "::1") == Admitted("token")
    # One too many for those that wait.
    refused = await door.admit(basic("me", "one more"), "::1")
    assert isinstance(refused, Refused)
    assert refused.problem.status == 429
    assert refused.headers == [("Retry-After", "1")]
    sleep.wake.set()
    assert await waiting[0] == Admitted("you")
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("header", [None, "", "Basic !!!", "Negotiate abc", "Bearer", "Bearer x"])
@scene
async def test_a_request_without_credentials_of_a_kind_in_use_is_no_failure(header: str | None) -> None:
    sleep = Sleepers()
    door = Authenticator(Credentials(users(me="secret")), Attempts(sleep=sleep))
    for _ in range(5):
        assert isinstance(await door.admit(header, "::1"), Refused)
    assert await door.admit(basic("me", "secret"), "::1") == Admitted("me")
    assert sleep.count == 0


@scene
async def test_a_password_is_checked_once_by_bcrypt_and_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = 0
    check = Passwords.check

    def counted(self: Passwords, user: bytes, password: bytes) -> bool:
        nonlocal checks
        checks += 1
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return check(self, user, password)

    monkeypatch.setattr(Passwords, "check", counted)
    kept = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    door = Authenticator(Credentials({"me": kept}))
    # Many at once, as of a program that has just been started.
    many = [door.admit(basic("me", "secret"), "::1") for _ in range(50)]
    assert await asyncio.gather(*many) == [Admitted("me")] * 50
    assert await door.admit(basic("me", "secret"), "::2") == Admitted("me")
    assert checks == 1
    door.close()


@scene
async def test_a_server_that_ends_lets_in_only_whom_it_knows() -> None:
    door = authenticator(me="secret", you="other")
    await door.admit(basic("me", "secret"), "::1")
    door.close()
    assert await door.admit(basic("me", "secret"), "::1") == Admitted("me")
    refused = await door.admit(basic("you", "other"), "::1")
    assert isinstance(refused, Refused)
    assert (refused.problem.type, refused.problem.status) == ("urn:owt:busy", 503)
    assert refused.headers == [("Retry-After", "1")]


@scene
async def test_known_credentials_are_answered_without_giving_way_to_others() -> None:
    door = authenticator(TOKEN, me="secret")
    for header in (basic("me", "secret"), BEARER):
        await door.admit(header, "::1")
        with pytest.raises(StopIteration) as answer:
            door.admit(header, "::1").send(None)
        assert isinstance(answer.value.value, Admitted)
