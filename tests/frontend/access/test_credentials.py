"""owt.frontend.access.credentials: who may come in, from options and files."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from owt.errors import ConfigError
from owt.frontend.access.credentials import Credentials
from owt.frontend.config.settings import Settings

HASH = hashlib.sha256(b"secret").hexdigest()
BCRYPT = "$2y$05$" + "." * 53
TOKEN = "0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "file"
    path.touch(0o600)
    return path


def test_without_settings_there_is_nobody() -> None:
    assert Credentials.of(Settings()) == Credentials({}, [])


def test_users_and_tokens_come_from_options_and_files(file: Path, tmp_path: Path) -> None:
    file.write_text(f"\ufeff# our users\n\n  bob:{BCRYPT}  \r\n#eve:{BCRYPT}\nключ:{HASH.upper()}\n")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# robots\n{TOKEN}2\n")
    tokens.chmod(0o600)
    settings = Settings(auth=(f"ada:{HASH}",), auth_file=file, token=(TOKEN,), token_file=tokens)
    found = Credentials.of(settings)
    assert found.users == {"ada": HASH, "bob": BCRYPT, "ключ": HASH}
    assert found.tokens == [TOKEN, TOKEN + "2"]
    assert HASH not in repr(found)
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (f"ada:{HASH}\n\nbob:$apr1$x$hunter2", 3, "'bob:' is a hash of kind MD5"),
        ("bob:{SHA}hunter2=", 1, "'bob:' is a hash of kind SHA-1"),
        ("# c\nbob:hunter2", 2, "'bob:' is neither"),
        ("hunter2", 1, "no user name"),
        (":" + HASH, 1, "no user name"),
        (f"b\tob:{HASH}", 1, "nobody can type"),
        (f"ada:{HASH}\nada:{BCRYPT}", 2, "'ada' is there twice"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_what_may_be_a_password_is_not_shown(
    file: Path, text: str, line: int, problem: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Credentials.of(Settings(auth_file=file))
    message = str(caught.value)
    assert message.startswith(f"--auth-file (OWT_AUTH_FILE): {file}, line {line}: ")
    assert problem in message
    assert "hunter2" not in message
    assert HASH not in message
    if "twice" not in problem:
        assert "owt hash-password" in message


@pytest.mark.parametrize("text", [b"", b"\n# nobody\n \n"])
def test_a_file_with_nothing_in_it_is_refused(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    for name, option, how in (
        ("auth_file", "--auth-file (OWT_AUTH_FILE)", "owt hash-password USER"),
        ("token_file", "--token-file (OWT_TOKEN_FILE)", "openssl rand -hex 32"),
    ):
        with pytest.raises(ConfigError) as caught:
            Credentials.of(Settings(**{name: file}))
        assert str(caught.value) == f"{option}: {file}: there is nothing in it; make a line with: {how}"


def test_a_file_that_cannot_be_read_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--auth-file .*gone: cannot be read: No such file"):
        Credentials.of(Settings(auth_file=tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"--token-file .*: cannot be read: Is a directory"):
        Credentials.of(Settings(token_file=tmp_path))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        Credentials.of(Settings(auth_file=file))


def test_a_token_that_cannot_be_used_is_named_by_its_line_and_not_shown(file: Path) -> None:
    file.write_text(f"{TOKEN}\nhunter2\n")
    with pytest.raises(ConfigError, match=r"--token-file .*, line 2: a token has 16 or more") as caught:
        Credentials.of(Settings(token_file=file))
    assert "hunter2" not in str(caught.value)


def test_a_user_of_an_option_may_not_be_in_the_file_too(file: Path) -> None:
    file.write_text(f"ada:{BCRYPT}\n")
    with pytest.raises(ConfigError, match=r"line 1: the user 'ada' is there twice"):
        Credentials.of(Settings(auth=(f"ada:{HASH}",), auth_file=file))
    with pytest.raises(ConfigError, match=r"^--auth \(OWT_AUTH\): the user 'ada' is there twice"):
        Credentials.of(Settings(auth=(f"ada:{HASH}", f"ada:{BCRYPT}")))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_file_that_other_users_can_read_is_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    file.write_text(TOKEN)
    file.chmod(mode)
    with caplog.at_level(logging.WARNING, "owt.auth"):
        Credentials.of(Settings(token_file=file))
    assert [f"chmod 600 {file}" in text for text in caplog.messages] == [True] * warned
