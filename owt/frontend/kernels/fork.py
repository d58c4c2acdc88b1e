"""Kernel provisioner that has kernels forked by a template process, and the manager of one kernel.

It implements jupyter_client's provisioner interface; the entry point `owt-fork` is named in
kernels/owt/kernel.json, and in those that `owt kernel add` writes. It starts a kernel as the local
provisioner does where there is no template (another Jupyter program uses the kernelspec, not Linux,
`--no-fork`, the template died), or where a fork cannot give the kernel its environment. With `--keep`, the
template spawns the kernel then, so that the kernel outlives this process.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Any as AnyTrait

from owt.errors import KernelNotReady
from owt.frontend.kernels.process import ForkedProcess
from owt.frontend.kernels.template import TemplateProcess
from owt.wire.messages import CONNECTIONS_VARIABLE, PRELOAD_VARIABLE

log = logging.getLogger("owt.kernels")


class ForkProvisioner(LocalProvisioner):
    """Provisioner that starts kernels by a fork if possible, and otherwise by a spawn."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel. `kwargs` are those of `subprocess.Popen`."""
        template: TemplateProcess | None = getattr(self.parent, "template", None)
        main: TemplateProcess | None = getattr(self.parent, "main_template", None)
        env: dict[str, str] = kwargs["env"]
        # In a fork, the socket with the connections has another number, which the template knows, and the
        # modules are there.
        spawn_only = (CONNECTIONS_VARIABLE, PRELOAD_VARIABLE)
        fork_env = {name: value for name, value in env.items() if name not in spawn_only}
        cwd = str(kwargs.get("cwd") or os.getcwd())
        if template is not None and (arguments := template.arguments(cmd, fork_env)) is not None:
            await template.ready()
            if template.can_fork:
                try:
                    return await self._start(template, arguments, fork_env, cwd, kwargs["stdin"])
                except KernelNotReady as error:
                    log.warning("%s; starting a kernel without it", error)
        if template is not None and template.is_gone:
            # One of the modules may have ended it, and would end the kernel too.
            env.pop(PRELOAD_VARIABLE, None)
        if main is not None and main.keeping is not None:
            await main.ready()
            # The kernel must not be a child of this process. Its own parent does not matter to it.
            env["JPY_PARENT_PID"] = "1"
            return await self._start(main, cmd, env, cwd, kwargs["stdin"], spawn=True)
        return await super().launch_kernel(cmd, **kwargs)

    async def _start(
        self,
        template: TemplateProcess,
        arguments: list[str],
        env: dict[str, str],
        cwd: str,
        connections: socket.socket,
        *,
        spawn: bool = False,
    ) -> KernelConnectionInfo:
        manager: Any = self.parent
        hold: Callable[[TemplateProcess, ForkedProcess | None], None] = manager.hold
        if template.keeping is not None:
            hold(template, None)
        process = await template.fork(arguments, env, cwd, connections, spawn=spawn)
        if template.keeping is not None:
            hold(template, process)
        self.process = cast(Any, process)
        self.pid = self.pgid = process.pid
        self.cwd = cwd
        return self.connection_info


class OwtKernelManager(AsyncKernelManager):
    """jupyter_client's manager, which also knows the template that `ForkProvisioner` needs, and the one that
    cleans up after the server."""

    template = AnyTrait()
    main_template = AnyTrait()
    hold = AnyTrait()
    """Function that `ForkProvisioner` calls with the template that starts the kernel, and with the process,
    which is None before the start."""

    def _connect_control_socket(self) -> None:
        """Do nothing: a control socket for each kernel costs descriptors, and owt ends kernels by signals.

        Jupyter clients that attach make their own. No public interface of jupyter_client omits the socket.
        """

    def adopt(self, template: TemplateProcess, process: ForkedProcess) -> None:
        """Manage a process that this template has started for an earlier frontend."""
        provisioner = ForkProvisioner(kernel_id=self.kernel_id, kernel_spec=KernelSpec(), parent=self)
        provisioner.process = cast(Any, process)
        provisioner.pid = provisioner.pgid = process.pid
        self.template, self.provisioner = template, provisioner
