"""A server to which systemd passes its socket, and which notifies systemd, with sessions that outlive it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from owt.host.reaper import marked
from owt.testing import wait_until

VARIABLES = "import os\nsorted(name for name in os.environ if name.startswith(('LISTEN_', 'NOTIFY_')))"
TOKEN = "t" * 30
MARK = "import os\nos.environ['OWT_SERVER_ID']"


class Service:
    """`owt serve` as systemd starts it: with a listening Unix socket as descriptor 3, and a socket that
    receives its notifications."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "owt.sock"
        self.url = f"http+unix://{quote(str(self.path), safe='')}"
        self._listening = socket.socket(socket.AF_UNIX)
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self._notified.settimeout(30)
        self._command = [sys.executable, "-m", "owt", "serve", "--keep", "5m", "--pool-min", "0"]
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN)
        self.token_file.chmod(0o600)
        self._command += ["--runtime-dir", str(folder / "r"), "--token-file", str(self.token_file)]
        own = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
        self._env = {**own, "NOTIFY_SOCKET": str(folder / "notify"), "LISTEN_FDS": "1"}
        self._listening.bind(str(self.path))
        self._listening.listen()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # The process has its own id in LISTEN_PID.
        start = f"export LISTEN_PID=$$; exec {shlex.join(self._command)} 3<&{self._listening.fileno()}"
        self.process = subprocess.Popen(
            ["bash", "-c", start],
            env=self._env,
            pass_fds=[self._listening.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def notification(self) -> list[str]:
        """Return the assignments of the next notification."""
        return self._notified.recv(4096).decode().split("\n")

    def end(self, number: int) -> int:
        """Send a signal, and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def call(self, code: str, session: str = "s") -> str:
        transport = httpx.HTTPTransport(uds=str(self.path))
        with httpx.Client(transport=transport, timeout=60) as client:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            answer = client.post("http://owt/", data={"code": code, "session": session}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGTERM)
        self._listening.close()
        self._notified.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Path of a folder that is short enough for sockets."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    service = Service(folder)
    service.start()
    assert service.notification() == ["READY=1", f"STATUS=serving on {service.url}"]
    yield service
    service.close()


def test_kernels_have_none_of_the_variables_of_systemd(service):
    assert service.call(VARIABLES) == "[]\n"


def restarted_call(service, code):
    """Return the answer to a call that waits in the socket while the next server starts."""
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(service.call, code)
        service.start()
        return answer.result()


def test_sessions_go_on_when_systemd_starts_the_next_server_with_the_same_socket(service):
    service.call("x = 41")
    service.end(signal.SIGKILL)
    assert restarted_call(service, "x + 1") == "42"
    assert service.notification()[0] == "READY=1"


def reload(service):
    """Send SIGHUP, and return the assignments of the notification that follows that of the reload."""
    before = time.monotonic()
    service.process.send_signal(signal.SIGHUP)
    reloading, moment, status = service.notification()
    assert (reloading, status) == ("RELOADING=1", "STATUS=restarting")
    name, _, microseconds = moment.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) / 1e6 + 1e-6
    return service.notification()


def test_a_reload_restarts_the_server_in_place_at_the_same_socket(service):
    service.call("x = 41")
    assert reload(service) == ["READY=1", f"STATUS=serving on {service.url}"]
    assert service.call("x + 1") == "42"
    assert service.process.poll() is None
    # The socket of systemd is there for each further program, too.
    assert reload(service)[0] == "READY=1"
    assert service.call("x + 1") == "42"


def test_a_reload_that_is_refused_ends_with_the_reason(service):
    service.token_file.write_text("")
    ready, status = reload(service)
    service.token_file.write_text(TOKEN)
    assert ready == "READY=1"
    assert status.startswith("STATUS=no restart: --token-file")


def test_a_server_that_is_stopped_notifies_systemd_and_leaves_its_socket(service):
    mark = service.call(MARK)
    assert service.end(signal.SIGTERM) == 0
    assert service.notification() == ["STOPPING=1", "STATUS=shutting down"]
    wait_until(lambda: not list(marked(mark)))
    assert restarted_call(service, "import os\n'x' in globals()") == "False"
    assert service.notification()[0] == "READY=1"


ACTIVATE = "systemd-socket-activate"


@pytest.mark.skipif(shutil.which(ACTIVATE) is None, reason=f"{ACTIVATE} of Debian's systemd is missing")
def test_the_first_connection_starts_the_server_by_systemd_itself(folder):
    path = folder / "activated.sock"
    command = [ACTIVATE, "--listen", str(path), "--fdname", "owt", sys.executable, "-m", "owt", "serve"]
    with subprocess.Popen([*command, "--pool-min", "0"], stderr=subprocess.PIPE, text=True) as process:
        try:
            # Its first line says that it listens.
            assert process.stderr.readline().startswith(f"Listening on {path} as 3")
            transport = httpx.HTTPTransport(uds=str(path))
            with httpx.Client(transport=transport, timeout=60) as client:
                assert client.post("http://owt/", data={"code": VARIABLES}).text == "[]\n"
        finally:
            process.terminate()
            process.stderr.read()
    assert process.returncode == 0
