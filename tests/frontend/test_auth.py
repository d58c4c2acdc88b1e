"""owt.frontend.auth: who is let in."""

from __future__ import annotations

import base64
import hashlib

import pytest

from owt.frontend.auth import Doorkeeper


def auth(user: str, password: str) -> str:
    return f"{user}:{hashlib.sha256(password.encode()).hexdigest()}"


def basic(user: str, password: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


@pytest.mark.parametrize(
    ("user", "password"),
    [("me", "secret"), ("me", "se:cr:et"), ("", "secret"), ("me", ""), ("ключ", "пароль"), ("a:b", "c")],
)
def test_the_right_user_with_the_right_password_is_let_in(user: str, password: str) -> None:
    if ":" in user:
        # RFC 7617, 2: a user's name has no colon, so nobody can send this one.
        assert not Doorkeeper(auth(user, password)).admits(basic(user, password))
    else:
        assert Doorkeeper(auth(user, password)).admits(basic(user, password))


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
        "Basic " + base64.b64encode(b"me").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic !!!",
        "Basic",
        "Basic ключ",
        "Bearer " + base64.b64encode(b"me:secret").decode(),
        base64.b64encode(b"me:secret").decode(),
        "me:secret",
        "",
        None,
    ],
)
def test_nobody_else_is(header: str | None) -> None:
    assert not Doorkeeper(auth("me", "secret")).admits(header)


@pytest.mark.parametrize("scheme", ["basic ", "BASIC ", "Basic  ", "  Basic "])
def test_the_scheme_is_read_as_the_rfc_says(scheme: str) -> None:
    header = scheme + base64.b64encode(b"me:secret").decode()
    assert Doorkeeper(auth("me", "secret")).admits(header)


@pytest.mark.parametrize("header", [None, "", "Basic !!!", basic("me", "secret")])
def test_without_auth_everybody_is_let_in(header: str | None) -> None:
    assert Doorkeeper(None).admits(header)
