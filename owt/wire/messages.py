"""Messages between the frontend and a kernel.

They travel on two connections, each a byte stream of frames (`owt.wire.framing`):

    calls    read by the kernel's main thread: calls to run, and all that the kernel sends
    control  read by the kernel's control thread, which is free while a call computes: credit, cancels, and
             the input of runs

On one machine they are socket pairs. The kernel receives its ends as descriptors (SCM_RIGHTS) from a socket
that it inherits, the handover socket. The frontend sends `Welcome` on `calls` before it hands the connections
over. The kernel replies with `Hello` when it can run calls.

With `Welcome.keep`, a kernel outlives its frontend: when its connections end, it waits at the handover socket
for those of the next frontend, where everything begins anew. Only the numbers of messages go on.
"""

from __future__ import annotations

from typing import Literal, Optional, Union

import msgspec
from msgspec import Struct

from owt.errors import WireError
from owt.wire.call import Call
from owt.wire.chunk import OVERHEAD, Chunk
from owt.wire.endpoint import Endpoint
from owt.wire.framing import MAX_READ, FrameDecoder, encode_frame
from owt.wire.journal import DroppedChunks

PROTOCOL = 8
"""Version of the messages. A kernel whose environment has another version of owt may have another one."""

CONNECTIONS_VARIABLE = "OWT_CONNECTIONS"
"""Environment variable with the descriptor of the socket from which a kernel receives its connections.

In a spawned kernel it is 0, standard input, because programs that start others close all higher ones.
"""

PRELOAD_VARIABLE = "OWT_KERNEL_PRELOAD"
"""Environment variable with the modules, separated by commas, that a kernel which is no fork imports at its
start."""

PING = ""
"""Run id in a `Withdraw` that stands for a `Ping`."""

MIN_ATTACHMENT = 64 * 1024
"""Minimum size of a request body, or of an item of input, that travels as an attachment, in bytes."""

INPUT_LOST = "broke off, because the server has ended"
"""Problem of a body that was still coming when the frontend ended."""


class Keep(Struct, frozen=True, array_like=True):
    """Mark of a run whose output the kernel keeps, for the next frontend, until it receives `Forget`.

    `journal` is the number of bytes that it keeps beside those that no reader has received yet. The other
    fields are for the next frontend: the time when the run was created, its user, and digests that identify
    its call (see `owt.frontend.runs`); `digest` is empty if it is not known yet, and None without a claim.
    """

    journal: int
    created: float
    user: Optional[str] = None
    fingerprint: Optional[int] = None
    digest: Optional[bytes] = None


class KeptRun(Struct, frozen=True, array_like=True):
    """Run that a kernel has from an earlier frontend. What it keeps of its output follows as `Output`.

    `started` and `ended` are when it began and ended, or None if it has not; `dropped` describes the chunks
    that are not kept; `granted` is all credit that the run got, and `received` the number of items of its
    input that have arrived, of which `input_ended` says that no other follows. Without `keep`, no client can
    ask for its answer: it was cancelled, and has not ended yet.
    """

    run: str
    call: Call
    keep: Optional[Keep] = None
    started: Optional[float] = None
    dropped: DroppedChunks = DroppedChunks()
    granted: int = 0
    received: int = 0
    ended: Optional[float] = None
    input_ended: bool = False


class Hello(Struct, frozen=True, array_like=True, tag="hello"):
    """First message of a kernel, on the connection for calls, when it can run them.

    `number` is that of this message on the connection: one more than that of the last message to the earlier
    frontend, if there was one. `in_cell` is as in `Cell`, and `runs` are those of the earlier frontend, in
    the order in which they came.
    """

    protocol: int = PROTOCOL
    number: int = 1
    in_cell: bool = False
    runs: tuple[KeptRun, ...] = ()


class Restored(Struct, frozen=True, array_like=True, tag="restored"):
    """Notice that all that the kernel has from an earlier frontend has been sent."""


class Welcome(Struct, frozen=True, array_like=True, tag="welcome"):
    """First message of the frontend, on the connection for calls: its address, and settings of the kernel.

    `url` is the server's base address, `session` the name that the kernel is bound to, `concurrency` the
    number of calls that may overlap, `window` the credit of each run in bytes, `memory` the number of bytes
    that the kernel may allocate beyond what it has at its start (None: no limit). `cleanup` is the command
    that the kernel's process executes when the frontend is gone. `files` is the path of the folder that the
    kernel makes for the files of adaptors and uploads, and the frontend removes. With `keep`, the kernel
    waits for another frontend when this one is gone. `number` is that of this message on the connection for
    calls: larger than all numbers of the earlier frontend, if there was one.
    """

    url: str
    address: str
    port: int
    session: Optional[str] = None
    concurrency: int = 1
    window: int = 4 * 1024 * 1024
    memory: Optional[int] = None
    cleanup: tuple[str, ...] = ()
    files: Optional[str] = None
    keep: bool = False
    number: int = 1


class Bind(Struct, frozen=True, array_like=True, tag="bind"):
    """Request to belong to this session (None: the pool) from now on, with this concurrency."""

    session: Optional[str]
    concurrency: int


class Invoke(Struct, frozen=True, array_like=True, tag="invoke"):
    """Request to run a call under this run id."""

    run: str
    call: Call
    keep: Optional[Keep] = None


class Accepted(Struct, frozen=True, array_like=True, tag="accepted"):
    """Notice that the kernel has a call with `keep`, and will run it whatever becomes of the frontend."""

    run: str


class JournalLimit(Struct, frozen=True, array_like=True, tag="journal-limit"):
    """Request to keep so many bytes of a run's output from now on, instead of `Keep.journal`."""

    run: str
    size: int


class Forget(Struct, frozen=True, array_like=True, tag="forget"):
    """Request to keep the output of this run, which has ended, no longer."""

    run: str


class Input(Struct, frozen=True, array_like=True, gc=False, tag="input"):
    """Item of the run's input: a part of its request's body, or a message of its client, which may be `text`.

    The frontend sends items within the credit that the kernel has given it, which begins at zero.
    """

    run: str
    data: bytes
    text: bool = False

    @property
    def size(self) -> int:
        """Return the size in bytes, as credit counts it."""
        return len(self.data) + OVERHEAD


class InputEnd(Struct, frozen=True, array_like=True, tag="input-end"):
    """End of the run's input. `error` is why its sender broke off, or None if it is complete."""

    run: str
    error: Optional[str] = None


class Credit(Struct, frozen=True, array_like=True, tag="credit"):
    """Permission for the other side to send this many more bytes: of the run's output (from the frontend), or
    of its input (from the kernel). It may be overdrawn by one chunk or item."""

    run: str
    size: int


class Cancel(Struct, frozen=True, array_like=True, tag="cancel"):
    """Request to end this run and no other. `reason` becomes the `type` of its `Failed` chunk."""

    run: str
    reason: Literal["cancelled", "timeout", "interrupted"]


class Ping(Struct, frozen=True, array_like=True, tag="ping"):
    """Request, on the connection for calls, for a `Pong`."""


class Pong(Struct, frozen=True, array_like=True, tag="pong"):
    """Reply of the kernel's main thread to a `Ping`: it receives calls."""


class Withdraw(Struct, frozen=True, array_like=True, tag="withdraw"):
    """Request not to begin this run any more. `PING` stands for the `Ping` that was sent last.

    The kernel's control thread replies: with an `Output` without chunks if the run has begun, with `Queued`
    if the main thread works on another call or a message of Jupyter's, and otherwise with `Withdrawn`.
    """

    run: str


class Queued(Struct, frozen=True, array_like=True, tag="queued"):
    """Reply to `Withdraw`: the run will begin after a call or a cell, which may take any time."""

    run: str


class Withdrawn(Struct, frozen=True, array_like=True, tag="withdrawn"):
    """Reply to `Withdraw`: the run has not begun and never will. Something unknown blocks the main thread."""

    run: str


class Cell(Struct, frozen=True, array_like=True, tag="cell"):
    """Notice that a cell of an attached notebook starts to run in the kernel, or has ended."""

    running: bool


class Output(Struct, frozen=True, array_like=True, gc=False, tag="output"):
    """Chunks of a run, in order."""

    run: str
    chunks: tuple[Chunk, ...]


class RegisterEndpoints(Struct, frozen=True, array_like=True, tag="register-endpoints"):
    """Request to register the endpoints of the kernel's session.

    With `keep`, `endpoints` are all endpoints of the session from now on, and `removed` are the shapes of
    paths for which the frontend also forgets that there was an endpoint. Without, the frontend only checks
    whether the session may have `endpoints`. The reply is a `RegisterResult` with the same number.
    """

    number: int
    endpoints: tuple[Endpoint, ...]
    removed: tuple[str, ...] = ()
    keep: bool = True


class RegisterResult(Struct, frozen=True, array_like=True, tag="register-result"):
    """Reply to `RegisterEndpoints`: the reason for a refusal, or None."""

    number: int
    problem: Optional[str] = None


Message = Union[
    Hello, Welcome, Bind, Invoke, Input, InputEnd, Credit, Cancel, Ping, Pong, Withdraw, Withdrawn,
    Queued, Cell, Output, RegisterEndpoints, RegisterResult, Accepted, Forget, JournalLimit, Restored,
]  # fmt: skip

ControlMessage = Union[Cancel, Withdraw, RegisterResult, Input, InputEnd, Forget, JournalLimit]
"""Message that a kernel handles while calls run, beside `Credit`."""

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def is_body_input(call: Call, keep: Keep | None) -> bool:
    """Return True for a call that is sent without its large body, which is the run's input. A run that
    outlives the frontend has to have it."""
    return keep is None and call.body_parsed and len(call.request.body) >= MIN_ATTACHMENT


def encode(message: Message) -> list[bytes | bytearray]:
    """Return the buffers that make up the message's frame, in order.

    A large request body or item is a buffer of its own, the same object as in the message. If the call has
    the fields of the body, and is not kept, it is left out, and is the run's input
    (`RequestFacts.input_size`). Raises `WireError` for a message that is too large.
    """
    if isinstance(message, Invoke):
        body = message.call.request.body
        if len(body) >= MIN_ATTACHMENT:
            if is_body_input(message.call, message.keep):
                return [encode_frame(_with_body(message, b"", len(body)))]
            return [encode_frame(_with_body(message, b""), len(body)), body]
    elif isinstance(message, Input) and len(message.data) >= MIN_ATTACHMENT:
        return [encode_frame(Input(message.run, b"", message.text), len(message.data)), message.data]
    return [encode_frame(message)]


def message_decoder(max_read: int = MAX_READ) -> FrameDecoder[Message]:
    """Return a decoder for one direction of one connection, whose buffer has up to `max_read` bytes."""
    return FrameDecoder(_decoder.decode, _attach, max_read)


def _attach(message: Message, attachment: bytes) -> Message:
    if isinstance(message, Invoke):
        return _with_body(message, attachment)
    if isinstance(message, Input):
        return Input(message.run, attachment, message.text)
    raise WireError(f"received an attachment of {len(attachment)} bytes with {type(message).__name__}")


def _with_body(message: Invoke, body: bytes, input_size: int = 0) -> Invoke:
    request = msgspec.structs.replace(message.call.request, body=body, input_size=input_size)
    return Invoke(message.run, msgspec.structs.replace(message.call, request=request), message.keep)
