"""owt.client.following: progress in a stream of events, and what ends it."""

from __future__ import annotations

import json

import httpx
import pytest

from owt.client import following as following_module
from owt.client.events import Event
from owt.client.following import DELAYS, Attempts, Following
from owt.errors import CannotSend, OwtError, RemoteError, Unreachable
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


# Requests that are sent again


def busy(run: str) -> RemoteError:
    return RemoteError({"title": "busy", "status": 503, "type": "urn:owt:busy", "run": run})


def shutting_down() -> RemoteError:
    return RemoteError({"title": "t", "status": 503, "type": "urn:owt:shutting-down", "run": RUN})


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Unreachable("no server answers"), True),
        (busy("another"), True),
        (busy(RUN), False),
        (shutting_down(), True),
        (problem(503), False),
        (problem(502), False),
        (CannotSend("no"), False),
    ],
)
def test_a_request_is_sent_again_unless_its_call_has_ended(error: OwtError, again: bool) -> None:
    attempts = Attempts(RUN, 60)
    if again:
        assert attempts.delay_after(error) == DELAYS[0]
    for final in (Attempts(RUN), Attempts(None, 60)) if again else (attempts,):
        with pytest.raises(type(error)) as caught:
            final.delay_after(error)
        assert caught.value is error


def test_attempts_end_with_the_time_since_the_first_failure_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(following_module.time, "monotonic", lambda: now[0])
    attempts = Attempts(RUN, 10)
    assert [attempts.next_delay() for _ in range(8)] == [*DELAYS, 1.0, 1.0]
    now[0] = 9.5
    assert attempts.next_delay() == 0.5
    now[0] = 10.0
    assert attempts.next_delay() is None
    attempts.succeed()
    assert attempts.next_delay() == DELAYS[0]


def test_a_stream_without_an_event_sends_its_request_again() -> None:
    following = Following(Attempts(RUN, 60))
    assert following.retry_delay(CUT) == DELAYS[0]
    following.begin(httpx.Response(200, headers={"Owt-Run": RUN}))
    assert following.repeats
    list(following.decode([message(1)]))
    assert not following.repeats


def test_an_error_of_the_servers_end_as_first_event_is_no_end_of_a_repeated_call() -> None:
    following = Following(Attempts(RUN, 60))
    following.begin(httpx.Response(200, headers={"Owt-Run": RUN}))
    data = json.dumps({"type": "urn:owt:shutting-down", "title": "t", "status": 503, "run": RUN})
    with pytest.raises(RemoteError) as caught:
        list(following.decode([sse.Event(data, "error", f"{RUN}-1")]))
    assert following.retry_delay(caught.value) == DELAYS[0]
    assert following.repeats


def test_a_run_with_an_id_of_its_own_is_cancelled_before_the_first_response() -> None:
    assert Following(Attempts(RUN, 60)).run_to_cancel(KeyboardInterrupt()) == RUN
