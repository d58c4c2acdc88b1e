"""Mirror of calls in attached notebooks: what calls print and display is also published on IOPub.

The call's own response is complete; the mirror is not guaranteed to be. It never blocks a call: ZeroMQ drops
messages to a slow subscriber. While no client is attached, no message is built.

To a Jupyter client a call looks like a cell that another client runs. All of its messages have one parent, an
`execute_request` whose `msg_id` is the run's id, and the metadata `{"owt": {"run": ID}}`. They are `status`
(busy), `execute_input` with the code, `stream`, `display_data`, `error`, and `status` (idle). Thus the kernel
is shown as busy; clients that show other clients' cells (JupyterLab's consoles with "Show All Kernel
Activity", and `jupyter console` with `include_other_output`) show the call; and notebooks, which look for the
ids of their own requests, ignore it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from owt.wire.call import Call
from owt.wire.chunk import FACTS, Chunk, Display, Failed, Prompt, Stderr, Stdout

log = logging.getLogger("owt.mirror")

MAX_CODE = 4096
"""Maximum number of characters of a call's code in its `execute_input`."""


class IopubMirror:
    """IOPub socket of a kernel. `is_attached` is True while a client subscribes to it.

    IOPub is an XPUB socket, which receives a message for the first subscription to a topic and for the end of
    the last one, also when the subscriber vanishes (RFC 29/PUBSUB of ZeroMQ).
    """

    def __init__(self, kernel: Any) -> None:
        """Create the mirror of an ipykernel kernel. Without an XPUB socket it never has subscribers."""
        self.is_attached = False
        self.kernel = kernel
        self._session = f"owt-{kernel.session.session}"
        self._topics: set[bytes] = set()

    def watch(self) -> None:
        """Start to watch subscriptions. Call it before the frontend knows the kernel, so that none is
        missed."""
        thread: Any = getattr(self.kernel, "iopub_thread", None)
        # ipykernel offers neither its XPUB stream nor a hook for subscriptions; its own handler, which
        # welcomes the subscriber, is called after this one.
        stream = getattr(thread, "_xpub_stream", None)
        if stream is None:
            return
        handle_subscription = thread._handle_subscription

        def on_subscription(frames: list[bytes]) -> None:
            for frame in frames:
                if frame[:1] == b"\1":
                    self._topics.add(frame[1:])
                else:
                    self._topics.discard(frame[1:])
            self.is_attached = bool(self._topics)
            handle_subscription(frames)

        # The socket belongs to that thread.
        thread.io_loop.add_callback(lambda: stream.on_recv(on_subscription))

    def send(self, run: str, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        """Send a message of a run. Thread-safe. A failure is logged and does not affect the run."""
        kernel = self.kernel
        try:
            kernel.session.send(
                kernel.iopub_socket,
                kind,
                content,
                parent=parent,
                ident=f"kernel.{kernel.ident}.{kind}".encode(),
                metadata={"owt": {"run": run}},
            )
        except Exception:
            log.debug("a message of run %s could not be published", run, exc_info=True)

    def parent_header(self, run: str, user: str | None) -> dict[str, Any]:
        """Return the header of the request that a run's messages appear to answer."""
        return {
            "msg_id": run,
            "msg_type": "execute_request",
            "session": self._session,
            "username": user or "owt",
            "date": datetime.now(timezone.utc),
            "version": "5.3",
        }


class RunMirror:
    """Mirror of one run."""

    __slots__ = ("_call", "_mirror", "_parent", "_run")

    def __init__(self, mirror: IopubMirror, run: str, call: Call) -> None:
        self._mirror = mirror
        self._run = run
        self._call = call
        self._parent: dict[str, Any] | None = None

    @property
    def parent_header(self) -> dict[str, Any]:
        """Header of the request that the run's messages appear to answer."""
        return self._parent or self._mirror.parent_header(self._run, self._call.request.user)

    def begin(self) -> None:
        """Show the run's start: the kernel is busy with it."""
        if self._mirror.is_attached:
            self._begin()

    def show(self, chunks: Iterable[Chunk]) -> None:
        """Show text, displays and failures. To a client that attached later the run starts now."""
        if not self._mirror.is_attached:
            return
        for chunk in chunks:
            if isinstance(chunk, Stdout):
                self._send("stream", {"name": "stdout", "text": chunk.text})
            elif isinstance(chunk, Stderr):
                self._send("stream", {"name": "stderr", "text": chunk.text})
            elif isinstance(chunk, Prompt):
                self._send("stream", {"name": "stdout", "text": chunk.text})
            elif isinstance(chunk, Display):
                self._send(*_display_message(chunk))
            elif isinstance(chunk, Failed):
                self._send("error", _error(chunk))

    def end(self) -> None:
        """Show the run's end, also to clients that attached after its start and know of it from elsewhere."""
        if self._mirror.is_attached:
            self._parent = self.parent_header
        if self._parent is not None:
            self._mirror.send(self._run, "status", {"execution_state": "idle"}, self._parent)
            self._parent = None

    def _begin(self) -> dict[str, Any]:
        self._parent = parent = self.parent_header
        self._mirror.send(self._run, "status", {"execution_state": "busy"}, parent)
        # The number of the next cell; a call does not increase it.
        number = self._mirror.kernel.shell.execution_count
        content = {"code": _code(self._run, self._call), "execution_count": number}
        self._mirror.send(self._run, "execute_input", content, parent)
        return parent

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self._mirror.send(self._run, kind, content, self._parent or self._begin())


def _display_message(display: Display) -> tuple[str, dict[str, Any]]:
    """Return the type and content of Jupyter's message for a display."""
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
    """Return `items` as JSON can hold them. jupyter_client would do it with a warning in the call's
    output."""
    # Imported late: files that merely use `endpoint` import this module where there is no Jupyter.
    from jupyter_client.jsonutil import json_clean

    try:
        cleaned: dict[str, Any] = json_clean(items)
    except ValueError:
        return items
    return cleaned


def _code(run: str, call: Call) -> str:
    """Return what a call runs, below a line that names the run."""
    request = call.request
    title = f"# run {run}: {request.method} {request.path[:200]}"
    if call.code is not None:
        code = call.code.strip("\n")
        return f"{title}\n{code[:MAX_CODE]}" + ("\n# ..." if len(code) > MAX_CODE else "")
    what = f"adaptor {call.adaptor}" if call.adaptor is not None else f"{call.function_name}(...)"
    return f"{title}\n# {call.operation or what}"


def _error(failed: Failed) -> dict[str, Any]:
    return {
        "ename": failed.exception or failed.title,
        "evalue": failed.detail,
        "traceback": (failed.traceback or f"{failed.title}: {failed.detail}").rstrip("\n").split("\n"),
    }
