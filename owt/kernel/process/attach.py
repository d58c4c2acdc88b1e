"""Connection of an IPython kernel to the frontend: of owt's own kernel, or one of another kernelspec."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import faulthandler
import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Iterable
from typing import Any

from tornado.ioloop import IOLoop

from owt.errors import WireError
from owt.kernel import context, flask_requests
from owt.kernel.calls.channel import KernelChannel
from owt.kernel.calls.displays import RunDisplayPublisher
from owt.kernel.calls.event_loops import allow_own_loops, protect
from owt.kernel.calls.handover import Inherited, inherited_connections
from owt.kernel.calls.iopub import IopubMirror
from owt.kernel.calls.stdin import follow_input
from owt.kernel.process.kernel import OwtKernel
from owt.wire.messages import CONNECTIONS_VARIABLE, PRELOAD_VARIABLE


def end_in_order(kernel: Any) -> None:
    """Register the end of the control thread before the end of IOPub's thread, for the process's exit.

    When a notebook shuts the kernel down, the control thread still flushes the streams and reports that it is
    idle, while the main thread already exits. ipykernel ends IOPub's thread first, and the control thread
    then waits for it: for 10 s with each stream, or for ever.
    """
    thread = kernel.control_thread

    def end() -> None:
        if thread is not None and thread.is_alive():
            thread.stop()
            thread.join()

    # atexit runs first what was registered last, and IOPub's thread has registered its end by now.
    atexit.register(end)


def prefer_own_programs() -> None:
    """Put the folder of this interpreter first in PATH, so that `!pip` and others are those of its
    environment."""
    folder = os.path.dirname(sys.executable)
    path = os.environ.get("PATH", os.defpath)
    if folder and path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + path
    # The server may have been started in another environment, which uv and others would take for this one.
    if os.environ.get("VIRTUAL_ENV", sys.prefix) != sys.prefix:
        del os.environ["VIRTUAL_ENV"]


def provide_pip(folder: str | None) -> None:
    """Make a program `pip` of this interpreter in this folder, if its environment has none, such as one that
    uv has made: `!pip` would be that of another environment."""
    own = os.path.dirname(sys.executable)
    if folder is None or os.path.exists(os.path.join(own, "pip")):
        return
    # Not a name that can be imported: the folder is on `sys.path`.
    programs = os.path.join(folder, ".bin")
    with contextlib.suppress(OSError):
        os.mkdir(programs)
        pip = os.path.join(programs, "pip")
        with open(pip, "x") as file:
            file.write(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pip "$@"\n')
        os.chmod(pip, 0o700)
        path = os.environ["PATH"].removeprefix(own + os.pathsep)
        os.environ["PATH"] = os.pathsep.join([own, programs, path])


def ignore_warnings() -> None:
    """Ignore the warnings that a library gives because it is not in a notebook."""
    # `tqdm.auto` without ipywidgets shows its progress as text, with this warning in the output of the call.
    warnings.filterwarnings("ignore", "IProgress not found")


def preload(names: Iterable[str]) -> None:
    """Import the modules that no template has imported for this kernel."""
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            print(f"owt: --preload {name}: {type(error).__name__}: {error}", file=sys.__stderr__, flush=True)


def attach(kernel: Any, inherited: Inherited) -> None:
    """Serve the frontend's connections with this process's IPython kernel.

    `kernel` is any ipykernel kernel; only an `OwtKernel` makes cells and calls take turns. Raises `WireError`
    when there is no frontend at the other end.
    """
    # The arguments are those of the kernel or of the template, which code with `argparse` would read.
    sys.argv = [""]
    prefer_own_programs()
    context.follow_threads()
    flask_requests.follow_import()
    follow_input()
    ignore_warnings()
    preload(filter(None, os.environ.pop(PRELOAD_VARIABLE, "").split(",")))
    main = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
    mirror = IopubMirror(kernel)
    mirror.watch()
    channel = KernelChannel(
        inherited.calls,
        inherited.control,
        inherited.end,
        shell=kernel.shell,
        main=main,
        in_control=kernel.control_thread.io_loop.asyncio_loop,
        mirror=mirror,
    )
    kernel.channel = channel
    provide_pip(channel.welcome.files)
    allow_own_loops(main)
    protect(main, channel.runner.exited, lambda: kernel.shell.exit_now)
    channel.start()


def attach_here() -> None:
    """Attach the IPython kernel of another kernelspec, in whose process this runs.

    Its kernel object becomes an `OwtKernel`, and its streams and displays become owt's, so that calls and
    cells take turns and output finds its run. Raises `WireError` when the process has no connections.
    """
    from IPython.core.getipython import get_ipython

    from owt.kernel.calls.stdio import RunStream

    kernel: Any = get_ipython().kernel  # type: ignore[union-attr]
    connections = inherited_connections()
    if connections is None:
        raise WireError(f"the environment variable {CONNECTIONS_VARIABLE} is missing")
    # ipykernel's pipe behind stderr has its reader in this process, which would not outlive a crash.
    report, report_input = os.pipe()
    connections.end.keep(2, report)
    faulthandler.enable(report_input, all_threads=False)
    kernel.__class__ = OwtKernel
    kernel.shell_handlers["execute_request"] = kernel.execute_request
    kernel.control_handlers["create_subshell_request"] = kernel.create_subshell_request
    streams = [RunStream.replace("stdout"), RunStream.replace("stderr")]
    kernel.shell.display_pub.__class__ = RunDisplayPublisher
    end_in_order(kernel)
    attach(kernel, connections)

    def route() -> None:
        # Only after the cell in which IPython runs this: it then restores the `write` of each stream, and
        # `input`.
        follow_input()
        for stream in streams:
            stream.route()

    asyncio.get_running_loop().call_soon(route)
