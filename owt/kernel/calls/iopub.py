"""What calls print and display, shown in attached notebooks as well: over IOPub, as a courtesy.

A call's own stream is what counts. IOPub never holds a call up: to a client that is too slow, ZeroMQ drops
messages. Nothing is made, and nothing is sent, while nobody is attached.

To a Jupyter client a call looks like a cell that somebody else runs. All of its messages have one parent, an
`execute_request` whose `msg_id` is the run's id, and the metadata `{"owt": {"run": ID}}`. They are `status`
(busy), `execute_input` with the code, `stream`, `display_data`, `error`, and `status` (idle). So the kernel
is seen to be busy; clients that show what others do (JupyterLab's consoles with "Show All Kernel Activity",
and `jupyter console` with `include_other_output`) show the call; and the cells of notebooks, which look for
the ids of their own requests, are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from owt.wire.call import Call
from owt.wire.chunk import FACTS, Chunk, Display, Failed, Stderr, Stdout

log = logging.getLogger("owt.mirror")

SHOWN = 4096
"""Characters of a call's code that are shown."""


class IopubMirror:
    """The IOPub socket of a kernel. `attached` is whether anybody has subscribed to it.

    That is known without asking: IOPub is an XPUB socket, which tells of its first subscriber to a topic and
    of the end of its last one, also when that one has vanished (RFC 29/PUBSUB of ZeroMQ).
    """

    def __init__(self, kernel: Any) -> None:
        """`kernel` is an ipykernel kernel. One whose IOPub cannot tell is taken to have no subscribers."""
        self.attached = False
        self._kernel = kernel
        self._session = f"owt-{kernel.session.session}"
        self._topics: set[bytes] = set()

    def watch(self) -> None:
        """Begin to notice subscribers: before the frontend knows of the kernel, so that none is missed."""
        thread: Any = getattr(self._kernel, "iopub_thread", None)
        stream = getattr(thread, "_xpub_stream", None)
        if stream is None:
            return
        greet = thread._handle_subscription

        def on_subscription(frames: list[bytes]) -> None:
            for frame in frames:
                if frame[:1] == b"\1":
                    self._topics.add(frame[1:])
                else:
                    self._topics.discard(frame[1:])
            self.attached = bool(self._topics)
            greet(frames)

        # The socket is that thread's.
        thread.io_loop.add_callback(lambda: stream.on_recv(on_subscription))

    def send(self, run: str, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        """Send a message of a run, from any thread. Whatever goes wrong is not the run's problem."""
        kernel = self._kernel
        try:
            kernel.session.send(
                kernel.iopub_socket,
                kind,
                content,
                parent=parent,
                ident=kernel._topic(kind),
                metadata={"owt": {"run": run}},
            )
        except Exception:
            log.debug("a message of run %s could not be shown", run, exc_info=True)

    def parent(self, run: str, user: str | None) -> dict[str, Any]:
        """The header of the request that a run's messages seem to answer."""
        return {
            "msg_id": run,
            "msg_type": "execute_request",
            "session": self._session,
            "username": user or "owt",
            "date": datetime.now(UTC),
            "version": "5.3",
        }

    def count(self) -> int:
        """The number of the next cell, which a call does not take."""
        return int(self._kernel.shell.execution_count)


class RunMirror:
    """One run in the mirror."""

    __slots__ = ("_call", "_mirror", "_parent", "_run")

    def __init__(self, mirror: IopubMirror, run: str, call: Call) -> None:
        self._mirror = mirror
        self._run = run
        self._call = call
        self._parent: dict[str, Any] | None = None

    def begin(self) -> None:
        """The run begins: the kernel is busy with it."""
        if self._mirror.attached:
            self._begin()

    def show(self, chunks: Iterable[Chunk]) -> None:
        """Show what the run prints, displays and fails of. To those who came late, it begins now."""
        if not self._mirror.attached:
            return
        for chunk in chunks:
            match chunk:
                case Stdout(text=text):
                    self._send("stream", {"name": "stdout", "text": text})
                case Stderr(text=text):
                    self._send("stream", {"name": "stderr", "text": text})
                case Display():
                    self._send(*_displayed(chunk))
                case Failed():
                    self._send("error", _error(chunk))
                case _:
                    pass

    def end(self) -> None:
        """The run has ended. Also those are told who were not when it began, and heard it from elsewhere."""
        if self._parent is None and self._mirror.attached:
            self._parent = self._mirror.parent(self._run, self._call.request.user)
        if self._parent is not None:
            self._mirror.send(self._run, "status", {"execution_state": "idle"}, self._parent)
            self._parent = None

    def _begin(self) -> dict[str, Any]:
        self._parent = parent = self._mirror.parent(self._run, self._call.request.user)
        self._mirror.send(self._run, "status", {"execution_state": "busy"}, parent)
        content = {"code": _code(self._run, self._call), "execution_count": self._mirror.count()}
        self._mirror.send(self._run, "execute_input", content, parent)
        return parent

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self._mirror.send(self._run, kind, content, self._parent or self._begin())


def _displayed(display: Display) -> tuple[str, dict[str, Any]]:
    """The type and content of Jupyter's message for a display."""
    data = dict(display.bundle)
    facts = data.pop(FACTS, {})
    if clear := facts.get("clear"):
        return "clear_output", {"wait": clear == "wait"}
    id = facts.get("display_id")
    content = {
        "data": _clean(data),
        "metadata": _clean(display.metadata),
        "transient": {} if id is None else {"display_id": id},
    }
    return "update_display_data" if facts.get("update") else "display_data", content


def _clean(items: dict[str, Any]) -> dict[str, Any]:
    """What JSON can carry. jupyter_client does this too, with a warning, which would be the call's."""
    # Where nobody is attached, and in files that merely use `endpoint`, there is no Jupyter.
    from jupyter_client.jsonutil import json_clean

    try:
        cleaned: dict[str, Any] = json_clean(items)
    except ValueError:
        return items
    return cleaned


def _code(run: str, call: Call) -> str:
    """What a call runs, below a line that says which it is."""
    request = call.request
    told = f"# run {run}: {request.method} {request.path[:200]}"
    if call.code is not None:
        what = call.code.strip("\n")
        return f"{told}\n{what[:SHOWN]}" + ("\n# ..." if len(what) > SHOWN else "")
    return f"{told}\n# " + (f"adaptor {call.adaptor}" if call.adaptor is not None else f"{call.fn_name}(...)")


def _error(failed: Failed) -> dict[str, Any]:
    return {
        "ename": failed.exception or failed.title,
        "evalue": failed.detail,
        "traceback": (failed.traceback or f"{failed.title}: {failed.detail}").rstrip("\n").split("\n"),
    }
