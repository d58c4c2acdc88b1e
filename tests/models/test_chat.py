"""Example `chat`: conversations whose context stays in their runs, and the page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chromium import started
from selenium import webdriver
from selenium.webdriver.common.by import By

import owt
from owt.client.duplex import Duplex
from owt.errors import RemoteError
from owt.testing import LiveServer, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "chat"
SESSION = "chat-test"
PROGRAM = (EXAMPLE / "chat.py").read_text()

# Records how many tokens the model reads in each step.
COUNTED = """
sizes = []
model.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[1]))
None
"""
# Before each step of the model, reads a byte from a named pipe, so that a test can hold it.
HELD = """
import os
gate = os.open({gate!r}, os.O_RDWR)
held = model.register_forward_pre_hook(lambda *_: os.read(gate, 1) and None)
"""
# The tokens of a conversation that has ended with the model's reply, without the end of that.
TOKENS = """
def run(texts):
    roles = ["user", "assistant"] * (len(texts) // 2)
    conversation = [{"role": role, "content": text} for role, text in zip(roles, texts)]
    return len(state.tokenizer.apply_chat_template(conversation, return_dict=False)) - 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the example with its model."""
    folder = tmp_path_factory.mktemp("chat") / "chat"
    shutil.copytree(EXAMPLE, folder)
    training = subprocess.run(
        [sys.executable, "goldfish.py", "goldfish"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert (training.stdout, training.stderr) == ("", "")
    return folder


class Conversation:
    """Messages to the model, and its replies."""

    def __init__(self, stream: Duplex) -> None:
        self.stream = stream
        self.parts = iter(stream)

    def ask(self, message: str) -> str:
        """Send a message, and return the reply to it."""
        self.stream.send(message)
        return "".join(iter(lambda: next(self.parts), "\n"))


@contextmanager
def conversation(server: LiveServer) -> Iterator[Conversation]:
    with owt.Client(f"{server.url}/talk") as client, client.duplex(None) as stream:
        yield Conversation(stream)


def run(server: LiveServer, code: str, **fields: str) -> Any:
    """Run code in the session of the model, and return its value."""
    answer = server.call(code, session=SESSION, **fields)
    answer.raise_for_status()
    return answer.json() if answer.content else None


@pytest.fixture(scope="module", autouse=True)
def model(folder: Path, server: LiveServer) -> Iterator[None]:
    """Run the example in a session."""
    options = {"concurrency": 10, "cwd": str(folder)}
    server.ask("PUT", f"/_owt/sessions/{SESSION}", json=options).raise_for_status()
    run(server, PROGRAM)
    yield
    server.ask("DELETE", f"/_owt/sessions/{SESSION}").raise_for_status()


def test_reply_depends_on_an_earlier_message_of_the_same_conversation(server: LiveServer) -> None:
    with conversation(server) as first, conversation(server) as second, conversation(server) as third:
        assert first.ask("My name is Ada.") == "Hello, Ada!"
        assert second.ask("My name is Kurt.") == "Hello, Kurt!"
        assert first.ask("How are you?") == "Wet, thank you."
        assert first.ask("What is my name?") == "Your name is Ada."
        assert second.ask("What is my name?") == "Your name is Kurt."
        assert third.ask("What is my name?") == "You have not told me."


def test_model_reads_each_token_of_a_conversation_once(server: LiveServer) -> None:
    run(server, COUNTED)
    texts = []
    with conversation(server) as model:
        for message in ("My name is Emmy.", "Who are you?", "What is my name?"):
            texts += [message, model.ask(message)]
            assert run(server, "sum(sizes)") == run(server, TOKENS, kwargs=repr({"texts": texts}))
    assert texts[-1] == "Your name is Emmy."


def test_reply_is_streamed_token_by_token(server: LiveServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    end = os.open(gate, os.O_RDWR)
    run(server, HELD.format(gate=str(gate)))
    parts = []
    with conversation(server) as model:
        model.stream.send("My name is Ada.")
        for _ in range(4):
            # The part that a step makes comes before the next step, which needs another byte.
            os.write(end, b".")
            parts.append(next(model.parts))
        os.write(end, b"." * 100)
        parts += iter(lambda: next(model.parts), "\n")
    run(server, "held.remove()")
    os.close(end)
    assert "".join(parts) == "Hello, Ada!"


def test_conversation_ends_with_its_input(server: LiveServer) -> None:
    with conversation(server) as model:
        model.ask("How are you?")
        assert server.session(SESSION)["state"] == "busy"
        model.stream.end()
        assert list(model.parts) == []
    wait_until(lambda: server.session(SESSION)["state"] == "idle")


def test_conversation_that_exceeds_the_context_is_an_error(server: LiveServer) -> None:
    with (
        pytest.raises(RemoteError, match="longer than the model's context of 1024 tokens"),
        conversation(server) as model,
    ):
        model.ask("?" * 1100)


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    with started() as browser:
        yield browser


def test_page_shows_a_conversation(chromium: webdriver.Chrome, server: LiveServer) -> None:
    chromium.get(f"{server.url}/chat")
    field, button, status = (
        chromium.find_element(By.CSS_SELECTOR, name) for name in ("input", "button", "[role=status]")
    )
    wait_until(lambda: status.text == "ready")
    texts: list[str] = []

    def is_shown() -> bool:
        return [item.text for item in chromium.find_elements(By.TAG_NAME, "li")] == texts

    for message, reply in (("My name is Alan.", "Hello, Alan!"), ("What is my name?", "Your name is Alan.")):
        field.send_keys(message)
        button.click()
        texts += [message, reply]
        wait_until(is_shown)
        wait_until(lambda: status.text == "ready" and button.is_enabled())
    [id] = server.session(SESSION)["runs"]
    server.ask("DELETE", f"/_owt/runs/{id}").raise_for_status()
    wait_until(lambda: not field.is_enabled())
    assert status.text not in ("", "ready")
