"""Restart of the server in its own process (SIGHUP, `owt restart`): new code and new settings, same pid.

    check   a process of the new code checks the new settings, while this one serves; the template, with
            which the new code goes on, has imported its modules
    drain   plain responses that are under way end; later requests are served meanwhile
    hold    for a moment, no request begins, so that nothing is under way
    exec    this process executes the new code, which goes on with the host, as after a crash

A connection without a request stays open: the new code goes on with its socket. Streams of events are cut,
and their clients resume them. Until the last step, any problem leaves this server as it is.

`owt restart` listens at a socket in the runtime directory, sends SIGHUP, and gives its `Order` to the server
that connects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct, field

from owt.errors import ConfigError, OwtError, counted
from owt.frontend import systemd
from owt.frontend.http.connection import Connection
from owt.frontend.http.listener import Listener
from owt.frontend.http.messages import RESTART_FRAME
from owt.frontend.http.sockets import ListeningSockets
from owt.frontend.kept_dir import KeptDirectory
from owt.frontend.kernels.host import peer
from owt.frontend.process_title import without_secrets
from owt.frontend.replacement import (
    CHECK_OPTION,
    HANDOVER_OPTION,
    NEEDS_KEEP,
    CheckResult,
    Handover,
    Launch,
    Outcome,
    Proposal,
    command,
    fixed,
)
from owt.frontend.runs.runs import RunState
from owt.frontend.service import Service
from owt.frontend.sessions import failures
from owt.wire.messages import PROTOCOL
from owt.wire.template import HOST_PROTOCOL

log = logging.getLogger("owt")

ORDERS = "frontend.restart"
"""Name of the socket of `owt restart` in the runtime directory."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that wait while the new code starts."""

ORDER_TIMEOUT = 2.0
"""Seconds in which `owt restart` sends its order."""
ANSWER_TIMEOUT = 60.0
"""Seconds in which a server connects to `owt restart` after SIGHUP; it may restart for an earlier one."""
CHECK_TIMEOUT = 60.0
"""Seconds in which the new code checks the settings."""
ANNOUNCEMENT = 0.3
"""Seconds for which connections with TLS end after their responses, before requests are held back."""
IMPORT_TIMEOUT = 60.0
"""Seconds for which a restart waits for the template, which may have begun just before."""
FIRST_HOLD = 0.1
"""Seconds for which requests are held back at first, so that those under way end; longer each time."""
INTERVAL = 0.005
"""Seconds between two checks for the end of requests."""
LAST_RESPONSES = 0.2
"""Seconds that clients get to receive the responses of calls that the restart has interrupted."""

DISCARDED = "ended because the server was restarted by owt restart --discard"
"""Reason why sessions have ended, in words that follow "the kernel"."""


class Order(Struct, frozen=True):
    """Request of `owt restart`: options in place of those of the same names, and whether to end the
    sessions."""

    options: dict[str, Any] = field(default_factory=dict)
    discard: bool = False


class Orders:
    """Socket at which `owt restart` waits for the server of a runtime directory; a context manager."""

    def __init__(self, directory: Path) -> None:
        """Listen. Raises `ConfigError` if another `owt restart` does."""
        self._path = str(directory / ORDERS)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(self._path) == 0:
                raise ConfigError("another owt restart is under way; try again when it has ended")
        try:
            # Of one that was killed.
            Path(self._path).unlink(missing_ok=True)
            self._listener.bind(self._path)
        except OSError as error:
            raise ConfigError(f"cannot listen at {self._path} for the server's answer: {error}") from None
        self._listener.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        Path(self._path).unlink(missing_ok=True)
        self._listener.close()

    def give(self, order: Order, pid: int) -> Outcome:
        """Have the server with this process id restart, and wait until it has.

        Raises `OwtError` if it does not answer.
        """
        ended = OwtError(f"the server (process {pid}) has ended meanwhile; its log says why")
        try:
            process = os.pidfd_open(pid)
            signal.pidfd_send_signal(process, signal.SIGHUP)
        except ProcessLookupError:
            raise ended from None
        poll = select.poll()
        for source in (self._listener, process):
            poll.register(source, select.POLLIN)
        ready = dict(poll.poll(ANSWER_TIMEOUT * 1000))
        os.close(process)
        if self._listener.fileno() not in ready:
            raise ended if ready else OwtError(f"the server (process {pid}) does not answer; see its log")
        server, _ = self._listener.accept()
        with server, server.makefile("rb") as answers:
            server.sendall(msgspec.json.encode(order) + b"\n")
            if not (answer := answers.readline()):
                raise ended
            return msgspec.json.decode(answer, type=Outcome)


class Restart:
    """Restarts of one server, one at a time. `launch` is what it was started with, if by `owt serve`."""

    def __init__(
        self,
        launch: Launch | None,
        *,
        service: Service,
        listener: Listener,
        sockets: ListeningSockets,
        passed: Sequence[socket.socket],
        directory: KeptDirectory | None,
    ) -> None:
        """`passed` are the sockets of systemd. `directory` is None without --keep. No restart begins before
        `ready` is set."""
        self._launch = launch
        self._service = service
        self._listener = listener
        self._sockets = sockets
        self._passed = [sock.fileno() for sock in passed]
        self._directory = directory
        self.ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._requested = False
        self._has_terminal = _has_terminal()

    def request(self) -> None:
        """Begin a restart, on SIGHUP; after the end of the terminal, end as without a handler."""
        if self._has_terminal and not _has_terminal():
            self._has_terminal = False
            if self._launch is None or not self._launch.nohup:
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
                signal.raise_signal(signal.SIGHUP)
        elif self._directory is None or self._launch is None:
            log.error("SIGHUP: the server goes on as it is: %s", NEEDS_KEEP)
            systemd.notify_reloading()
            _notify_refusal(NEEDS_KEEP)
        else:
            is_known, self._requested = self._requested, True
            if self._task is not None and not self._task.done():
                # It may have read files before they were changed.
                if not is_known:
                    log.warning("SIGHUP during a restart: another restart follows")
                return
            self._task = asyncio.get_running_loop().create_task(self._run(self._launch, self._directory))

    def cancel(self) -> None:
        """Give up a restart that is under way, as the server is to end."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, launch: Launch, directory: KeptDirectory) -> None:
        await self.ready.wait()
        while self._requested:
            self._requested = False
            await self._try(launch, directory)

    async def _try(self, launch: Launch, directory: KeptDirectory) -> None:
        """Restart, or report why the server goes on."""
        began = time.time()
        client, order = await asyncio.to_thread(_receive_order, Path(directory.path, ORDERS))
        problem = "the server is shutting down"
        systemd.notify_reloading()
        try:
            launch = launch.changed(order.options)
            await self._check_records(discard=order.discard)
            result = await self._check(launch, discard=order.discard)
            await self._wait_for_template()
            log.warning("restarting; running calls get %g s", result.drain)
            await self._drain(result.drain)
            # Calls that came meanwhile have records, too.
            await self._check_records(discard=order.discard)
            outcome = None if client is None else client.fileno()
            self._replace(await self._handover(launch, directory, began, outcome, discard=order.discard))
        except (ConfigError, OSError) as error:
            problem = str(error)
            log.error("no restart: %s. The server goes on as it was", problem)
            _notify_refusal(problem)
        except Exception as error:
            problem = f"this is a fault in owt: {error!r}"
            log.exception("no restart. The server goes on as it was")
            _notify_refusal(problem)
        finally:
            self._listener.announce_end(False)
            self._listener.resume()
            if client is not None:
                with client:
                    Outcome(problem).send(client)

    async def _check_records(self, *, discard: bool) -> None:
        """Raise `ConfigError` if something would be lost, as its record cannot be written."""
        problem = await self._service.settle_records()
        if problem is not None and not discard:
            raise ConfigError(f"{problem}; or end all sessions and runs by owt restart --discard")

    async def _check(self, launch: Launch, *, discard: bool) -> CheckResult:
        """Have the new code check the settings. Raises `ConfigError` with the problem."""
        service, port = self._service, self._sockets.local.port
        kept = [run for run in service.runs.live() if run.keep is not None]
        queues = [sum(run.keep is not None for run in s.queue) for s in service.sessions.named.values()]
        proposal = Proposal(
            launch,
            fixed=fixed(service.settings, port),
            counts={
                "max_sessions": len(service.sessions.named),
                "max_runs": len(kept),
                "queue": max(queues, default=0),
                "max_connections": self._listener.connections,
            },
            protocols=[HOST_PROTOCOL, PROTOCOL],
            passed=self._passed,
            discard=discard,
        )
        pipe = asyncio.subprocess.PIPE
        words = [*command(), CHECK_OPTION, *_options(launch)]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=self._passed
        )
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                output, errors = await process.communicate(msgspec.json.encode(proposal))
        except BaseException as error:
            process.kill()
            if isinstance(error, TimeoutError):
                raise ConfigError(f"the new code has not started within {CHECK_TIMEOUT:g} s") from None
            raise
        try:
            result = msgspec.json.decode(output, type=CheckResult)
        except msgspec.MsgspecError:
            lines = errors.decode("utf-8", "replace").strip().splitlines() or ["it wrote nothing to stderr"]
            problem = f"the new code does not start (exit status {process.returncode}): {lines[-1]}"
            raise ConfigError(problem) from None
        if result.problem is not None:
            raise ConfigError(result.problem)
        return result

    async def _wait_for_template(self) -> None:
        """Wait until the template has imported everything: it does not answer the new code before. Raises
        `ConfigError` if that takes too long."""
        kernels = self._service.sessions.kernels
        if kernels.preparing:
            log.warning("the restart waits until the template has imported its modules (--preload)")
            await _wait_for(lambda: not kernels.preparing, IMPORT_TIMEOUT)
        if kernels.preparing:
            raise ConfigError(
                f"the template has not imported its modules (--preload) within {IMPORT_TIMEOUT:g} s; restart "
                "the server when it has"
            )

    async def _drain(self, seconds: float) -> None:
        """Return at a moment when no response is under way, or after some `seconds`; no request begins then.

        Clients may call all the time, so that such a moment comes only if requests are held back. If those
        that have begun last longer, requests are served again until they have ended.
        """
        listener, deadline, hold = self._listener, time.monotonic() + seconds, FIRST_HOLD
        requests = listener.under_way()
        if listener.announce_end(True):
            # Clients that send requests all the time send the next one by another connection.
            await asyncio.sleep(ANNOUNCEMENT)
        while True:
            await self._wait_for_ends(requests, deadline - time.monotonic())
            listener.hold()
            await _wait_for(lambda: not listener.under_way(), hold)
            requests = listener.under_way()
            if not requests or time.monotonic() > deadline:
                return
            listener.resume()
            hold = min(2 * hold, max(FIRST_HOLD, deadline - time.monotonic()))

    async def _wait_for_ends(self, requests: set[tuple[Connection, int]], seconds: float) -> None:
        await _wait_for(lambda: requests.isdisjoint(self._listener.under_way()), seconds)

    async def _handover(
        self, launch: Launch, directory: KeptDirectory, began: float, outcome: int | None, *, discard: bool
    ) -> Handover:
        """Interrupt what goes on, and return all that the new code gets."""
        listener = self._listener
        listener.close_websockets(RESTART_FRAME)
        for run in self._service.runs.live():
            # A call that waits runs in the next kernel of its session.
            if discard and run.state is RunState.RUNNING:
                run.fail(failures.kernel_lost(f"the kernel {DISCARDED}"))
            if not (run.detached or run.resumable):
                run.fail(failures.shutting_down("the call was interrupted because the server restarts"))
        await _wait_for(lambda: not (listener.under_way() or (discard and self._read())), LAST_RESPONSES)
        idle, ending = listener.release()
        return Handover(
            launch,
            began,
            lock=directory.frontend_lock,
            listening=[sock.fileno() for sock in self._sockets.sockets],
            idle=[(sock.detach(), data) for sock, data in idle],
            ending=[sock.fileno() for sock in ending],
            outcome=outcome,
            discard=DISCARDED if discard else None,
        )

    def _read(self) -> bool:
        """Return True if a client has yet to receive the end of a run."""
        return any(run.has_readers for run in self._service.runs.all())

    def _replace(self, handover: Handover) -> None:
        """Execute the new code. Raises OSError if that is not possible; then this server goes on."""
        sys.stdout.flush()
        # With their default actions they would end the process while the new code starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        number = -1
        try:
            number = handover.save()
            if self._requested:
                signal.raise_signal(signal.SIGHUP)
            words = [*command(), HANDOVER_OPTION, str(number), *_options(handover.launch)]
            os.execv(sys.executable, words)
        finally:
            # There was no new code.
            if number >= 0:
                os.close(number)
            handover.inherit(False)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._listener.adopt([(socket.socket(fileno=fd), data) for fd, data in handover.idle], ())


def complete(handover: Handover, listener: Listener, *, sessions: int) -> None:
    """Go on with the connections of the earlier program, and report the end of the restart, in which this
    number of sessions has been taken over."""
    idle = [(socket.socket(fileno=number), data) for number, data in handover.idle]
    listener.adopt(idle, [socket.socket(fileno=number) for number in handover.ending])
    seconds = time.time() - handover.began
    verb = "is" if sessions == 1 else "are"
    log.warning("restarted in %.1f s; there %s %s", seconds, verb, counted(sessions, "session"))
    handover.report(Outcome(None, os.getpid(), seconds, sessions))


def _options(launch: Launch) -> list[str]:
    """Return the options of the command line, without secrets. The new code gets them with its messages, too;
    they make room for the title of the process."""
    return without_secrets(launch.words())[2:]


def _notify_refusal(problem: str) -> None:
    systemd.notify("READY=1", f"STATUS=no restart: {problem}")


def unblock_signals() -> None:
    """Receive the signals that waited while this code started."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _receive_order(path: Path) -> tuple[socket.socket | None, Order]:
    """Return the connection of an `owt restart` that waits at this path, with its order; None without one."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(ORDER_TIMEOUT)
    try:
        client.connect(str(path))
        if peer(client)[1] != os.geteuid():
            raise ConnectionError("it belongs to another user")
        with client.makefile("rb") as file:
            return client, msgspec.json.decode(file.readline(), type=Order)
    except FileNotFoundError:
        pass
    except (OSError, msgspec.MsgspecError) as error:
        log.debug("no order at %s: %s", path, error)
    client.close()
    return None, Order()


def _has_terminal() -> bool:
    """Return True if this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


async def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition is true, for `seconds` at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            # Several parts decide, and only the restart waits: an event in each would cost more.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(INTERVAL)
