"""Jupyter kernels to which tests send cells."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0


class Manager(AsyncKernelManager):
    """Manager of a kernel that listens on Unix sockets: another process may bind a TCP port after its choice
    here and before its use in the kernel (jupyter_client#487)."""

    @default("transport")
    def _default_transport(self) -> str:
        return "ipc"

    @default("connection_file")
    def _default_connection_file(self) -> str:
        # A socket's path has to be short.
        folder = tempfile.mkdtemp(prefix="owt-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return os.path.join(folder, "k.json")


class Cell:
    """A cell's outputs: Jupyter's messages in order."""

    def __init__(self, messages: list[dict[str, Any]], reply: dict[str, Any]) -> None:
        self.messages = messages
        self.reply = reply

    def _of(self, *kinds: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] in kinds]

    def _text(self, stream: str) -> str:
        return "".join(part["text"] for part in self._of("stream") if part["name"] == stream)

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    @property
    def displays(self) -> list[dict[str, Any]]:
        """The MIME bundles that were displayed."""
        return [content["data"] for content in self._of("display_data")]

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The MIME bundles that replaced earlier ones."""
        return [content["data"] for content in self._of("update_display_data")]

    @property
    def value(self) -> str:
        """The cell's value as text."""
        [content] = self._of("execute_result")
        return str(content["data"]["text/plain"])

    @property
    def traceback(self) -> str:
        """The traceback without colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(self.reply["traceback"]))


class Notebook:
    """Client of a kernel: `notebook(source)` runs a cell and waits for its end."""

    def __init__(self, manager: Any, client: AsyncKernelClient, loops: asyncio.Runner) -> None:
        self._manager = manager
        self._client = client
        self._loops = loops

    @property
    def pid(self) -> int:
        """The kernel's process id."""
        return int(self._manager.provisioner.pid)

    def __call__(
        self,
        source: str,
        on_message: Callable[[dict[str, Any]], object] = lambda message: None,
        answers: Iterable[str] = (),
    ) -> Cell:
        """Run a cell. `on_message` receives every message at once; `answers` are the replies to `input()`."""
        messages: list[dict[str, Any]] = []
        replies = iter(answers)

        def received(message: dict[str, Any]) -> None:
            messages.append(message)
            on_message(message)

        reply = self._loops.run(
            self._client.execute_interactive(
                source,
                timeout=PATIENCE,
                output_hook=received,
                allow_stdin=True,
                stdin_hook=lambda message: self._client.input(next(replies)),
            )
        )
        return Cell(messages, reply["content"])

    def interrupt(self) -> None:
        """Interrupt the kernel's process group, as Jupyter does. Safe from any thread."""
        assert os.getpgid(self.pid) == self.pid
        os.killpg(self.pid, signal.SIGINT)

    def completions(self, text: str) -> list[str]:
        """Return the completions at the end of a text."""
        reply = self._loops.run(self._client.complete(text, reply=True, timeout=PATIENCE))
        return list(reply["content"]["matches"])


@contextmanager
def notebook(folder: Path, kernel: str = "python3") -> Iterator[Notebook]:
    """Start a kernel with the working directory `folder`, and stop it after the block."""
    with asyncio.Runner() as loops:
        manager = Manager(kernel_name=kernel)
        loops.run(manager.start_kernel(cwd=str(folder), env=environment()))
        client = manager.client()
        client.start_channels()
        try:
            loops.run(client.wait_for_ready(timeout=PATIENCE))
            yield Notebook(manager, client, loops)
        finally:
            client.stop_channels()
            loops.run(manager.shutdown_kernel(now=True))


@contextmanager
def attach(connection_file: str) -> Iterator[Notebook]:
    """Connect to a running kernel."""
    with asyncio.Runner() as loops:
        client = AsyncKernelClient(connection_file=connection_file)
        client.load_connection_file()
        client.start_channels()
        try:
            loops.run(client.wait_for_ready(timeout=PATIENCE))
            yield Notebook(None, client, loops)
        finally:
            client.stop_channels()


def environment() -> dict[str, str]:
    """Return a kernel's environment: with these sources, and without settings of owt."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    places = [str(ROOT), kept.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, places))}
