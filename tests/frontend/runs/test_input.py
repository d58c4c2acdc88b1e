"""owt.frontend.runs.input: items for a run, sent within the credit of its kernel."""

from __future__ import annotations

import asyncio

import pytest

from owt.frontend.runs.input import InputState, RunInput
from owt.testing import async_test
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import OVERHEAD, Prompt
from owt.wire.messages import MIN_ATTACHMENT, Input, InputEnd

ITEM = OVERHEAD + 1
"""Size of an item of one byte."""


class FakeKernel:
    """Kernel that keeps the messages which it is sent."""

    def __init__(self) -> None:
        self.messages: list[Input | InputEnd] = []

    def ask(self, message: Input | InputEnd) -> None:
        self.messages.append(message)

    def received(self) -> list[object]:
        """Return the items that have come since the last call, and the ends."""
        messages, self.messages = self.messages, []
        return [
            message
            if isinstance(message, InputEnd)
            else (message.data.decode() if message.text else message.data)
            for message in messages
        ]


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


def is_pending(sent: asyncio.Future[None] | None) -> bool:
    return sent is not None and not sent.done()


@async_test
async def test_nothing_is_sent_before_the_first_credit():
    kernel, input = FakeKernel(), RunInput("a")
    sent = input.push(b"1")
    assert is_pending(sent)
    assert not input.requested
    input.grant(1, kernel)
    assert not is_pending(sent)
    assert input.requested
    assert kernel.received() == [b"1"]


@async_test
async def test_items_within_the_credit_need_no_wait():
    kernel, input = FakeKernel(), RunInput("a")
    input.grant(2 * ITEM, kernel)
    assert input.push(b"1") is None
    assert input.push("é") is None
    waiting = input.push(b"3")
    assert is_pending(waiting)
    assert kernel.received() == [b"1", "é"]
    # The credit was overdrawn by a byte.
    input.grant(1, kernel)
    assert is_pending(waiting)
    input.grant(1, kernel)
    assert not is_pending(waiting)
    assert kernel.received() == [b"3"]


@async_test
async def test_senders_wait_for_their_own_items_in_order():
    kernel, input = FakeKernel(), RunInput("a")
    first, second = input.push(b"1"), input.push(b"2")
    input.grant(1, kernel)
    assert (is_pending(first), is_pending(second)) == (False, True)
    input.grant(ITEM, kernel)
    assert not is_pending(second)
    assert kernel.received() == [b"1", b"2"]


@pytest.mark.parametrize("error", [None, "broke off"])
@async_test
async def test_the_end_follows_the_last_item(error: str | None):
    kernel, input = FakeKernel(), RunInput("a")
    input.push(b"1")
    input.push(b"2")
    input.end(error)
    assert input.push(b"late") is None
    assert input.state is InputState.ENDED
    input.grant(1, kernel)
    assert kernel.received() == [b"1"]
    input.grant(ITEM, kernel)
    assert kernel.received() == [b"2", InputEnd("a", error)]
    input.grant(ITEM, kernel)
    input.end("again")
    assert kernel.received() == []


@async_test
async def test_an_end_needs_no_credit():
    kernel, input = FakeKernel(), RunInput("a")
    input.grant(1, kernel)
    input.push(b"1")
    input.end()
    assert kernel.received() == [b"1", InputEnd("a")]
    empty = RunInput("a")
    empty.end()
    empty.grant(1, kernel)
    assert kernel.received() == [InputEnd("a")]


@async_test
async def test_the_end_of_the_run_releases_senders_and_drops_items():
    kernel, input = FakeKernel(), RunInput("a")
    waiting = input.push(b"1")
    input.run_ended(None)
    assert not is_pending(waiting)
    assert input.push(b"2") is None
    input.end()
    input.grant(1, kernel)
    assert kernel.received() == []
    assert input.state is InputState.CLOSED


def test_a_body_that_is_here_needs_no_credit_and_comes_first(kernel: FakeKernel):
    body = bytes(MIN_ATTACHMENT)
    input = RunInput.of_call("a", Call(RequestFacts("POST", "/", "", (), body, "here"), body_parsed=True))
    input.grant(1, kernel)
    assert kernel.received() == [body]
    assert input.post("after", None, 10, end=True) is None
    assert kernel.received() == ["after", InputEnd("a")]


@pytest.mark.parametrize("what", ["credit", "end", "end of the run"])
@async_test
async def test_a_sender_waits_until_its_items_are_requested(what: str):
    input = RunInput("a")
    waiting = asyncio.create_task(input.wait_until_requested())
    await asyncio.sleep(0)
    assert not waiting.done()
    match what:
        case "credit":
            input.grant(1, FakeKernel())
        case "end":
            input.end()
        case _:
            input.run_ended(None)
    await waiting
    await input.wait_until_requested()


@async_test
async def test_a_question_waits_until_an_item_answers_it():
    kernel, input = FakeKernel(), RunInput("a")
    question = Prompt("Name? ")
    input.ask(question)
    assert input.prompt is question
    input.grant(1 << 20, kernel)
    assert input.post(b"x" * 100, None, 10, end=False) == "too large"
    assert input.prompt is question
    assert input.post("Ada", None, 10, end=False) is None
    assert input.prompt is None
    input.ask(Prompt("Age? ", consumed=1))
    assert input.prompt
    input.end()
    assert input.prompt is None
    input.ask(Prompt("Town? ", consumed=1))
    assert input.prompt is None


@async_test
async def test_a_question_does_not_wait_while_its_answer_is_on_the_way():
    kernel, input = FakeKernel(), RunInput("a")
    input.post("early", None, 10, end=False)
    input.ask(Prompt("Name? "))
    assert input.prompt is None
    input.grant(1 << 20, kernel)
    input.ask(Prompt("Name? "))
    assert input.prompt is None
    input.ask(Prompt("Age? ", consumed=1))
    assert input.prompt
    input.run_ended(None)
    assert input.prompt is None
