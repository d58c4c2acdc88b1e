"""owt.frontend.kernels.template: the client of the template process, with a scripted template."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from owt.errors import KernelNotReady
from owt.frontend.kernels.exit import UNKNOWN_CODE
from owt.frontend.kernels.template import TemplateProcess
from owt.wire.framing import encode_frame
from owt.wire.template import Exited, Fork, Forked, NotForked, Ready, template_decoder

ENV = {"PATH": "/bin"}


class ScriptedTemplate(TemplateProcess):
    """Client whose template is scripted by the test, over `self.template_side`."""

    def __init__(self):
        super().__init__(runtime_dir="/nonexistent", env=ENV, preload=(), fork=True)
        self.starts = 0
        self.program = ""
        self.template_side = None
        self.decoder = template_decoder()

    def _spawn(self, channel):
        self.starts += 1
        self.template_side = channel.dup()
        return subprocess.Popen([sys.executable, "-c", self.program])

    def send(self, message, pidfd=None):
        if pidfd is None:
            self.template_side.sendall(encode_frame(message))
        else:
            socket.send_fds(self.template_side, [encode_frame(message)], [pidfd])

    async def receive(self):
        self.template_side.setblocking(False)
        while not (messages := self.decoder.feed(
            await asyncio.get_running_loop().sock_recv(self.template_side, 1 << 20)
        )):
            pass
        return messages

    def disconnect(self):
        self.template_side.close()


@contextlib.contextmanager
def sleeper():
    """A process, and its pidfd."""
    process = subprocess.Popen(["sleep", "1000"])
    handle = os.pidfd_open(process.pid)
    try:
        yield process, handle
    finally:
        process.kill()
        process.wait()
        os.close(handle)


async def ready(can_fork=True):
    template = ScriptedTemplate()
    template.start()
    template.send(Ready(can_fork, ()))
    assert await template.ready() is can_fork
    return template


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def close(template):
    template.disconnect()
    await template.close()


def test_a_fork_returns_a_process_whose_exit_code_the_template_reports():
    async def scene():
        template = await ready()
        with sleeper() as (process, handle):
            forking = asyncio.ensure_future(template.fork(["-f", "x"], ENV, "/tmp"))
            [request] = await template.receive()
            assert request == Fork(1, ("-f", "x"), ENV, "/tmp")
            template.send(Forked(1, process.pid), handle)
            child = await forking
            assert child.pid == process.pid
            assert child.poll() is None
            assert not child.has_exited()
            child.send_signal(signal.SIGTERM)
            assert process.wait(10) == -signal.SIGTERM
            assert child.has_exited()
            assert child.poll() is None
            template.send(Exited(process.pid, -15))
            await until(lambda: child.poll() is not None)
            assert child.poll() == child.wait() == -15
            # The process that has this id now is not killed.
            child.kill()
        await close(template)

    asyncio.run(scene())


def test_the_connections_of_a_kernel_travel_with_the_request():
    async def scene():
        template = await ready()
        near, far = socket.socketpair()
        forking = asyncio.ensure_future(template.fork([], ENV, "/tmp", far))
        await asyncio.sleep(0)
        far.close()
        data, [received], _, _ = socket.recv_fds(template.template_side, 1 << 16, 8)
        [request] = template.decoder.feed(data)
        assert request.connections
        os.write(received, b"x")
        os.close(received)
        with near:
            assert near.recv(10) == b"x"
            assert near.recv(10) == b""
        forking.cancel()
        await close(template)

    asyncio.run(scene())


def test_simultaneous_fork_requests_arrive_whole():
    async def scene():
        template = await ready()
        env = {**ENV, "LARGE": "x" * 50_000}
        forks = [asyncio.ensure_future(template.fork([str(n)], env, "/tmp")) for n in range(40)]
        requests = []
        while len(requests) < 40:
            requests += await template.receive()
        assert [request.argv for request in requests] == [(str(n),) for n in range(40)]
        assert {request.env["LARGE"] for request in requests} == {env["LARGE"]}
        for request in requests:
            template.send(NotForked(request.id, "no memory"))
        for fork in forks:
            with pytest.raises(KernelNotReady, match="no memory"):
                await fork
        await close(template)

    asyncio.run(scene())


def test_a_pidfd_of_another_process_is_not_used():
    async def scene():
        template = await ready()
        with sleeper() as (one, _), sleeper() as (two, handle_of_two):
            for process, handle in ((one, handle_of_two), (two, handle_of_two)):
                forking = asyncio.ensure_future(template.fork([], ENV, "/"))
                [request] = await template.receive()
                template.send(Forked(request.id, process.pid), handle)
                child = await forking
                child.kill()
                assert process.wait(10) == -signal.SIGKILL
        await close(template)

    asyncio.run(scene())


def test_a_child_of_an_abandoned_fork_is_killed():
    async def scene():
        template = await ready()
        with sleeper() as (process, handle):
            forking = asyncio.ensure_future(template.fork([], ENV, "/"))
            await template.receive()
            forking.cancel()
            template.send(Forked(1, process.pid), handle)
            await until(lambda: process.poll() is not None)
            assert process.returncode == -signal.SIGKILL
        await close(template)

    asyncio.run(scene())


def test_a_template_that_ends_is_replaced_and_its_children_live_on():
    async def scene():
        template = await ready()
        with sleeper() as (process, handle):
            forking = asyncio.ensure_future(template.fork([], ENV, "/"))
            await template.receive()
            template.send(Forked(1, process.pid), handle)
            child = await forking
            waiting = asyncio.ensure_future(template.fork([], ENV, "/"))
            await template.receive()
            template.disconnect()
            with pytest.raises(KernelNotReady, match="died"):
                await waiting
            assert not template.can_fork
            assert template.starts == 2
            template.send(Ready(True, ()))
            assert await template.ready()
            assert child.poll() is None
            child.kill()
            process.wait(10)
            async with asyncio.timeout(20):
                assert await child.wait_for_code() == UNKNOWN_CODE
        await close(template)

    asyncio.run(scene())


def test_a_template_that_sends_an_invalid_message_is_replaced(caplog):
    async def scene():
        template = await ready()
        waiting = asyncio.ensure_future(template.fork([], ENV, "/"))
        await template.receive()
        with template.template_side as channel:
            channel.sendall(b"\0\0\0\x01\0\0\0\0\xc1")
            with pytest.raises(KernelNotReady, match="died"):
                await waiting
        assert template.starts == 2
        await close(template)

    asyncio.run(scene())
    assert "the template process is killed: received a frame without a valid message" in caplog.text


def test_a_template_that_exits_before_it_is_ready_is_not_replaced():
    async def scene():
        template = ScriptedTemplate()
        template.start()
        template.disconnect()
        assert await template.ready() is False
        assert template.starts == 1
        await template.close()

    asyncio.run(scene())


def test_a_template_that_is_killed_before_it_is_ready_is_replaced_twice():
    async def scene():
        template = ScriptedTemplate()
        template.program = "import os; os.kill(os.getpid(), 9)"
        template.start()
        for _ in range(3):
            template.disconnect()
            assert await template.ready() is False
        assert template.starts == 3
        assert await template.ready() is False
        with pytest.raises(KernelNotReady):
            await template.fork([], ENV, "/")
        await template.close()

    asyncio.run(scene())


def test_a_template_that_cannot_fork_reports_it():
    async def scene():
        template = await ready(can_fork=False)
        assert not template.can_fork
        await close(template)

    asyncio.run(scene())
