"""Calls by WebSocket: each message of the client is an item of the run's input, each value a message to it.

    handshake -> access gate -> endpoint lookup -> parse -> submit -> delivery
                      messages -> input of the run -> kernel

Tornado reads the next message when the run's input has taken the last one, and `Delivery` writes the next
chunks when the client has taken those before. So either side waits for the other.

With the subprotocol `owt.events` the client's first message says what the connection is for:
`{"start": true}` begins the call of the URL, and `{"resume": "RUN-N", "received": M}` goes on with a run, in
both directions. After some messages, the event `received` lets the client forget them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio import Future, TimerHandle
from collections.abc import Awaitable, Sequence
from typing import cast

import msgspec
from tornado.iostream import IOStream
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from owt.errors import BadRequest, MethodNotAllowed, OwtError
from owt.frontend import logs
from owt.frontend.endpoints import Match
from owt.frontend.http import messages, requests
from owt.frontend.http.calls import request_facts
from owt.frontend.http.connection import Connection
from owt.frontend.http.delivery import Delivery
from owt.frontend.http.handler import PageHandler
from owt.frontend.http.messages import EventMessages, First, Messages, read_first
from owt.frontend.http.websocket_protocol import Protocol
from owt.frontend.problems import Headers, Problem, WholeResponse, failed
from owt.frontend.runs.input import InputState, MessageSource, RunInput
from owt.frontend.runs.resuming import Resumed, lost_problem, parse_event_id, resume
from owt.frontend.runs.runs import Reader, Run
from owt.wire.call import UNKNOWN_SIZE, Call

EVENTS = "owt.events"
"""Subprotocol whose messages to the client are events."""

MESSAGES = "owt.messages"
"""Subprotocol without an effect. A browser fails if it offers subprotocols and the server selects none."""

FIRST_MESSAGE = 10.0
"""Seconds that a client with the subprotocol `owt.events` gets for its first message."""

UNACKNOWLEDGED = 65_536
"""Bytes of messages after which the event `received` follows."""

PER_MESSAGE = 1024
"""Bytes that each message counts more, so that there are at most 64 of them."""

MAX_SILENCE = 30.0
"""Seconds of silence, pongs included, after which a client that has nothing to receive counts as gone."""

FIRST = First(start=True)
"""Stands for the first message of a client without the subprotocol."""


class CallSocket(PageHandler, WebSocketHandler):
    """WebSocket at a path that is not one of the server's pages: it runs an adaptor."""

    _stream: Connection
    _protocol: Protocol
    _run: Run | None = None
    _source: MessageSource
    _renderer: Messages
    _delivery: Delivery | None = None
    _with_events = False
    _beginning = False
    _gone = False
    # Done when the run's input has taken the last message.
    _push: Future[None] | None = None
    # True if the client sends again, by another connection, what the kernel has not been sent.
    _sends_again = False
    # Size of the messages since the last event `received`, and done when the client has that.
    _unacknowledged = 0
    _acknowledged: Future[None] | None = None
    _first_timer: TimerHandle | None = None
    _ping_timer: TimerHandle | None = None
    _heard_at = 0.0

    @property
    def max_message_size(self) -> int:
        """Return the maximum size of a message, which is held in memory."""
        return self.service.settings.max_body

    def check_origin(self, origin: str) -> bool:
        """Return True, since `prepare` has refused other origins."""
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Return the best subprotocol that the client supports, or None."""
        return next((protocol for protocol in (EVENTS, MESSAGES) if protocol in subprotocols), None)

    async def get(self, *args: str, **kwargs: str) -> None:
        """Open the connection, unless the client offers only subprotocols that the server has not: a browser
        would fail after the code has run."""
        offered = [name.strip() for name in self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if any(offered) and self.select_subprotocol(offered) is None:
            # Without the value, which may be the client's credentials.
            raise BadRequest("Sec-WebSocket-Protocol", f"must have {EVENTS} or {MESSAGES} if it is sent")
        await super().get(*args, **kwargs)

    def get_websocket_protocol(self) -> WebSocketProtocol13 | None:
        """Return the protocol of this connection, if the client has the right version."""
        protocol = cast(WebSocketProtocol13 | None, super().get_websocket_protocol())
        if protocol is None:
            return None
        self._protocol = Protocol(self, False, protocol.params)
        return self._protocol

    async def open(self, *_: str, **__: str) -> None:
        """Begin the call, or wait for the first message, which says what to do."""
        self._stream = cast(Connection, self._protocol.stream)
        self._with_events = self._protocol.selected_subprotocol == EVENTS
        # Without this, the end of the connection is noticed only while the server reads.
        self._stream.set_close_callback(self.on_connection_close)
        self._heard_at = time.monotonic()
        self._ping_later()
        if self._with_events:
            self._stream.closing_frame = messages.SHUTDOWN_FRAME
            self._first_timer = asyncio.get_running_loop().call_later(FIRST_MESSAGE, self._miss_first)
        else:
            await self._begin()

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Give a message to the run. The next one is read when the run's input has taken it."""
        self._heard_at = time.monotonic()
        if self._with_events and not self._beginning:
            self._beginning = True
            self._stream.closing_frame = b""
            return self._on_first(message)
        run = self._run
        if run is None or run.input is None or run.input.state is not InputState.OPEN:
            return None
        if self._with_events and message == self._source.end:
            run.input.end()
            self._source.received += run.input.end_sent
            return None
        size = PER_MESSAGE + _max_size(message)
        self._push = run.input.push(message)
        if self._push is None:
            self._count(size)
            return None
        self._push.add_done_callback(lambda _: self._count(size))
        return self._push

    def _count(self, size: int) -> None:
        """Count a message that the kernel has been sent: its client may forget it."""
        if self._sends_again:
            return
        self._source.received += 1
        if self._with_events:
            self._unacknowledged += size
            self.acknowledge()

    def acknowledge(self, _: object = None) -> None:
        """Send the event `received` if it is due, unless a message is half sent or the client has yet to take
        the last one."""
        if self._unacknowledged < UNACKNOWLEDGED or self._renderer.in_message:
            return
        is_free = self._acknowledged is None or self._acknowledged.done()
        if is_free and not (self._gone or self._protocol.is_closing()):
            self._unacknowledged = 0
            self._acknowledged = self._stream.write(messages.received_event(self._source.received))
            self._acknowledged.add_done_callback(self.acknowledge)

    def on_pong(self, data: bytes) -> None:
        """Record that the client is there."""
        self._heard_at = time.monotonic()

    def on_close(self) -> None:
        """End the run's input if the client has closed the connection, or leave the run to a client that may
        resume it."""
        self._gone = True
        for timer in (self._first_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()
        if self._run is not None:
            self._leave(self._run)
        # They refer to this object: until the garbage collector ran, a part of a message would be kept.
        self._delivery = None
        # A refused handshake may have none.
        vars(self).pop("_protocol", None)

    def _leave(self, run: Run) -> None:
        assert run.input is not None
        assert run.input.source is not None
        # The record of an ended run keeps its input.
        run.input.source.connection = None
        # A browser that leaves a page says "going away".
        is_end = self._protocol.closed_by_client and self._protocol.close_code in (None, messages.NORMAL)
        if is_end:
            run.input.end()
            # An adaptor that reads its input gets time to end.
            run.resumable = run.resumable or run.input.requested
        elif self._with_events:
            self._sends_again = True
            run.input.drop_pushed()
        self._stop()
        if self._delivery is None and run.resume_window == 0 and not run.has_readers:
            # No reader of the output has come.
            run.cancel("disconnected")
        if not (is_end or self._with_events):
            # After the cancel, which is the failure of the run.
            run.input.end("broke off, because the client has disconnected")

    def _stop(self) -> None:
        self._run = None
        if self._delivery is not None:
            self._delivery.stop()

    # The call

    async def _begin(self, first: First = FIRST) -> None:
        """Begin the call of the URL."""
        facts = request_facts(self.request, self.service, self.user)
        session = None
        try:
            parsed = requests.parse_fields(facts, max_nesting=self.service.settings.max_nesting)
            match, method = await self._match(first) if parsed.needs_endpoint else (None, _methods(first)[0])
            if self._gone:
                return
            call = requests.parse_call(parsed, match)
            session = call.session
            run, _ = self.service.submit(self._checked(call, method, first, parsed.claim), self.user)
            run.resumable = self._with_events
        except OwtError as error:
            self.service.counters.refused(error.status)
            run = self.service.refuse(facts, session, error, self.user)
        else:
            logs.log_call(run.id, call)
        input = run.open_input()
        input.is_body = first.body
        input.source = source = MessageSource(self, end=first.end)
        if first.output:
            self._deliver(run, run.follow(), 0, source)
            return
        self._receive(run, source)
        if run.resume_window > 0:
            # The reader of the output has this time to come.
            run.follow().close()

    def _receive(self, run: Run, source: MessageSource) -> None:
        """Receive the messages of a client that reads the output elsewhere, until the run has ended."""
        self._run, self._source, self._renderer = run, source, Messages(run.id, run.session)
        opening = EventMessages(run.id, run.session).opening(source.received)
        SocketWriter(self, self._stream, self._renderer).begin(200, [], (opening,))
        if run.ended:
            self.run_ended()

    def run_ended(self) -> None:
        """Close the connection if its client reads the output elsewhere."""
        run = self._run
        if run is not None and self._delivery is None:
            if run.failure is not None:
                self._renderer.closing = messages.closing(Problem.of(run.failure, run.id, run.session))
            SocketWriter(self, self._stream, self._renderer).end()

    async def _match(self, first: First) -> tuple[Match | None, str]:
        """Return the endpoint at the path, and the first of the methods that it has."""
        path = self.request.path[len(self.base) :]
        method, other = _methods(first)
        try:
            return await self.service.notebooks.match(method, path), method
        except MethodNotAllowed:
            return await self.service.notebooks.match(other, path), other

    def _checked(self, call: Call, method: str, first: First, claim: object) -> Call:
        """Return the call as one by WebSocket. Raises `BadRequest` for options that it cannot have."""
        for field, value in (("use_cache", call.caching), ("detach", call.detach), ("Owt-Run", claim)):
            if value:
                raise BadRequest(field, "cannot be used by WebSocket: its client sends and reads meanwhile")
        facts = call.request
        if first.body:
            facts = msgspec.structs.replace(facts, method=method, input_size=UNKNOWN_SIZE)
            return msgspec.structs.replace(call, request=facts, sse_streams=False)
        end = first.end
        scheme = "wss" if facts.scheme == "https" else "ws"
        facts = msgspec.structs.replace(facts, scheme=scheme, method=method)
        return msgspec.structs.replace(
            call, request=facts, sse=self._with_events, sse_streams=False, input_end=end
        )

    def _deliver(self, run: Run, reader: Reader, after: int, source: MessageSource) -> None:
        self._run, self._source = run, source
        renderer = Messages(run.id, run.session)
        if self._with_events:
            renderer = EventMessages(run.id, run.session, after=after, failure=run.failure)
        self._renderer = renderer
        writer = SocketWriter(self, self._stream, renderer)
        if isinstance(renderer, EventMessages):
            writer.begin(200, [], (renderer.opening(source.received),))
        keepalive = self.service.settings.keepalive
        self._delivery = Delivery(run, reader, renderer, writer, keepalive)
        self._delivery.start()

    # The subprotocol `owt.events`

    async def _on_first(self, message: str | bytes) -> None:
        """Begin the call, or resume a run."""
        assert self._first_timer is not None
        self._first_timer.cancel()
        try:
            first = read_first(message)
            if first.resume is None:
                await self._begin(first)
            else:
                await self._resume(first.resume, first.received, first.output)
        except OwtError as error:
            self.service.counters.refused(error.status)
            self._refuse(Problem.of(failed(error)))

    async def _resume(self, id: str, received: int, output: bool) -> None:
        """Go on with a run. A connection that the client had before is replaced."""
        last = parse_event_id(id)
        if last is None:
            raise BadRequest("resume", "must be the id RUN-N of the last event that the client has", id)
        await self.service.wait_for(last.run)
        if self._gone:
            return
        run = self.service.known(last.run, self.user)
        input = None if run is None else run.input
        source = None if input is None else input.source
        if run is not None and source is None:
            raise BadRequest("resume", "must be of a run that a WebSocket has begun", id)
        if source is not None and received > source.received:
            rule = f"cannot be more than the {source.received} messages that the server has received"
            raise BadRequest("received", rule, str(received))
        if run is not None and input is not None and source is not None and not output:
            self._replace(source, input)
            self._receive(run, source)
            return
        resumed = "lost" if run is None or last.number is None else resume(run, last.number)
        match resumed:
            case Resumed(run=run, reader=reader, after=after):
                assert input is not None
                assert source is not None
                # After the new reader, so that the run is not left by all of them.
                self._replace(source, input)
                self._deliver(run, reader, after, source)
            case "lost":
                self._refuse(lost_problem(last, run, self.service.settings.run_retention))
            case "over":
                assert run is not None
                assert source is not None
                number = last.number or 0
                renderer = EventMessages(run.id, run.session, after=number, failure=run.failure)
                SocketWriter(self, self._stream, renderer).send(
                    WholeResponse(200, [], renderer.opening(source.received))
                )

    def _replace(self, source: MessageSource, input: RunInput) -> None:
        if (previous := source.connection) is not None:
            previous.replaced()
        source.connection = self
        input.drop_pushed()

    def replaced(self) -> None:
        """Close the connection, as the client has resumed the run by another one."""
        self._sends_again = True
        self._stop()
        self.close(messages.PROBLEMS + 409, "the run was resumed by another connection")

    def _refuse(self, problem: Problem) -> None:
        renderer = Messages("", None)
        renderer.closing = messages.closing(problem)
        writer = SocketWriter(self, self._stream, renderer)
        writer.send(WholeResponse(problem.status, [], messages.problem_event(problem)))

    def _miss_first(self) -> None:
        self._beginning = True
        self._stream.closing_frame = b""
        detail = (
            f'the first message did not come within {FIRST_MESSAGE:g} s; it is {{"start": true}} or '
            '{"resume": "RUN-N", "received": M}'
        )
        self._refuse(Problem("urn:owt:request-timeout", "no first message", 408, detail))

    # Pings

    def _ping_later(self) -> None:
        self._ping_timer = asyncio.get_running_loop().call_later(self.service.settings.keepalive, self._ping)

    def _ping(self) -> None:
        """Send a ping, or disconnect a client that has sent nothing for too long.

        While the server waits, for the adaptor to read or for the client to receive, it gets no pongs. But a
        client's system refuses a ping after the client has ended, whose end may lie behind unread messages.
        """
        now = time.monotonic()
        if self._stream.writing() or (self._push is not None and not self._push.done()):
            self._heard_at = now
        elif now - self._heard_at > max(MAX_SILENCE, 2 * self.service.settings.keepalive):
            self._stream.close()
            return
        if not (self._stream.writing() or self._protocol.is_closing()):
            self.ping()
        self._ping_later()


class SocketWriter:
    """The messages of one connection, with the interface of `owt.frontend.http.writer.ResponseWriter`.

    Status and headers of an answer are not sent. The connection ends as the renderer says.
    """

    has_body = True

    def __init__(self, socket: CallSocket, stream: IOStream, renderer: Messages) -> None:
        self.begun = False
        self.ended = False
        self._socket = socket
        self._stream = stream
        self._renderer = renderer
        self._written: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Return True if the client has yet to take data that was written, or has disconnected."""
        return self._stream.closed() or self._stream.writing()

    def resumable(self) -> None:
        """Do nothing: the connection is known as a WebSocket."""

    def begin(self, status: int, headers: Headers, pieces: Sequence[bytes]) -> Future[None]:
        """Send the first frames."""
        self.begun = True
        return self.write(pieces)

    def write(self, pieces: Sequence[bytes]) -> Future[None]:
        """Send frames; the result is done when the client has them."""
        if self._stream.closed() or self.ended:
            self._written = Future()
            self._written.set_result(None)
        else:
            self._written = self._stream.write(b"".join(pieces))
            self._socket.acknowledge()
        return self._written

    def send(self, answer: WholeResponse) -> None:
        """Send all frames, and close the connection."""
        self.begin(answer.status, answer.headers, (answer.body,))
        self.end()

    def end(self) -> None:
        """Close the connection when the client has what was written: Tornado waits some seconds only."""
        self.ended = True
        if self._written is None or self._written.done():
            self._close()
        else:
            self._written.add_done_callback(self._close)

    def _close(self, _: object = None) -> None:
        code, reason = self._renderer.closing
        if self._socket.service.draining and code > messages.PROBLEMS:
            code, reason = messages.GOING_AWAY, messages.SHUTDOWN_REASON
        self._socket.close(code, reason)

    def abort(self) -> None:
        """Close the connection, as the client was too slow for a run that waits for no client."""
        self.send_problem(Problem("urn:owt:events-lost", "the events are lost", 410, ""))

    def send_problem(self, problem: Problem) -> None:
        """Close the connection for a problem."""
        self._renderer.closing = messages.closing(problem)
        self.end()

    def fail(self) -> None:
        """Log the current exception as a fault of the frontend, and close the connection."""
        error = sys.exc_info()[1]
        assert error is not None
        logs.log_fault(self._socket.request, (type(error), error, error.__traceback__))
        detail = "this is a fault in owt's frontend; its log says more"
        self.send_problem(Problem("about:blank", "Internal Server Error", 500, detail))


def _methods(first: First) -> tuple[str, str]:
    """Return the methods by which an endpoint is called: that of the handshake first, unless there is a
    body."""
    return ("POST", "GET") if first.body else ("GET", "POST")


def _max_size(message: str | bytes) -> int:
    """Return the size of a message in bytes, or more: a character has at most four."""
    is_text = isinstance(message, str) and not message.isascii()
    return 4 * len(message) if is_text else len(message)
