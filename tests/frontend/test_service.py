"""owt.frontend.service: submission of calls, with cache, limits and cancellation."""

from __future__ import annotations

import msgspec
import pytest
from loop_clock import LoopClock
from scripted_service import ScriptedService

from owt.errors import BadRequest, Busy, NoSuchSession
from owt.testing import async_test, settle
from owt.testing.kernel import new_call
from owt.wire.call import Caching
from owt.wire.chunk import Data


@async_test
async def test_a_submitted_call_runs_and_its_chunks_can_be_read() -> None:
    stage = ScriptedService()
    run, cached = stage.service.submit(new_call())
    assert cached is None
    assert stage.service.runs.get(run.id) is run
    (await stage.kernels.wait_for_kernel(1)).answer(body=b"42")
    chunks = await run.follow().next()
    assert Data(b"42", "text", result=True) in chunks


@async_test
async def test_a_refused_call_leaves_no_run() -> None:
    stage = ScriptedService()
    with pytest.raises(NoSuchSession):
        stage.service.submit(new_call(None, session="gone"))
    for _ in range(2):
        stage.service.submit(new_call())
    with pytest.raises(Busy):
        stage.service.submit(new_call())
    assert len(stage.service.runs.live()) == 2


@async_test
async def test_a_server_that_shuts_down_refuses_all_calls_even_cached_ones() -> None:
    stage = ScriptedService()
    stage.service.submit(new_call(caching=Caching()))
    (await stage.kernels.wait_for_kernel(1)).answer()
    stage.service.draining = True
    for refused in (new_call(), new_call(caching=Caching())):
        with pytest.raises(Busy, match="the server is shutting down"):
            stage.service.submit(refused)


@async_test
async def test_a_run_is_cancelled_when_its_last_reader_closes() -> None:
    stage = ScriptedService()
    run, _ = stage.service.submit(new_call())
    kernel = await stage.kernels.wait_for_kernel(1)
    first, second = run.follow(), run.follow()
    first.close()
    assert kernel.cancelled == []
    second.close()
    assert kernel.cancelled == [run.id]


@async_test
async def test_a_run_of_events_is_cancelled_only_after_the_resume_window() -> None:
    stage = ScriptedService(resume_window=10)
    run, _ = stage.service.submit(new_call(sse=True, session="one"))
    kernel = await stage.kernels.wait_for_kernel(1)
    other, _ = stage.service.submit(new_call(sse=True, session="other"))
    other_kernel = await stage.kernels.wait_for_kernel(2)
    clock = LoopClock()
    run.follow().close()
    other.follow().close()
    await clock.advance(9)
    assert kernel.cancelled == other_kernel.cancelled == []
    run.follow()
    await clock.advance(1)
    assert other_kernel.cancelled == [other.id]
    assert kernel.cancelled == []


@async_test
async def test_without_a_resume_window_a_run_of_events_is_cancelled_at_once() -> None:
    stage = ScriptedService(resume_window=0)
    run, _ = stage.service.submit(new_call(sse=True))
    kernel = await stage.kernels.wait_for_kernel(1)
    run.follow().close()
    assert kernel.cancelled == [run.id]


@async_test
async def test_a_detached_run_is_not_cancelled_without_readers() -> None:
    stage = ScriptedService(resume_window=0)
    run, _ = stage.service.submit(new_call(detach=True))
    kernel = await stage.kernels.wait_for_kernel(1)
    run.follow().close()
    await settle()
    assert kernel.cancelled == []


@async_test
async def test_a_run_is_known_only_to_users_who_called_it() -> None:
    stage = ScriptedService()
    run, _ = stage.service.submit(new_call(caching=Caching()), "ada")
    assert stage.service.known(run.id, "ada") is run
    assert stage.service.known(run.id, "bob") is None
    assert stage.service.known(run.id, None) is None
    assert stage.service.known("0" * 16, "ada") is None


@async_test
async def test_users_share_neither_runs_nor_answers_of_the_cache() -> None:
    stage = ScriptedService(max_size=2)
    run, _ = stage.service.submit(new_call(caching=Caching()), "ada")
    other, cached = stage.service.submit(new_call(caching=Caching()), "bob")
    assert (other is run, cached) == (False, "miss")
    assert stage.service.submit(new_call(caching=Caching()), "ada") == (run, "joined")
    assert stage.service.submit(new_call(caching=Caching()), "bob") == (other, "joined")
    await stage.kernels.wait_for_kernel(2)
    for kernel in stage.kernels.all:
        kernel.answer(body=b"hi ada" if kernel.invoked == [run.id] else b"hi bob")
    for user in ("ada", "bob"):
        hit, cached = stage.service.submit(new_call(caching=Caching()), user)
        assert cached == "hit"
        assert Data(f"hi {user}".encode(), "text", result=True) in hit.journal.chunks


@async_test
async def test_a_session_of_another_kernelspec_has_answers_of_its_own() -> None:
    stage = ScriptedService(max_size=1)
    sessions = stage.service.sessions
    call = new_call(caching=Caching(), session="s")

    async def run() -> list[str | None]:
        results = []
        for kernel in (None, "owt", None):
            submitted, cached = stage.service.submit(msgspec.structs.replace(call, kernel=kernel))
            results.append(cached)
            if not submitted.ended:
                (await stage.kernels.wait_for_kernel(len(stage.kernels.all) or 1)).answer()
        return results

    assert await run() == ["miss", "hit", "hit"]
    await sessions.delete("s")
    sessions.create("s").spec = "other"
    other, cached = stage.service.submit(call)
    assert (other.ended, cached) == (False, "miss")
    with pytest.raises(BadRequest, match="runs the kernelspec"):
        stage.service.submit(msgspec.structs.replace(call, kernel="else"))


@async_test
async def test_a_call_with_another_timeout_joins_no_run() -> None:
    stage = ScriptedService(max_size=2)
    first, _ = stage.service.submit(new_call(caching=Caching(), timeout=0.1))
    second, cached = stage.service.submit(new_call(caching=Caching(), timeout=60.0))
    assert (second is first, cached) == (False, "miss")


@async_test
async def test_the_cancel_of_one_of_several_calls_does_not_end_their_run() -> None:
    stage = ScriptedService()
    run, _ = stage.service.submit(new_call(caching=Caching()))
    reader = run.follow()
    stage.service.submit(new_call(caching=Caching()))
    other_reader = run.follow()
    kernel = await stage.kernels.wait_for_kernel(1)
    assert not run.withdraw()
    reader.close()
    assert kernel.cancelled == []
    assert run.withdraw()
    other_reader.close()
    assert kernel.cancelled == [run.id]


@async_test
async def test_a_cached_answer_is_replayed_without_a_kernel() -> None:
    stage = ScriptedService()
    first, cached = stage.service.submit(new_call(caching=Caching()))
    assert cached == "miss"
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer(body=b"42")
    second, cached = stage.service.submit(new_call(caching=Caching()))
    assert cached == "hit"
    assert second is not first
    assert second.journal.chunks == first.journal.chunks
    assert second.state == "done"
    assert kernel.invoked == [first.id]
    await settle()


@async_test
async def test_concurrent_equal_calls_share_one_run() -> None:
    stage = ScriptedService()
    first, _ = stage.service.submit(new_call(caching=Caching()))
    first_reader = first.follow()
    second, cached = stage.service.submit(new_call(caching=Caching()))
    assert (second, cached) == (first, "joined")
    second_reader = second.follow()
    kernel = await stage.kernels.wait_for_kernel(1)
    # The first client disconnects.
    first_reader.close()
    kernel.answer(body=b"42")
    assert Data(b"42", "text", result=True) in await second_reader.next()
    assert kernel.invoked == [first.id]
    assert kernel.cancelled == []


@async_test
async def test_a_failure_is_not_cached() -> None:
    stage = ScriptedService()
    first, _ = stage.service.submit(new_call(caching=Caching()))
    (await stage.kernels.wait_for_kernel(1)).die()
    assert first.status == 502
    second, cached = stage.service.submit(new_call(caching=Caching()))
    assert cached == "miss"
    assert second is not first


@async_test
async def test_a_call_without_caching_does_not_read_the_cache() -> None:
    stage = ScriptedService()
    stage.service.submit(new_call(caching=Caching()))
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer()
    run, cached = stage.service.submit(new_call())
    assert cached is None
    assert kernel.invoked[-1] == run.id


@async_test
async def test_calls_beyond_max_runs_are_refused_unless_the_cache_answers() -> None:
    stage = ScriptedService(max_size=1, queue=5, max_runs=3)
    stage.service.submit(new_call(session="a"))
    stage.service.submit(new_call(session="a"))
    run, _ = stage.service.submit(new_call(caching=Caching()))
    await stage.kernels.wait_for_kernel(2)
    with pytest.raises(Busy, match=r"3 calls are queued and running already .* --max-runs 3"):
        stage.service.submit(new_call())
    assert len(stage.service.runs.live()) == 3
    # Calls that need no new run are accepted.
    assert stage.service.submit(new_call(caching=Caching())) == (run, "joined")
    stage.kernels.all[1].answer(body=b"42")
    stage.service.submit(new_call("other"))
    assert stage.service.submit(new_call(caching=Caching()))[1] == "hit"
    with pytest.raises(Busy):
        stage.service.submit(new_call("another", caching=Caching()))
