"""A kernel as a notebook has one, which tests send cells to."""

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
    """Starts a kernel that listens at Unix sockets: a TCP port, which is chosen here and taken there, may be
    somebody else's by then (jupyter_client#487)."""

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
    """What a cell has shown: Jupyter's messages, as they came."""

    def __init__(self, messages: list[dict[str, Any]], reply: dict[str, Any]) -> None:
        self.messages = messages
        self.reply = reply

    def _of(self, *kinds: str) -> list[dict[str, Any]]:
        return [each["content"] for each in self.messages if each["msg_type"] in kinds]

    @property
    def stdout(self) -> str:
        return "".join(each["text"] for each in self._of("stream") if each["name"] == "stdout")

    @property
    def stderr(self) -> str:
        return "".join(each["text"] for each in self._of("stream") if each["name"] == "stderr")

    @property
    def displays(self) -> list[dict[str, Any]]:
        """The MIME bundles that were displayed."""
        return [each["data"] for each in self._of("display_data")]

    @property
    def updates(self) -> list[dict[str, Any]]:
        """Those that took the place of earlier ones."""
        return [each["data"] for each in self._of("update_display_data")]

    @property
    def value(self) -> str:
        """The cell's own value."""
        [found] = self._of("execute_result")
        return str(found["data"]["text/plain"])

    @property
    def traceback(self) -> str:
        """The failure as it is shown, without colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(self.reply["traceback"]))


class Notebook:
    """Sends cells to a kernel: `notebook(source)` waits for the end."""

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
        each: Callable[[dict[str, Any]], object] = lambda message: None,
        answers: Iterable[str] = (),
    ) -> Cell:
        """Run a cell. `each` sees every message when it comes; `answers` is what is typed when it asks."""
        messages: list[dict[str, Any]] = []
        typed = iter(answers)

        def take(message: dict[str, Any]) -> None:
            messages.append(message)
            each(message)

        reply = self._loops.run(
            self._client.execute_interactive(
                source,
                timeout=PATIENCE,
                output_hook=take,
                allow_stdin=True,
                stdin_hook=lambda message: self._client.input(next(typed)),
            )
        )
        return Cell(messages, reply["content"])

    def interrupt(self) -> None:
        """Interrupt the kernel, as Jupyter does: its whole process group. From any thread."""
        assert os.getpgid(self.pid) == self.pid
        os.killpg(self.pid, signal.SIGINT)

    def completions(self, text: str) -> list[str]:
        """What Tab offers at the end of a text."""
        reply = self._loops.run(self._client.complete(text, reply=True, timeout=PATIENCE))
        return list(reply["content"]["matches"])


@contextmanager
def notebook(folder: Path, kernel: str = "python3") -> Iterator[Notebook]:
    """A notebook with a kernel of its own whose directory is `folder`, as long as the block lasts."""
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
    """A notebook on a kernel that runs already."""
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
    """A kernel's environment: with these sources, and without settings of owt."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    places = [str(ROOT), kept.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, places))}
