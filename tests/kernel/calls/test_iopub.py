"""Output of calls in attached notebooks."""

from __future__ import annotations

import math
from typing import Any

import pytest
from runner_bench import call

from owt.kernel.calls.iopub import MAX_CODE, IopubMirror, RunMirror
from owt.wire.chunk import FACTS, Data, Display, Failed, Stderr, Stdout


class FakeSession:
    """Session that keeps what is sent, or fails."""

    session = "k"

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.parents: list[dict[str, Any]] = []
        self.metadata: list[dict[str, Any]] = []
        self.problem: Exception | None = None

    def send(
        self, socket: object, kind: str, content: dict[str, Any], *, parent: Any, ident: bytes, metadata: Any
    ) -> None:
        if self.problem is not None:
            raise self.problem
        self.sent.append((kind, content))
        self.parents.append(parent)
        self.metadata.append(metadata)


class FakeThread:
    """Stand-in for ipykernel's IOPub thread; its loop calls functions immediately."""

    def __init__(self) -> None:
        self.greeted: list[list[bytes]] = []
        self._xpub_stream = self
        self.io_loop = self

    def add_callback(self, function: Any) -> None:
        function()

    def on_recv(self, function: Any) -> None:
        self.on_frames = function

    def _handle_subscription(self, frames: list[bytes]) -> None:
        self.greeted.append(frames)


class FakeKernel:
    class shell:
        execution_count = 7

    def __init__(self) -> None:
        self.session = FakeSession()
        self.iopub_thread = FakeThread()
        self.iopub_socket = None
        self.ident = "k"



@pytest.fixture
def kernel():
    return FakeKernel()


@pytest.fixture
def mirror(kernel):
    mirror = IopubMirror(kernel)
    mirror.watch()
    return mirror


def attach(kernel, topic=b""):
    kernel.iopub_thread.on_frames([b"\1" + topic])


def detach(kernel, topic=b""):
    kernel.iopub_thread.on_frames([b"\0" + topic])


def test_the_mirror_sends_nothing_without_subscribers(kernel, mirror):
    seen = RunMirror(mirror, "r", call("1"))
    seen.begin()
    seen.show([Stdout("text")])
    seen.end()
    assert kernel.session.sent == []


def test_a_client_is_attached_from_the_first_to_the_last_subscription(kernel, mirror):
    assert not mirror.is_attached
    attach(kernel)
    attach(kernel, b"status")
    detach(kernel)
    assert mirror.is_attached
    detach(kernel, b"status")
    assert not mirror.is_attached


def test_ipykernels_handler_of_subscriptions_is_called_too(kernel, mirror):
    attach(kernel)
    assert kernel.iopub_thread.greeted == [[b"\1"]]


def test_a_kernel_without_an_xpub_socket_has_no_subscribers(kernel):
    kernel.iopub_thread = None
    mirror = IopubMirror(kernel)
    mirror.watch()
    assert not mirror.is_attached


def test_a_run_looks_like_a_cell_of_another_client(kernel, mirror):
    attach(kernel)
    seen = RunMirror(mirror, "r1", call("print('a')", path="/p"))
    seen.begin()
    seen.show([Stdout("a"), Stderr("b"), Display({"text/plain": "c"}, {"m": 1}), Data(b"d", "text")])
    seen.end()
    assert kernel.session.sent == [
        ("status", {"execution_state": "busy"}),
        ("execute_input", {"code": "# run r1: GET /p\nprint('a')", "execution_count": 7}),
        ("stream", {"name": "stdout", "text": "a"}),
        ("stream", {"name": "stderr", "text": "b"}),
        ("display_data", {"data": {"text/plain": "c"}, "metadata": {"m": 1}, "transient": {}}),
        ("status", {"execution_state": "idle"}),
    ]
    assert {parent["msg_id"] for parent in kernel.session.parents} == {"r1"}
    assert {parent["msg_type"] for parent in kernel.session.parents} == {"execute_request"}
    assert all(parent == {"owt": {"run": "r1"}} for parent in kernel.session.metadata)


def test_displays_may_update_or_clear_earlier_output(kernel, mirror):
    attach(kernel)
    seen = RunMirror(mirror, "r", call("1"))
    one, other = {"text/plain": "a"}, {"text/plain": "b"}
    seen.show([Display({**one, FACTS: {"display_id": "d"}})])
    seen.show([Display({**other, FACTS: {"display_id": "d", "update": True}})])
    seen.show([Display({FACTS: {"clear": clear}}) for clear in ("now", "wait")])
    facts = {"metadata": {}, "transient": {"display_id": "d"}}
    assert kernel.session.sent[2:] == [
        ("display_data", {"data": one, **facts}),
        ("update_display_data", {"data": other, **facts}),
        ("clear_output", {"wait": False}),
        ("clear_output", {"wait": True}),
    ]


def test_a_display_is_cleaned_for_json(kernel, mirror):
    attach(kernel)
    RunMirror(mirror, "r", call("1")).show([Display({"application/json": {"a": math.nan}}, {"b": math.inf})])
    # jupyter_client would print a warning about NaN into the output of the call.
    assert kernel.session.sent[-1][1] == {
        "data": {"application/json": {"a": "nan"}}, "metadata": {"b": "inf"}, "transient": {},
    }


def test_a_client_that_attaches_late_gets_the_start_first(kernel, mirror):
    seen = RunMirror(mirror, "r", call("1"))
    seen.begin()
    attach(kernel)
    seen.show([Stdout("a")])
    seen.show([Stdout("b")])
    assert [kind for kind, _ in kernel.session.sent] == ["status", "execute_input", "stream", "stream"]


def test_a_client_that_attaches_before_the_end_gets_the_end(kernel, mirror):
    seen = RunMirror(mirror, "r", call("1"))
    seen.begin()
    attach(kernel)
    seen.end()
    assert kernel.session.sent == [("status", {"execution_state": "idle"})]


def test_a_failure_is_an_error_with_its_traceback(kernel, mirror):
    attach(kernel)
    RunMirror(mirror, "r", call("1")).show([Failed(500, "exception", "t", "why", "ValueError", "T:\n  x\n")])
    assert kernel.session.sent[-1] == (
        "error", {"ename": "ValueError", "evalue": "why", "traceback": ["T:", "  x"]},
    )


def test_a_failure_without_an_exception_has_its_title(kernel, mirror):
    attach(kernel)
    RunMirror(mirror, "r", call("1")).show([Failed(504, "timeout", "timed out", "longer than 1 s")])
    assert kernel.session.sent[-1][1] == {
        "ename": "timed out", "evalue": "longer than 1 s", "traceback": ["timed out: longer than 1 s"],
    }


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"code": "x" * (MAX_CODE + 1)}, "x" * MAX_CODE + "\n# ..."),
        ({"adaptor": "speak"}, "# adaptor speak"),
        ({"fn_name": "greet"}, "# greet(...)"),
    ],
)
def test_the_code_in_execute_input_is_cut(kernel, mirror, fields, code):
    attach(kernel)
    RunMirror(mirror, "r", call(**fields)).begin()
    assert kernel.session.sent[-1][1]["code"] == f"# run r: GET /\n{code}"


def test_a_failure_of_the_mirror_does_not_affect_the_run(kernel, mirror):
    attach(kernel)
    kernel.session.problem = ValueError("cannot be JSON")
    seen = RunMirror(mirror, "r", call("1"))
    seen.begin()
    seen.show([Stdout("a")])
    seen.end()
    assert kernel.session.sent == []
