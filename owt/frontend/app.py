"""The whole server: its parts, their start and their end.

    build       parts of a server, from its settings
    Frontend    start and stop of these parts
    serve       a server until a signal
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from owt.errors import BadRequest, ConfigError, counted
from owt.frontend import banner, logs, malloc, process_title, systemd
from owt.frontend.access.authentication import Authenticator
from owt.frontend.access.origins import Origins
from owt.frontend.application import Owt
from owt.frontend.config.credentials import Credentials
from owt.frontend.config.settings import Settings, warnings_about
from owt.frontend.config.settings import settings as all_settings
from owt.frontend.counters import Counters
from owt.frontend.descriptors import Descriptors
from owt.frontend.endpoints import Endpoints
from owt.frontend.http.listener import Listener
from owt.frontend.http.sockets import ListeningSockets, open_sockets
from owt.frontend.kept_dir import History, KeptDirectory, kept_path, write_history
from owt.frontend.kernels.kernels import Kernels, check_kernelspec, kernelspecs
from owt.frontend.kernels.template import REAPER, Keeping, TemplateProcess
from owt.frontend.kernels.templates import Templates
from owt.frontend.maintenance import Job
from owt.frontend.notebooks.documents import read_documents
from owt.frontend.replacement import Handover, Launch, Outcome
from owt.frontend.restart import Restart, complete, unblock_signals
from owt.frontend.runs.cache import Cache
from owt.frontend.runs.records import RunRecords
from owt.frontend.runs.table import Runs
from owt.frontend.runtime_dir import SESSIONS, RuntimeDirectory
from owt.frontend.service import Service
from owt.frontend.sessions.deadlines import Limits, check_interval
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.records import Records
from owt.frontend.sessions.sessions import Sessions
from owt.server import certificate
from owt.wire.messages import Welcome
from owt.wire.template import HOST_SOCKET, LOCK

log = logging.getLogger("owt")

ENDPOINTS_INTERVAL = 60.0
"""Seconds between two removals of the endpoints that are gone for too long."""
RECORDS_INTERVAL = 1.0
"""Seconds between two attempts to write records that could not be written."""
LAST_RESPONSES = 1.0
"""Seconds that clients get to receive the responses of calls that the end of the server has ended."""

REAPER_COMMAND = (sys.executable, "-I", REAPER)

LISTEN = "listen "
"""Beginning of the name under which the template keeps the listening sockets; their URL follows."""

DRAIN_INTERVAL = 0.02
"""Seconds between two checks for the end of the last call, while the server shuts down."""

RECOVERY_TIMEOUT = 1.0
"""Seconds that the kernels of an earlier frontend have to answer before the server reports that it is ready.
A process that is stopped answers later."""
REFILL_DELAY = 0.3
"""Seconds from the start of a frontend that goes on with sessions to that of spare kernels: the requests that
wait for the sessions come first."""


@dataclass(frozen=True)
class Parts:
    """Parts of one server, which refer to each other and have not been started."""

    templates: Templates
    kernels: Kernels
    service: Service
    application: Owt
    jobs: tuple[Job, ...]
    listener: Listener


def build(
    settings: Settings,
    *,
    credentials: Credentials,
    sockets: ListeningSockets,
    descriptors: Descriptors,
    runtime_dir: str,
    restore_dir: Callable[[], None],
    keeping: Keeping | None,
    history: History | None,
    ending: str,
    server_id: str,
    kernel_env: Mapping[str, str],
) -> Parts:
    """Return the parts of a server. Starts nothing. `ending` is why kernels of an earlier frontend have ended
    that were not kept."""
    counters = Counters()
    endpoints = Endpoints()
    fork = settings.fork and sys.platform == "linux"
    template = TemplateProcess(
        runtime_dir=runtime_dir,
        env=dict(kernel_env),
        preload=settings.preload,
        keep_threads=settings.preload_threads,
        fork=fork,
        keeping=keeping,
    )
    templates = Templates(
        template,
        env=dict(kernel_env),
        fork=fork,
        idle=settings.template_idle,
        keep_threads=settings.preload_threads,
    )

    def welcome(session: str | None, concurrency: int) -> Welcome:
        return Welcome(
            url=sockets.local.url,
            address=sockets.local.address,
            port=sockets.local.port,
            session=session,
            concurrency=concurrency,
            window=settings.window,
            memory=settings.kernel_memory,
            cleanup=(*REAPER_COMMAND, server_id, runtime_dir),
            keep=keeping is not None,
        )

    kernels = Kernels(
        runtime_dir=runtime_dir,
        restore_dir=restore_dir,
        templates=templates,
        env=dict(kernel_env),
        welcome=welcome,
        counters=counters,
        descriptors=descriptors,
        endpoints=endpoints,
    )
    limits = Limits(
        queue=settings.queue, kill_after=settings.kill_after, kill_abandoned=settings.kill_abandoned
    )
    pool = Pool(
        kernels=kernels,
        limits=limits,
        spec=settings.kernel,
        min_spares=settings.pool_min,
        max_members=settings.pool_max,
        max_nested=settings.pool_nested,
    )
    sessions = Sessions(
        kernels=kernels,
        limits=limits,
        pool=pool,
        spec=settings.kernel,
        max_sessions=settings.max_sessions,
        idle_timeout=settings.session_idle,
        records=None if keeping is None else Records(Path(runtime_dir, SESSIONS), ending),
    )
    runs = Runs(
        retention=settings.run_retention,
        outlive=keeping is not None,
        journal=settings.run_journal,
        journal_total=settings.journal_total,
        window=settings.window,
        # One answer does not displace all others.
        cacheable=settings.cache_bytes // 4,
        resume_window=settings.resume_window,
    )
    service = Service(
        settings=settings,
        authenticator=Authenticator(credentials),
        origins=Origins(settings),
        sessions=sessions,
        runs=runs,
        cache=Cache(settings.cache_bytes),
        counters=counters,
        endpoints=endpoints,
        history=history,
        run_records=None if keeping is None else RunRecords(Path(runtime_dir, SESSIONS)),
    )
    interval = _interval(settings.session_idle)
    jobs = (
        Job(interval, sessions.cull),
        Job(interval, runs.prune),
        Job(ENDPOINTS_INTERVAL, endpoints.prune),
        Job(RECORDS_INTERVAL, service.check_records),
        Job(check_interval(settings.kill_after), sessions.check),
        Job(_interval(settings.template_idle), templates.end_idle),
    )
    application = Owt(service, lambda: listener.connections)
    listener = Listener(
        application,
        settings=settings,
        descriptors=descriptors,
        ssl_options=sockets.tls,
    )
    return Parts(templates, kernels, service, application, jobs, listener)


def _interval(idle: float | None) -> float:
    """Return the seconds between two looks for what has been idle for `idle` seconds."""
    return 5 if idle is None else max(0.05, min(5, idle / 4))


class Frontend:
    """One running server, which owns all of its parts. Call `start`, then `stop`."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        descriptors: Descriptors,
        passed: Sequence[socket.socket] = (),
        handover: Handover | None = None,
    ) -> None:
        """Read the files that the settings name, and listen, or use the sockets that systemd has `passed`.
        `environ` is the environment of kernels, from which the server's own settings and secrets are removed.
        `handover` is that of an earlier program in this process.

        Raises `ConfigError` for a kernelspec, files with users, tokens or certificates, notebooks, an address
        and a runtime directory that cannot be used.
        """
        if settings.kernel_memory is not None and sys.platform != "linux":
            log.warning("--kernel-memory has no effect here: only Linux can limit the memory of a kernel")
        try:
            check_kernelspec(kernelspecs(), settings.kernel, "--kernel")
        except BadRequest as error:
            raise ConfigError(str(error)) from None
        self.settings = settings
        self.credentials = Credentials.load(
            settings.auth, settings.auth_file, settings.token, settings.token_file
        )
        self._documents = read_documents(settings.notebook)
        self._runtime_dir: RuntimeDirectory
        self._handover = handover
        self._passed = passed
        keeping, history, ending, self._host, self._kept_dir = None, None, "", None, None
        if settings.keep:
            lock, discard = (None, None) if handover is None else (handover.lock, handover.discard)
            directory = KeptDirectory(kept_path(settings), REAPER_COMMAND, lock=lock, discard=discard)
            self._kept_dir = directory
            self._runtime_dir, self._host = directory, directory.host
            try:
                self._sockets = self._open_sockets(passed)
            except ConfigError:
                directory.discard()
                raise
            if self._host is not None:
                directory.take_over(self._host.held[LOCK].descriptors[0])
            history, ending = directory.begin_history(self._sockets.url, settings.keep), directory.ending
            keeping = Keeping(settings.keep, os.path.join(directory.path, HOST_SOCKET), directory.lock)
        else:
            self._sockets = open_sockets(settings, passed=passed)
            try:
                self._runtime_dir = RuntimeDirectory(settings.runtime_dir, secrets.token_hex(8))
            except ConfigError:
                self._sockets.remove()
                raise
            # For `owt status`.
            write_history(self._runtime_dir.path, History(self._sockets.url, time.time(), 0))
        self.url = self._sockets.url
        runtime_dir, server_id = self._runtime_dir.path, self._runtime_dir.server_id
        self._parts = build(
            settings,
            credentials=self.credentials,
            sockets=self._sockets,
            descriptors=descriptors,
            runtime_dir=runtime_dir,
            restore_dir=self._restore_dir,
            keeping=keeping,
            history=history,
            ending=ending,
            server_id=server_id,
            kernel_env=kernel_environment(environ, self._sockets, runtime_dir, server_id),
        )

    def _open_sockets(self, passed: Sequence[socket.socket]) -> ListeningSockets:
        """Return the sockets that systemd has `passed`, those that were kept, or new ones. Raises
        `ConfigError` if those that were kept have another address."""
        inherited = [] if self._handover is None else self._handover.listening
        if self._host is None and not passed:
            return open_sockets(self.settings, [socket.socket(fileno=number) for number in inherited])
        for number in inherited:
            os.close(number)
        if self._host is None:
            return open_sockets(self.settings, passed=passed)
        self._host.adopt(self.settings.keep)
        for name, held in self._host.held.items():
            if name.startswith(LISTEN):
                kept = [socket.socket(fileno=descriptor) for descriptor in held.descriptors]
                sockets, url = open_sockets(self.settings, kept, passed=passed), name.removeprefix(LISTEN)
                own_port = self.settings.port if self.settings.unix_socket is None else 0
                if sockets.url != url or own_port not in (0, sockets.local.port):
                    raise ConfigError(
                        f"--keep: the sessions that are kept in {self._runtime_dir.path} belong to a server "
                        f"at {url}; give the same address, or end them by owt stop"
                    )
                for sock in kept if passed else ():
                    sock.close()
                return sockets
        return open_sockets(self.settings, passed=passed)

    async def start(self) -> None:
        """Accept connections, and begin to start kernels."""
        parts = self._parts
        parts.templates.start(self._host)
        descriptors = [sock.fileno() for sock in self._sockets.sockets]
        parts.templates.main.hold(LISTEN + self.url, descriptors)
        service = parts.service
        since = None if self._host is None else self._host.ready.since
        await service.recover(since or time.time())
        if self._handover is None and since is not None:
            log.warning(
                "going on with %s and %s of the pool; the server's process ended %.1f s ago",
                counted(len(service.sessions.named), "session"),
                counted(service.sessions.pool.kernel_count, "kernel"),
                time.time() - since,
            )
        service.notebooks.start(
            self._documents, sessions=service.sessions, submit=service.submit, watch=self.settings.watch
        )
        parts.listener.add_sockets(self._sockets.sockets)
        if self._handover is not None:
            complete(self._handover, parts.listener, sessions=len(service.sessions.named))
        pool = service.sessions.pool
        if self._host is None:
            pool.refill()
        else:
            asyncio.get_running_loop().call_later(REFILL_DELAY, pool.refill)
        for job in parts.jobs:
            job.start()
        # It takes seconds if there is something to kill, and the end of this server does not wait for it.
        threading.Thread(
            target=self._runtime_dir.clean_up_after_others, args=[REAPER_COMMAND], daemon=True
        ).start()
        with contextlib.suppress(TimeoutError):
            # Requests are answered meanwhile.
            async with asyncio.timeout(RECOVERY_TIMEOUT):
                await service.recovery.wait_until(lambda: False)

    def restart(self, launch: Launch | None) -> Restart:
        """Return the restarts of this server, which `launch` has started."""
        return Restart(
            launch,
            service=self._parts.service,
            listener=self._parts.listener,
            sockets=self._sockets,
            passed=self._passed,
            directory=self._kept_dir,
        )

    async def stop(self, drain: float, hurry: asyncio.Event | None = None) -> None:
        """Refuse new calls, wait for running ones for `drain` seconds or until `hurry` is set, then end all
        parts."""
        parts, service = self._parts, self._parts.service
        service.draining = True
        parts.templates.main.wake()
        service.authenticator.close()
        service.notebooks.close()
        parts.listener.stop()
        self._sockets.remove()
        await _wait_for(lambda: not service.runs.live() and not self._responding(), drain, hurry)
        await service.sessions.close()
        # The calls that have just been ended get a response, too.
        await _wait_for(lambda: not self._responding(), LAST_RESPONSES)
        await parts.listener.close_all_connections()
        parts.application.gateway.close()
        await parts.kernels.close()
        if service.run_records is not None:
            service.run_records.close()
        # The template takes the lock to clean up.
        self._runtime_dir.unlock()
        await parts.templates.close()
        for job in parts.jobs:
            job.stop()
        self._runtime_dir.remove()

    def _restore_dir(self) -> None:
        if self._runtime_dir.restore():
            self._sockets.keep_certificate(self._runtime_dir.path)

    def _responding(self) -> bool:
        """Return True if a client has yet to receive a response."""
        service = self._parts.service
        return (
            self._parts.listener.writing
            or service.authenticator.pending > 0
            or any(run.has_readers for run in service.runs.all())
        )


def kernel_environment(
    environ: Mapping[str, str], sockets: ListeningSockets, runtime_dir: str, server_id: str
) -> dict[str, str]:
    """Return the environment of kernels, which has none of the server's settings and secrets."""
    removed = {row.variable for row in all_settings()} | process_title.CLIENT_SECRETS | systemd.VARIABLES
    removed.add(certificate.VARIABLE)
    env = {name: value for name, value in environ.items() if name not in removed}
    # debugpy, which ipykernel imports, warns on stderr about Python's own frozen modules.
    env.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    if path := sockets.keep_certificate(runtime_dir):
        env[certificate.VARIABLE] = path
    return {**env, "OWT_URL": sockets.local.url, "OWT_SERVER_ID": server_id}


def serve(
    settings: Settings,
    on_ready: Callable[[str], None] = lambda url: None,
    launch: Launch | None = None,
    handover: Handover | None = None,
) -> int:
    """Run the server until SIGTERM or SIGINT, and return the exit status.

    `on_ready` is called with the server's URL once it accepts connections. `launch` is what the server can be
    restarted with, and `handover` is that of an earlier program in this process.

    Raises `ConfigError` as `Frontend` does.
    """
    logs.set_up(settings.verbose, settings.log_format)
    for sentence in warnings_about(os.environ):
        log.warning("%s", sentence)
    malloc.keep_freed_memory()
    words = None if handover is None else handover.launch.words()
    process_title.hide_secrets(os.environ, sys.argv, words)
    try:
        return asyncio.run(_serve(settings, on_ready, launch, handover))
    except ConfigError as error:
        if handover is not None:
            handover.report(Outcome(f"the server has ended: {error}"))
        raise


async def _serve(
    settings: Settings, on_ready: Callable[[str], None], launch: Launch | None, handover: Handover | None
) -> int:
    descriptors = Descriptors()
    descriptors.raise_limit()
    passed = systemd.passed_sockets(os.environ)
    settings = systemd.with_sockets(settings, passed)
    frontend = Frontend(settings, dict(os.environ), descriptors, passed, handover)
    # What has been imported stays. The garbage collector would walk through it every few thousand calls, and
    # all clients would wait for up to 0.1 s.
    gc.freeze()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    hurry = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            hurry.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    restart = frontend.restart(launch)
    loop.add_signal_handler(signal.SIGHUP, restart.request)
    unblock_signals()
    await frontend.start()
    systemd.notify("READY=1", f"STATUS=serving on {frontend.url}")
    restart.ready.set()
    if handover is None:
        banner.show(f"Owt serving on {frontend.url}")
    on_ready(frontend.url)
    if settings.show_examples and handover is None:
        user = next(iter(frontend.credentials.users), None)
        token = bool(frontend.credentials.tokens)
        banner.show(banner.examples(frontend.url, user=user, token=token))
    await stopping.wait()
    restart.cancel()
    log.info("shutting down; running calls get %g s (send the signal again to end them now)", settings.drain)
    systemd.notify("STOPPING=1", "STATUS=shutting down")
    await frontend.stop(settings.drain, hurry)
    return 0


async def _wait_for(
    condition: Callable[[], bool], seconds: float, hurry: asyncio.Event | None = None
) -> None:
    """Wait until the condition is true, for `seconds` at most, and not after `hurry` is set."""
    deadline = time.monotonic() + seconds
    # Several parts decide, and only the end of the server waits: an event in each would cost more.
    while not condition() and time.monotonic() < deadline and not (hurry and hurry.is_set()):  # noqa: ASYNC110
        await asyncio.sleep(DRAIN_INTERVAL)
