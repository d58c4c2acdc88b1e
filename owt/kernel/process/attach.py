"""How an IPython kernel is connected to the frontend: one of owt's, or of another kernelspec."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from typing import Any

from tornado.ioloop import IOLoop

from owt.kernel.calls import threads
from owt.kernel.calls.channel import KernelChannel
from owt.kernel.calls.iopub import IopubMirror
from owt.kernel.calls.stdio import RunDisplayPublisher
from owt.kernel.process.kernel import OwtKernel


def end_in_order(kernel: Any) -> None:
    """Have this process, when it ends, end its control thread before the thread of IOPub.

    When a notebook shuts the kernel down, the control thread still flushes the streams and says that it is
    idle, while the main thread already leaves. ipykernel ends IOPub's thread first, and the control thread
    then waits for one that is not there: for 10 s with each stream, or for good.
    """
    thread = kernel.control_thread

    def end() -> None:
        if thread is not None and thread.is_alive():
            thread.stop()
            thread.join()

    # What is registered last is run first, and IOPub's thread has registered its end by now.
    atexit.register(end)


def attach(kernel: Any, door: str, kernel_id: str) -> None:
    """Connect this process's IPython kernel to the frontend behind `door`.

    `kernel` is any ipykernel kernel; only an `OwtKernel` makes cells and calls take turns. Raises
    OSError or `WireError` when the frontend cannot be reached.
    """
    threads.follow()
    main = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
    mirror = IopubMirror(kernel)
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

    from owt.kernel.calls.stdio import RunStream

    kernel: Any = get_ipython().kernel  # type: ignore[union-attr]
    door, kernel_id = os.environ.pop("OWT_DOOR"), os.environ.pop("OWT_KERNEL_ID")
    kernel.__class__ = OwtKernel
    kernel.shell_handlers["execute_request"] = kernel.execute_request
    kernel.control_handlers["create_subshell_request"] = kernel.create_subshell_request
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.__class__ = RunStream
    kernel.shell.display_pub.__class__ = RunDisplayPublisher
    end_in_order(kernel)
    attach(kernel, door, kernel_id)

    def uncover() -> None:
        # IPython, which runs this in a cell, puts each stream's old `write` back after the cell.
        for stream in streams:
            stream.__dict__.pop("write", None)

    asyncio.get_running_loop().call_soon(uncover)
