"""A service whose kernels the test plays."""

from __future__ import annotations

from typing import Any, cast

from played import PlayedKernels

from owt.frontend.admission.auth import Doorkeeper
from owt.frontend.admission.credentials import Credentials
from owt.frontend.admission.origins import Origins
from owt.frontend.hosting.kernels import Kernels
from owt.frontend.running.cache import Cache
from owt.frontend.running.runs import Runs
from owt.frontend.scheduling.pool import Pool
from owt.frontend.scheduling.session import Limits
from owt.frontend.scheduling.sessions import Sessions
from owt.frontend.service import Service
from owt.frontend.settings.config import Settings


class Stage:
    """A service whose kernels the test plays; `settings` are those of the server."""

    def __init__(self, *, most: int = 1, least: int = 0, queue: int = 1, **settings: Any) -> None:
        self.kernels = PlayedKernels()
        kernels, limits = cast("Kernels", self.kernels), Limits(queue, 60.0)
        self.pool = Pool(kernels=kernels, limits=limits, spec="owt", least=least, most=most)
        chosen = Settings(**settings)
        self.service = Service(
            settings=chosen,
            doorkeeper=Doorkeeper(Credentials()),
            origins=Origins(chosen),
            sessions=Sessions(
                kernels=kernels, limits=limits, pool=self.pool, spec="owt", most=2, idle=None
            ),
            runs=Runs(retention=60, journal=10_000, journal_total=100_000, window=1000),
            cache=Cache(10_000),
            tally=self.kernels.tally,
        )
