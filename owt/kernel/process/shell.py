"""IPython's shell, as owt's kernels have it."""

from __future__ import annotations

import sys
from typing import Any

from ipykernel.zmqshell import ZMQInteractiveShell
from traitlets import Type
from traitlets.config import SingletonConfigurable

from owt.kernel.calls import context
from owt.kernel.calls.stdio import RunDisplayPublisher


class OwtShell(ZMQInteractiveShell):
    """IPython's shell; displays go to the run that made them."""

    display_pub_class = Type(RunDisplayPublisher)

    def ask_exit(self) -> None:
        """`exit` and `quit`. A call ends by them as a script would; its kernel stays for the next."""
        if context.running() is not None:
            raise SystemExit
        super().ask_exit()

    def join(self, kernel: Any) -> None:
        """Belong to a kernel that lives in a fork of the process in which this shell was made: take what
        its streams and its folder are, and do what a shell does to the process that it is made in."""
        self.profile_dir = kernel.profile_dir
        self.config = kernel.config
        self.init_environment()
        self.save_sys_module_state()
        self.sys_excepthook = sys.excepthook
        hook: Any = self.displayhook
        hook.session = kernel.session
        hook.pub_socket = kernel.iopub_socket
        hook.topic = kernel._topic("execute_result")
        publisher: Any = self.display_pub
        publisher.session = kernel.session
        publisher.pub_socket = kernel.iopub_socket
        become_instance(self)


def become_instance(singleton: Any) -> None:
    """Have traitlets know an object that was made otherwise as the one instance of its classes."""
    for each in type(singleton).mro():
        if issubclass(each, SingletonConfigurable) and each is not SingletonConfigurable:
            each._instance = singleton
