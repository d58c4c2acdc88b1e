"""owt.client.following: progress in a stream of events, and what ends it."""

from __future__ import annotations

import json

import httpx
import pytest

from owt.client.events import Event
from owt.client.following import DELAYS, Following
from owt.errors import RemoteError, Unreachable
from owt.wire import sse

RUN = "0123456789abcdef"
CUT = httpx.ReadError("cut")


def message(number: int) -> sse.Event:
    return sse.Event("x", "message", f"{RUN}-{number}")


def done(data: object) -> sse.Event:
    return sse.Event(json.dumps(data), "done", f"{RUN}-9")


def problem(status: int) -> RemoteError:
    return RemoteError({"title": "t", "status": status})


@pytest.fixture
def following() -> Following:
    """Progress in a run that has begun to respond."""
    following = Following()
    assert following.begin(httpx.Response(200, headers={"Owt-Run": RUN}))
    return following


def test_progress_is_the_number_of_the_last_event(following: Following) -> None:
    assert following.after == 0
    assert list(following.decode([message(1)])) == [Event("message", "x", f"{RUN}-1")]
    assert len(list(following.decode([message(2), message(4)]))) == 2
    assert (following.run, following.after) == (RUN, 4)


def test_an_event_that_was_not_read_is_requested_again(following: Following) -> None:
    assert next(following.decode([message(1), message(2)])).id == f"{RUN}-1"
    assert following.after == 1


def test_an_adaptors_own_event_id_does_not_change_the_progress(following: Following) -> None:
    list(following.decode([message(3)]))
    list(following.decode([sse.Event("x", id="mine-7")]))
    assert following.after == 3


@pytest.mark.parametrize("lost", [CUT, None, Unreachable("a proxy's page"), problem(503)])
def test_each_event_resets_the_attempts_to_reconnect(
    following: Following, lost: Exception | None
) -> None:
    for _ in range(2):
        list(following.decode([message(1)]))
        assert [following.retry_delay(lost) for _ in DELAYS] == [*DELAYS]
        assert following.retry_delay(lost) is None
        assert not following.over


def test_following_ends_at_the_servers_done_without_a_retry(following: Following) -> None:
    list(following.decode([done({"status": 200, "seconds": 0.1})]))
    assert following.over
    assert following.retry_delay(CUT) is None


@pytest.mark.parametrize("data", ["[DONE]", {"status": 200}, 1])
def test_an_adaptors_own_done_does_not_end_the_stream(following: Following, data: object) -> None:
    list(following.decode([done(data)]))
    assert following.retry_delay(None) == DELAYS[0]


def test_status_204_ends_the_stream(following: Following) -> None:
    assert not following.begin(httpx.Response(204, headers={"Owt-Run": RUN}))
    assert following.retry_delay(None) is None
    assert following.over


@pytest.mark.parametrize("lost", [CUT, None])
def test_a_connection_without_a_response_is_not_retried(lost: Exception | None) -> None:
    assert Following().retry_delay(lost) is None


@pytest.mark.parametrize("lost", [Unreachable("a stranger"), problem(503), problem(400)])
def test_an_error_response_to_the_call_is_raised(lost: Exception) -> None:
    with pytest.raises(type(lost)) as caught:
        Following().retry_delay(lost)
    assert caught.value is lost


@pytest.mark.parametrize("status", [401, 404, 410])
def test_a_client_error_status_during_a_retry_is_raised(following: Following, status: int) -> None:
    with pytest.raises(RemoteError):
        following.retry_delay(problem(status))


@pytest.mark.parametrize("status", [410, 500, 503])
def test_an_error_event_ends_the_stream(following: Following, status: int) -> None:
    data = json.dumps({"title": "t", "status": status})
    with pytest.raises(RemoteError) as caught:
        list(following.decode([sse.Event(data, "error", f"{RUN}-2")]))
    with pytest.raises(RemoteError):
        following.retry_delay(caught.value)
    assert following.run_to_cancel(GeneratorExit()) is None


@pytest.mark.parametrize("error", [GeneratorExit(), KeyboardInterrupt(), ValueError()])
def test_leaving_the_stream_cancels_the_run(following: Following, error: BaseException) -> None:
    assert following.run_to_cancel(error) == RUN


def test_leaving_does_not_cancel_a_run_that_is_over_unknown_lost_or_shared(
    following: Following,
) -> None:
    assert following.run_to_cancel(Unreachable("it broke off")) is None
    assert Following().run_to_cancel(GeneratorExit()) is None
    list(following.decode([done({"status": 200, "seconds": 0.1})]))
    assert following.run_to_cancel(GeneratorExit()) is None
    shared = Following()
    shared.begin(httpx.Response(200, headers={"Owt-Run": RUN, "Owt-Cache": "joined"}))
    assert shared.run_to_cancel(GeneratorExit()) is None
    shared.begin(httpx.Response(200, headers={"Owt-Run": RUN}))
    assert shared.run_to_cancel(GeneratorExit()) is None
