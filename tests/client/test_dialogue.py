"""owt.client.dialogue: the state of a conversation with a run, without I/O."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from owt.client import Event, following
from owt.client.dialogue import MAX_UNACKNOWLEDGED, Dialogue, has_value, value_of
from owt.errors import CannotSend, RemoteError, Unreachable

RUN = "00112233aabbccdd"


def event(name: str, data: Any, number: int | None = None, **more: str) -> str:
    id = {} if number is None else {"id": f"{RUN}-{number}"}
    return json.dumps({"event": name, "data": data, **id, **more})


def open_event(received: int = 0, number: int = 0) -> str:
    return event("open", {"run": RUN, "session": None, "received": received}, number)


def next_messages(dialogue: Dialogue) -> list[str | bytes]:
    """Return all messages that the connection gets now."""
    return list(iter(dialogue.next_message, None))


@pytest.fixture
def dialogue() -> Dialogue:
    """A dialogue whose first connection is open."""
    dialogue = Dialogue()
    dialogue.opening()
    assert dialogue.receive(open_event()) is None
    return dialogue


@pytest.mark.parametrize("body", [True, False])
def test_the_first_connection_begins_the_call(body: bool) -> None:
    opening = json.loads(Dialogue(body=body).opening())
    # The response to a body is read elsewhere.
    assert (opening["start"], opening["body"], opening["output"]) == (True, body, not body)
    assert opening["end"] != json.loads(Dialogue().opening())["end"]


def test_no_item_is_sent_before_the_server_has_answered() -> None:
    dialogue = Dialogue()
    dialogue.opening()
    dialogue.add("a")
    assert next_messages(dialogue) == []
    dialogue.receive(open_event())
    assert (dialogue.run, next_messages(dialogue)) == (RUN, ["a"])


@pytest.mark.parametrize(("received", "again"), [(0, ["a", "b", "c"]), (2, ["c"]), (3, [])])
def test_the_next_connection_gets_what_the_server_has_not_received(
    dialogue: Dialogue, received: int, again: list[str]
) -> None:
    for item in "abc":
        dialogue.add(item)
    assert next_messages(dialogue) == ["a", "b", "c"]
    dialogue.receive(event("message", "x", 4, form="text"))
    assert json.loads(dialogue.opening()) == {"resume": f"{RUN}-4", "received": 0, "output": True}
    dialogue.add("d")
    assert next_messages(dialogue) == []
    dialogue.receive(open_event(received, 4))
    assert next_messages(dialogue) == [*again, "d"]
    assert json.loads(dialogue.opening())["received"] == received


def test_acknowledged_messages_make_room(dialogue: Dialogue) -> None:
    while dialogue.has_room:
        dialogue.add(bytes(100_000))
    sent = len(next_messages(dialogue))
    assert 100_000 * (sent - 1) < MAX_UNACKNOWLEDGED <= 110_000 * sent
    dialogue.receive(event("received", 1))
    assert dialogue.has_room
    dialogue.receive(event("received", sent))
    dialogue.opening()
    dialogue.receive(open_event(sent))
    assert next_messages(dialogue) == []


def test_small_messages_are_bounded_too(dialogue: Dialogue) -> None:
    while dialogue.has_room:
        dialogue.add("")
    assert len(next_messages(dialogue)) == 1024


def test_the_end_is_a_message_that_nothing_follows(dialogue: Dialogue) -> None:
    dialogue.add("a")
    dialogue.end_input()
    dialogue.end_input()
    mark = json.loads(Dialogue().opening())["end"]
    item, end = next_messages(dialogue)
    assert (item, len(str(end))) == ("a", len(mark))
    with pytest.raises(CannotSend, match="the input was ended"):
        dialogue.add("b")


@pytest.mark.parametrize(
    ("text", "expected", "value"),
    [
        (event("message", "a", 1, form="text"), Event("message", "a", f"{RUN}-1"), "a"),
        (event("message", {"n": 1}, 1, form="json"),
         Event("message", '{"n": 1}', f"{RUN}-1", True), {"n": 1}),
        (event("message", "1", 1, form="json"), Event("message", '"1"', f"{RUN}-1", True), "1"),
        (event("bytes", "AAE=", 1, form="bytes"), Event("bytes", b"\0\1", f"{RUN}-1"), b"\0\1"),
        (event("result", 5, 1, form="json"), Event("result", "5", f"{RUN}-1", True), 5),
        (event("result", "AAE=", 1, form="bytes"), Event("result", b"\0\1", f"{RUN}-1"), b"\0\1"),
        (event("result", None, 1, form="json"), Event("result", "null", f"{RUN}-1", True), "no value"),
        (event("message", None, 1, form="json"), Event("message", "null", f"{RUN}-1", True), None),
        (event("stdout", "x\n", 1), Event("stdout", "x\n", f"{RUN}-1"), "no value"),
        (event("display", {"text/plain": "x"}, 1),
         Event("display", {"text/plain": "x"}, f"{RUN}-1"), "no value"),
        (event("input", {"prompt": "?", "password": False}, 1),
         Event("input", {"prompt": "?", "password": False}, f"{RUN}-1"), "no value"),
    ],
)  # fmt: skip
def test_events_are_those_of_a_stream(dialogue: Dialogue, text: str, expected: Event, value: object) -> None:
    received = dialogue.receive(text)
    assert received == expected
    assert (value_of(received) if has_value(received) else "no value") == value
    assert (dialogue.after, dialogue.over) == (1, False)


def test_the_last_event_ends_the_dialogue(dialogue: Dialogue) -> None:
    dialogue.add("a")
    done = dialogue.receive(event("done", {"status": 200, "seconds": 0.1}, 1))
    assert done is not None
    assert done.name == "done"
    assert dialogue.over
    assert next_messages(dialogue) == []
    with pytest.raises(CannotSend, match="the call has ended"):
        dialogue.add("b")


def test_a_failure_is_raised(dialogue: Dialogue) -> None:
    with pytest.raises(RemoteError, match="busy") as failure:
        dialogue.receive(event("error", {"title": "busy", "status": 503}))
    assert dialogue.over
    with pytest.raises(RemoteError):
        dialogue.retry_delay(failure.value)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("é", "é"),
        (b"\0", b"\0"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"ab")[1:], b"b"),
        ({"n": [1, None]}, '{"n":[1,null]}'),
        (1.5, "1.5"),
        (None, "null"),
    ],
)
def test_items_are_text_bytes_or_json(dialogue: Dialogue, item: object, message: object) -> None:
    dialogue.add(item)
    assert next_messages(dialogue) == [message]


@pytest.mark.parametrize("item", [object(), float("nan"), {1: 2}, "\ud800", {"a": {1, 2}}])
def test_other_values_cannot_be_sent(dialogue: Dialogue, item: object) -> None:
    with pytest.raises(CannotSend):
        dialogue.add(item)
    assert next_messages(dialogue) == []


@pytest.mark.parametrize(
    ("progress", "continues"),
    [(open_event(0), False), (open_event(1), True), (event("stdout", "x", 1), True)],
)
def test_a_connection_without_progress_counts_as_a_failed_attempt(
    dialogue: Dialogue, progress: str, continues: bool
) -> None:
    dialogue.add("a")
    for _ in following.DELAYS:
        assert dialogue.retry_delay(Unreachable("lost")) is not None
    dialogue.opening()
    dialogue.receive(progress)
    assert (dialogue.retry_delay(Unreachable("lost")) is not None) == continues


def test_random_cuts_lose_nothing_and_repeat_nothing() -> None:
    chance = random.Random(3)
    dialogue = Dialogue()
    items = [str(n) for n in range(500)]
    rest, received, echoed = items.copy(), list[str | bytes](), list[str]()
    cuts = 0
    while len(echoed) < len(items):
        dialogue.opening()
        dialogue.receive(open_event(len(received), dialogue.after))
        cuts += 1
        for _ in range(chance.randrange(30)):
            match chance.choice(["add", "send", "events", "acknowledge"]):
                case "add" if rest and dialogue.has_room:
                    dialogue.add(rest.pop(0))
                case "send" if (message := dialogue.next_message()) is not None:
                    # What is on its way is lost with the connection.
                    if chance.random() < 0.1:
                        break
                    received.append(message)
                case "events" if dialogue.after < len(received):
                    echo = received[dialogue.after]
                    event_ = dialogue.receive(event("message", echo, dialogue.after + 1, form="text"))
                    assert event_ is not None
                    echoed.append(event_.data)
                case "acknowledge":
                    dialogue.receive(event("received", len(received)))
    assert received == items
    assert echoed == items
    assert cuts > 20
