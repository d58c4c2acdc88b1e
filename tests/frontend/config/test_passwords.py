"""owt.frontend.config.passwords: whether a password fits what is kept of it."""

from __future__ import annotations

import hashlib

import bcrypt
import pytest

from owt.frontend.config.passwords import Passwords, hash_problem


def sha256(password: bytes) -> str:
    return hashlib.sha256(password).hexdigest()


def slow(password: bytes, cost: int = 4, kind: str = "2b") -> str:
    return f"${kind}" + bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()[3:]


@pytest.mark.parametrize(
    "kept",
    [
        sha256(b"se:cret"),
        sha256(b"se:cret").upper(),
        *(slow(b"se:cret", 4, kind) for kind in ("2a", "2b", "2y")),
    ],
)
def test_the_right_password_fits_and_another_does_not(kept: str) -> None:
    passwords = Passwords({"ada": kept})
    assert passwords.check(b"ada", b"se:cret")
    for wrong in (b"", b"secret", b"se:cret ", kept.encode()):
        assert not passwords.check(b"ada", wrong)
    assert not passwords.check(b"bob", b"se:cret")
    assert not passwords.check(b"", b"")


def test_each_user_has_a_password_of_their_own_whatever_its_hash() -> None:
    passwords = Passwords({"ada": slow(b"a"), "bob": sha256(b"b"), "eve": slow(b"e", 5)})
    right = {(user, password) for user in (b"ada", b"bob", b"eve") for password in (b"a", b"b", b"e")}
    fits = {pair for pair in right if passwords.check(*pair)}
    assert fits == {(b"ada", b"a"), (b"bob", b"b"), (b"eve", b"e")}
    assert len(passwords) == 3


def test_a_user_that_there_is_not_costs_what_every_other_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    checkpw = bcrypt.checkpw

    def counted(password: bytes, kept: bytes) -> bool:
        checked.append(kept[:7].decode())
        return checkpw(password, kept)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    passwords = Passwords({"ada": slow(b"a"), "bob": sha256(b"b"), "eve": slow(b"e", 5)})
    for user in (b"ada", b"bob", b"eve", b"nobody", b"\xff"):
        checked.clear()
        passwords.check(user, b"x")
        assert checked == ["$2b$04$", "$2b$05$"], user


def test_without_bcrypt_a_check_is_quick() -> None:
    assert not Passwords({"bob": sha256(b"b")}).slow
    assert Passwords({"bob": sha256(b"b"), "ada": slow(b"a")}).slow


def test_a_password_that_bcrypt_would_cut_off_fits_no_bcrypt_hash() -> None:
    longest = b"x" * 72
    passwords = Passwords({"ada": slow(longest)})
    assert passwords.check(b"ada", longest)
    assert not passwords.check(b"ada", longest + b"x")
    assert Passwords({"ada": sha256(longest + b"x")}).check(b"ada", longest + b"x")


def test_a_password_that_bcrypt_would_take_for_another_does_not_fit() -> None:
    kept = slow(b"a")
    assert bcrypt.checkpw(b"a\0a", kept.encode())
    assert not Passwords({"ada": kept}).check(b"ada", b"a\0a")


@pytest.mark.parametrize("kept", [sha256(b"x"), slow(b"x"), "$2y$31$" + "." * 53])
def test_a_hash_of_either_kind_is_no_problem(kept: str) -> None:
    assert hash_problem(kept) == ""


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        ("$apr1$abcdefgh$0123456789012345678901", "kind MD5"),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "kind SHA-1"),
        ("$6$salt$hash", "kind SHA-512 crypt"),
        ("$argon2id$v=19$x", "kind Argon2"),
        ("rqXexS6ZhobKA", "neither"),
        ("hunter2", "neither"),
        ("", "neither"),
        (sha256(b"x")[1:], "neither"),
        (sha256(b"x") + "\n", "neither"),
        ("$2b$03$" + "." * 53, "neither"),
        ("$2b$32$" + "." * 53, "neither"),
        # The salt's last character has bits that there are not, and bcrypt would refuse it at each check.
        ("$2b$04$" + "a" * 53, "neither"),
    ],
)
def test_what_cannot_be_checked_is_named_and_not_shown(kept: str, problem: str) -> None:
    found = hash_problem(kept)
    assert problem in found
    assert not kept or kept not in found
