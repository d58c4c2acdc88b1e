"""The IPython kernel, with owt's call channel beside Jupyter's five.

A kernel that the frontend starts finds the door and its id in the environment (`OWT_DOOR`,
`OWT_KERNEL_ID`). Without them it is an ordinary IPython kernel, so that the kernelspec can be used
by any Jupyter program.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from tornado.ioloop import IOLoop
from traitlets import Type, default

from owt.errors import WireError
from owt.kernel import context, threads
from owt.kernel.channel import KernelChannel
from owt.kernel.mirror import Mirror
from owt.kernel.output import RunDisplayPublisher
from owt.kernel.sweep import leave
from owt.wire.codec import PROTOCOL


class OwtShell(ZMQInteractiveShell):
    """IPython's shell; displays go to the run that made them."""

    display_pub_class = Type(RunDisplayPublisher)

    def ask_exit(self) -> None:
        """`exit` and `quit`. A call ends by them as a script would; its kernel stays for the next."""
        if context.running() is not None:
            raise SystemExit
        super().ask_exit()


class OwtKernel(IPythonKernel):
    """The kernel: cells of attached notebooks wait their turn behind calls, and calls behind cells."""

    shell_class = Type(OwtShell)
    channel: KernelChannel | None = None

    @property
    def kernel_info(self) -> dict[str, Any]:
        """ipykernel's kernel info, and a field `owt` when calls can reach this kernel."""
        info: dict[str, Any] = super().kernel_info
        if self.channel is not None:
            facts = self.channel.welcome
            info["owt"] = {"protocol": PROTOCOL, "url": facts.url, "session": self.channel.session}
        return info

    async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Run a cell of an attached notebook, when no call runs."""
        if self.channel is None:
            await super().execute_request(stream, ident, parent)
        else:
            async with self.channel.runner.turn:
                super().pre_handler_hook()
                self.channel.cell(True)
                try:
                    await super().execute_request(stream, ident, parent)
                finally:
                    self.channel.cell(False)
                    super().post_handler_hook()

    def pre_handler_hook(self) -> None:
        """ipykernel lets SIGINT raise KeyboardInterrupt from here on. A cell may have to wait for a
        call first, during which SIGINT is the call's; so that happens only once it has its turn."""
        if self.channel is None:
            super().pre_handler_hook()

    def post_handler_hook(self) -> None:
        """The end of what `pre_handler_hook` began."""
        if self.channel is None:
            super().post_handler_hook()


class OwtKernelApp(IPKernelApp):
    """Starts an `OwtKernel` from a Jupyter connection file."""

    kernel_class = Type(OwtKernel, klass="ipykernel.kernelbase.Kernel")  # type: ignore[assignment]

    @default("outstream_class")
    def _default_outstream_class(self) -> str:
        return "owt.kernel.output.RunStream"

    def initialize(self, argv: list[str] | None = None) -> None:
        """Start the kernel's parts, then connect to the frontend."""
        # A history file is shared by all kernels of a user, and costs each a thread and a database
        # connection; `In` and `Out` of an attached notebook do not need it.
        self.config.HistoryManager.enabled = False
        if "OWT_DOOR" in os.environ and not self.parent_handle:
            # Somebody's child, so no note on how to end it with Ctrl-\\; 1 means: not to be polled.
            self.parent_handle = 1
        super().initialize(argv)
        # It registers with the shell when it is imported, and the template, which has none, imported it.
        sys.modules.pop("matplotlib_inline.backend_inline", None)
        door, kernel_id = os.environ.pop("OWT_DOOR", None), os.environ.pop("OWT_KERNEL_ID", None)
        if door and kernel_id:
            try:
                attach(self.kernel, door, kernel_id)
            except (OSError, WireError) as error:
                print(f"owt: the frontend cannot be reached: {error}", file=sys.__stderr__, flush=True)
                leave(door)


def attach(kernel: Any, door: str, kernel_id: str) -> None:
    """Connect this process's IPython kernel to the frontend behind `door`.

    `kernel` is any ipykernel kernel; only an `OwtKernel` makes cells and calls take turns. Raises
    OSError or `WireError` when the frontend cannot be reached.
    """
    threads.follow()
    main = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
    mirror = Mirror(kernel)
    mirror.watch()
    channel = KernelChannel(
        door=door,
        kernel_id=kernel_id,
        key=kernel.session.key,
        shell=kernel.shell,
        main=main,
        in_control=kernel.control_thread.io_loop.asyncio_loop,
        mirror=mirror,
    )
    kernel.channel = channel
    channel.start()


def attach_here() -> None:
    """Connect this process, an IPython kernel of another kernelspec, to the frontend.

    Its kernel object becomes an `OwtKernel` where it stands, and its streams and displays owt's, so
    that calls and cells take turns and output finds its run. Raises KeyError where the frontend did
    not start this process.
    """
    from IPython.core.getipython import get_ipython

    from owt.kernel.output import RunStream

    kernel: Any = get_ipython().kernel  # type: ignore[union-attr]
    door, kernel_id = os.environ.pop("OWT_DOOR"), os.environ.pop("OWT_KERNEL_ID")
    kernel.__class__ = OwtKernel
    kernel.shell_handlers["execute_request"] = kernel.execute_request
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.__class__ = RunStream
    kernel.shell.display_pub.__class__ = RunDisplayPublisher
    attach(kernel, door, kernel_id)

    def uncover() -> None:
        # IPython, which runs this in a cell, puts each stream's old `write` back after the cell.
        for stream in streams:
            stream.__dict__.pop("write", None)

    asyncio.get_running_loop().call_soon(uncover)


def main(argv: list[str] | None = None) -> None:
    """Run a kernel until it is told to end."""
    app = OwtKernelApp.instance()
    app.initialize(sys.argv[1:] if argv is None else argv)
    app.start()
