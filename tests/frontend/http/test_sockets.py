"""owt.frontend.http.sockets: what the server listens on, and what it refuses."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from certificates import Certificate, make
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from owt.errors import ConfigError
from owt.frontend.config.settings import Settings
from owt.frontend.http import sockets
from owt.frontend.http.sockets import Doors, open_sockets, tls_context
from owt.server import split_unix


def opened(**given: object) -> Doors:
    doors = open_sockets(Settings(**given))  # type: ignore[arg-type]
    for each in doors.sockets:
        # A test's sockets end with it; what is left is the file.
        each.close()
    return doors


def test_a_free_port_is_found_and_the_url_has_it_and_the_base_url() -> None:
    doors = open_sockets(Settings(port=0, base_url="/owt"))
    port = doors.sockets[0].getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        pass
    for each in doors.sockets:
        each.close()
    assert doors.url == doors.here.url == f"http://127.0.0.1:{port}/owt"
    assert (doors.here.address, doors.here.port, doors.tls) == ("127.0.0.1", port, None)


def test_what_listens_everywhere_is_reached_by_loopback_here() -> None:
    doors = opened(port=0, address="0.0.0.0", insecure=True, base_url="/owt")
    assert doors.url == f"http://0.0.0.0:{doors.here.port}/owt"
    assert doors.here.url == f"http://127.0.0.1:{doors.here.port}/owt"


# Unix sockets


def test_a_unix_socket_is_its_owners_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "owt"
    modes = []

    class Watched(socket.socket):
        def bind(self, address: str) -> None:
            super().bind(address)
            modes.append(stat.S_IMODE(os.lstat(address).st_mode))

    monkeypatch.setattr(socket, "socket", Watched)
    before = os.umask(0)
    try:
        opened(unix_socket=path)
        # It is as it was: this reads it.
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_its_url_names_its_whole_path_and_can_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    doors = opened(unix_socket=Path("a b%c@d:ü"), base_url="/owt", address="0.0.0.0")
    path = str(tmp_path / "a b%c@d:ü")
    assert doors.url == doors.here.url
    assert split_unix(doors.url) == (path, "http://owt/owt")
    assert (doors.here.address, doors.here.port) == (path, 0)


def test_the_socket_of_a_server_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    opened(unix_socket=path)
    assert path.is_socket()
    doors = open_sockets(Settings(unix_socket=path))
    with socket.socket(socket.AF_UNIX) as client, doors.sockets[0]:
        client.connect(str(path))


def test_a_socket_at_which_somebody_listens_is_in_use_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    doors = open_sockets(Settings(unix_socket=path))
    with doors.sockets[0] as listening:
        with pytest.raises(ConfigError, match=r"^--unix-socket .*/owt: it is in use"):
            open_sockets(Settings(unix_socket=path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            listening.setblocking(True)
            # The one that asked whether somebody listens has gone; this is the second.
            listening.accept()[0].close()
            listening.accept()[0].close()


def test_a_busy_server_whose_queue_is_full_is_still_one(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ConfigError, match="it is in use"):
            open_sockets(Settings(unix_socket=path))


@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
def test_anything_else_at_its_path_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "owt"
    match kind:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case "link":
            # Also one to a socket that is stale: whose it is, is not known.
            opened(unix_socket=tmp_path / "stale")
            path.symlink_to("stale")
        case "fifo":
            os.mkfifo(path)
    before = os.lstat(path)
    with pytest.raises(ConfigError, match="something else than a socket, which is left alone"):
        open_sockets(Settings(unix_socket=path))
    assert os.lstat(path) == before


def test_the_longest_path_is_what_the_system_takes(tmp_path: Path) -> None:
    name = "x" * (sockets.LONGEST_PATH - len(str(tmp_path)) - 1)
    assert opened(unix_socket=tmp_path / name).here.address == str(tmp_path / name)
    with pytest.raises(ConfigError, match=r"--unix-socket .*the path has 108 bytes, and 107 is the most"):
        open_sockets(Settings(unix_socket=tmp_path / (name + "x")))


def test_a_folder_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--unix-socket .*/none/owt: No such file"):
        open_sockets(Settings(unix_socket=tmp_path / "none" / "owt"))


def test_its_file_is_removed_but_not_the_one_of_the_next_server(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    first = opened(unix_socket=path)
    second = opened(unix_socket=path)
    first.remove()
    assert path.is_socket()
    second.remove()
    assert not path.exists()
    second.remove()


def test_of_two_servers_that_find_a_stale_socket_at_once_the_first_one_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "owt"
    opened(unix_socket=path)
    first: list[Doors] = []

    class Slow(socket.socket):
        def connect(self, address: str) -> None:
            try:
                super().connect(address)
            finally:
                # Nobody has listened; and right after that somebody does.
                monkeypatch.undo()
                first.append(open_sockets(Settings(unix_socket=path)))

    monkeypatch.setattr(socket, "socket", Slow)
    with pytest.raises(ConfigError, match="it is in use"):
        open_sockets(Settings(unix_socket=path))
    with first[0].sockets[0], socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


# TLS


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make(tmp_path_factory.mktemp("certificates"), "127.0.0.1")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make(tmp_path_factory.mktemp("certificates"), "owt.example.org")


def tls(certfile: Path, keyfile: Path) -> object:
    return tls_context(Settings(certfile=certfile, keyfile=keyfile))


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_context(Settings()) is None


def test_the_url_of_a_server_with_a_certificate_is_https(ours: Certificate, tmp_path: Path) -> None:
    doors = opened(port=0, certfile=ours.certfile, keyfile=ours.keyfile, base_url="/owt")
    assert doors.url == doors.here.url == f"https://127.0.0.1:{doors.here.port}/owt"
    kept = doors.keep_certificate(str(tmp_path))
    assert kept is not None
    assert ours.certfile.read_text().startswith(Path(kept).read_text())
    assert opened(port=0).keep_certificate(str(tmp_path)) is None


@pytest.mark.parametrize("option", ["certfile", "keyfile"])
def test_a_file_that_cannot_be_read_is_named(ours: Certificate, tmp_path: Path, option: str) -> None:
    files = {"certfile": ours.certfile, "keyfile": ours.keyfile}
    for missing, why in ((tmp_path / "none.pem", "No such file"), (tmp_path, "Is a directory")):
        named = rf"^--{option} \(OWT_{option.upper()}\): cannot read {missing}: {why}"
        with pytest.raises(ConfigError, match=named):
            tls(**{**files, option: missing})


BROKEN = "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("text", ["", "rubbish", BROKEN, "ü"])
def test_a_file_that_holds_something_else_is_named(
    ours: Certificate, tmp_path: Path, text: str
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text(text)
    with pytest.raises(ConfigError, match=rf"^--certfile .*there is no certificate in PEM form in {wrong}"):
        tls(wrong, ours.keyfile)
    with pytest.raises(ConfigError, match=rf"^--keyfile .*there is no private key in PEM form in {wrong}"):
        tls(ours.certfile, wrong)


def test_files_that_are_confused_are_named(ours: Certificate) -> None:
    with pytest.raises(ConfigError, match=r"^--certfile .*there is no certificate"):
        tls(ours.keyfile, ours.certfile)


def test_a_key_of_another_certificate_is_refused(
    ours: Certificate, other: Certificate
) -> None:
    with pytest.raises(ConfigError, match=rf"^--keyfile .*{other.keyfile} does not belong .*{ours.certfile}"):
        tls(ours.certfile, other.keyfile)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    ours: Certificate, tmp_path: Path
) -> None:
    encrypted = tmp_path / "encrypted.key"
    key = load_pem_private_key(ours.keyfile.read_bytes(), None)
    locked = BestAvailableEncryption(b"a passphrase")
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(ConfigError, match=rf"^--keyfile .*{encrypted} is encrypted.*openssl pkey"):
        tls(ours.certfile, encrypted)


def test_what_people_write_beside_a_certificate_does_no_harm(
    ours: Certificate, tmp_path: Path
) -> None:
    chatty = tmp_path / "chatty.pem"
    chatty.write_text("Für owt\n" + ours.certfile.read_text())
    assert tls(chatty, ours.keyfile) is not None
