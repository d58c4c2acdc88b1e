"""owt.frontend.gateway.channels: a scripted WebSocket, and kernels that answer nothing."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zmq
import zmq.asyncio
from jupyter_client.session import Session as JupyterSession
from jupyter_server.services.kernels.connection.base import serialize_binary_message, serialize_msg_to_ws_v1
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

from owt.errors import Busy, KernelDied
from owt.frontend.gateway import channels as module
from owt.frontend.gateway.channels import MAX_PARTS, ChannelsConnection, check_frame
from owt.frontend.gateway.kernels import JupyterKernel, SessionKernels
from owt.frontend.sessions.events import KernelEvent, SessionObservers
from owt.frontend.sessions.session import Session
from owt.testing import async_test, settle
from owt.wire.chunk import Stderr, Stdout

PORTS = {f"{name}_port": port for port, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
MESSAGE: dict[str, Any] = {
    "header": {"msg_id": "m", "msg_type": "execute_request"},
    "parent_header": {},
    "metadata": {},
    "content": {"code": "1"},
}
REQUEST = json.dumps({**MESSAGE, "channel": "shell"})


class SilentKernel:
    """A kernel that receives messages and answers none, as one whose code holds the interpreter's lock."""

    def __init__(self, folder: Path, context: zmq.asyncio.Context) -> None:
        self.id, self.key, self.alive = folder.name, b"key", True
        self.manager = self
        self._info = {"transport": "ipc", "ip": f"{folder}/k", "key": b"key", **PORTS}
        self.sockets: dict[str, zmq.asyncio.Socket] = {}
        for name in ("shell", "control", "stdin", "iopub"):
            self.sockets[name] = socket = context.socket(zmq.XPUB if name == "iopub" else zmq.ROUTER)
            socket.rcvhwm = 1
            socket.bind(f"ipc://{folder}/k-{PORTS[f'{name}_port']}")

    def get_connection_info(self) -> dict[str, Any]:
        return self._info

    def close(self) -> None:
        for socket in self.sockets.values():
            socket.close(linger=0)

    async def request(self) -> dict[str, Any]:
        """Return the content of the next request on the shell channel."""
        frames = await asyncio.wait_for(self.sockets["shell"].recv_multipart(), 20)
        content: dict[str, Any] = json.loads(frames[frames.index(b"<IDS|MSG>") + 5])
        return content

    async def welcome(self) -> None:
        """Confirm a subscription, as for the first subscriber."""
        await asyncio.wait_for(self.sockets["iopub"].recv(), 20)
        await self.broadcast("iopub_welcome", {"subscription": ""})

    async def broadcast_status(self) -> None:
        """Broadcast the status that belongs to a request on the control channel."""
        frames = await asyncio.wait_for(self.sockets["control"].recv_multipart(), 20)
        header = json.loads(frames[frames.index(b"<IDS|MSG>") + 2])
        assert header["msg_type"] == "kernel_info_request"
        await self.broadcast("status", {"execution_state": "idle"}, header)

    async def send(
        self, channel: str, identity: bytes, type: str, content: dict[str, Any], parent: Any = None
    ) -> None:
        """Send a message to one client."""
        session = JupyterSession(key=b"key")
        message = session.msg(type, content, parent=parent)
        await self.sockets[channel].send_multipart(session.serialize(message, identity))

    async def broadcast(self, type: str, content: dict[str, Any], parent: Any = None) -> None:
        session = JupyterSession(key=b"key")
        message = session.msg(type, content, parent=parent)
        await self.sockets["iopub"].send_multipart(session.serialize(message, b""))


class ScriptedSession:
    """A session whose kernel the test sets."""

    name, spec, used, created = "s", "owt", None, 0.0

    def __init__(self, kernel: SilentKernel | None) -> None:
        self.kernel = kernel
        self.last_output: tuple[Stdout | Stderr, ...] = ()
        self.observers = SessionObservers()

    @property
    def state(self) -> str:
        return "busy" if self.kernel else "starting"

    async def started(self) -> None:
        if self.kernel is None:
            raise KernelDied("the kernel died")


class ScriptedHandler(KernelWebsocketHandler):  # type: ignore[misc]
    """The server's side of a WebSocket without a client."""

    selected_subprotocol = None

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.size = 0
        self.close_code: int | None = None
        kernels = SimpleNamespace(check_room=lambda: None)
        self.service = SimpleNamespace(sessions=SimpleNamespace(kernels=kernels))
        self.written = asyncio.get_running_loop().create_future()
        self.written.set_result(None)

    def write_message(self, message: Any, binary: bool = False) -> Any:
        self.messages.append(json.loads(message))
        self.size += len(message)
        return self.written

    @property
    def states(self) -> list[str]:
        return [
            message["content"]["execution_state"]
            for message in self.messages
            if message["msg_type"] == "status"
        ]

    def text(self) -> str:
        return "".join(message["content"].get("text", "") for message in self.messages)

    def close(self, code: Any = None, reason: Any = None) -> None:
        self.close_code = code or 1000


class ScriptedManager:
    """The part of `SessionKernels` that a connection uses."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, str], Any] = {}
        self._left: dict[tuple[str, str], Any] = {}

    register = SessionKernels.register
    unregister = SessionKernels.unregister
    keep = SessionKernels.keep


class Scene:
    """A connection to a session whose kernel is silent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = zmq.asyncio.Context()
        self._clients: zmq.Context[Any] = zmq.Context()
        self._clients.sndhwm = 1
        self._kernels: list[SilentKernel] = []
        self.owt_session = ScriptedSession(self.kernel("1"))
        self.manager = ScriptedManager()
        self.session_kernel = JupyterKernel(
            cast("Session", self.owt_session),
            "id",
            "owt",
            attached=False,
            context=self._clients,
            kernels=cast("SessionKernels", self.manager),
        )
        self.handler = ScriptedHandler()
        self.connection = ChannelsConnection(parent=self.session_kernel, websocket_handler=self.handler)

    def kernel(self, name: str) -> SilentKernel:
        folder = self._folder / name
        folder.mkdir()
        self._kernels.append(SilentKernel(folder, self._context))
        return self._kernels[-1]

    @asynccontextmanager
    async def again(self) -> AsyncIterator[Any]:
        """Connect the same client again; `prompts` has the questions that it has received."""
        handler = ScriptedHandler()
        connection = ChannelsConnection(parent=self.session_kernel, websocket_handler=handler)
        connection.session.session = self.connection.session_id
        await connection.prepare()
        await connection.connect()
        requests = [message for message in handler.messages if message["msg_type"] == "input_request"]
        connection.prompts = [message["content"]["prompt"] for message in requests]
        yield connection
        connection.disconnect()

    def close(self) -> None:
        self.connection.disconnect()
        assert self.session_kernel.connections == 0
        self._clients.destroy(linger=0)
        for kernel in self._kernels:
            kernel.close()
        self._context.destroy(linger=0)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A short path, since it holds Unix sockets.
    return tmp_path_factory.mktemp("g")


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SUBSCRIPTION_TIMEOUT", 0.1)


@asynccontextmanager
async def open_scene(folder: Path) -> AsyncIterator[Scene]:
    scene = Scene(folder)
    try:
        await scene.connection.prepare()
        await scene.connection.connect()
        yield scene
    finally:
        scene.close()


@async_test
async def test_silent_kernel_receives_messages(folder: Path) -> None:
    async with open_scene(folder) as scene:
        await scene.connection.handle_incoming_message(REQUEST)
        assert scene.owt_session.kernel is not None
        assert await scene.owt_session.kernel.request() == {"code": "1"}
        assert scene.handler.states == ["busy"]


@async_test
async def test_confirmed_subscription_completes_the_connection(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SUBSCRIPTION_TIMEOUT", 600)
    async with open_scene(folder) as scene:
        assert scene.owt_session.kernel is not None
        await scene.owt_session.kernel.welcome()
        async with asyncio.timeout(20):
            await scene.connection.handle_incoming_message(REQUEST)
        # The confirmation itself is not sent to the client.
        assert scene.handler.states == ["busy"]


@async_test
async def test_status_for_a_request_completes_the_connection_of_a_further_client(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SUBSCRIPTION_TIMEOUT", 600)
    monkeypatch.setattr(module, "PROBE_INTERVAL", 0.05)
    async with open_scene(folder) as scene:
        kernel = scene.owt_session.kernel
        assert kernel is not None
        waiting = asyncio.create_task(scene.connection.handle_incoming_message(REQUEST))
        while not waiting.done():
            # The kernel may not have processed the subscription before the first request.
            await kernel.broadcast_status()
            await asyncio.wait([waiting], timeout=0.1)
        # That status itself is not sent to the client.
        assert scene.handler.states == ["busy"]


@async_test
async def test_next_kernel_receives_messages(folder: Path) -> None:
    async with open_scene(folder) as scene:
        scene.owt_session.kernel = None
        scene.owt_session.observers.notify(KernelEvent.DIED)
        scene.owt_session.kernel = scene.kernel("2")
        scene.owt_session.observers.notify(KernelEvent.STARTED)
        async with asyncio.timeout(20):
            await scene.connection.handle_incoming_message(REQUEST)
        assert await scene.owt_session.kernel.request() == {"code": "1"}
        assert scene.handler.states == ["restarting", "busy"]
        assert {message["parent_header"]["msg_type"] for message in scene.handler.messages} == {
            "kernel_info_request"
        }


@async_test
async def test_message_waits_for_a_full_socket_until_the_kernel_dies(folder: Path) -> None:
    large = json.dumps({**MESSAGE, "content": {"code": "x" * 1_000_000}, "channel": "shell"})
    async with open_scene(folder) as scene:
        for _ in range(100):
            waiting = asyncio.create_task(scene.connection.handle_incoming_message(large))
            await asyncio.wait([waiting], timeout=0.3)
            if not waiting.done():
                break
        assert not waiting.done()
        scene.owt_session.observers.notify(KernelEvent.DIED)
        async with asyncio.timeout(20):
            await waiting


@async_test
async def test_client_that_reads_nothing_takes_bounded_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, size = 100_000, 1000
    monkeypatch.setattr(module, "MAX_UNREAD", limit)
    async with open_scene(folder) as scene:
        kernel, handler = scene.owt_session.kernel, scene.handler
        assert kernel is not None
        await kernel.welcome()
        handler.written = asyncio.get_running_loop().create_future()
        parent = {"msg_id": "cell", "msg_type": "execute_request"}
        for number in range(300):
            await kernel.broadcast("stream", {"name": "stdout", "text": f"{number:{size}}"}, parent)
            await settle()
        assert limit / 2 < handler.size <= limit
        # A client that waits for the end of its cell sees it, after a notice.
        sent = sum(message["msg_type"] == "stream" for message in handler.messages)
        await kernel.broadcast("status", {"execution_state": "idle"}, parent)
        await until(lambda: handler.states[-1] == "idle")
        notice, state = handler.messages[-2:]
        assert notice["content"]["text"].startswith(f"owt: {300 - sent} messages of the kernel (0.3 MiB) are")
        assert notice["parent_header"]["msg_id"] == state["parent_header"]["msg_id"] == "cell"
        # States have limited room too.
        for _ in range(600):
            await kernel.broadcast("status", {"execution_state": "busy"}, parent)
            await settle()
        assert handler.size <= 2 * limit + size
        handler.written.set_result(None)
        handler.messages.clear()
        await kernel.broadcast("stream", {"name": "stdout", "text": "read again"}, parent)
        await until(lambda: "read again" in handler.text())
        assert "missing here" in handler.text()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is met."""
    async with asyncio.timeout(20):
        while not condition():
            await settle(1)


@async_test
async def test_prompt_of_a_client_that_has_gone_is_answered_with_the_end_of_the_input(folder: Path) -> None:
    async with open_scene(folder) as scene:
        kernel = scene.owt_session.kernel
        assert kernel is not None
        await scene.connection.handle_incoming_message(REQUEST)
        [identity, *_] = await kernel.sockets["shell"].recv_multipart()
        scene.connection.disconnect()
        scene.session_kernel.connections += 1
        [left] = scene.manager._left.values()
        for _ in range(2):
            await kernel.send("stdin", identity, "input_request", {"prompt": "", "password": False})
            frames = await asyncio.wait_for(kernel.sockets["stdin"].recv_multipart(), 20)
            assert json.loads(frames[-1]) == {"status": "ok", "value": "\4"}
        await kernel.send("shell", identity, "execute_reply", {"status": "ok"}, MESSAGE["header"])
        await until(lambda: not left.cells)
        assert left not in scene.owt_session.observers


@async_test
async def test_left_cells_end_with_their_kernel(folder: Path) -> None:
    async with open_scene(folder) as scene:
        await scene.connection.handle_incoming_message(REQUEST)
        scene.connection.disconnect()
        scene.session_kernel.connections += 1
        scene.owt_session.observers.notify(KernelEvent.DIED)
        assert not list(scene.owt_session.observers)
        # The client that comes back has no cells in the next kernel.
        assert scene.manager.register("id", scene.connection.session_id, scene.connection) == (set(), None)


@async_test
async def test_last_output_of_a_kernel_precedes_the_state_of_its_death(folder: Path) -> None:
    async with open_scene(folder) as scene:
        scene.owt_session.last_output = (Stdout("last words"), Stderr("report"))
        scene.owt_session.observers.notify(KernelEvent.DIED)
        kinds = [message["msg_type"] for message in scene.handler.messages]
        assert kinds == ["stream", "stream", "status"]
        assert scene.handler.text() == "last wordsreport"
        assert all(message["parent_header"]["msg_type"] for message in scene.handler.messages)


@async_test
async def test_session_without_a_kernel_is_reported_dead(folder: Path) -> None:
    async with open_scene(folder) as scene:
        scene.owt_session.kernel = None
        scene.owt_session.observers.notify(KernelEvent.FAILED)
        await scene.connection.handle_incoming_message(REQUEST)
        assert scene.handler.states == ["dead", "dead"]


@async_test
async def test_end_of_the_session_closes_the_websocket(folder: Path) -> None:
    async with open_scene(folder) as scene:
        scene.owt_session.observers.notify(KernelEvent.CLOSED)
        assert (scene.handler.states, scene.handler.close_code) == (["dead"], 1001)


@pytest.mark.parametrize(
    "message", ["rubbish", "[]", "{}", b"\x7frubbish", REQUEST.replace("shell", "iopub")]
)
@async_test
async def test_invalid_message_closes_the_websocket(folder: Path, message: str | bytes) -> None:
    async with open_scene(folder) as scene:
        await scene.connection.handle_incoming_message(message)
        assert scene.handler.close_code == 1007


@async_test
async def test_message_for_an_unknown_channel_is_ignored(folder: Path) -> None:
    async with open_scene(folder) as scene:
        await scene.connection.handle_incoming_message(REQUEST.replace("shell", "other"))
        await scene.connection.handle_incoming_message(REQUEST)
        assert scene.owt_session.kernel is not None
        assert await scene.owt_session.kernel.request() == {"code": "1"}
        assert scene.handler.close_code is None


@async_test
async def test_connection_is_refused_without_file_descriptors(folder: Path) -> None:
    def refuse() -> None:
        raise Busy("the server has run out of file descriptors")

    async with open_scene(folder) as scene:
        scene.handler.service.sessions.kernels.check_room = refuse
        with pytest.raises(Busy):
            await scene.connection.prepare()


@async_test
async def test_earlier_websocket_of_the_same_client_is_closed(folder: Path) -> None:
    async with open_scene(folder) as scene, scene.again() as later:
        assert scene.handler.close_code == 1000
        scene.connection.disconnect()
        scene.session_kernel.connections += 1
        assert list(scene.manager._connections.values()) == [later]


@pytest.mark.parametrize("is_read", [True, False])
@async_test
async def test_prompt_follows_its_client_to_a_later_websocket(folder: Path, is_read: bool) -> None:
    async with open_scene(folder) as scene:
        kernel = scene.owt_session.kernel
        assert kernel is not None
        kernel.sockets["stdin"].router_handover = True
        await scene.connection.handle_incoming_message(REQUEST)
        [identity, *_] = await kernel.sockets["shell"].recv_multipart()
        if not is_read:
            # The client reads nothing, so that the server does not either.
            scene.connection._streams["stdin"].stop_on_recv()
        await kernel.send("stdin", identity, "input_request", {"prompt": "? "})
        if is_read:
            await until(lambda: scene.connection._prompt is not None)
        else:
            await until(lambda: bool(scene.connection._streams["stdin"].socket.events & zmq.POLLIN))
        async with scene.again() as later:
            assert later.prompts == ["? "]
            reply = {"header": {"msg_id": "r", "msg_type": "input_reply"}, "content": {"value": "here"}}
            await later.handle_incoming_message(json.dumps({**MESSAGE, **reply, "channel": "stdin"}))
            frames = await asyncio.wait_for(kernel.sockets["stdin"].recv_multipart(), 20)
            assert json.loads(frames[-1]) == {"value": "here"}
            # The end of the earlier connection, which comes later, ends no prompt of this one.
            scene.connection.disconnect()
            scene.session_kernel.connections += 1
            assert scene.manager._left == {}
            scene.owt_session.observers.notify(KernelEvent.STARTED)
            assert scene.connection._streams == {}


@async_test
async def test_connection_that_was_never_opened_leaves_nothing(folder: Path) -> None:
    scene = Scene(folder)
    await scene.connection.prepare()
    assert scene.manager._connections == {}
    scene.close()


# Frames ----------------------------------------------------------------------------------------------

PARTS = [json.dumps(part).encode() for part in MESSAGE.values()]


def binary(number: int, *offsets: int, rest: bytes = b"") -> bytes:
    return struct.pack(f"!{1 + len(offsets)}I", number, *offsets) + rest


def aligned(number: int, *offsets: int, rest: bytes = b"") -> bytes:
    return struct.pack(f"<{1 + len(offsets)}Q", number, *offsets) + rest


@pytest.mark.parametrize("buffers", [[], [b""], [b"one", b"", b"three"]])
def test_frames_that_jupyter_writes_are_valid(buffers: list[bytes]) -> None:
    check_frame(serialize_msg_to_ws_v1([*PARTS, *buffers], "shell"), True)
    check_frame(serialize_binary_message({**MESSAGE, "buffers": buffers}), False)
    check_frame(json.dumps(MESSAGE), False)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"1",
        b"rubbish! that is longer than its number",
        binary(0),
        binary(2**31 - 1),
        binary(MAX_PARTS + 1, *[4 * (MAX_PARTS + 2)] * (MAX_PARTS + 1)),
        # A part that begins among the offsets, one that ends after the frame, and two that overlap.
        binary(1, 4, rest=b"{}"),
        binary(1, 99, rest=b"{}"),
        binary(3, 16, 18, 16, rest=b"{}"),
    ],
)
def test_binary_frame_with_invalid_offsets_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match="offsets"):
        check_frame(frame, False)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"rubbish! that is longer than its number",
        aligned(2**64 - 1),
        aligned(5, *[48] * 5),
        aligned(MAX_PARTS + 2, *[8 * (MAX_PARTS + 3)] * (MAX_PARTS + 2)),
        aligned(6, 8, *[56] * 5),
        aligned(6, *[56] * 5, 57),
        aligned(6, 56, 58, 56, 58, 58, 58, rest=b"{}"),
        "text",
    ],
)
def test_aligned_frame_with_invalid_offsets_is_refused(frame: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"offsets|text"):
        check_frame(frame, True)
