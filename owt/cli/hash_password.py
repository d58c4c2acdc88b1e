"""`owt hash-password`: what `owt serve --auth` and a password file take, of a password."""

from __future__ import annotations

import hashlib
import sys

import click

from owt.errors import ConfigError, shortened

LONGEST = 72
"""Bytes of a password that bcrypt looks at."""

COST = 12
"""Rounds of bcrypt, as a power of two: a check takes about a quarter of a second."""


@click.command("hash-password")
@click.argument("user", required=False)
@click.option("--sha256", is_flag=True, help="SHA-256: quick to check, and to guess")
@click.option(
    "--cost",
    type=click.IntRange(4, 20),
    metavar="N",
    help=f"How slow bcrypt is to check and to guess: each step doubles the time  [default: {COST}]",
)
def hash_password(user: str | None, sha256: bool, cost: int | None) -> None:
    """Print what owt keeps of a password, with USER: before it, for --auth and --auth-file.

    The password is asked for twice on a terminal; else it is the first line of standard input.
    """
    if sha256 and cost is not None:
        raise click.UsageError("give --sha256 or --cost, not both: SHA-256 has no cost")
    if user is not None:
        _check_user(user)
    password = _password()
    kept = hashlib.sha256(password).hexdigest() if sha256 else _bcrypt(password, cost or COST)
    click.echo(kept if user is None else f"{user}:{kept}")


def _check_user(user: str) -> None:
    # What RFC 7617, section 2, and the lines of a password file leave to a name.
    if ":" in user or not user.isprintable() or user.strip() != user or not user or user.startswith("#"):
        raise ConfigError(
            f"USER: give a name without a colon, without blanks around it and without # before it; "
            f"got {shortened(user)}"
        )


def _password() -> bytes:
    if sys.stdin.isatty():
        # Not on stdout, which may be a file that is to have the hash.
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

    if len(password) > LONGEST:
        raise ConfigError(
            f"the password has {len(password)} bytes, and bcrypt looks at {LONGEST} only; give a shorter "
            "one, or --sha256"
        )
    if b"\0" in password:
        raise ConfigError("the password has a zero byte, and bcrypt takes none; give another, or --sha256")
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()
