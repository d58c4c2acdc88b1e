"""Kernel processes: started by jupyter_client, reached over the call channel."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import zmq.asyncio
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from traitlets import Any as AnyTrait

from owt.errors import BadRequest, KernelDied, KernelNotReady
from owt.frontend.channel import Door, LaneProtocol
from owt.provision.template import TemplateProcess
from owt.wire.call import Call
from owt.wire.codec import Bind, Cancel, Credit, Invoke, Lane, Output, Welcome

log = logging.getLogger("owt.kernels")

_BRING_IN = "__import__('owt.kernel.app').kernel.app.attach_here()"

START_TIMEOUT = 60.0
"""Seconds that a kernel may take from its start to its hello."""


class OwtKernelManager(AsyncKernelManager):  # type: ignore[misc]
    """jupyter_client's manager, which also knows the template that `ForkProvisioner` needs."""

    template = AnyTrait()

    def _connect_control_socket(self) -> None:
        """Nothing: a control socket for each kernel costs descriptors, and interrupts and the end
        of a kernel are signals here. Jupyter clients that attach make their own."""


class Kernel:
    """One kernel process and its lanes. Made by `Kernels.start`."""

    def __init__(
        self,
        id: str,
        spec: str,
        manager: OwtKernelManager,
        welcome: Welcome,
        on_output: Callable[[Output], None],
        on_death: Callable[[str], None],
    ) -> None:
        self.id = id
        self.spec = spec
        self.manager = manager
        self.key: bytes = manager.session.key
        self.started = time.time()
        self.pid: int | None = None
        self.connection_file: str = manager.connection_file
        self.ending: str | None = None
        self.on_output = on_output
        self.on_death = on_death
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._welcome = welcome
        self._lanes: dict[Lane, LaneProtocol] = {}
        self._dead = False
        self._closing: asyncio.Task[None] | None = None
        self._watched: int | None = None

    # The door's side ---------------------------------------------------------------------------

    def welcome(self) -> Welcome:
        """What the kernel is told when it connects."""
        return self._welcome

    def connected(self, lane: Lane, connection: LaneProtocol) -> None:
        """A lane is open; with both, calls can run."""
        self._lanes[lane] = connection
        if len(self._lanes) == 2 and not self.ready.done():
            self.ready.set_result(None)

    def output(self, message: Output) -> None:
        """Chunks of a run arrived."""
        self.on_output(message)

    def disconnected(self, lane: Lane) -> None:
        """A lane ended: the process is gone, or of no more use."""
        self._lanes.pop(lane, None)
        self._lost()

    # The session's side ------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether calls can be sent."""
        return not self._dead and len(self._lanes) == 2

    def invoke(self, run: str, call: Call) -> None:
        """Send a call. Its output comes to `on_output`, or `on_death` is called."""
        self._lanes["calls"].send(Invoke(run, call))

    def bind(self, session: str | None, concurrency: int) -> None:
        """The kernel now belongs to this session."""
        self._lanes["calls"].send(Bind(session, concurrency))

    def credit(self, run: str, size: int) -> None:
        """The run's readers have taken `size` bytes."""
        if lane := self._lanes.get("control"):
            lane.send(Credit(run, size))

    def cancel(self, message: Cancel) -> None:
        """End one run."""
        if lane := self._lanes.get("control"):
            lane.send(message)

    async def interrupt(self) -> None:
        """SIGINT to the kernel and to what it started: ends whatever runs there, also a cell."""
        with contextlib.suppress(RuntimeError, OSError):
            await self.manager.signal_kernel(signal.SIGINT)

    def memory(self) -> int | None:
        """Resident bytes of the process, or None when it is gone."""
        if self.pid is None:
            return None
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None

    def kill(self, reason: str) -> None:
        """End the process at once; `reason` is what `on_death` will hear."""
        if self.ending is None:
            self.ending = reason
        self._lost()

    async def closed(self) -> None:
        """Wait until a kill has done its work."""
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def watch(self) -> None:
        """Notice the end of the process also when something it forked keeps the lanes open."""
        if self.pid is None or self._dead or not hasattr(os, "pidfd_open"):
            return
        with contextlib.suppress(OSError):
            self._watched = os.pidfd_open(self.pid)
            asyncio.get_running_loop().add_reader(self._watched, self._lost)

    def _lost(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None
        if not self._dead:
            self._dead = True
            self._closing = asyncio.get_running_loop().create_task(self._bury())

    async def _bury(self) -> None:
        """Learn how it ended, make sure that it has, and clean up."""
        reason = self.ending or await self._cause()
        if not self.ready.done():
            self.ready.set_exception(KernelNotReady(f"the kernel {reason} before it was ready"))
            self.ready.exception()
        self.on_death(reason)
        for lane in list(self._lanes.values()):
            lane.close()
        try:
            # The whole process group: also what the kernel started and left behind.
            if self.manager.provisioner is not None and self.manager.provisioner.pgid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.manager.provisioner.pgid, signal.SIGKILL)
            self.manager.shutting_down = True
            await self.manager._async_kill_kernel()
            await self.manager.cleanup_resources()
        except Exception:
            log.exception("cleaning up after kernel %s", self.id)

    async def _cause(self) -> str:
        provisioner = self.manager.provisioner
        deadline = time.monotonic() + 2
        while provisioner is not None and provisioner.has_process:
            code = await provisioner.poll()
            if code is not None:
                return describe_exit(code)
            if time.monotonic() > deadline:
                return "closed its call channel"
            await asyncio.sleep(0.005)
        return "ended"


def describe_exit(code: int) -> str:
    """An exit code, as in `subprocess.Popen.returncode`, in words that fit after "the kernel"."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "was killed by SIGKILL (by hand, or by the system when memory ran out)"
    if name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"):
        return f"crashed with {name} (a fault in native code)"
    return f"was killed by {name}"


class Kernels:
    """Starts kernels. One for a server."""

    def __init__(
        self,
        *,
        runtime_dir: str,
        door: Door,
        template: TemplateProcess | None,
        env: dict[str, str],
        welcome: Callable[[str | None, int], Welcome],
    ) -> None:
        """`welcome(session, concurrency)` makes what a kernel is told when it connects."""
        self._runtime_dir = runtime_dir
        self._door = door
        self._template = template
        self._env = env
        self._welcome = welcome
        self._context = zmq.asyncio.Context()
        self._specs = KernelSpecManager()
        self._numbers = itertools.count(1)
        self.all: dict[str, Kernel] = {}

    def check_spec(self, name: str) -> None:
        """Raises `BadRequest` when there is no kernelspec of this name."""
        try:
            self._specs.get_kernel_spec(name)
        except NoSuchKernel:
            known = ", ".join(sorted(self._specs.find_kernel_specs())) or "none"
            raise BadRequest("kernel", "there is no such kernelspec", name, hint=f"There are: {known}") from None

    async def start(
        self,
        spec: str,
        session: str | None,
        concurrency: int,
        on_output: Callable[[Output], None],
        on_death: Callable[[str], None],
        on_made: Callable[[Kernel], None] = lambda kernel: None,
    ) -> Kernel:
        """Start a kernel and wait for its hello; `on_made` gets it before that.

        Raises `KernelDied` when it ends or is silent before that.
        """
        number = next(self._numbers)
        try:
            manager = OwtKernelManager(
                kernel_name=spec,
                transport="ipc",
                ip=os.path.join(self._runtime_dir, f"k{number}"),
                connection_file=os.path.join(self._runtime_dir, f"kernel-{number}.json"),
                context=self._context,
                kernel_spec_manager=self._specs,
                template=self._template,
            )
        except Exception as error:
            raise KernelNotReady(f"the kernel {spec!r} could not be started: {error}") from error
        welcome = self._welcome(session, concurrency)
        kernel = Kernel(f"k{number}", spec, manager, welcome, on_output, on_death)
        self.all[kernel.id] = kernel
        on_made(kernel)
        forget = self._door.expect(kernel.id, kernel)
        env = {**self._env, "OWT_DOOR": self._door.path, "OWT_KERNEL_ID": kernel.id}
        launch = asyncio.get_running_loop().create_task(self._launch(kernel, env))
        try:
            async with asyncio.timeout(START_TIMEOUT):
                done, _ = await asyncio.wait((launch, kernel.ready), return_when=asyncio.FIRST_EXCEPTION)
                for finished in done:
                    finished.result()
        except TimeoutError:
            kernel.kill(f"said nothing for {START_TIMEOUT:.0f} s after its start")
            raise KernelNotReady(
                f"the kernel {kernel.ending}; does the kernelspec {spec!r} run `python -m owt.kernel`?"
            ) from None
        except KernelDied:
            raise
        except asyncio.CancelledError:
            kernel.kill("was not needed any more")
            raise
        except Exception as error:
            kernel.kill("could not be started")
            raise KernelNotReady(f"the kernel {spec!r} could not be started: {error}") from error
        finally:
            forget()
        return kernel

    async def _launch(self, kernel: Kernel, env: dict[str, str]) -> None:
        manager = kernel.manager
        await manager.start_kernel(env=env, stdin=subprocess.DEVNULL)
        kernel.pid = manager.provisioner.pid if manager.provisioner else None
        kernel.watch()
        if manager.kernel_spec is not None and "owt.kernel" not in manager.kernel_spec.argv:
            await self._bring_in(kernel)

    async def _bring_in(self, kernel: Kernel) -> None:
        """Have a kernel that is not owt's own connect to the door, over Jupyter's shell channel."""
        client = kernel.manager.client(context=self._context)
        client.start_channels(hb=False, stdin=False, iopub=False)
        try:
            id = client.execute(_BRING_IN, silent=True, store_history=False, allow_stdin=False)
            while True:
                reply = await client.get_shell_msg()
                if reply["parent_header"].get("msg_id") == id:
                    break
        finally:
            client.stop_channels()
        if reply["content"]["status"] != "ok":
            problem = f"{reply['content'].get('ename')}: {reply['content'].get('evalue')}"
            raise KernelNotReady(
                f"the kernelspec {kernel.spec!r} runs calls only if owt can be imported there ({problem})"
            )

    async def close(self) -> None:
        """End every kernel."""
        for kernel in list(self.all.values()):
            kernel.kill("was ended with the server")
        await asyncio.gather(*(kernel.closed() for kernel in self.all.values()))
        self._context.destroy(linger=0)

    def forget(self, kernel: Kernel) -> None:
        """Its end has been dealt with."""
        self.all.pop(kernel.id, None)
