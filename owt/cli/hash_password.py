"""`owt hash-password`: print the hash of a password for `owt serve --auth` and password files."""

from __future__ import annotations

import hashlib
import sys

import click

from owt.errors import ConfigError, shortened
from owt.frontend.config.credentials import MAX_BCRYPT_PASSWORD

COST = 12
"""Default cost of bcrypt, the binary logarithm of its rounds: a check takes about a quarter of a second."""


@click.command("hash-password")
@click.argument("user", required=False)
@click.option("--sha256", is_flag=True, help="Use SHA-256, which is fast to check and to guess")
@click.option(
    "--cost",
    type=click.IntRange(4, 20),
    metavar="N",
    help=f"Cost of bcrypt; each step doubles the time of a check and of a guess  [default: {COST}]",
)
def hash_password(user: str | None, sha256: bool, cost: int | None) -> None:
    """Print the hash of a password, after USER and a colon, for --auth and --auth-file.

    The password is read twice from a terminal, else from the first line of standard input.
    """
    if sha256 and cost is not None:
        raise click.UsageError("give --sha256 or --cost, not both: SHA-256 has no cost")
    if user is not None:
        _check_user(user)
    password = _password()
    digest = hashlib.sha256(password).hexdigest() if sha256 else _bcrypt(password, cost or COST)
    click.echo(digest if user is None else f"{user}:{digest}")


def _check_user(user: str) -> None:
    # The syntax of RFC 7617, section 2, and of the lines of a password file.
    if not user or ":" in user or user.strip() != user or user.startswith("#") or not user.isprintable():
        raise ConfigError(
            "USER: give a printable name without a colon, without spaces around it and without # before it; "
            f"got {shortened(user)}"
        )


def _password() -> bytes:
    if sys.stdin.isatty():
        # Prompts on stderr: stdout may be the password file.
        text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        password = text.encode("utf-8", "surrogateescape")
    else:
        password = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    if not password:
        raise ConfigError(
            "there is no password on standard input; give one: printf %s 'secret' | owt hash-password USER"
        )
    return password


def _bcrypt(password: bytes, cost: int) -> str:
    import bcrypt

    if len(password) > MAX_BCRYPT_PASSWORD:
        raise ConfigError(
            f"the password has {len(password)} bytes, and bcrypt uses only {MAX_BCRYPT_PASSWORD}; give a "
            "shorter one, or --sha256"
        )
    if b"\0" in password:
        raise ConfigError("the password has a zero byte, which bcrypt refuses; give another, or --sha256")
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()
