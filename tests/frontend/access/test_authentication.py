"""owt.frontend.access.authentication: decisions on Authorization headers."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import bcrypt
import pytest

from owt.frontend.access.authentication import Authenticator, Passwords, Unauthenticated
from owt.frontend.access.throttling import MAX_PENDING, Throttle
from owt.frontend.config.credentials import Credentials
from owt.testing import async_test, settle

TOKEN = "0123456789abcdef"
BEARER = f"Bearer {TOKEN}"


def users(**passwords: str) -> dict[str, str]:
    return {user: hashlib.sha256(password.encode()).hexdigest() for user, password in passwords.items()}


def basic(user: str, password: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def authenticator(*tokens: str, **passwords: str) -> Authenticator:
    return Authenticator(Credentials(users(**passwords), tokens), Throttle(sleep=no_sleep))


@pytest.mark.parametrize(
    ("user", "password"),
    [("me", "secret"), ("me", "se:cr:et"), ("me", ""), ("ключ", "пароль"), ("token", "x")],
)
@async_test
async def test_the_right_user_and_password_are_accepted(user: str, password: str) -> None:
    subject = authenticator(**{"other": "x", user: password})
    for _ in range(2):
        assert await subject.authenticate(basic(user, password), "::1") == user


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
@async_test
async def test_wrong_and_malformed_credentials_are_refused(header: str | None) -> None:
    refusal = await authenticator(TOKEN, me="secret").authenticate(header, "::1")
    assert isinstance(refusal, Unauthenticated)
    assert refusal.problem.status == 401


@pytest.mark.parametrize("scheme", ["basic ", "BASIC ", "Basic  ", "  Basic "])
@async_test
async def test_the_scheme_is_case_insensitive_and_may_have_spaces_around_it(scheme: str) -> None:
    header = scheme + base64.b64encode(b"me:secret").decode()
    assert await authenticator(me="secret").authenticate(header, "::1") == "me"


@async_test
async def test_each_of_several_tokens_is_accepted() -> None:
    subject = authenticator(TOKEN, TOKEN + "==")
    for header in (BEARER, f"bearer  {TOKEN}==", BEARER):
        assert await subject.authenticate(header, "::1") == "token"


@pytest.mark.parametrize("header", [None, "", "Basic !!!", basic("me", "secret"), BEARER])
@async_test
async def test_without_users_and_tokens_every_request_is_accepted(header: str | None) -> None:
    subject = authenticator()
    assert not subject.guarded
    assert await subject.authenticate(header, "::1") is None


@pytest.mark.parametrize(
    ("subject", "schemes", "how"),
    [
        (authenticator(me="x"), ["Basic"], ["curl -u user:password"]),
        (authenticator(TOKEN), ["Bearer"], ['curl -H "Authorization: Bearer']),
        (authenticator(TOKEN, me="x"), ["Basic", "Bearer"], ["curl -u", 'or curl -H "Authorization: Bearer']),
    ],
)
@async_test
async def test_a_refusal_has_a_challenge_and_an_example_for_each_scheme(
    subject: Authenticator, schemes: list[str], how: list[str]
) -> None:
    refusal = await subject.authenticate(None, "::1")
    assert isinstance(refusal, Unauthenticated)
    assert [(name, value.split()[0]) for name, value in refusal.headers] == [
        ("WWW-Authenticate", scheme) for scheme in schemes
    ]
    assert all(word in refusal.problem.detail for word in how)


@async_test
async def test_a_refusal_has_an_error_code_for_a_wrong_token_only() -> None:
    subject = authenticator(TOKEN)
    for header, code in ((None, False), ("Bearer wrong", True)):
        refusal = await subject.authenticate(header, "::1")
        assert isinstance(refusal, Unauthenticated)
        [(_, challenge)] = refusal.headers
        assert ('error="invalid_token"' in challenge) == code


@async_test
async def test_the_refusals_of_a_wrong_user_and_a_wrong_password_are_equal() -> None:
    subject = authenticator(me="secret")
    assert await subject.authenticate(basic("me", "wrong"), "::1") == await subject.authenticate(
        basic("you", "wrong"), "::1"
    )


class BlockedSleep:
    """Sleep that ends when the test sets `wake`."""

    def __init__(self) -> None:
        self.count = 0
        self.wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.count += 1
        await self.wake.wait()


@async_test
async def test_known_credentials_pass_at_once_after_failures_of_their_address() -> None:
    sleep = BlockedSleep()
    subject = Authenticator(Credentials(users(me="secret", you="other"), [TOKEN]), Throttle(sleep=sleep))
    assert await subject.authenticate(basic("me", "secret"), "::1") == "me"
    assert await subject.authenticate(BEARER, "::1") == "token"
    await subject.authenticate(basic("me", "wrong"), "::1")
    waiting = [asyncio.create_task(subject.authenticate(basic("you", "other"), "::1"))]
    waiting += [
        asyncio.create_task(subject.authenticate(basic("me", f"{n}"), "::1")) for n in range(MAX_PENDING - 1)
    ]
    await settle()
    assert sleep.count == 1
    assert await subject.authenticate(basic("me", "secret"), "::1") == "me"
    assert await subject.authenticate(BEARER, "::1") == "token"
    # One more than may be pending.
    refusal = await subject.authenticate(basic("me", "one more"), "::1")
    assert isinstance(refusal, Unauthenticated)
    assert refusal.problem.status == 429
    assert refusal.headers == [("Retry-After", "1")]
    sleep.wake.set()
    assert await waiting[0] == "you"
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("header", [None, "", "Basic !!!", "Negotiate abc", "Bearer", "Bearer x"])
@async_test
async def test_a_request_without_usable_credentials_does_not_count_as_a_failure(header: str | None) -> None:
    sleep = BlockedSleep()
    subject = Authenticator(Credentials(users(me="secret")), Throttle(sleep=sleep))
    for _ in range(5):
        assert isinstance(await subject.authenticate(header, "::1"), Unauthenticated)
    assert await subject.authenticate(basic("me", "secret"), "::1") == "me"
    assert sleep.count == 0


@async_test
async def test_concurrent_requests_share_one_bcrypt_check_off_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks = 0
    check = Passwords.check

    def counting_check(self: Passwords, user: bytes, password: bytes) -> bool:
        nonlocal checks
        checks += 1
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return check(self, user, password)

    monkeypatch.setattr(Passwords, "check", counting_check)
    digest = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    subject = Authenticator(Credentials({"me": digest}))
    many = [subject.authenticate(basic("me", "secret"), "::1") for _ in range(50)]
    assert await asyncio.gather(*many) == ["me"] * 50
    assert await subject.authenticate(basic("me", "secret"), "::2") == "me"
    assert checks == 1
    subject.close()


@async_test
async def test_after_close_only_known_credentials_are_accepted() -> None:
    subject = authenticator(me="secret", you="other")
    await subject.authenticate(basic("me", "secret"), "::1")
    subject.close()
    assert await subject.authenticate(basic("me", "secret"), "::1") == "me"
    refusal = await subject.authenticate(basic("you", "other"), "::1")
    assert isinstance(refusal, Unauthenticated)
    assert (refusal.problem.type, refusal.problem.status) == ("urn:owt:busy", 503)
    assert refusal.headers == [("Retry-After", "1")]


@async_test
async def test_known_credentials_are_accepted_without_suspending() -> None:
    subject = authenticator(TOKEN, me="secret")
    for header in (basic("me", "secret"), BEARER):
        await subject.authenticate(header, "::1")
        with pytest.raises(StopIteration) as answer:
            subject.authenticate(header, "::1").send(None)
        assert isinstance(answer.value.value, str)


def sha256(password: bytes) -> str:
    return hashlib.sha256(password).hexdigest()


def bcrypt_hash(password: bytes, cost: int = 4, kind: str = "2b") -> str:
    return f"${kind}" + bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()[3:]


@pytest.mark.parametrize(
    "digest",
    [
        sha256(b"se:cret"),
        sha256(b"se:cret").upper(),
        *(bcrypt_hash(b"se:cret", 4, kind) for kind in ("2a", "2b", "2y")),
    ],
    ids=["sha256", "SHA256", "2a", "2b", "2y"],
)
def test_a_hash_of_each_form_matches_the_right_password_only(digest: str) -> None:
    passwords = Passwords({"ada": digest})
    assert passwords.check(b"ada", b"se:cret")
    for wrong in (b"", b"secret", b"se:cret ", digest.encode()):
        assert not passwords.check(b"ada", wrong)
    assert not passwords.check(b"bob", b"se:cret")
    assert not passwords.check(b"", b"")


def test_each_user_has_only_their_own_password_whatever_the_hash() -> None:
    passwords = Passwords({"ada": bcrypt_hash(b"a"), "bob": sha256(b"b"), "eve": bcrypt_hash(b"e", 5)})
    pairs = {(user, password) for user in (b"ada", b"bob", b"eve") for password in (b"a", b"b", b"e")}
    matching = {pair for pair in pairs if passwords.check(*pair)}
    assert matching == {(b"ada", b"a"), (b"bob", b"b"), (b"eve", b"e")}


def test_an_unknown_user_costs_the_same_checks_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    checkpw = bcrypt.checkpw

    def recording_checkpw(password: bytes, digest: bytes) -> bool:
        checked.append(digest[:7].decode())
        return checkpw(password, digest)

    monkeypatch.setattr(bcrypt, "checkpw", recording_checkpw)
    passwords = Passwords({"ada": bcrypt_hash(b"a"), "bob": sha256(b"b"), "eve": bcrypt_hash(b"e", 5)})
    for user in (b"ada", b"bob", b"eve", b"unknown", b"\xff"):
        checked.clear()
        passwords.check(user, b"x")
        assert checked == ["$2b$04$", "$2b$05$"], user


def test_a_password_longer_than_bcrypt_reads_matches_no_bcrypt_hash() -> None:
    longest = b"x" * 72
    passwords = Passwords({"ada": bcrypt_hash(longest)})
    assert passwords.check(b"ada", longest)
    assert not passwords.check(b"ada", longest + b"x")
    assert Passwords({"ada": sha256(longest + b"x")}).check(b"ada", longest + b"x")


def test_a_password_with_a_zero_byte_matches_no_bcrypt_hash() -> None:
    digest = bcrypt_hash(b"a")
    assert bcrypt.checkpw(b"a\0a", digest.encode())
    assert not Passwords({"ada": digest}).check(b"ada", b"a\0a")
