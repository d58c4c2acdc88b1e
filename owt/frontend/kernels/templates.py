"""The template processes of a server: its own, and one for each other environment of kernels."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence

from jupyter_client.kernelspec import KernelSpec

from owt.frontend.kernels.environments import Environment, module_command, variables
from owt.frontend.kernels.template import TemplateProcess

log = logging.getLogger("owt.template")

Key = tuple[object, ...]


class Templates:
    """Template processes by what they have that their kernels share: interpreter, variables, and preloads.

    `main` is the one of the server's own interpreter, which lives as long as the server and cleans up after
    it. The others start when a kernel needs them, and end when they had none for `idle` seconds.
    """

    def __init__(
        self,
        main: TemplateProcess,
        *,
        env: Mapping[str, str],
        fork: bool,
        idle: float | None,
        keep_threads: bool = False,
    ) -> None:
        """`env` is the environment of kernels without the variables of their kernelspecs."""
        self.main = main
        self._env = env
        self._fork = fork
        self._idle = idle
        self._keep_threads = keep_threads
        self._others: dict[Key, TemplateProcess] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of the modules that templates should have imported."""
        return tuple(problem for template in self._all() for problem in template.problems)

    def of(self, command: Sequence[str], spec: KernelSpec) -> TemplateProcess | None:
        """Return the template of a kernelspec, or None if its `command` does not run owt's kernel."""
        prefix = module_command(command)
        if prefix is None or not self._fork:
            return None
        environment = Environment.of(spec.metadata)
        env = variables(spec.env, self._env)
        if not environment.preload and self.main.arguments(command, env) is not None:
            return self.main
        key = (*prefix, environment, *sorted(env.items()))
        template = self._others.get(key)
        if template is None:
            template = TemplateProcess(
                command=prefix,
                env=env,
                preload=self.modules_of(command, spec),
                cwd=environment.cwd,
                keep_threads=self._keep_threads,
            )
            try:
                template.start()
            except OSError as error:
                # The start of the kernel fails for the same reason, and reports it.
                log.warning("%s: the template process could not be started: %s", spec.display_name, error)
                return None
            self._others[key] = template
        return template

    def modules_of(self, command: Sequence[str], spec: KernelSpec) -> tuple[str, ...]:
        """Return the modules that the kernels of a kernelspec have imported at their start: its own, and
        those of `main` if they run in the same interpreter."""
        is_own = bool(command) and os.path.abspath(command[0]) == self.main.interpreter
        names = (*(self.main.preload if is_own else ()), *Environment.of(spec.metadata).preload)
        return tuple(dict.fromkeys(names))

    def end_idle(self) -> None:
        """End the templates that have had no kernel for too long."""
        if self._idle is None:
            return
        for key, template in list(self._others.items()):
            if template.idle_since is not None and time.monotonic() - template.idle_since > self._idle:
                del self._others[key]
                ending = asyncio.get_running_loop().create_task(template.close())
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all of them, the main one last."""
        others, self._others = list(self._others.values()), {}
        await asyncio.gather(*(template.close() for template in others), *self._ending)
        await self.main.close()

    def _all(self) -> list[TemplateProcess]:
        return [self.main, *self._others.values()]
