"""owt.frontend.http.sockets: listening sockets and TLS files."""

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
from owt.frontend.http.sockets import ListeningSockets, open_sockets, tls_context
from owt.server import split_unix


def open_and_close(**settings: object) -> ListeningSockets:
    listening = open_sockets(Settings(**settings))  # type: ignore[arg-type]
    for sock in listening.sockets:
        # Only the socket's file is left.
        sock.close()
    return listening


def test_port_0_is_a_free_port_and_the_url_has_it_and_the_base_url() -> None:
    listening = open_sockets(Settings(port=0, base_url="/owt"))
    port = listening.sockets[0].getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        pass
    for sock in listening.sockets:
        sock.close()
    assert listening.url == listening.local.url == f"http://127.0.0.1:{port}/owt"
    assert (listening.local.address, listening.local.port, listening.tls) == ("127.0.0.1", port, None)


def test_a_server_on_all_addresses_is_reached_locally_by_loopback() -> None:
    listening = open_and_close(port=0, address="0.0.0.0", insecure=True, base_url="/owt")
    assert listening.url == f"http://0.0.0.0:{listening.local.port}/owt"
    assert listening.local.url == f"http://127.0.0.1:{listening.local.port}/owt"


# Unix sockets


def test_a_unix_socket_is_accessible_to_its_owner_only_from_the_first_moment(
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
        open_and_close(unix_socket=path)
        # The listener still works.
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_the_url_of_a_unix_socket_has_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listening = open_and_close(unix_socket=Path("a b%c@d:ü"), base_url="/owt", address="0.0.0.0")
    path = str(tmp_path / "a b%c@d:ü")
    assert listening.url == listening.local.url
    assert split_unix(listening.url) == (path, "http://owt/owt")
    assert (listening.local.address, listening.local.port) == (path, 0)


def test_the_socket_of_a_server_that_has_ended_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    open_and_close(unix_socket=path)
    assert path.is_socket()
    listening = open_sockets(Settings(unix_socket=path))
    with socket.socket(socket.AF_UNIX) as client, listening.sockets[0]:
        client.connect(str(path))


def test_a_socket_in_use_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    listening = open_sockets(Settings(unix_socket=path))
    with listening.sockets[0] as listening:
        with pytest.raises(ConfigError, match=r"^--unix-socket .*/owt: it is in use"):
            open_sockets(Settings(unix_socket=path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            listening.setblocking(True)
            # The first connection in the queue is that of the server that found the socket in use.
            listening.accept()[0].close()
            listening.accept()[0].close()


def test_a_socket_with_a_full_queue_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ConfigError, match="it is in use"):
            open_sockets(Settings(unix_socket=path))


@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
def test_a_file_that_is_no_socket_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "owt"
    match kind:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case "link":
            # Even a link to a stale socket: its owner is unknown.
            open_and_close(unix_socket=tmp_path / "stale")
            path.symlink_to("stale")
        case "fifo":
            os.mkfifo(path)
    before = os.lstat(path)
    with pytest.raises(ConfigError, match="the path exists and is not a socket"):
        open_sockets(Settings(unix_socket=path))
    assert os.lstat(path) == before


def test_the_maximum_length_of_a_path_is_the_systems(tmp_path: Path) -> None:
    name = "x" * (sockets.MAX_PATH - len(str(tmp_path)) - 1)
    assert open_and_close(unix_socket=tmp_path / name).local.address == str(tmp_path / name)
    message = r"--unix-socket .*the path has 108 bytes; the maximum for a Unix socket is 107"
    with pytest.raises(ConfigError, match=message):
        open_sockets(Settings(unix_socket=tmp_path / (name + "x")))


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--unix-socket .*/none/owt: No such file"):
        open_sockets(Settings(unix_socket=tmp_path / "none" / "owt"))


def test_remove_keeps_the_socket_file_of_another_server(tmp_path: Path) -> None:
    path = tmp_path / "owt"
    first = open_and_close(unix_socket=path)
    second = open_and_close(unix_socket=path)
    first.remove()
    assert path.is_socket()
    second.remove()
    assert not path.exists()
    second.remove()


def test_two_servers_that_replace_a_stale_socket_keep_the_first_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "owt"
    open_and_close(unix_socket=path)
    first: list[ListeningSockets] = []

    class Slow(socket.socket):
        def connect(self, address: str) -> None:
            try:
                super().connect(address)
            finally:
                # The first server begins to listen right after the second found no listener.
                monkeypatch.undo()
                first.append(open_sockets(Settings(unix_socket=path)))

    monkeypatch.setattr(socket, "socket", Slow)
    with pytest.raises(ConfigError, match="it is in use"):
        open_sockets(Settings(unix_socket=path))
    with first[0].sockets[0], socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


# TLS


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make(tmp_path_factory.mktemp("certificates"), "127.0.0.1")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make(tmp_path_factory.mktemp("certificates"), "owt.example.org")


def tls(certfile: Path, keyfile: Path) -> object:
    return tls_context(Settings(certfile=certfile, keyfile=keyfile))


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_context(Settings()) is None


def test_the_url_of_a_server_with_a_certificate_is_https(own: Certificate, tmp_path: Path) -> None:
    listening = open_and_close(port=0, certfile=own.certfile, keyfile=own.keyfile, base_url="/owt")
    assert listening.url == listening.local.url == f"https://127.0.0.1:{listening.local.port}/owt"
    kept = listening.keep_certificate(str(tmp_path))
    assert kept is not None
    assert own.certfile.read_text().startswith(Path(kept).read_text())
    assert open_and_close(port=0).keep_certificate(str(tmp_path)) is None


@pytest.mark.parametrize("option", ["certfile", "keyfile"])
def test_an_unreadable_tls_file_is_reported_with_its_option(
    own: Certificate, tmp_path: Path, option: str
) -> None:
    files = {"certfile": own.certfile, "keyfile": own.keyfile}
    for missing, why in (
        (tmp_path / "none.pem", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), "it is not a regular file"),
    ):
        named = rf"^--{option} \(OWT_{option.upper()}\): cannot read {missing}: {why}"
        with pytest.raises(ConfigError, match=named):
            tls(**{**files, option: missing})


BROKEN = "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("text", ["", "rubbish", BROKEN, "ü"])
def test_a_tls_file_with_other_contents_is_reported_with_its_option(
    own: Certificate, tmp_path: Path, text: str
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text(text)
    with pytest.raises(ConfigError, match=rf"^--certfile .*there is no certificate in PEM form in {wrong}"):
        tls(wrong, own.keyfile)
    with pytest.raises(ConfigError, match=rf"^--keyfile .*there is no private key in PEM form in {wrong}"):
        tls(own.certfile, wrong)


def test_a_key_in_place_of_the_certificate_is_reported(own: Certificate) -> None:
    with pytest.raises(ConfigError, match=r"^--certfile .*there is no certificate"):
        tls(own.keyfile, own.certfile)


def test_a_key_of_another_certificate_is_refused(
    own: Certificate, other: Certificate
) -> None:
    with pytest.raises(ConfigError, match=rf"^--keyfile .*{other.keyfile} does not belong .*{own.certfile}"):
        tls(own.certfile, other.keyfile)


def test_a_key_with_a_passphrase_is_refused_without_a_prompt(
    own: Certificate, tmp_path: Path
) -> None:
    encrypted = tmp_path / "encrypted.key"
    key = load_pem_private_key(own.keyfile.read_bytes(), None)
    locked = BestAvailableEncryption(b"a passphrase")
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(ConfigError, match=rf"^--keyfile .*{encrypted} is encrypted.*openssl pkey"):
        tls(own.certfile, encrypted)


def test_text_beside_a_certificate_is_ignored(
    own: Certificate, tmp_path: Path
) -> None:
    chatty = tmp_path / "chatty.pem"
    chatty.write_text("Für owt\n" + own.certfile.read_text())
    assert tls(chatty, own.keyfile) is not None
