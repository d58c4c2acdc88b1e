"""owt.frontend.service: the one way in for a call."""

from __future__ import annotations

from typing import cast

import pytest
from played import PlayedKernels, call, scene, settle

from owt.errors import Busy, NoSuchSession
from owt.frontend.auth import Doorkeeper
from owt.frontend.cache import Cache
from owt.frontend.config import Settings
from owt.frontend.credentials import Credentials
from owt.frontend.kernels import Kernels
from owt.frontend.pool import Pool
from owt.frontend.runs import Runs
from owt.frontend.service import Service
from owt.frontend.session import Limits
from owt.frontend.sessions import Sessions
from owt.wire.call import Caching
from owt.wire.chunk import Data


class Stage:
    """A service whose kernels the test plays."""

    def __init__(self, most: int = 1) -> None:
        self.kernels = PlayedKernels()
        kernels, limits = cast("Kernels", self.kernels), Limits(1, 60.0)
        pool = Pool(kernels=kernels, limits=limits, spec="owt", least=0, most=most)
        self.service = Service(
            settings=Settings(),
            doorkeeper=Doorkeeper(Credentials()),
            sessions=Sessions(kernels=kernels, limits=limits, pool=pool, spec="owt", most=2, idle=None),
            runs=Runs(retention=60, journal=10_000, journal_total=100_000, window=1000),
            cache=Cache(10_000),
        )


@scene
async def test_a_call_is_run_and_its_answer_followed() -> None:
    stage = Stage()
    run, cached = stage.service.submit(call())
    assert cached is None
    assert stage.service.runs.get(run.id) is run
    (await stage.kernels.count(1)).answer(body=b"42")
    chunks = await run.reader().next()
    assert Data(b"42", "text", result=True) in chunks


@scene
async def test_a_call_that_is_refused_leaves_no_run() -> None:
    stage = Stage()
    with pytest.raises(NoSuchSession):
        stage.service.submit(call(None, session="gone"))
    for _ in range(2):
        stage.service.submit(call())
    with pytest.raises(Busy):
        stage.service.submit(call())
    assert len(stage.service.runs.live()) == 2


@scene
async def test_a_server_that_is_ending_takes_no_calls_not_even_cached_ones() -> None:
    stage = Stage()
    stage.service.submit(call(caching=Caching()))
    (await stage.kernels.count(1)).answer()
    stage.service.draining = True
    for refused in (call(), call(caching=Caching())):
        with pytest.raises(Busy, match="the server is ending"):
            stage.service.submit(refused)


@scene
async def test_a_run_that_nobody_follows_any_more_is_cancelled() -> None:
    stage = Stage()
    run, _ = stage.service.submit(call())
    kernel = await stage.kernels.count(1)
    first, second = run.reader(), run.reader()
    first.close()
    assert kernel.cancelled == []
    second.close()
    assert kernel.cancelled == [run.id]


@scene
async def test_an_answer_is_stored_and_found() -> None:
    stage = Stage()
    first, cached = stage.service.submit(call(caching=Caching()))
    assert cached == "miss"
    kernel = await stage.kernels.count(1)
    kernel.answer(body=b"42")
    second, cached = stage.service.submit(call(caching=Caching()))
    assert cached == "hit"
    assert second is not first
    assert second.chunks == first.chunks
    assert second.state == "done"
    assert kernel.invoked == [first.id]
    await settle()


@scene
async def test_equal_calls_at_once_run_once() -> None:
    stage = Stage()
    first, _ = stage.service.submit(call(caching=Caching()))
    first_reader = first.reader()
    second, cached = stage.service.submit(call(caching=Caching()))
    assert (second, cached) == (first, "joined")
    second_reader = second.reader()
    kernel = await stage.kernels.count(1)
    # One client's leaving is not the other's.
    first_reader.close()
    kernel.answer(body=b"42")
    assert Data(b"42", "text", result=True) in await second_reader.next()
    assert kernel.invoked == [first.id]
    assert kernel.cancelled == []


@scene
async def test_a_failure_is_not_stored() -> None:
    stage = Stage()
    first, _ = stage.service.submit(call(caching=Caching()))
    (await stage.kernels.count(1)).die()
    assert first.status == 502
    second, cached = stage.service.submit(call(caching=Caching()))
    assert cached == "miss"
    assert second is not first


@scene
async def test_calls_that_do_not_ask_for_the_cache_have_nothing_to_do_with_it() -> None:
    stage = Stage()
    stage.service.submit(call(caching=Caching()))
    kernel = await stage.kernels.count(1)
    kernel.answer()
    run, cached = stage.service.submit(call())
    assert cached is None
    assert kernel.invoked[-1] == run.id
