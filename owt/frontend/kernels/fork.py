"""A kernel provisioner that has kernels forked from the template process (jupyter_client's
provisioner interface; entry point `owt-fork`, named in kernels/owt/kernel.json).

Where there is no template (another Jupyter program uses the kernelspec, not Linux, `--no-fork`, the
template died), or where a fork cannot give the kernel what its kernelspec asks for (another
interpreter, `PYTHON*` or `LD_*` variables), it starts the kernel as the local provisioner does.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from owt.errors import KernelNotReady
from owt.frontend.kernels.template import TemplateProcess
from owt.wire.messages import CONNECTIONS_VARIABLE

log = logging.getLogger("owt.kernels")

_BEFORE_START = ("PYTHON", "LD_", "DYLD_", "MALLOC_", "OMP_")
"""Variables that act when a process starts, so a fork would come too late for them."""


class ForkProvisioner(LocalProvisioner):
    """Starts kernels by fork where it can, else by spawn."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel. `kwargs` are those of `subprocess.Popen`."""
        template: TemplateProcess | None = getattr(self.parent, "template", None)
        env: dict[str, str] = kwargs["env"]
        # The template knows the numbers that the connections have in its child.
        fork_env = {name: value for name, value in env.items() if name != CONNECTIONS_VARIABLE}
        cwd = str(kwargs.get("cwd") or os.getcwd())
        if template is not None:
            await template.ready()
            if template.can_fork and (arguments := forkable(cmd, fork_env, template.env)) is not None:
                try:
                    process = await template.fork(
                        arguments, fork_env, cwd, kwargs["stdin"]
                    )
                except KernelNotReady as error:
                    log.warning("%s; starting a kernel without it", error)
                else:
                    self.process = cast(Any, process)
                    self.pid = self.pgid = process.pid
                    self.cwd = cwd
                    return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)


def forkable(cmd: list[str], env: dict[str, str], of_template: dict[str, str]) -> list[str] | None:
    """The arguments for `owt.kernel` if this command can be had by a fork, else None."""
    if len(cmd) < 3 or cmd[1:3] != ["-m", "owt.kernel"]:
        return None
    if os.path.abspath(cmd[0]) != os.path.abspath(sys.executable):
        return None
    for name in {*env, *of_template}:
        if name.startswith(_BEFORE_START) and env.get(name) != of_template.get(name):
            return None
    return cmd[3:]
