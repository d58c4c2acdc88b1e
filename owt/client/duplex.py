"""Calls that get items while they send events: the connections of a `Dialogue`, one after another.

`AsyncDuplex` is the stream of `AsyncClient.duplex`. `Duplex` is that of `Client.duplex`: the same on an event
loop in a thread of its own, since a blocking TLS connection may not be read and written by two threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from owt.client.caller import Caller
from owt.client.dialogue import SUBPROTOCOL, Dialogue, has_value, value_of
from owt.client.events import Event
from owt.client.following import CANCEL_TIMEOUT, CONNECT_TIMEOUT
from owt.client.request import Request
from owt.errors import CannotSend, OwtError, RemoteError, Unreachable
from owt.server.certificate import verification

Value = TypeVar("Value")

MAX_EVENTS = 1 << 20
"""Size of the events that wait for the caller at which no more are received."""
CLOSED = "the stream was closed"
OPEN_TIMEOUT = 10.0
"""Seconds until the first attempt to connect fails."""
DONE, TOO_LARGE, FAILED, REPLACED, PROBLEMS = 1000, 1009, 1011, 4409, 4000
"""Codes of the end of a connection; others are `PROBLEMS` and an HTTP status."""


class ItemTooLarge(RemoteError):
    """The server has closed the connection, because an item was larger than it permits."""


class AsyncDuplex:
    """Stream of items to a call, and of the values or events that it sends.

    `async for value in stream` yields what the adaptor yields and returns, and `events()` the events, from
    which both take. A failure is raised at its place. After a lost connection the client goes on by another
    one: nothing is lost, and nothing comes twice.
    """

    def __init__(self, caller: Caller, request: Request, *, body: bool = False) -> None:
        """With `body`, the items are the parts of the body of the request, and there are no events."""
        self._caller = caller
        self._request = request
        self._tls = verification(caller._address.server)
        self._dialogue = Dialogue(body=body)
        self._events: deque[tuple[Event, int]] = deque()
        self._events_size = 0
        self._failure: Exception | None = None
        self._disconnected = False
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def run(self) -> str:
        """The id of the run."""
        assert self._dialogue.run is not None
        return self._dialogue.run

    async def send(self, item: Any) -> None:
        """Send an item: text, bytes, or a value as JSON. Waits while the adaptor does not read.

        Raises `CannotSend` for what cannot be sent, and after the end of the call or of the input; and
        the failure of the call.
        """
        await self._until(lambda: self._dialogue.has_room or self._ended)
        if self._failure is not None:
            raise self._failure
        if self._disconnected and not self._dialogue.over:
            raise CannotSend(CLOSED)
        self._dialogue.add(item)
        self._notify()

    async def send_all(self, items: AsyncIterable[Any]) -> None:
        """Send items and the end of the input, unless the call ends before. Raises what `items` raises, and
        the failure of the call."""
        async for item in items:
            try:
                await self.send(item)
            except CannotSend:
                return
        await self.end()

    async def end(self) -> None:
        """End the input, so that the adaptor has all items. Its output can still be read."""
        self._dialogue.end_input()
        self._notify()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._values()

    async def _values(self) -> AsyncIterator[Any]:
        async for event in self.events():
            if has_value(event):
                yield value_of(event)

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events of the call, as `AsyncClient.stream` does. `send` answers an event `input`."""
        while (event := await self.next_event()) is not None:
            yield event

    async def next_event(self) -> Event | None:
        """Return the next event, or None after the last one. Raises the failure of the call."""
        await self._until(lambda: self._events or self._ended)
        if self._events:
            event, size = self._events.popleft()
            self._events_size -= size
            self._notify()
            return event
        if self._failure is not None:
            raise self._failure
        if not self._dialogue.over:
            raise CannotSend(CLOSED)
        return None

    async def begin(self) -> None:
        """Connect, and wait until the call has begun. Raises what prevents that."""
        self._task = asyncio.create_task(self._converse())
        await self._until(lambda: self._dialogue.run is not None or self._ended)
        if self._dialogue.run is None and self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Disconnect."""
        if self._task is not None:
            if not self._dialogue.over:
                self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def run_to_cancel(self) -> str | None:
        """The id of the run if it has not ended, unless the server or another client has ended the stream."""
        has_failed = self._failure is not None and not isinstance(self._failure, ItemTooLarge)
        return None if has_failed or self._dialogue.over else self._dialogue.run

    @property
    def _ended(self) -> bool:
        """True if no event can follow."""
        return self._disconnected or self._dialogue.over

    # Connections

    async def _converse(self) -> None:
        """Exchange messages by one connection after another, until the call has ended."""
        try:
            while True:
                problem: Exception | None = None
                try:
                    await self._use_connection()
                except (OSError, OwtError, WebSocketException) as error:
                    problem = self._problem(error)
                if (delay := self._dialogue.retry_delay(problem)) is None:
                    break
                await asyncio.sleep(delay)
            if not self._dialogue.over:
                problem = problem or EOFError("the connection has ended")
                has_begun = self._dialogue.run is not None
                raise self._caller._broken(problem, {}) if has_begun else self._caller._unreachable(problem)
        except Exception as error:
            self._failure = error
        finally:
            self._disconnected = True
            self._notify()

    async def _use_connection(self) -> None:
        async with self._connection() as connection:
            if connection.subprotocol != SUBPROTOCOL:
                raise Unreachable(f"the WebSocket at {self._caller.url} is not that of an owt server")
            assert connection.response is not None
            self._caller._update_base(_response(connection.response))
            await connection.send(self._dialogue.opening())
            sending = asyncio.create_task(self._send_items(connection))
            try:
                async for message in connection:
                    self._receive(message)
                    if self._dialogue.over:
                        return
                    await self._until(lambda: self._events_size < MAX_EVENTS)
                self._closed(connection.close_code)
            finally:
                sending.cancel()

    def _closed(self, code: int | None) -> None:
        """Let the end of a connection without events be that of the call."""
        is_end = code in (DONE, FAILED) or (code is not None and code > PROBLEMS and code != REPLACED)
        self._dialogue.over = self._dialogue.over or (is_end and self._dialogue.body)

    def _receive(self, message: str | bytes) -> None:
        try:
            event = self._dialogue.receive(message)
        except RemoteError as error:
            self._failure = error
        else:
            if event is not None:
                self._events.append((event, len(message)))
                self._events_size += len(message)
        self._notify()

    async def _send_items(self, connection: ClientConnection) -> None:
        # A connection that was lost is the reader's problem.
        with suppress(ConnectionClosed):
            while True:
                while (message := self._dialogue.next_message()) is not None:
                    await connection.send(message)
                await self._until(self._dialogue.has_message)

    def _connection(self) -> connect:
        settings: dict[str, Any] = {}
        if socket := self._caller._address.socket:
            settings |= {"unix": True, "path": socket}
        if self._request.url.startswith("wss:"):
            settings["ssl"] = self._tls
        return connect(
            self._request.url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=self._request.headers,
            compression=None,
            proxy=None if self._caller._address.is_local else True,
            open_timeout=OPEN_TIMEOUT if self._dialogue.run is None else CONNECT_TIMEOUT,
            close_timeout=CANCEL_TIMEOUT,
            # While the adaptor does not read, the server reads no pings.
            ping_interval=None,
            max_size=None,
            **settings,
        )

    def _problem(self, error: Exception) -> Exception:
        """Return the error that ended a connection as the caller sees it."""
        if isinstance(error, InvalidStatus):
            return self._caller._refused(_response(error.response))
        closing = error.rcvd if isinstance(error, ConnectionClosed) else None
        if closing is not None and closing.code == TOO_LARGE:
            detail = "an item was larger than the server permits (--max-body); send it in parts"
            return ItemTooLarge({"title": "the item is too large", "status": 413, "detail": detail})
        if closing is not None:
            self._closed(closing.code)
        if closing is not None and closing.code > PROBLEMS and not self._dialogue.over:
            facts = {"title": closing.reason, "status": closing.code - PROBLEMS, "run": self._dialogue.run}
            return RemoteError(facts)
        return error

    # Waiting

    async def _until(self, condition: Callable[[], object]) -> None:
        while not condition():
            change = asyncio.get_running_loop().create_future()
            self._waiting.append(change)
            await change

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)


class Duplex:
    """Stream of items to a call, and of the values or events that it sends.

    `for value in stream` yields what the adaptor yields and returns, and `events()` the events, from which
    both take. A failure is raised at its place. One thread may send while another reads. After a lost
    connection the client goes on by another one: nothing is lost, and nothing comes twice.
    """

    def __init__(self, stream: AsyncDuplex) -> None:
        self._stream = stream
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_running = threading.Event()
        self._closing = asyncio.Event()
        # No work is added to a loop that is about to end.
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="owt-duplex", daemon=True
        )

    @property
    def run(self) -> str:
        """The id of the run."""
        return self._stream.run

    def send(self, item: Any) -> None:
        """Send an item: text, bytes, or a value as JSON. Blocks while the adaptor does not read.

        Raises `CannotSend` for what cannot be sent, and after the end of the call or of the input; and
        the failure of the call.
        """
        self._wait_for(self._stream.send(item))

    def send_all(self, items: Iterable[Any]) -> None:
        """Send items and the end of the input, unless the call ends before. Raises what `items` raises, and
        the failure of the call."""
        for item in items:
            try:
                self.send(item)
            except CannotSend:
                return
        with suppress(CannotSend):
            self.end()

    def end(self) -> None:
        """End the input, so that the adaptor has all items. Its output can still be read."""
        self._wait_for(self._stream.end())

    def __iter__(self) -> Iterator[Any]:
        return (value_of(event) for event in self.events() if has_value(event))

    def events(self) -> Iterator[Event]:
        """Yield the events of the call, as `Client.stream` does. `send` answers an event `input`."""
        while (event := self._wait_for(self._stream.next_event())) is not None:
            yield event

    def begin(self) -> None:
        """Connect, and wait until the call has begun. Raises what prevents that."""
        self._thread.start()
        self._is_running.wait()
        self._wait_for(self._stream.begin())

    def close(self) -> None:
        """Disconnect, and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_running.set()
        await self._closing.wait()
        await self._stream.close()

    @property
    def run_to_cancel(self) -> str | None:
        """The id of the run if it has not ended."""
        return self._stream.run_to_cancel

    def _wait_for(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Return the result of `work` on the loop. Cancels it if this thread is interrupted."""
        with self._lock:
            if self._loop is None:
                work.close()
                raise CannotSend(CLOSED)
            waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result()
        except CancelledError:
            raise CannotSend(CLOSED) from None
        except BaseException:
            waiting.cancel()
            raise


@contextmanager
def sending_body(
    caller: Caller,
    handshake: Request,
    follow: Callable[[str], Request],
    parts: Iterable[bytes],
    cancel: Callable[[str], None],
) -> Iterator[Request]:
    """Send the parts of a body in a thread, while the block uses the request that `follow` makes of the run's
    id. The block raises what `parts` raises, for which the run is cancelled, as for leaving it early."""
    stream = Duplex(AsyncDuplex(caller, handshake, body=True))
    failures: list[Exception] = []

    def send() -> None:
        try:
            stream.send_all(parts)
        except Exception as error:
            failures.append(error)
            cancel(stream.run)

    try:
        stream.begin()
        threading.Thread(target=send, name="owt-body", daemon=True).start()
        yield follow(stream.run)
    except Exception:
        if failures:
            raise failures[0] from None
        raise
    finally:
        if run := stream.run_to_cancel:
            cancel(run)
        stream.close()


@asynccontextmanager
async def async_sending_body(
    caller: Caller,
    handshake: Request,
    follow: Callable[[str], Request],
    parts: AsyncIterable[bytes],
    cancel: Callable[[str], Awaitable[None]],
) -> AsyncIterator[Request]:
    """Do what `sending_body` does, in a task."""
    stream = AsyncDuplex(caller, handshake, body=True)
    failures: list[Exception] = []

    async def send() -> None:
        try:
            await stream.send_all(parts)
        except Exception as error:
            failures.append(error)
            await cancel(stream.run)

    sending: asyncio.Task[None] | None = None
    try:
        await stream.begin()
        sending = asyncio.create_task(send())
        yield follow(stream.run)
    except Exception:
        if failures:
            raise failures[0] from None
        raise
    finally:
        if sending is not None:
            sending.cancel()
        if run := stream.run_to_cancel:
            await cancel(run)
        await stream.close()


def _response(response: Any) -> httpx.Response:
    """Return the response to a handshake as httpx has responses."""
    headers = list(response.headers.raw_items())
    return httpx.Response(response.status_code, headers=headers, content=bytes(response.body or b""))
