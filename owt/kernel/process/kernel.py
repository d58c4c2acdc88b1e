"""The IPython kernel, in which cells and calls take turns."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar, Self
from uuid import uuid4

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from traitlets import Type
from traitlets.config import Config

from owt.kernel.calls.channel import KernelChannel
from owt.kernel.process.shell import OwtShell, become_instance
from owt.wire.messages import PROTOCOL

SUBSHELLS = "kernel subshells"
"""What ipykernel calls them among its features."""


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
            info["supported_features"] = [each for each in info["supported_features"] if each != SUBSHELLS]
        return info

    async def create_subshell_request(self, socket: Any, ident: Any, parent: Any) -> None:
        """Refuse a subshell (Jupyter enhancement proposal 91): it would run cells beside calls, in a thread
        of its own, where neither knows of the other."""
        if self.channel is None:
            await super().create_subshell_request(socket, ident, parent)
            return
        reason = "cells and calls of an owt session run one after another; it has no subshells"
        content = {"status": "error", "ename": "NoSubshells", "evalue": reason, "traceback": [reason]}
        session: Any = self.session
        session.send(socket, "create_subshell_reply", content, parent, ident)

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


def _of_kernel(config: Config) -> dict[str, Any]:
    """The sections of `config` that a kernel and its shell may heed: all but the app's own."""
    return {name: section for name, section in config.items() if name != "IPKernelApp" and section}
