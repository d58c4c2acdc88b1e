"""A service with scripted kernels, for tests of what is built upon a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from owt.frontend.access.authentication import Authenticator
from owt.frontend.access.origins import Origins
from owt.frontend.config.credentials import Credentials
from owt.frontend.config.settings import Settings
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.cache import Cache
from owt.frontend.runs.records import RunRecords
from owt.frontend.runs.table import Runs
from owt.frontend.service import Service
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.records import Records
from owt.frontend.sessions.sessions import Sessions
from owt.testing.kernel import ScriptedKernels


class ScriptedService:
    """Service whose kernels the test scripts; `settings` are those of the server. With a `folder`, sessions
    and runs outlive it by records there."""

    def __init__(
        self,
        *,
        max_size: int = 1,
        min_size: int = 0,
        queue: int = 1,
        folder: Path | None = None,
        **settings: Any,
    ) -> None:
        self.kernels = ScriptedKernels()
        kernels, limits = cast("Kernels", self.kernels), Limits(queue, 60.0)
        self.pool = Pool(
            kernels=kernels, limits=limits, spec="owt", min_spares=min_size, max_members=max_size
        )
        chosen = Settings(**settings)
        self.service = Service(
            settings=chosen,
            authenticator=Authenticator(Credentials()),
            origins=Origins(chosen),
            sessions=Sessions(
                kernels=kernels, limits=limits, pool=self.pool, spec="owt", max_sessions=2, idle_timeout=None,
                records=None if folder is None else Records(folder),
            ),
            runs=Runs(
                retention=60,
                journal=10_000,
                journal_total=100_000,
                window=1000,
                resume_window=chosen.resume_window,
                outlive=folder is not None,
            ),
            cache=Cache(10_000),
            counters=self.kernels.counters,
            run_records=None if folder is None else RunRecords(folder),
        )
