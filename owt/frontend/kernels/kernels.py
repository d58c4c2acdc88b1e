"""The kernels of a server: their start by jupyter_client, their count, and their end with the server."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import zmq.asyncio
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_core.paths import jupyter_path
from msgspec.structs import replace
from traitlets import TraitError

from owt.errors import DISTRIBUTION, BadRequest, KernelDied, KernelNotReady, OwtError, WireError
from owt.frontend.counters import Counters
from owt.frontend.descriptors import Descriptors, ran_out
from owt.frontend.endpoints import Endpoints
from owt.frontend.kernels.environments import Environment, literal, too_old
from owt.frontend.kernels.exit import ExitKind
from owt.frontend.kernels.fork import OwtKernelManager
from owt.frontend.kernels.kernel import Kernel, KernelOwner, KernelState
from owt.frontend.kernels.recovery import Recovery
from owt.frontend.kernels.template import TemplateProcess
from owt.frontend.kernels.templates import KeptKernel, Templates
from owt.wire.messages import CONNECTIONS_VARIABLE, PRELOAD_VARIABLE, Welcome
from owt.wire.template import KERNEL_MARK

log = logging.getLogger("owt.kernels")

_BRING_IN = "__import__('owt.kernel.process.attach').kernel.process.attach.attach_here()"
"""Program text that makes the kernel of another kernelspec serve its connections."""

PROVISIONER = "kernel_provisioner"
"""Key of the provisioner in the metadata of a kernelspec."""

NO_VARIABLES: Mapping[str, str] = {}
START_TIMEOUT = 60.0
"""Seconds from a kernel's start to its `Hello`."""

OTHER_AT_EACH_START = (
    "OWT_", "OLDPWD", "PWD", "SHLVL", "_", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID",
    "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_",
)
"""Variables, and prefixes of variables, that a shell or systemd sets anew for each process."""


class Failure(NamedTuple):
    """Failed start of a kernel: the problem, in words that follow "the kernel", and its monotonic time."""

    problem: str
    moment: float


class Kernels:
    """The kernels of one server. `failures` has a kernelspec's last failed start until one succeeds, and
    `recovery` the kernels of an earlier frontend that have yet to answer."""

    def __init__(
        self,
        *,
        runtime_dir: str,
        restore_dir: Callable[[], None] = lambda: None,
        templates: Templates | None,
        env: dict[str, str],
        welcome: Callable[[str | None, int], Welcome],
        counters: Counters,
        descriptors: Descriptors,
        endpoints: Endpoints | None = None,
    ) -> None:
        """`welcome(session, concurrency)` returns the first message to a kernel. `endpoints` is the table in
        which kernels register their endpoints."""
        self.counters = counters
        self.failures: dict[str, Failure] = {}
        self.all: dict[str, Kernel] = {}
        self.recovery = Recovery()
        self._runtime_dir = runtime_dir
        self._restore_dir = restore_dir
        self._templates = templates
        self._env = env
        self._welcome = welcome
        self._descriptors = descriptors
        self._endpoints = endpoints or Endpoints()
        self._starting = 0
        self._context = zmq.asyncio.Context()
        self._specs = kernelspecs()
        self._numbers = itertools.count(1)

    def check_spec(self, name: str) -> None:
        """Raise `BadRequest` when there is no kernelspec of this name, or it cannot be used."""
        check_kernelspec(self._specs, name)

    @property
    def preparing(self) -> bool:
        """True while forked kernels have to wait, because the template is not ready yet."""
        return self._templates is not None and self._templates.main.preparing

    @property
    def preload_problems(self) -> tuple[str, ...]:
        """Problems of the modules that the template should have imported."""
        return () if self._templates is None else self._templates.problems

    @property
    def host(self) -> TemplateProcess | None:
        """Return the process that starts kernels, and keeps them with `--keep`."""
        return None if self._templates is None else self._templates.main

    def current(self) -> list[Kernel]:
        """Return the kernels that have not ended."""
        return [kernel for kernel in self.all.values() if kernel.state is not KernelState.ENDED]

    def check_room(self) -> None:
        """Raise `Busy` when there are not enough file descriptors to start one more kernel."""
        self._descriptors.require(self._starting + 1)

    async def start(
        self,
        spec: str,
        session: str | None,
        concurrency: int,
        owner: KernelOwner,
        env: Mapping[str, str] = NO_VARIABLES,
        cwd: str | None = None,
    ) -> Kernel:
        """Start a kernel and wait until calls can be sent to it. `env` has further variables for its
        environment, and `cwd` is its working directory, instead of those that its kernelspec has.

        Raises `Busy` when there are no file descriptors for it, and `KernelDied` when it ends or is silent
        before it is ready. The owner is notified of the end too, if the start got as far as a process.
        """
        self.check_room()
        self._starting += 1
        self.counters.kernel_starts += 1
        try:
            kernel = await self._start(spec, session, concurrency, owner, env, cwd)
        except KernelDied as error:
            self.failures[spec] = Failure(error.reason, time.monotonic())
            raise
        finally:
            self._starting -= 1
        self.failures.pop(spec, None)
        return kernel

    async def _start(
        self,
        spec: str,
        session: str | None,
        concurrency: int,
        owner: KernelOwner,
        env: Mapping[str, str],
        cwd: str | None,
    ) -> Kernel:
        try:
            self._restore_dir()
            kernel = self._new_kernel(f"k{next(self._numbers)}", spec, session, concurrency, owner)
        except Exception as error:
            raise self._start_error(spec, error) from error
        launch = asyncio.get_running_loop().create_task(self._launch(kernel, env, cwd))
        launch.add_done_callback(_retrieve_exception)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                done, _ = await asyncio.wait((launch, kernel.ready), return_when=asyncio.FIRST_EXCEPTION)
                for finished in done:
                    finished.result()
        except TimeoutError:
            reason = f"was not ready {START_TIMEOUT:.0f} s after its start"
            kernel.kill(reason, ExitKind.NOT_READY)
            if not self._descriptors.free():
                raise self._descriptors.exhausted("start a kernel") from None
            hint = f"does the kernelspec {spec!r} run `python -m owt.kernel`?"
            raise KernelNotReady.because(f"{reason}; {hint}") from None
        except KernelDied as error:
            kernel.kill(error.reason, ExitKind.NOT_READY)
            raise
        except asyncio.CancelledError:
            kernel.kill("was not needed any more")
            raise
        except Exception as error:
            kernel.kill(f"could not be started: {error}", ExitKind.NOT_READY)
            raise self._start_error(spec, error) from error
        finally:
            launch.cancel()
        return kernel

    def _new_kernel(
        self, id: str, spec: str, session: str | None, concurrency: int, owner: KernelOwner
    ) -> Kernel:
        manager = OwtKernelManager(
            kernel_name=spec,
            transport="ipc",
            ip=os.path.join(self._runtime_dir, id),
            connection_file=os.path.join(self._runtime_dir, f"kernel-{id[1:]}.json"),
            context=self._context,
            kernel_spec_manager=self._specs,
        )
        files = os.path.join(self._runtime_dir, f"{id}-files")
        welcome = replace(self._welcome(session, concurrency), files=files)
        kernel = Kernel(id, spec, manager, welcome, owner, self._endpoints)
        self.all[kernel.id] = kernel
        kernel.ended.add_done_callback(lambda _: self._remove(kernel))
        return kernel

    async def resume(
        self, id: str, spec: str, session: str | None, concurrency: int, owner: KernelOwner
    ) -> Kernel | None:
        """Return a kernel that an earlier frontend has started, and connect to it. Returns None if nothing of
        it was kept.

        Its `ready` comes when it has answered; if it has died meanwhile, the owner is notified of its end.
        """
        assert self._templates is not None
        if (kept := self._templates.kept.pop(id, None)) is None:
            return None
        kernel = self._new_kernel(id, spec, session, concurrency, owner)
        kernel.mark = kept.mark
        try:
            kernel.manager.load_connection_file()
            kernel.key = kernel.manager.session.key
        except (OSError, ValueError) as error:
            log.warning("Jupyter clients cannot connect to the kernel %s any more: %s", id, error)
        kernel.manager.main_template = self._templates.main
        self.recovery.expect(kernel)
        await kernel.reconnect(kept.template, kept.held)
        return kernel

    def number_from(self, ids: Iterable[str]) -> None:
        """Give new kernels higher numbers than these and all that were kept."""
        numbers = [int(id[1:]) for id in (*ids, *self.kept) if id[1:].isdecimal()]
        self._numbers = itertools.count(max(numbers, default=0) + 1)

    @property
    def kept(self) -> Mapping[str, KeptKernel]:
        """Return the kernels of an earlier frontend that no session goes on with yet, by id."""
        return {} if self._templates is None else self._templates.kept

    def edition(self, spec: str) -> bytes:
        """Return a digest of all settings with which kernels of this kernelspec start now.

        Raises `NoSuchKernel` if there is no kernelspec of this name.
        """
        return self._edition(self._specs.get_kernel_spec(spec))

    def _edition(self, spec: KernelSpec) -> bytes:
        env = sorted(item for item in self._env.items() if not item[0].startswith(OTHER_AT_EACH_START))
        settings = spec.to_dict(), env, os.getcwd(), self._welcome(None, 1).memory
        return hashlib.blake2b(repr(settings).encode(), digest_size=16).digest()

    def _start_error(self, spec: str, error: Exception) -> OwtError:
        if ran_out(error):
            return self._descriptors.exhausted("start a kernel")
        problem = f"could not be started: {error}"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem += f". Make room in the runtime directory {self._runtime_dir} (--runtime-dir)"
        return KernelNotReady(f"the kernel {spec!r} {problem}", problem)

    async def _launch(self, kernel: Kernel, env: Mapping[str, str], cwd: str | None) -> None:
        manager = kernel.manager
        spec = manager.kernel_spec
        preload: Sequence[str] = ()
        if spec is not None:
            if self._templates is not None:
                command = manager.format_kernel_cmd()
                manager.template = self._templates.of(command, spec)
                manager.main_template = self._templates.main
                preload = self._templates.modules_of(command, spec)
                manager.hold = kernel.hold
                if self._templates.main.keeping is not None:
                    if kernel.session is None:
                        kernel.edition = self._edition(spec)
                    if PROVISIONER not in spec.metadata:
                        # jupyter_client's own one would make the kernel a child of this process.
                        spec.metadata = {**spec.metadata, PROVISIONER: {"provisioner_name": "owt-fork"}}
            cwd = cwd or Environment.of(spec.metadata).cwd
            # The variables of a kernelspec would win over the environment.
            spec.env = {**spec.env, **literal(env)}
        with await kernel.connect() as connections:
            whole_env = {**self._env, KERNEL_MARK: kernel.mark, CONNECTIONS_VARIABLE: "0"}
            if preload:
                whole_env[PRELOAD_VARIABLE] = ",".join(preload)
            await manager.start_kernel(env=whole_env, stdin=connections, cwd=cwd)
        kernel.watch()
        if kernel.pid is not None:
            self._descriptors.restore_limit(kernel.pid)
        if spec is not None and "owt.kernel" not in spec.argv:
            await self._bring_in(kernel, spec.argv[0])

    async def _bring_in(self, kernel: Kernel, interpreter: str) -> None:
        """Make a kernel that is not owt's own serve its connections, by a request on Jupyter's channel."""
        client = kernel.manager.client(context=self._context)
        client.start_channels(hb=False, stdin=False, iopub=False)
        info: dict[str, object] = {}
        try:
            reply = await client.execute(
                _BRING_IN, silent=True, store_history=False, allow_stdin=False, reply=True
            )
            if reply["content"]["status"] != "ok":
                info = (await client.kernel_info(reply=True))["content"].get("language_info", {})
        finally:
            client.stop_channels()
        if reply["content"]["status"] != "ok":
            name, value = reply["content"].get("ename"), reply["content"].get("evalue")
            version = str(info.get("version"))
            if info.get("name") == "python" and (advice := too_old(version)) is not None:
                problem = f"cannot run calls: {interpreter} is Python {version}, and {advice}"
                raise KernelNotReady(f"the kernelspec {kernel.spec!r} {problem}", problem)
            need = advice = ""
            if name != WireError.__name__:
                need = " unless owt can be imported there"
                advice = f". A kernelspec that needs no owt there: owt kernel add NAME --python {interpreter}"
            problem = f"cannot run calls{need} ({name}: {value}){advice}"
            raise KernelNotReady(f"the kernelspec {kernel.spec!r} {problem}", problem)

    async def close(self) -> None:
        """End every kernel."""
        kernels = list(self.all.values())
        for kernel in kernels:
            kernel.kill("was ended with the server")
        await asyncio.gather(*(kernel.closed() for kernel in kernels))
        self._context.destroy(linger=0)

    def _remove(self, kernel: Kernel) -> None:
        del self.all[kernel.id]
        assert kernel.exit is not None
        self.counters.kernel_ends[kernel.exit.kind.value] += 1


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    """Retrieve a task's exception, which asyncio would log when the start has failed for another reason."""
    if not task.cancelled():
        task.exception()


def kernelspecs(**traits: Any) -> KernelSpecManager:
    """Return jupyter_client's manager of the kernelspecs on this machine."""
    # Its own list has the same folders. To find that of IPython, it imports the whole of it.
    ipython = os.path.expanduser(os.environ.get("IPYTHONDIR") or "~/.ipython")
    folders = [*jupyter_path("kernels"), os.path.join(ipython, "kernels")]
    return KernelSpecManager(kernel_dirs=folders, **traits)


def check_kernelspec(specs: KernelSpecManager, name: str, field: str = "kernel") -> None:
    """Raise `BadRequest`, about `field`, if there is no kernelspec of this name, or it cannot be used."""
    try:
        spec = specs.get_kernel_spec(name)
    except NoSuchKernel:
        known = ", ".join(sorted(specs.find_kernel_specs())) or "none"
        hint = f"There are: {known}"
        if name == "owt":
            hint += (
                f". That of owt is a part of {DISTRIBUTION}; its installation is not complete. Run: "
                f"{sys.executable} -m pip install --force-reinstall --no-deps {DISTRIBUTION}"
            )
        raise BadRequest(field, "there is no such kernelspec", name, hint=hint) from None
    except (ValueError, TypeError, TraitError) as error:
        raise BadRequest(field, f"its kernel.json cannot be read ({error})", name) from error
    if not spec.argv:
        raise BadRequest(field, "its kernel.json has no argv", name)
