"""owt.frontend.gateway.connection: a WebSocket that a test plays, to kernels that it plays as well."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zmq
import zmq.asyncio
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from traitlets.config import LoggingConfigurable

from owt.errors import Busy, KernelDied
from owt.frontend.gateway.connection import Connection
from owt.frontend.gateway.kernel import SessionKernel
from owt.frontend.sessions.observers import Observers
from owt.frontend.sessions.session import Session
from owt.testing import async_test

PORTS = {f"{name}_port": port for port, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
REQUEST = json.dumps(
    {
        "header": {"msg_id": "m", "msg_type": "execute_request"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": "1"},
        "channel": "shell",
    }
)


class Silent:
    """A kernel that takes messages, and answers none: its interpreter's lock is held by somebody's C code."""

    def __init__(self, folder: str, context: zmq.asyncio.Context) -> None:
        self.id, self.key, self.alive = folder, b"key", True
        self.manager = self
        self._info = {"transport": "ipc", "ip": f"{folder}/k", "key": b"key", **PORTS}
        self._sockets = {}
        for name in ("shell", "control", "stdin", "iopub"):
            self._sockets[name] = socket = context.socket(zmq.XPUB if name == "iopub" else zmq.ROUTER)
            socket.bind(f"ipc://{folder}/k-{PORTS[f'{name}_port']}")

    def get_connection_info(self) -> dict[str, Any]:
        return self._info

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close(linger=0)

    async def asked(self) -> dict[str, Any]:
        """The next request on the shell channel that is not a nudge: its content."""
        while True:
            frames = await asyncio.wait_for(self._sockets["shell"].recv_multipart(), 20)
            header, _, _, content = frames[frames.index(b"<IDS|MSG>") + 2 :]
            if json.loads(header)["msg_type"] != "kernel_info_request":
                return json.loads(content)


class PlayedLive:
    """A session, whose kernel is what the test says."""

    name, spec, used, created = "s", "owt", None, 0.0

    def __init__(self, kernel: Silent | None) -> None:
        self.kernel = kernel
        self.observers = Observers()

    @property
    def state(self) -> str:
        return "busy" if self.kernel else "starting"

    async def started(self) -> None:
        if self.kernel is None:
            raise KernelDied("the kernel died")


class PlayedHandler(KernelWebsocketHandler):
    """The WebSocket's end in the server, without a client."""

    selected_subprotocol = None

    def __init__(self) -> None:
        self.told: list[str] = []
        self.closed: int | None = None
        kernels = SimpleNamespace(check_room=lambda: None)
        settings = SimpleNamespace(window=1000)
        self.service = SimpleNamespace(settings=settings, sessions=SimpleNamespace(kernels=kernels))
        self.written = asyncio.get_running_loop().create_future()
        self.written.set_result(None)

    def write_message(self, message: Any, binary: bool = False) -> Any:
        self.told.append(json.loads(message)["content"]["execution_state"])
        return self.written

    def close(self, code: Any = None, reason: Any = None) -> None:
        self.closed = code


class PlayedManager(LoggingConfigurable):
    """What a connection asks of `SessionKernels`."""

    kernel_info_timeout = 0.1
    allowed_message_types = ()
    allow_tracebacks = True

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[str, Any] = {}
        self._kernel_connections: dict[str, int] = {}
        self.connected = 0

    def __contains__(self, id: str) -> bool:
        return True

    def notify_connect(self, id: str) -> None:
        self.connected += 1

    def notify_disconnect(self, id: str) -> None:
        self.connected -= 1

    def add_restart_callback(self, *_: Any) -> None:
        pass

    remove_restart_callback = add_restart_callback

    def get_buffer(self, *_: Any) -> None:
        pass


class Stage:
    """A connection to a session whose kernel says nothing."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder
        self._context = zmq.asyncio.Context()
        self._clients: zmq.Context[Any] = zmq.Context()
        self._kernels: list[Silent] = []
        self.live = PlayedLive(self.kernel("1"))
        self.manager = PlayedManager()
        live = cast("Session", self.live)
        kernel = SessionKernel(
            live, "id", "owt", guest=False, context=self._clients, parent=self.manager
        )
        self.handler = PlayedHandler()
        self.connection = Connection(parent=kernel, websocket_handler=self.handler)

    def kernel(self, name: str) -> Silent:
        folder = self._folder / name
        folder.mkdir()
        self._kernels.append(Silent(str(folder), self._context))
        return self._kernels[-1]

    async def __aenter__(self) -> Stage:
        await self.connection.prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.connection.disconnect()
        assert self.manager.connected == 0
        self._clients.destroy(linger=0)
        for kernel in self._kernels:
            kernel.close()
        self._context.destroy(linger=0)


@pytest.fixture
def folder(tmp_path_factory):
    # A short path, since it holds Unix sockets.
    return tmp_path_factory.mktemp("g")


@async_test
async def test_a_kernel_that_says_nothing_gets_messages_all_the_same(folder):
    async with Stage(folder) as stage:
        await stage.connection.connect()
        await stage.connection.take(REQUEST)
        assert await stage.live.kernel.asked() == {"code": "1"}
        assert stage.handler.told == ["busy"]


@async_test
async def test_so_does_the_next_kernel(folder):
    async with Stage(folder) as stage:
        await stage.connection.connect()
        stage.live.kernel = None
        stage.live.observers.tell("died")
        stage.live.kernel = stage.kernel("2")
        stage.live.observers.tell("started")
        async with asyncio.timeout(20):
            await stage.connection.take(REQUEST)
        assert await stage.live.kernel.asked() == {"code": "1"}
        assert stage.handler.told == ["restarting", "busy"]


@async_test
async def test_a_kernel_that_cannot_be_had_is_dead(folder):
    async with Stage(folder) as stage:
        await stage.connection.connect()
        stage.live.kernel = None
        stage.live.observers.tell("given-up")
        await stage.connection.take(REQUEST)
        assert stage.handler.told == ["dead", "dead"]


@async_test
async def test_the_end_of_the_session_is_the_end_of_the_connection(folder):
    async with Stage(folder) as stage:
        await stage.connection.connect()
        stage.live.observers.tell("closed")
        assert (stage.handler.told, stage.handler.closed) == (["dead"], 1001)


@pytest.mark.parametrize("message", ["rubbish", "{}", b"\x7frubbish", REQUEST.replace("shell", "iopub")])
@async_test
async def test_what_is_no_request_ends_the_connection(folder, message):
    async with Stage(folder) as stage:
        await stage.connection.connect()
        await stage.connection.take(message)
        assert stage.handler.closed == 1007


@async_test
async def test_without_file_descriptors_there_is_no_connection(folder):
    def refuse() -> None:
        raise Busy("the server has run out of file descriptors")

    async with Stage(folder) as stage:
        stage.handler.service.sessions.kernels.check_room = refuse
        with pytest.raises(Busy):
            await stage.connection.prepare()


@async_test
async def test_nothing_is_left_of_a_connection_that_was_never_opened(folder):
    async with Stage(folder) as stage:
        assert len(stage.manager.open) == 1
        stage.connection.disconnect()
        assert stage.manager.open == {}
