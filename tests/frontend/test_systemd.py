"""owt.frontend.systemd: sockets that systemd passes, and notifications to it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from certificates import make

from owt.errors import ConfigError
from owt.frontend import systemd
from owt.frontend.app import kernel_environment
from owt.frontend.config.settings import Settings
from owt.frontend.http.sockets import ListeningSockets, open_sockets
from owt.server import Server

FIRST = 200
"""First descriptor that is passed in these tests; another one is 3."""


class Pass(Protocol):
    def __call__(self, *sockets: socket.socket | int, **variables: str) -> dict[str, str]: ...


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pass]:
    """A function that passes sockets or descriptors as systemd does, and returns the environment."""
    monkeypatch.setattr(systemd, "FIRST", FIRST)
    with contextlib.ExitStack() as stack:

        def passing(*sockets: socket.socket | int, **variables: str) -> dict[str, str]:
            for descriptor, sock in enumerate(sockets, start=FIRST):
                os.dup2(sock if isinstance(sock, int) else sock.fileno(), descriptor)
                stack.callback(os.close, descriptor)
                if not isinstance(sock, int):
                    sock.close()
            return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sockets)), **variables}

        yield passing


def tcp(address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    return socket.create_server((address, port))


def unix(path: Path, mode: int = 0o600) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    path.chmod(mode)
    return sock


def served(settings: Settings, environ: dict[str, str]) -> tuple[Settings, ListeningSockets]:
    """Return the settings and the sockets of a server to which systemd has passed sockets, closed."""
    passed = systemd.passed_sockets(environ)
    settings = systemd.with_sockets(settings, passed)
    listening = open_sockets(settings, passed=passed)
    assert listening.sockets == passed
    for sock in passed:
        sock.close()
    return settings, listening


def test_a_server_listens_on_the_port_that_is_passed(passing: Pass) -> None:
    sock = tcp()
    port = sock.getsockname()[1]
    settings, listening = served(Settings(base_url="/owt"), passing(sock))
    assert (settings.address, settings.port) == ("127.0.0.1", port)
    assert listening.url == f"http://127.0.0.1:{port}/owt"


def test_a_server_listens_on_the_unix_socket_that_is_passed_and_leaves_its_file(
    passing: Pass, tmp_path: Path
) -> None:
    path = tmp_path / "owt"
    settings, listening = served(Settings(), passing(unix(path)))
    assert settings.unix_socket == path
    assert Server.from_url(listening.url).address == str(path)
    listening.remove()
    assert path.is_socket()


def test_a_passed_port_has_tls(passing: Pass, tmp_path: Path) -> None:
    certificate = make(tmp_path, "127.0.0.1")
    settings = Settings(certfile=certificate.certfile, keyfile=certificate.keyfile)
    _, listening = served(settings, passing(tcp()))
    assert listening.url.startswith("https://127.0.0.1:")
    assert listening.tls is not None


def test_the_socket_that_other_machines_reach_is_the_address(passing: Pass) -> None:
    local, public = tcp(), tcp("0.0.0.0")
    port = public.getsockname()[1]
    settings, listening = served(Settings(insecure=True), passing(local, public))
    assert (settings.address, settings.port) == ("0.0.0.0", port)
    assert listening.local.url == f"http://127.0.0.1:{port}"
    assert len(listening.sockets) == 2


def test_the_descriptors_stay_for_the_program_that_replaces_this_one(passing: Pass) -> None:
    environ = passing(tcp())
    for _ in range(2):
        [sock] = systemd.passed_sockets(environ)
        assert sock.fileno() != FIRST
        assert not sock.get_inheritable()
        sock.close()
    assert os.get_inheritable(FIRST)


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "0", "LISTEN_PID": "1"}])
def test_a_server_without_passed_sockets_keeps_its_settings(environ: dict[str, str]) -> None:
    settings = Settings(port=7)
    environ |= {"LISTEN_PID": str(os.getpid())}
    assert systemd.with_sockets(settings, systemd.passed_sockets(environ)) is settings


@pytest.mark.parametrize("pid", ["1", ""])
def test_sockets_of_another_process_are_not_used_and_the_log_says_so(
    pid: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert systemd.passed_sockets({"LISTEN_FDS": "1", "LISTEN_PID": pid}) == []
    assert f"this is process {os.getpid()}: let ExecStart= begin with owt serve" in caplog.text


@pytest.mark.parametrize("count", ["-1", "two", "²"])
def test_a_count_that_is_no_number_is_refused(passing: Pass, count: str) -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDS: it is the number of sockets"):
        systemd.passed_sockets(passing(LISTEN_FDS=count))


def abstract() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"\0owt-{os.getpid()}")
    sock.listen()
    return sock


def unnamed(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind)


UNUSABLE = {
    "a datagram socket": (
        lambda: unnamed(socket.AF_INET, socket.SOCK_DGRAM),
        "it is not a stream socket",
    ),
    "a socket of sequenced packets": (
        lambda: unnamed(socket.AF_UNIX, socket.SOCK_SEQPACKET),
        "it is not a stream socket",
    ),
    "a netlink socket": (
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15),
        "it is neither a TCP nor a Unix socket",
    ),
    "a connection": (lambda: unnamed(socket.AF_INET, socket.SOCK_STREAM), "it does not listen"),
    "an abstract address": (abstract, "it has no path"),
    "a file": (lambda: os.open("/dev/null", os.O_RDONLY), "it is not a socket"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_descriptor_that_a_server_cannot_listen_on_is_refused(passing: Pass, kind: str) -> None:
    make_one, reason = UNUSABLE[kind]
    with contextlib.ExitStack() as stack:
        unusable = make_one()
        if isinstance(unusable, int):
            stack.callback(os.close, unusable)
        environ = passing(tcp(), unusable, LISTEN_FDNAMES="owt.socket:second")
        message = rf"descriptor {FIRST + 1} .second. of systemd: {reason}.*; give"
        with pytest.raises(ConfigError, match=message):
            systemd.passed_sockets(environ)


def test_a_descriptor_that_is_not_open_is_refused(passing: Pass) -> None:
    with pytest.raises(ConfigError, match=rf"descriptor {FIRST} .without a name.* it is not a socket"):
        systemd.passed_sockets(passing(LISTEN_FDS="1"))


def test_tcp_and_unix_sockets_together_are_refused(passing: Pass, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both TCP and Unix sockets"):
        systemd.passed_sockets(passing(tcp(), unix(tmp_path / "owt")))


@pytest.mark.parametrize(
    "options",
    [{"port": 0}, {"address": "localhost"}, {"unix_socket": Path("owt")}],
    ids=["a free port", "a name", "a path"],
)
def test_options_that_name_the_same_place_are_accepted(
    passing: Pass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    sock = unix(tmp_path / "owt") if "unix_socket" in options else tcp()
    settings, _ = served(Settings(**options), passing(sock))  # type: ignore[arg-type]
    assert settings.address == options.get("address", "127.0.0.1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 1}, "--port .OWT_PORT.: systemd passes a socket at 127.0.0.1, port .*; leave out --port"),
        ({"address": "127.0.0.2"}, "--address .OWT_ADDRESS.: systemd passes .* got '127.0.0.2'"),
        ({"address": "unknown.invalid", "insecure": True}, "--address .OWT_ADDRESS.: systemd passes"),
        ({"unix_socket": Path("/run/owt")}, "--unix-socket .* 127.0.0.1, port .* got '/run/owt'"),
    ],
    ids=["port", "address", "name", "path"],
)
def test_options_that_name_another_place_are_refused(
    passing: Pass, options: dict[str, object], message: str
) -> None:
    [sock] = systemd.passed_sockets(passing(tcp()))
    with sock, pytest.raises(ConfigError, match=message):
        systemd.with_sockets(Settings(**options), [sock])  # type: ignore[arg-type]


def test_another_path_is_refused(passing: Pass, tmp_path: Path) -> None:
    path = tmp_path / "owt"
    [sock] = systemd.passed_sockets(passing(unix(path)))
    message = f"--unix-socket .*: systemd passes a socket at {path}; .* got '/run/owt'"
    with sock, pytest.raises(ConfigError, match=message):
        systemd.with_sockets(Settings(unix_socket=Path("/run/owt")), [sock])


def test_a_public_address_needs_credentials(passing: Pass) -> None:
    message = r"--address .* add --auth.*The socket of systemd listens at 0\.0"
    [sock] = systemd.passed_sockets(passing(tcp("0.0.0.0")))
    with sock:
        with pytest.raises(ConfigError, match=message):
            systemd.with_sockets(Settings(), [sock])
        with pytest.raises(ConfigError, match=r"--address .*: systemd passes"):
            systemd.with_sockets(Settings(address="localhost"), [sock])
        assert systemd.with_sockets(Settings(token=("t" * 30,)), [sock]).address == "0.0.0.0"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_log_warns_of_a_unix_socket_that_every_user_can_connect_to(
    passing: Pass, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    environ = passing(unix(tmp_path / "owt", mode))
    served(Settings(), environ)
    assert ("give SocketMode=0600" in caplog.text) == (mode == 0o666)
    caplog.clear()
    served(Settings(token=("t" * 30,)), environ)
    assert caplog.text == ""


def test_kernels_do_not_get_the_variables(tmp_path: Path) -> None:
    environ = dict.fromkeys(systemd.VARIABLES, "1") | {"INVOCATION_ID": "1"}
    with tcp() as sock:
        port = sock.getsockname()[1]
        listening = open_sockets(Settings(port=port), passed=[sock])
    env = kernel_environment(environ, listening, str(tmp_path), "id")
    assert not env.keys() & systemd.VARIABLES
    assert env["INVOCATION_ID"] == "1"


# Notifications


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_receives_all_assignments_in_one_datagram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@owt-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0"))
        systemd.notify("READY=1", "STATUS=é\nand more")
        assert receiver.recv(1000).decode() == "READY=1\nSTATUS=é and more"


def test_a_notification_without_systemd_does_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    assert caplog.text == ""


def test_the_log_says_that_systemd_cannot_be_notified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "missing"))
    systemd.notify("READY=1")
    assert "NOTIFY_SOCKET: cannot notify systemd at" in caplog.text
