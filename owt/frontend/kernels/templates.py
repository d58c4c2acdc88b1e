"""The template processes of a server: its own, and one for each other environment of kernels."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jupyter_client.kernelspec import KernelSpec

from owt.errors import ConfigError
from owt.frontend.kernels.environments import Environment, module_command, variables
from owt.frontend.kernels.host import HeldDescriptors, Host
from owt.frontend.kernels.last_output import Notes
from owt.frontend.kernels.template import Keeping, TemplateProcess

log = logging.getLogger("owt.template")

class KeptKernel(NamedTuple):
    """Kernel of an earlier frontend: the template that has kept it, its mark, and its descriptors."""

    template: TemplateProcess
    mark: str
    held: HeldDescriptors

    @property
    def edition(self) -> bytes:
        """Return the edition of the pool that the kernel was started for; zeros if it is a session's."""
        return Notes.read(self.held.descriptors[1]).edition

    @property
    def is_alive(self) -> bool:
        """Return False if the process has ended meanwhile."""
        poll = select.poll()
        poll.register(self.held.descriptors[-1], select.POLLIN)
        return self.held.code is None and not poll.poll(0)


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
        # Kept kernels of an earlier frontend that no session has yet, by id.
        self.kept: dict[str, KeptKernel] = {}
        self._others: dict[str, TemplateProcess] = {}
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
        parts = repr((*prefix, environment, *sorted(env.items())))
        key = hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()
        template = self._others.get(key)
        if template is None:
            template = TemplateProcess(
                command=prefix,
                env=env,
                preload=self.modules_of(command, spec),
                cwd=environment.cwd,
                keep_threads=self._keep_threads,
                keeping=self._keeping(key),
            )
            try:
                template.start()
            except OSError as error:
                # The start of the kernel fails for the same reason, and reports it.
                log.warning("%s: the template process could not be started: %s", spec.display_name, error)
                return None
            self._others[key] = template
        # An earlier frontend may have started it.
        template.prefix = prefix
        return template

    def _keeping(self, key: str) -> Keeping | None:
        main = self.main.keeping
        return main and Keeping(main.seconds, str(Path(main.path).with_name(f"host-{key}.sock")))

    def start(self, host: Host | None) -> None:
        """Start the main template, or go on with the one that an earlier frontend has started, `host`, and
        those of other environments beside it."""
        if host is None:
            self.main.start()
            return
        self._resume(self.main, host)
        keep = 0.0 if self.main.keeping is None else self.main.keeping.seconds
        for path in Path(host.path).parent.glob("host-*.sock"):
            key = path.stem.removeprefix("host-")
            template = TemplateProcess(
                env={}, preload=(), keep_threads=self._keep_threads, keeping=self._keeping(key)
            )
            try:
                if (other := Host.find(str(path))) is not None:
                    other.adopt(keep)
                    self._resume(template, other)
                    self._others[key] = template
            except ConfigError as error:
                log.warning("%s", error)

    def _resume(self, template: TemplateProcess, host: Host) -> None:
        template.adopt(host)
        for name, held in host.held.items():
            if name.startswith("k"):
                id, _, mark = name.partition("-")
                if held.pid:
                    self.kept[id] = KeptKernel(template, mark, held)
                else:
                    # The frontend ended while it was being started.
                    template.discard(name, held)

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
