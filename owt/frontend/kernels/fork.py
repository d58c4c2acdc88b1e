"""Kernel provisioner that has kernels forked by a template process.

It implements jupyter_client's provisioner interface; the entry point `owt-fork` is named in
kernels/owt/kernel.json, and in those that `owt kernel add` writes. It starts a kernel as the local
provisioner does where there is no template (another Jupyter program uses the kernelspec, not Linux,
`--no-fork`, the template died), or where a fork cannot give the kernel its environment.
"""

from __future__ import annotations

import logging
import os
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from owt.errors import KernelNotReady
from owt.frontend.kernels.template import TemplateProcess
from owt.wire.messages import CONNECTIONS_VARIABLE, PRELOAD_VARIABLE

log = logging.getLogger("owt.kernels")


class ForkProvisioner(LocalProvisioner):
    """Provisioner that starts kernels by a fork if possible, and otherwise by a spawn."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel. `kwargs` are those of `subprocess.Popen`."""
        template: TemplateProcess | None = getattr(self.parent, "template", None)
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
                    process = await template.fork(arguments, fork_env, cwd, kwargs["stdin"])
                except KernelNotReady as error:
                    log.warning("%s; starting a kernel without it", error)
                else:
                    self.process = cast(Any, process)
                    self.pid = self.pgid = process.pid
                    self.cwd = cwd
                    return self.connection_info
        if template is not None and template.is_gone:
            # One of the modules may have ended it, and would end the kernel too.
            env.pop(PRELOAD_VARIABLE, None)
        return await super().launch_kernel(cmd, **kwargs)
