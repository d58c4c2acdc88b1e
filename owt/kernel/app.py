"""The IPython kernel, with owt's call channel beside Jupyter's five.

A kernel that the frontend starts finds the door and its id in the environment (`OWT_DOOR`,
`OWT_KERNEL_ID`). Without them it is an ordinary IPython kernel, so that the kernelspec can be used
by any Jupyter program.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, ClassVar, Self
from uuid import uuid4

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from tornado.ioloop import IOLoop
from traitlets import Type, default
from traitlets.config import Config

from owt.errors import WireError
from owt.kernel import threads
from owt.kernel.channel import KernelChannel
from owt.kernel.output import RunDisplayPublisher
from owt.kernel.shell import OwtShell, become_instance
from owt.kernel.sweep import leave
from owt.wire.codec import PROTOCOL


class OwtKernel(IPythonKernel):
    """The kernel: cells of attached notebooks wait their turn behind calls, and calls behind cells."""

    shell_class = Type(OwtShell)
    channel: KernelChannel | None = None
    prepared: ClassVar[OwtKernel | None] = None

    @classmethod
    def prepare(cls, app: IPKernelApp) -> None:
        """Make the kernel, and its shell, that a fork of this process will have.

        To make them takes as long as all else in the start of a forked kernel, and touches so many objects
        (each module, for one) that the fork would share little memory with this process any more. They
        have no sockets yet, and traitlets and IPython know of no kernel and no shell.
        """
        environ = dict(os.environ)
        try:
            kernel = cls(parent=app, profile_dir=app.profile_dir, log=app.log, user_ns=None)
            shell: Any = kernel.shell
            shell._sys_modules_keys = set(sys.modules)
            cls.prepared = kernel
        finally:
            OwtShell.clear_instance()
            # The shell has set variables, such as PAGER, that only a kernel should have.
            os.environ.clear()
            os.environ.update(environ)

    @classmethod
    def instance(cls, *args: Any, **kwargs: Any) -> Self:
        """The process's kernel: the prepared one, if it is such as `kwargs` ask for."""
        kernel, OwtKernel.prepared = OwtKernel.prepared, None
        if kernel is not None and type(kernel) is cls and not cls.initialized() and kernel._fits(kwargs):
            kernel._join(kwargs)
        return super().instance(*args, **kwargs)

    def _fits(self, given: dict[str, Any]) -> bool:
        """Whether a kernel made with these would be like this one, once it has `given` (`_join`)."""
        parent, folder = given.get("parent"), given.get("profile_dir")
        mine: Any = self.profile_dir
        return (
            parent is not None
            and folder is not None
            and folder.location == mine.location
            and given.get("user_ns") is None
            and _of_kernel(parent.config) == _of_kernel(self.config)
        )

    def _join(self, given: dict[str, Any]) -> None:
        """Be the kernel of this process, with these sockets and threads: what ipykernel's kernels do with
        them when they are made. tests/kernel/test_app.py compares the outcome with a kernel made anew."""
        for name, value in given.items():
            setattr(self, name, value)
        self.config = given["parent"].config
        self.ident = str(uuid4())
        self._stdout, self._stderr = sys.stdout, sys.stderr
        if hasattr(self, "debugger"):
            self.debugger = self.debugger_class(
                self.log,
                self.debugpy_stream,
                self._publish_debug_event,
                self.debug_shell_socket,
                self.session,
                self._kernel_modules,
                self.debug_just_my_code,
                self.filter_internal_frames,
            )
        shell: Any = self.shell
        shell.join(self)
        become_instance(self)

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
                try:
                    await super().execute_request(stream, ident, parent)
                finally:
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

    prepared: ClassVar[OwtKernelApp | None] = None

    @classmethod
    def prepare(cls) -> None:
        """Make in advance what a fork of this process will have: an app, its profile's folder, its kernel
        and shell. Starts no thread, and opens nothing."""
        app = cls()
        # A real one has this section, and a shell without it makes one that is warned of.
        app.config.IPKernelApp.connection_file = ""
        app.init_profile_dir()
        app.init_config_files()
        OwtKernel.prepare(app)
        cls.prepared = app

    @classmethod
    def forget(cls) -> None:
        """Have nothing prepared: this process is to be another one than that which was prepared for."""
        cls.prepared = OwtKernel.prepared = None

    @classmethod
    def instance(cls, *args: Any, **kwargs: Any) -> Self:
        """The process's app: the prepared one, if there is one."""
        app, OwtKernelApp.prepared = OwtKernelApp.prepared, None
        if app is not None and type(app) is cls and not cls.initialized() and not kwargs:
            become_instance(app)
        return super().instance(*args, **kwargs)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._staged = False
        # A history file is shared by all kernels of a user, and costs each a thread and a database
        # connection; `In` and `Out` of an attached notebook do not need it.
        self.config.HistoryManager.enabled = False

    def parse_command_line(self, argv: Any = None) -> None:
        """`-f FILE`, as our kernelspec has it, is understood at once: the parser for all else, made of all
        options of all classes, would be a fifth of a forked kernel's start."""
        if argv is None or len(argv) != 2 or argv[0] != "-f" or argv[1].startswith("-"):
            super().parse_command_line(argv)
            return
        self.argv = list(argv)
        self.extra_args = []
        self.cli_config = Config({"IPKernelApp": {"connection_file": argv[1]}})
        # In place: what was prepared has this very object, and need not load it again.
        self.config.IPKernelApp.connection_file = self.connection_file = argv[1]

    def init_config_files(self) -> None:
        """Once is enough: the template has done it."""
        if not self._staged:
            self._staged = True
            super().init_config_files()

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """Nearly nobody has such files, and to see that takes a loader for each place and kind of file."""
        names = {os.path.splitext(name)[0] for name in ("ipython_config.py", *self.config_files)}
        files = (os.path.join(place, name) for place in self.config_file_paths for name in names)
        if any(os.path.exists(file + kind) for file in files for kind in (".py", ".json")):
            super().load_config_file(*args, **kwargs)

    def update_config(self, config: Config) -> None:
        """What is so already need not be loaded again into all that is configured."""
        if config != self.config:
            super().update_config(config)

    def init_code(self) -> None:
        """Run the profile's startup files, and what options name. IPython ends this by noting the names of
        all modules, for `%reset -s`; a prepared shell has that note, and not to write it anew leaves the
        pages of these thousands of strings shared."""
        shell: Any = self.shell
        if not hasattr(shell, "_sys_modules_keys"):
            super().init_code()
            return
        self._run_startup_files()
        self._run_exec_lines()
        self._run_exec_files()
        if self.hide_initial_ns:
            shell.user_ns_hidden.update(shell.user_ns)
        self._run_cmd_line_code()
        self._run_module()

    def initialize(self, argv: list[str] | None = None) -> None:
        """Start the kernel's parts, then connect to the frontend."""
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


def _of_kernel(config: Config) -> dict[str, Any]:
    """The sections of `config` that a kernel and its shell may heed: all but the app's own."""
    return {name: section for name, section in config.items() if name != "IPKernelApp" and section}


def attach(kernel: Any, door: str, kernel_id: str) -> None:
    """Connect this process's IPython kernel to the frontend behind `door`.

    `kernel` is any ipykernel kernel; only an `OwtKernel` makes cells and calls take turns. Raises
    OSError or `WireError` when the frontend cannot be reached.
    """
    threads.follow()
    main = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
    channel = KernelChannel(
        door=door,
        kernel_id=kernel_id,
        key=kernel.session.key,
        shell=kernel.shell,
        main=main,
        in_control=kernel.control_thread.io_loop.asyncio_loop,
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
