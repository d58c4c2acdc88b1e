"""owt.frontend.kernels.host: a template that waits for the next frontend."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from owt.errors import ConfigError
from owt.frontend.kernels import host
from owt.frontend.kernels.host import AdoptedProcess, Host
from owt.testing import wait_until
from owt.wire.framing import encode_frame
from owt.wire.messages import Ping
from owt.wire.template import HOST_PROTOCOL, Adopted, Exited, Held, Ready


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder, "host.sock"))


@pytest.fixture
def serve(path: str) -> Iterator[Callable[[Callable[[socket.socket], object]], None]]:
    """Return a function that answers one client of the socket."""
    listener = socket.socket(socket.AF_UNIX)
    threads: list[threading.Thread] = []

    def serve(answer: Callable[[socket.socket], object]) -> None:
        def accept() -> None:
            client, _ = listener.accept()
            with client:
                answer(client)

        listener.bind(path)
        listener.listen()
        threads.append(threading.Thread(target=accept))
        threads[0].start()

    yield serve
    for thread in threads:
        thread.join()
    listener.close()


def test_a_missing_socket_and_one_without_a_listener_lead_to_no_template(path: str) -> None:
    assert Host.find(path) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert Host.find(path) is None


def test_a_template_that_ends_before_it_answers_is_none(path: str, serve) -> None:
    serve(lambda client: None)
    assert Host.find(path) is None


def test_a_template_of_another_version_is_named(path: str, serve) -> None:
    serve(lambda client: client.sendall(encode_frame(Ready(True, (), HOST_PROTOCOL + 1, kernels=3))))
    host = Host.find(path)
    assert host is not None
    with pytest.raises(ConfigError, match=r"another version of owt keeps 3 kernels .* owt restart --discard"):
        host.check()
    host.close()


def test_a_first_message_that_cannot_be_read_is_of_another_version(path: str, serve) -> None:
    serve(lambda client: client.sendall(encode_frame(Ping())))
    host = Host.find(path)
    assert host is not None
    with pytest.raises(ConfigError, match="another version of owt"):
        host.check()
    host.close()


def test_descriptors_arrive_under_their_names_with_the_ends_of_processes(path: str, serve) -> None:
    reading, writing = os.pipe()

    def answer(client: socket.socket) -> None:
        client.sendall(encode_frame(Ready(True, (), since=1.0)))
        client.recv(100)
        socket.send_fds(client, [encode_frame(Held("k1", 2, 7, True))], [reading, writing])
        socket.send_fds(client, [encode_frame(Held("k2", 1, 8))], [reading])
        client.sendall(encode_frame(Exited(7, -9)) + encode_frame(Adopted()))

    serve(answer)
    host = Host.find(path)
    assert host is not None
    host.check()
    host.adopt(60.0)
    first, second = host.held["k1"], host.held["k2"]
    assert (first.pid, first.child, first.code, second.code) == (7, True, -9, None)
    os.write(first.descriptors[1], b"x")
    assert os.read(second.descriptors[0], 1) == b"x"
    assert host.pid == os.getpid()
    for descriptor in (reading, writing, *first.descriptors, *second.descriptors):
        os.close(descriptor)
    host.close()


def test_a_template_that_ends_while_it_is_adopted_is_told(path: str, serve) -> None:
    serve(lambda client: client.sendall(encode_frame(Ready(True, ()))))
    host = Host.find(path)
    assert host is not None
    with pytest.raises(ConfigError, match="the process that keeps the sessions ended"):
        host.adopt(60.0)


def test_a_process_that_another_one_has_started_is_waited_for() -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        process = AdoptedProcess(child.pid)
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()
        assert process.wait(20) == 0
        process.kill()
        assert process.poll() == 0


def test_an_environment_that_must_not_be_read_is_an_error_with_its_cause() -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        host = Host("", channel, pid=0, ready=Ready(True, ()))
        with pytest.raises(ConfigError, match=r"--keep: cannot read the environment .* PrivateUsers="):
            host.environment()


def test_several_threads_wait_for_the_same_process() -> None:
    with subprocess.Popen(["sleep", "600"]) as child, ThreadPoolExecutor(8) as threads:
        process = AdoptedProcess(child.pid)
        waits = [threads.submit(process.wait) for _ in range(8)]
        wait_until(lambda: all(wait.running() for wait in waits))
        process.kill()
        assert {wait.result() for wait in waits} == {0}
        assert process.poll() == 0


def test_a_template_that_does_not_answer_is_an_error_within_20_s(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert host.ANSWER_TIMEOUT <= 20
    monkeypatch.setattr(host, "ANSWER_TIMEOUT", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(ConfigError, match=rf"does not answer at {path}: timed out"):
            Host.find(path)
