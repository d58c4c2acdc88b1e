"""owt.client.following: what a client does when a connection ends, and when it is left."""

from __future__ import annotations

import json

import httpx
import pytest
from httpx_sse import ServerSentEvent

from owt.client.events import Event
from owt.client.following import PAUSES, Following
from owt.errors import RemoteError, Unreachable

RUN = "0123456789abcdef"
CUT = httpx.ReadError("cut")


def message(number: int) -> ServerSentEvent:
    return ServerSentEvent("message", "x", f"{RUN}-{number}")


def done(data: object) -> ServerSentEvent:
    return ServerSentEvent("done", json.dumps(data), f"{RUN}-9")


def problem(status: int) -> RemoteError:
    return RemoteError({"title": "t", "status": status})


@pytest.fixture
def following() -> Following:
    """Of a run that has begun to answer."""
    following = Following()
    assert following.answered(httpx.Response(200, headers={"Owt-Run": RUN}))
    return following


def test_it_goes_on_after_the_last_event(following: Following) -> None:
    assert following.event(ServerSentEvent("", "", f"{RUN}-0", 1000)) is None
    assert following.after == 0
    assert following.event(message(1)) == Event("message", "x", f"{RUN}-1")
    following.event(message(4))
    assert (following.run, following.after) == (RUN, 4)


def test_an_id_that_is_not_the_servers_is_no_place(following: Following) -> None:
    following.event(message(3))
    following.event(ServerSentEvent("message", "x", "mine-7"))
    assert following.after == 3


@pytest.mark.parametrize("lost", [CUT, None, Unreachable("a proxy's page"), problem(503)])
def test_it_tries_until_it_is_enough_and_each_event_gives_it_new_tries(
    following: Following, lost: Exception | None
) -> None:
    for _ in range(2):
        following.event(message(1))
        assert [following.pause(lost) for _ in PAUSES] == [*PAUSES]
        assert following.pause(lost) is None
        assert not following.over


def test_it_does_not_come_back_to_what_is_over(following: Following) -> None:
    following.event(done({"status": 200, "seconds": 0.1}))
    assert following.over
    assert following.pause(CUT) is None


@pytest.mark.parametrize("data", ["[DONE]", {"status": 200}, 1])
def test_an_adaptors_own_done_is_not_the_end(following: Following, data: object) -> None:
    following.event(done(data))
    assert following.pause(None) == PAUSES[0]


def test_where_no_content_is_answered_it_is_over(following: Following) -> None:
    assert not following.answered(httpx.Response(204, headers={"Owt-Run": RUN}))
    assert following.pause(None) is None
    assert following.over


@pytest.mark.parametrize("lost", [CUT, None])
def test_what_never_began_is_not_tried_again(lost: Exception | None) -> None:
    assert Following().pause(lost) is None


@pytest.mark.parametrize("lost", [Unreachable("a stranger"), problem(503), problem(400)])
def test_what_was_answered_first_is_raised(lost: Exception) -> None:
    with pytest.raises(type(lost)) as caught:
        Following().pause(lost)
    assert caught.value is lost


@pytest.mark.parametrize("status", [401, 404, 410])
def test_the_servers_last_word_is_raised(following: Following, status: int) -> None:
    with pytest.raises(RemoteError):
        following.pause(problem(status))


@pytest.mark.parametrize("status", [410, 500, 503])
def test_an_event_of_a_failure_is_the_end(following: Following, status: int) -> None:
    data = json.dumps({"title": "t", "status": status})
    with pytest.raises(RemoteError) as caught:
        following.event(ServerSentEvent("error", data, f"{RUN}-2"))
    with pytest.raises(RemoteError):
        following.pause(caught.value)
    assert following.left(GeneratorExit()) is None


@pytest.mark.parametrize("error", [GeneratorExit(), KeyboardInterrupt(), ValueError()])
def test_a_run_that_is_left_is_to_be_cancelled(following: Following, error: BaseException) -> None:
    assert following.left(error) == RUN


def test_a_run_is_left_as_it_is_that_is_over_or_unknown_or_lost_or_may_be_anothers(
    following: Following,
) -> None:
    assert following.left(Unreachable("it broke off")) is None
    assert Following().left(GeneratorExit()) is None
    following.event(done({"status": 200, "seconds": 0.1}))
    assert following.left(GeneratorExit()) is None
    shared = Following()
    shared.answered(httpx.Response(200, headers={"Owt-Run": RUN, "Owt-Cache": "joined"}))
    assert shared.left(GeneratorExit()) is None
    shared.answered(httpx.Response(200, headers={"Owt-Run": RUN}))
    assert shared.left(GeneratorExit()) is None
