"""owt.kernel.calls.stdin: questions of a run to its client."""

from __future__ import annotations

import builtins
import getpass
from typing import Any

import pytest
from frontend_side import ConnectionMaker, SenderStage

from owt.kernel import context
from owt.kernel.calls import stdin
from owt.kernel.calls.active_runs import ActiveRun
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Prompt
from owt.wire.messages import Input, Output


class AskingStage(SenderStage):
    """Run `a`, and the frontend's side of its connection."""

    def run(self, body: bytes = b"", size: int = 0, **fields: Any) -> ActiveRun:
        facts = RequestFacts("POST", "/", "", (), body, "localhost", input_size=size)
        return ActiveRun("a", Call(facts, **fields), self.sender(10_000))

    def sent(self) -> list[Prompt]:
        """Return the questions that have been sent."""
        self.near.send(Output("end", ()))
        prompts: list[Prompt] = []
        while (message := self.far.receive()) != Output("end", ()):
            if isinstance(message, Output):
                prompts += [chunk for chunk in message.chunks if isinstance(chunk, Prompt)]
        return prompts


@pytest.fixture
def stage(connections: ConnectionMaker) -> AskingStage:
    return AskingStage(connections)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `input` and its relatives ask clients; elsewhere they return `by terminal`."""
    for module, name in ((builtins, "input"), (getpass, "getpass"), (builtins, "breakpoint")):
        monkeypatch.setattr(module, name, lambda *_: "by terminal")
    stdin.follow_input()


@pytest.mark.usefixtures("asking")
def test_code_outside_of_a_run_does_not_ask_a_client() -> None:
    answers = input("Name? "), getpass.getpass(), builtins.breakpoint()
    assert answers == ("by terminal",) * 3


@pytest.mark.usefixtures("asking")
def test_an_answer_that_is_here_already_is_taken_without_a_question(stage: AskingStage) -> None:
    run = stage.run(sse=True)
    run.input.add(Input("a", b"Ada\n", True))
    run.input.add(Input("a", b"\xff", False))
    token = context.current.set(run)
    try:
        assert (input("Name? "), getpass.getpass()) == ("Ada", "\ufffd")
    finally:
        context.current.reset(token)
    assert stage.sent() == []


@pytest.mark.parametrize("password", [False, True])
def test_the_end_of_the_input_answers_with_eof_error(stage: AskingStage, password: bool) -> None:
    run = stage.run(detach=True)
    run.input.end(None)
    with pytest.raises(EOFError, match="has ended the input"):
        stdin.ask(run, "Name? ", password=password)


@pytest.mark.parametrize(
    ("size", "fields", "reason"),
    [
        (0, {}, "a plain call has no way to ask its client"),
        (-1, {"sse": True}, "the input of this call is the body of its request"),
    ],
)
def test_a_client_that_cannot_answer_is_not_asked(
    stage: AskingStage, size: int, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EOFError, match=reason):
        stdin.ask(stage.run(size=size, **fields), "Name? ")
    assert stage.sent() == []
