"""The server as a whole: put together, started, ended."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

from owt.errors import ConfigError
from owt.frontend import banner, logs, malloc, process_title
from owt.frontend.access.authentication import Authenticator
from owt.frontend.access.origins import Origins
from owt.frontend.api import directory, health, metrics
from owt.frontend.api.control import Page
from owt.frontend.application import Owt
from owt.frontend.config.credentials import Credentials
from owt.frontend.config.settings import Settings
from owt.frontend.config.settings import settings as all_settings
from owt.frontend.counters import Counters
from owt.frontend.descriptors import Descriptors
from owt.frontend.endpoints import Endpoints
from owt.frontend.gateway.mount import Mount
from owt.frontend.http.listener import Listener
from owt.frontend.http.sockets import open_sockets
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.kernels.template import REAPER, TemplateProcess
from owt.frontend.maintenance import Maintenance
from owt.frontend.notebooks.documents import read_documents
from owt.frontend.runs.cache import Cache
from owt.frontend.runs.runs import Runs
from owt.frontend.service import Service
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.session import Limits
from owt.frontend.sessions.sessions import Sessions
from owt.server import certificate
from owt.wire.messages import Welcome

log = logging.getLogger("owt")

LAST_WORDS = 1.0
"""Seconds that clients get to take the answers of calls which the end of the server has ended."""

LONGEST_DIR = 80
"""Bytes of a runtime directory's path: a Unix socket's path is at most 107 bytes, and on macOS 103."""


class Frontend:
    """One running server. `start`, then `stop`; everything it makes is its own."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], descriptors: Descriptors) -> None:
        """`environ` is what kernels inherit, without the server's own settings and secrets."""
        self.settings = settings
        self._descriptors = descriptors
        self.url = ""
        self._environ = environ
        self._mark = secrets.token_hex(8)

    async def start(self) -> None:
        """Listen, and begin to prepare kernels. Raises `ConfigError` as `open_sockets` does, and for files
        with users or tokens that cannot be used, and notebooks that are none."""
        settings = self.settings
        if settings.kernel_memory is not None and sys.platform != "linux":
            log.warning("--kernel-memory has no effect here: only Linux can limit so what a kernel allocates")
        self.credentials = Credentials.load(
            settings.auth, settings.auth_file, settings.token, settings.token_file
        )
        documents = read_documents(settings.notebook)
        self._doors = doors = open_sockets(settings)
        self.url = doors.url
        try:
            self.runtime_dir = make_runtime_dir(settings)
        except ConfigError:
            doors.remove()
            raise
        self._runtime_lock = lock_directory(self.runtime_dir)
        env = self._kernel_environment()
        self._template = TemplateProcess(
            runtime_dir=self.runtime_dir,
            env=env,
            preload=settings.preload,
            fork=settings.fork and sys.platform == "linux",
        )
        self._template.start()
        counters = Counters()
        endpoints = Endpoints()
        self._kernels = Kernels(
            runtime_dir=self.runtime_dir,
            template=self._template,
            env=env,
            welcome=self._welcome,
            counters=counters,
            descriptors=self._descriptors,
            endpoints=endpoints,
        )
        limits = Limits(queue=settings.queue, kill_after=settings.kill_after)
        pool = Pool(
            kernels=self._kernels,
            limits=limits,
            spec=settings.kernel,
            min_spares=settings.pool_min,
            max_members=settings.pool_max,
        )
        sessions = Sessions(
            kernels=self._kernels,
            limits=limits,
            pool=pool,
            spec=settings.kernel,
            max_sessions=settings.max_sessions,
            idle_timeout=settings.session_idle,
        )
        self.service = Service(
            settings=settings,
            authenticator=Authenticator(self.credentials),
            origins=Origins(settings),
            sessions=sessions,
            runs=Runs(
                retention=settings.run_retention,
                journal=settings.run_journal,
                journal_total=settings.journal_total,
                window=settings.window,
                # One answer does not push out all others.
                cacheable=settings.cache_bytes // 4,
                resume_window=settings.resume_window,
            ),
            cache=Cache(settings.cache_bytes),
            counters=counters,
            endpoints=endpoints,
        )
        notebooks = self.service.notebooks
        notebooks.open(documents, sessions=sessions, submit=self.service.submit)
        self._gateway = Mount(self.service)
        pages: list[Page] = [
            *health.routes(self.service),
            *directory.routes(self.service),
            *metrics.routes(self.service, lambda: self._http.connections),
            (self._gateway.pattern, self._gateway, {}),
        ]
        self._maintenance = Maintenance()
        self._http = Listener(
            Owt(self.service, pages),
            settings=settings,
            descriptors=self._descriptors,
            maintenance=self._maintenance,
            ssl_options=doors.tls,
        )
        idle = settings.session_idle
        interval = 5 if idle is None else max(0.05, min(5, idle / 4))
        self._maintenance.every(interval, sessions.cull)
        self._maintenance.every(sessions.stop_check_interval, sessions.check_stopped)
        self._maintenance.every(interval, self.service.runs.prune)
        notebooks.start(self._maintenance if settings.watch else None)
        self._http.add_sockets(doors.sockets)
        pool.refill()
        self._maintenance.start()

    async def stop(self, drain: float, hurry: asyncio.Event | None = None) -> None:
        """Take no new calls, let running ones finish for `drain` seconds or until `hurry` is set,
        then end everything."""
        service = self.service
        service.draining = True
        service.authenticator.close()
        service.notebooks.close()
        self._http.stop()
        self._doors.remove()
        self._maintenance.stop()
        await _until(lambda: not service.runs.live() and not self._answering(), drain, hurry)
        await service.sessions.close()
        # Also those calls are answered that have just been ended.
        await _until(lambda: not self._answering(), LAST_WORDS, None)
        await self._http.close_all_connections()
        self._gateway.close()
        await self._kernels.close()
        # The template takes the lock to clear up.
        os.close(self._runtime_lock)
        await self._template.close()
        shutil.rmtree(self.runtime_dir, ignore_errors=True)

    def _answering(self) -> bool:
        service = self.service
        followed = any(run.has_readers for run in service.runs.all())
        return self._http.writing or service.authenticator.pending > 0 or followed

    def _welcome(self, session: str | None, concurrency: int) -> Welcome:
        return Welcome(
            url=self._doors.here.url,
            address=self._doors.here.address,
            port=self._doors.here.port,
            session=session,
            concurrency=concurrency,
            window=self.settings.window,
            memory=self.settings.kernel_memory,
            cleanup=(sys.executable, "-I", REAPER, self._mark, self.runtime_dir),
        )

    def _kernel_environment(self) -> dict[str, str]:
        """What kernels inherit: not the server's settings, least of all its secrets."""
        ours = {row.variable for row in all_settings()} | process_title.CLIENT_SECRETS
        ours.add(certificate.VARIABLE)
        env = {name: value for name, value in self._environ.items() if name not in ours}
        # debugpy, which ipykernel imports, warns on stderr about Python's own frozen modules.
        env.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        if path := self._doors.keep_certificate(self.runtime_dir):
            env[certificate.VARIABLE] = path
        return {**env, "OWT_URL": self._doors.here.url, "OWT_SERVER_ID": self._mark}


def make_runtime_dir(settings: Settings) -> str:
    """A new folder for sockets and connection files, for its owner only, with a short path.

    Raises `ConfigError` for a folder that cannot be used.
    """
    if settings.runtime_dir is not None:
        bases = [str(settings.runtime_dir)]
    else:
        bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
    problem = "no folder was found"
    for base in bases:
        if not base or len(base) > LONGEST_DIR - 16:
            problem = f"its path is longer than {LONGEST_DIR - 16} bytes, too long for Unix sockets in it"
            continue
        try:
            return tempfile.mkdtemp(prefix="owt-", dir=base)
        except OSError as error:
            problem = str(error)
    raise ConfigError(f"--runtime-dir: {problem}")


def lock_directory(path: str) -> int:
    """Lock the runtime directory for the life of this process, by which the reaper knows that it is alive.

    Returns the descriptor that holds the lock."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def serve(settings: Settings, on_ready: Callable[[str], None] = lambda url: None) -> int:
    """Run the server until SIGTERM or SIGINT, and return the exit status.

    `on_ready` is called with the server's URL once it accepts connections.

    Raises `ConfigError` before it serves, for a port that is taken or a folder that cannot be used.
    """
    logs.set_up(settings.verbose)
    malloc.keep_freed_memory()
    process_title.hide_secrets(os.environ, sys.argv)
    return asyncio.run(_serve(settings, on_ready))


async def _serve(settings: Settings, on_ready: Callable[[str], None]) -> int:
    descriptors = Descriptors()
    descriptors.raise_limit()
    frontend = Frontend(settings, dict(os.environ), descriptors)
    await frontend.start()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    hurry = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            hurry.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    print(f"Owt serving on {frontend.url}", flush=True)
    on_ready(frontend.url)
    if settings.show_examples:
        user = next(iter(frontend.credentials.users), None)
        token = bool(frontend.credentials.tokens)
        print(banner.examples(frontend.url, user=user, token=token), flush=True)
    await stopping.wait()
    log.info("ending; running calls get %g s (send the signal again to end them now)", settings.drain)
    await frontend.stop(settings.drain, hurry)
    return 0


async def _until(condition: Callable[[], bool], seconds: float, hurry: asyncio.Event | None) -> None:
    """Wait for the condition, at most for `seconds`, and not once `hurry` is set."""
    deadline = time.monotonic() + seconds
    # Several things may bring it about, and nobody waits for it but the end of the server.
    while not condition() and time.monotonic() < deadline and not (hurry and hurry.is_set()):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
