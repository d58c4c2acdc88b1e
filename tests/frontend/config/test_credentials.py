"""owt.frontend.config.credentials: users and tokens, from options and files."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from owt.errors import ConfigError
from owt.frontend.config.credentials import Credentials, read_credential
from owt.frontend.config.settings import Settings


def sha256(password: bytes) -> str:
    return hashlib.sha256(password).hexdigest()


def load(settings: Settings) -> Credentials:
    return Credentials.load(settings.auth, settings.auth_file, settings.token, settings.token_file)


HASH = hashlib.sha256(b"secret").hexdigest()
BCRYPT = "$2y$05$" + "." * 53
TOKEN = "0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "file"
    path.touch(0o600)
    return path


def test_without_settings_there_are_no_credentials() -> None:
    assert load(Settings()) == Credentials({}, [])


def test_users_and_tokens_come_from_options_and_files(file: Path, tmp_path: Path) -> None:
    file.write_text(f"\ufeff# users\n\n  bob:{BCRYPT}  \r\n#eve:{BCRYPT}\nключ:{HASH.upper()}\n")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# robots\n{TOKEN}2\n")
    tokens.chmod(0o600)
    settings = Settings(auth=(f"ada:{HASH}",), auth_file=file, token=(TOKEN,), token_file=tokens)
    credentials = load(settings)
    assert credentials.users == {"ada": HASH, "bob": BCRYPT, "ключ": HASH}
    assert credentials.tokens == [TOKEN, TOKEN + "2"]
    assert HASH not in repr(credentials)
    assert TOKEN not in repr(credentials)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (f"ada:{HASH}\n\nbob:$apr1$x$hunter2", 3, "text after 'bob:' is neither"),
        ("bob:{SHA}hunter2=", 1, "text after 'bob:' is neither"),
        ("# c\nbob:hunter2", 2, "text after 'bob:' is neither"),
        ("hunter2", 1, "user name before the colon is missing"),
        (":" + HASH, 1, "user name before the colon is missing"),
        (f"b\tob:{HASH}", 1, "unprintable"),
        (f"ada:{HASH}\nada:{BCRYPT}", 2, "duplicate user 'ada'"),
    ],
)
def test_an_invalid_line_is_named_without_the_text_that_may_be_a_password(
    file: Path, text: str, line: int, problem: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Settings(auth_file=file))
    message = str(caught.value)
    assert message.startswith(f"--auth-file (OWT_AUTH_FILE): {file}, line {line}: ")
    assert problem in message
    assert "hunter2" not in message
    assert HASH not in message
    if "duplicate" not in problem:
        assert "owt hash-password" in message


@pytest.mark.parametrize("text", [b"", b"\n# empty\n \n"])
def test_a_file_without_entries_is_refused(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    for name, option, hint in (
        ("auth_file", "--auth-file (OWT_AUTH_FILE)", "owt hash-password USER"),
        ("token_file", "--token-file (OWT_TOKEN_FILE)", "openssl rand -hex 32"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(Settings(**{name: file}))
        assert str(caught.value) == f"{option}: {file}: the file has no entries; make a line with: {hint}"


def test_a_file_that_cannot_be_read_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--auth-file .*gone: cannot be read: No such file"):
        load(Settings(auth_file=tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"--token-file .*: cannot be read: Is a directory"):
        load(Settings(token_file=tmp_path))
    with pytest.raises(ConfigError, match=r"--auth-file .*/dev/zero: cannot be read: it is not a regular"):
        load(Settings(auth_file=Path("/dev/zero")))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="the file is not UTF-8 text"):
        load(Settings(auth_file=file))


def test_an_invalid_token_is_named_by_its_line_and_not_shown(file: Path) -> None:
    file.write_text(f"{TOKEN}\nhunter2\n")
    with pytest.raises(ConfigError, match=r"--token-file .*, line 2: a token has 16 or more") as caught:
        load(Settings(token_file=file))
    assert "hunter2" not in str(caught.value)


def test_a_duplicate_user_is_refused(file: Path) -> None:
    file.write_text(f"ada:{BCRYPT}\n")
    with pytest.raises(ConfigError, match=r"line 1: duplicate user 'ada'"):
        load(Settings(auth=(f"ada:{HASH}",), auth_file=file))
    with pytest.raises(ConfigError, match=r"^--auth \(OWT_AUTH\): duplicate user 'ada'"):
        load(Settings(auth=(f"ada:{HASH}", f"ada:{BCRYPT}")))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_file_that_other_users_can_access_is_logged_as_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    file.write_text(TOKEN)
    file.chmod(mode)
    with caplog.at_level(logging.WARNING, "owt.auth"):
        load(Settings(token_file=file))
    assert [f"chmod 600 {file}" in text for text in caplog.messages] == [True] * warned


@pytest.mark.parametrize("digest", [sha256(b"x"), "$2a$04$" + "." * 53, "$2y$31$" + "." * 53])
def test_a_hash_of_either_form_is_accepted(digest: str) -> None:
    assert read_credential(f"ada:{digest}") == f"ada:{digest}"


@pytest.mark.parametrize(
    "digest",
    [
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "$6$salt$hash",
        "rqXexS6ZhobKA",
        "hunter2",
        "",
        sha256(b"x")[1:],
        sha256(b"x") + "\n",
        "$2b$03$" + "." * 53,
        "$2b$32$" + "." * 53,
        # The salt's last character has bits that bcrypt would refuse at each check.
        "$2b$04$" + "a" * 53,
    ],
)
def test_other_hashes_are_refused_and_not_shown(digest: str) -> None:
    with pytest.raises(ValueError, match="the text after 'ada:' is neither a SHA-256 hash") as caught:
        read_credential(f"ada:{digest}")
    assert not digest or digest not in str(caught.value)
