"""IPython kernel and shell of owt: cells and calls run one after another, and displays go to their run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from traitlets import Type
from traitlets.config import Config, SingletonConfigurable
from zmq import EHOSTUNREACH, ZMQError

from owt.kernel import context
from owt.kernel.calls.channel import KernelChannel
from owt.kernel.calls.displays import RunDisplayPublisher
from owt.kernel.calls.stdin import ask, asking_run
from owt.wire.messages import PROTOCOL

if TYPE_CHECKING:
    from typing import Self

SUBSHELLS = "kernel subshells"
"""Name of the feature in ipykernel's kernel info."""
MAX_HISTORY = 1000
"""Maximum number of cells in a reply to `history_request` for the last cells, or for those with a pattern."""


class OwtShell(ZMQInteractiveShell):
    """IPython's shell whose displays go to the run that makes them."""

    display_pub_class = Type(RunDisplayPublisher)

    def ask_exit(self) -> None:
        """Handle `exit` and `quit`: in a call they end the call as a script, and the kernel continues."""
        if context.running() is not None:
            raise SystemExit
        super().ask_exit()

    def showtraceback(self, *args: Any, **kwargs: Any) -> None:
        """Show the exception of a cell; in a forked child, end as Python ends a program."""
        kernel: Any = self.kernel
        if kernel is not None and kernel.channel is not None:
            kernel.channel.end_fork(sys.exc_info()[1])
        super().showtraceback(*args, **kwargs)

    def join(self, kernel: Any) -> None:
        """Belong to a kernel in a fork of the process in which this shell was created.

        This sets what depends on the kernel's sockets and folder, and repeats what a shell does to its
        process.
        """
        self.profile_dir = kernel.profile_dir
        self.config = kernel.config
        self.init_environment()
        self.save_sys_module_state()
        self.sys_excepthook = sys.excepthook
        hook: Any = self.displayhook
        hook.session = kernel.session
        hook.pub_socket = kernel.iopub_socket
        hook.topic = f"kernel.{kernel.ident}.execute_result".encode()
        publisher: Any = self.display_pub
        publisher.session = kernel.session
        publisher.pub_socket = kernel.iopub_socket
        become_instance(self)


class OwtKernel(IPythonKernel):
    """IPython kernel in which cells of attached notebooks and calls wait for each other."""

    shell_class = Type(OwtShell)
    channel: KernelChannel | None = None
    prepared: ClassVar[OwtKernel | None] = None

    @classmethod
    def prepare(cls, app: IPKernelApp) -> None:
        """Create the kernel, and its shell, for a fork of this process.

        Their creation takes as long as the rest of a forked kernel's start, and touches so many objects that
        the fork would share little memory with this process. They have no sockets yet, and traitlets and
        IPython do not know them as instances. Does nothing with ipykernel 6, whose debugger cannot be
        created again for the sockets of a fork.
        """
        if not hasattr(cls, "debugger_class"):
            return
        environ = dict(os.environ)
        try:
            kernel = cls(parent=app, profile_dir=app.profile_dir, log=app.log, user_ns=None)
            shell: Any = kernel.shell
            # IPython has no method that records the modules for `%reset -s`; `init_code` of the app does it.
            shell._sys_modules_keys = set(sys.modules)
            # Of a kernel whose configuration lets `%store` restore variables, `_fits` is False.
            for name in app.default_extensions:
                shell.extension_manager.load_extension(name)
            cls.prepared = kernel
        finally:
            OwtShell.clear_instance()
            # The shell has set variables, such as PAGER, that only a kernel should have.
            os.environ.clear()
            os.environ.update(environ)

    @classmethod
    def instance(cls, *args: Any, **kwargs: Any) -> Self:
        """Return the process's kernel: the prepared one if it fits `kwargs`."""
        kernel, OwtKernel.prepared = OwtKernel.prepared, None
        if kernel is not None and type(kernel) is cls and not cls.initialized() and kernel._fits(kwargs):
            kernel._join(kwargs)
        return super().instance(*args, **kwargs)

    def _fits(self, traits: dict[str, Any]) -> bool:
        """Return True if a kernel created with these traits would equal this one after `_join(traits)`."""
        parent, folder = traits.get("parent"), traits.get("profile_dir")
        own_folder: Any = self.profile_dir
        return (
            parent is not None
            and folder is not None
            and folder.location == own_folder.location
            and traits.get("user_ns") is None
            and _kernel_config(parent.config) == _kernel_config(self.config)
        )

    def _join(self, traits: dict[str, Any]) -> None:
        """Become the kernel of this process, with these sockets and threads.

        This repeats what ipykernel's kernels do with them at their creation. tests/kernel/process/test_app.py
        compares the outcome with a newly created kernel.
        """
        for name, value in traits.items():
            setattr(self, name, value)
        self.config = traits["parent"].config
        self.ident = str(uuid4())
        self._stdout, self._stderr = sys.stdout, sys.stderr
        if hasattr(self, "debugger"):
            # The debugger keeps the socket and the session of its creation, so it is created again with what
            # ipykernel passes to it, private attributes included.
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
        """ipykernel's kernel info, with a field `owt` if this kernel receives calls."""
        info: dict[str, Any] = super().kernel_info
        if self.channel is not None:
            url, session = self.channel.welcome.url, self.channel.session
            info["owt"] = {"protocol": PROTOCOL, "url": url, "session": session}
            # ipykernel 6 has no subshells and no such list.
            if SUBSHELLS in info.get("supported_features", ()):
                info["supported_features"].remove(SUBSHELLS)
        return info

    async def create_subshell_request(self, socket: Any, ident: Any, parent: Any) -> None:
        """Refuse a subshell (Jupyter enhancement proposal 91): it would run cells in a thread beside
        calls."""
        if self.channel is None:
            await super().create_subshell_request(socket, ident, parent)
            return
        reason = "cells and calls of an owt session run one after another; it has no subshells"
        content = {"status": "error", "ename": "NoSubshells", "evalue": reason, "traceback": [reason]}
        session: Any = self.session
        session.send(socket, "create_subshell_reply", content, parent, ident)

    async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Run a cell of an attached notebook while no call runs."""
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

    def get_parent(self, channel: str | None = None) -> Any:
        """Return the request that is handled; in a call, which sends messages of widgets (comms), the one
        that its messages in attached notebooks seem to answer."""
        run = context.running()
        if channel is None and run is not None and run.sender.mirror is not None:
            return {"header": run.sender.mirror.parent_header}
        return super().get_parent(channel)

    def do_history(
        self,
        hist_access_type: str,
        output: bool,
        raw: bool,
        session: int = 0,
        start: int = 0,
        stop: int | None = None,
        n: int | None = None,
        pattern: str | None = None,
        unique: bool = False,
    ) -> Any:
        """Return earlier cells. A kernel of owt keeps them in memory, and IPython's database is off."""
        shell: Any = self.shell
        manager = shell.history_manager
        if hist_access_type == "range" or manager.enabled:
            return super().do_history(
                hist_access_type, output, raw, session, start, stop, n, pattern, unique
            )
        cells = manager.input_hist_raw if raw else manager.input_hist_parsed
        newest: dict[Any, tuple[int, int, Any]] = {}
        for number in range(len(cells) - 1, 0, -1):
            if len(newest) >= (MAX_HISTORY if n is None else min(n, MAX_HISTORY)):
                break
            text = cells[number]
            if hist_access_type == "tail" or fnmatchcase(text, pattern or "*"):
                entry = (text, manager.output_hist_reprs.get(number)) if output else text
                newest.setdefault(text if unique else number, (manager.session_number, number, entry))
        return {"status": "ok", "history": [*newest.values()][::-1]}

    def raw_input(self, prompt: Any = "") -> str:
        """Ask the client that runs the cell, or a call beside it. Raises EOFError when it has
        disconnected."""
        if (run := asking_run()) is not None:
            return ask(run, prompt)
        return self._ask(partial(super().raw_input, prompt))

    def getpass(self, *args: Any, **kwargs: Any) -> str:
        """Ask the client that runs the cell, or a call beside it, for a password. Raises EOFError when it has
        disconnected."""
        if (run := asking_run()) is not None:
            return ask(run, *args[:1] or ("Password: ",), password=True)
        return self._ask(partial(super().getpass, *args, **kwargs))

    def _ask(self, ask: Callable[[], str]) -> str:
        # Without this option, ZeroMQ drops a prompt to a client that is gone.
        self.stdin_socket.router_mandatory = True
        try:
            return ask()
        except ZMQError as error:
            if error.errno != EHOSTUNREACH:
                raise
            raise EOFError("the client that runs this cell has disconnected") from None

    def pre_handler_hook(self) -> None:
        """Leave SIGINT to calls. ipykernel's hook makes it raise KeyboardInterrupt; a cell that waits for a
        call needs that only from its start on."""
        if self.channel is None:
            super().pre_handler_hook()
        else:
            self.channel.runner.handlers += 1

    def post_handler_hook(self) -> None:
        """Undo what `pre_handler_hook` has done."""
        if self.channel is None:
            super().post_handler_hook()
        else:
            # The kernel of another kernelspec is attached while it handles a message.
            self.channel.runner.handlers = max(0, self.channel.runner.handlers - 1)


def become_instance(singleton: Any) -> None:
    """Register an object as the one instance of its classes.

    traitlets registers only objects that `instance()` creates, so this sets its private attribute.
    """
    for kind in type(singleton).mro():
        if issubclass(kind, SingletonConfigurable) and kind is not SingletonConfigurable:
            kind._instance = singleton


def _kernel_config(config: Config) -> dict[str, Any]:
    """Return the sections of `config` that may affect a kernel and its shell: all except the app's own."""
    return {name: section for name, section in config.items() if name != "IPKernelApp" and section}
