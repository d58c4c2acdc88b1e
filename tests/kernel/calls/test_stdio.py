"""owt.kernel.calls.stdio: text and displays reach the run that produces them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any

import pytest
import zmq
from frontend_side import PLENTY, ConnectionMaker, SenderStage
from ipykernel.iostream import IOPubThread, OutStream
from jupyter_client.session import Session

import owt.kernel.calls.stdio
from owt.kernel import context
from owt.kernel.calls.displays import RunDisplayPublisher
from owt.kernel.calls.stdio import RunStream, Streams
from owt.kernel.context import Run, current
from owt.testing import wait_until
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import FACTS, Display, Done, Stderr, Stdout


@pytest.fixture
def stage(connections: ConnectionMaker) -> SenderStage:
    return SenderStage(connections)


@pytest.fixture
def run(stage: SenderStage) -> Iterator[Run]:
    """Make a run the current one of this test."""
    facts = RequestFacts("GET", "/", "", (), b"", "localhost")
    run = Run("a", Call(facts), stage.sender(PLENTY))
    token = current.set(run)
    yield run
    current.reset(token)


@pytest.fixture
def alone(run: Run) -> Iterator[Run]:
    """Make the run the only one, for threads without a context."""
    context.set_only_run(run)
    yield run
    context.set_only_run(None)


@pytest.fixture
def iopub() -> Iterator[IOPubThread]:
    """Return ipykernel's thread of IOPub, not started, so that it calls functions immediately."""
    with zmq.Context() as zmq_context, zmq_context.socket(zmq.PUB) as socket:
        thread = IOPubThread(socket)
        yield thread
        thread._event_puller.close()
        thread.io_loop.close()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the contents of messages to attached clients."""
    contents: list[dict[str, Any]] = []

    def send(self: Session, stream: object, message: Any, *args: object, **kwargs: object) -> None:
        contents.append(message["content"])

    monkeypatch.setattr(Session, "send", send)
    return contents


@pytest.fixture
def stdout(iopub: IOPubThread) -> Iterator[RunStream]:
    stream = RunStream(Session(key=b"x"), iopub, "stdout", watchfd=False)
    yield stream
    stream.close()


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[str]]:
    """Set sys.stdout to a file before a stream replaces it."""
    with open(tmp_path / "terminal", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        yield file


@pytest.fixture
def watching(terminal: IO[str], iopub: IOPubThread) -> Iterator[RunStream]:
    """Return a stream with a pipe in place of the terminal's descriptor."""
    stream = RunStream(Session(key=b"x"), iopub, "stdout")
    yield stream
    stream.close()


def test_output_of_a_run_goes_to_its_sender(
    stdout: RunStream, run: Run, stage: SenderStage, published: Any
) -> None:
    print("out", 1, file=stdout)
    stdout.flush()
    assert stage.arrived() == [Stdout("out 1\n")]
    assert published == []


def test_stderr_is_sent_as_stderr(iopub: IOPubThread, run: Run, stage: SenderStage) -> None:
    stream = RunStream(Session(key=b"x"), iopub, "stderr", watchfd=False)
    assert stream.write("error\n") == 6
    assert stage.arrived() == [Stderr("error\n")]
    stream.close()


def test_flush_sends_the_text_of_the_run(stdout: RunStream, run: Run, stage: SenderStage) -> None:
    stdout.write("50 %")
    assert stage.arrived() == []
    stdout.flush()
    assert stage.arrived() == [Stdout("50 %")]


def test_writing_no_text_sends_nothing(stdout: RunStream, run: Run, stage: SenderStage) -> None:
    assert stdout.write("") == 0
    stdout.flush()
    assert stage.arrived() == []


def test_text_outside_of_runs_goes_to_iopub(
    stdout: RunStream, published: list[dict[str, Any]]
) -> None:
    print("for the notebook", file=stdout)
    stdout.flush()
    assert published == [{"name": "stdout", "text": "for the notebook\n"}]


def test_text_of_a_run_that_has_ended_goes_to_iopub(
    stdout: RunStream, run: Run, stage: SenderStage, published: list[dict[str, Any]]
) -> None:
    run.sender.finish([Done(200, 1.0)])
    assert stdout.write("too late") == 8
    assert stage.arrived() == [Done(200, 1.0)]
    stdout._flush()
    assert published == [{"name": "stdout", "text": "too late"}]


@pytest.mark.parametrize(
    "write",
    [
        lambda stream: os.write(stream.fileno(), b"out\n"),
        lambda stream: subprocess.run(["echo", "out"], stdout=stream, check=True),
    ],
)
def test_output_to_the_descriptor_belongs_to_the_run_once_the_pipe_is_read(
    watching: RunStream, alone: Run, stage: SenderStage, write: Any
) -> None:
    write(watching)
    watching.pipe.read()
    alone.sender.flush()
    assert stage.arrived() == [Stdout("out\n")]


@pytest.mark.parametrize("reads", [True, False])
def test_a_terminal_that_is_not_read_does_not_block_the_kernel(
    iopub: IOPubThread, monkeypatch: pytest.MonkeyPatch, published: Any, reads: bool
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    if not reads:
        os.close(reading)
    monkeypatch.setattr(owt.kernel.calls.stdio, "TERMINAL_TIMEOUT", 0)
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        stream = RunStream(Session(key=b"x"), iopub, "stdout")
        for _ in range(2):
            os.write(stream.fileno(), b"dropped\n")
            stream.pipe.read()
        if reads:
            # A terminal that reads again gets later output.
            os.read(reading, 1 << 20)
            os.write(stream.fileno(), b"later\n")
            stream.pipe.read()
            assert os.read(reading, 1 << 20).endswith(b"later\n")
            os.close(reading)
        stream.close()


def test_bytes_of_one_character_may_arrive_separately(
    watching: RunStream, alone: Run, stage: SenderStage
) -> None:
    for byte in "€".encode():
        os.write(watching.fileno(), bytes([byte]))
        watching.pipe.read()
    alone.sender.flush()
    text = "".join(chunk.text for chunk in stage.arrived() if isinstance(chunk, Stdout))
    assert text == "€"


def test_output_to_the_descriptor_outside_of_runs_reaches_the_terminal(
    watching: RunStream, terminal: IO[str], published: list[dict[str, Any]]
) -> None:
    os.write(watching.fileno(), b"crash\n")
    watching.pipe.read()
    watching.flush()
    assert Path(terminal.name).read_text() == "crash\n"
    assert published == [{"name": "stdout", "text": "crash\n"}]


@pytest.mark.parametrize("method", ["close", "detach"])
def test_a_run_cannot_close_the_stream_for_others(
    stdout: RunStream, run: Run, stage: SenderStage, published: Any, method: str
) -> None:
    getattr(stdout, method)()
    print("still open", file=stdout)
    stdout.flush()
    assert stage.arrived() == [Stdout("still open\n")]


def test_detach_returns_the_binary_stream(
    stdout: RunStream, run: Run, stage: SenderStage, published: Any
) -> None:
    io.TextIOWrapper(stdout.detach(), encoding="utf-8", write_through=True).write("wrapped")
    stdout.flush()
    assert stage.arrived() == [Stdout("wrapped")]


def test_a_stream_that_a_run_removed_is_restored_for_the_next(
    watching: RunStream, alone: Run, stage: SenderStage
) -> None:
    with redirect_stdout(watching):
        streams = Streams()
        os.close(watching.fileno())
        sys.stdout = None  # type: ignore[assignment]
        streams.collect()
        print("out")
        del sys.stdout
        streams.collect()
        os.write(watching.fileno(), b"out\n")
        streams.collect()
    alone.sender.flush()
    assert "".join(chunk.text for chunk in stage.arrived() if isinstance(chunk, Stdout)) == "out\nout\n"


def test_output_of_a_process_after_its_run_belongs_to_no_other_run(
    watching: RunStream, alone: Run, stage: SenderStage, terminal: IO[str], published: Any
) -> None:
    def collected() -> list[Any]:
        watching.pipe.read()
        alone.sender.flush()
        return stage.arrived()

    with redirect_stdout(watching), subprocess.Popen(
        ["sh", "-c", "echo first; read line; echo late"], stdin=subprocess.PIPE, stdout=watching
    ) as left:
        streams = Streams()
        assert wait_until(collected) == [Stdout("first\n")]
        streams.collect()
        left.communicate(b"go on\n")
        os.write(watching.fileno(), b"next\n")
        streams.collect()
        alone.sender.flush()
        assert stage.arrived() == [Stdout("next\n")]
        wait_until(lambda: Path(terminal.name).read_text() == "late\n")
        # The pipe without a writer is closed.
        wait_until(lambda: len(watching.pipe._decoders) == 1)


def test_collect_restores_a_stream_without_a_pipe(stdout: RunStream) -> None:
    assert stdout.pipe is None
    with redirect_stdout(stdout):
        streams = Streams()
        with redirect_stdout(None):
            streams.collect()
            assert sys.stdout is stdout


@pytest.fixture
def replaced(iopub: IOPubThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[OutStream, RunStream]]:
    """Put a RunStream around the stream of another kernelspec's kernel."""
    stream = OutStream(Session(key=b"x"), iopub, "stdout", watchfd=False)
    monkeypatch.setattr(sys, "stdout", stream)
    wrapper = RunStream.replace("stdout")
    assert sys.stdout is wrapper
    yield stream, wrapper
    stream.close()


def test_replace_sends_text_of_a_run_to_its_sender(
    replaced: tuple[OutStream, RunStream], run: Run, stage: SenderStage, published: Any
) -> None:
    print("out", file=replaced[1], flush=True)
    assert stage.arrived() == [Stdout("out\n")]
    assert published == []


def test_route_sends_text_written_to_the_replaced_stream_to_the_run(
    replaced: tuple[OutStream, RunStream], run: Run, stage: SenderStage, published: list[dict[str, Any]]
) -> None:
    stream, wrapper = replaced
    stream.write("before\n")
    wrapper.route()
    stream.write("after\n")
    assert stage.arrived() == [Stdout("after\n")]
    stream.flush()
    assert published == [{"name": "stdout", "text": "before\n"}]


def test_a_replaced_stream_has_the_attributes_of_ipykernels(replaced: tuple[OutStream, RunStream]) -> None:
    stream, wrapper = replaced
    wrapper.set_parent({"header": {"msg_id": "m"}})
    assert stream.parent_header == {"msg_id": "m"}
    assert (wrapper.name, wrapper.encoding) == ("stdout", "UTF-8")
    assert (wrapper.isatty(), wrapper.closed) == (False, False)
    assert not hasattr(wrapper, "no_such_attribute")


def test_a_forked_child_writes_to_the_descriptor(watching: RunStream, alone: Run, stage: SenderStage) -> None:
    if not (child := os.fork()):
        watching.write("child\n")
        watching.flush()
        os._exit(0)
    os.waitpid(child, 0)
    watching.pipe.read()
    alone.sender.flush()
    assert stage.arrived() == [Stdout("child\n")]


def publisher() -> RunDisplayPublisher:
    return RunDisplayPublisher(session=Session(key=b"x"), pub_socket=None)


def test_a_display_of_a_run_is_cleaned_for_json(run: Run, stage: SenderStage, published: Any) -> None:
    publisher().publish({"text/plain": "x", "application/json": {"a": (1, 2)}})
    assert stage.arrived() == [Display({"text/plain": "x", "application/json": {"a": [1, 2]}}, {})]
    assert published == []


def test_a_display_carries_its_id_metadata_and_update(run: Run, stage: SenderStage) -> None:
    publisher().publish({"text/plain": "x"}, {"a": {"width": 1}}, transient={"display_id": "d"})
    publisher().publish({"text/plain": "y"}, transient={"display_id": "d"}, update=True)
    first = {"display_id": "d", "metadata": {"a": {"width": 1}}}
    again = {"display_id": "d", "update": True}
    assert stage.arrived() == [
        Display({"text/plain": "x", FACTS: first}, {"a": {"width": 1}}),
        Display({"text/plain": "y", FACTS: again}, {}),
    ]


def test_keys_of_a_display_become_text(run: Run, stage: SenderStage) -> None:
    publisher().publish({"text/plain": "x", 5: "y"}, {None: 1})
    expected = Display({"text/plain": "x", "5": "y", FACTS: {"metadata": {"None": 1}}}, {"None": 1})
    assert stage.arrived() == [expected]


def test_publish_does_not_change_the_bundle(run: Run, stage: SenderStage) -> None:
    data = {"text/plain": "x"}
    publisher().publish(data, transient={"display_id": "d"})
    assert data == {"text/plain": "x"}


def test_a_display_is_sent_after_earlier_text(stdout: RunStream, run: Run, stage: SenderStage) -> None:
    stdout.write("before")
    publisher().publish({"text/plain": "x"})
    stdout.write("after")
    stdout.flush()
    assert stage.arrived() == [Stdout("before"), Display({"text/plain": "x"}, {}), Stdout("after")]


def test_a_display_outside_of_runs_goes_to_iopub(published: list[dict[str, Any]]) -> None:
    publisher().publish({"text/plain": "x"})
    assert published[0]["data"] == {"text/plain": "x"}


def test_clear_output_goes_to_the_run_or_to_iopub(
    run: Run, stage: SenderStage, published: list[dict[str, Any]]
) -> None:
    publisher().clear_output()
    publisher().clear_output(wait=True)
    assert stage.arrived() == [Display({FACTS: {"clear": "now"}}), Display({FACTS: {"clear": "wait"}})]
    assert published == []
    current.set(None)  # type: ignore[arg-type]
    publisher().clear_output(wait=True)
    assert published == [{"wait": True}]
