"""owt.kernel.calls.failure: exceptions to failure chunks."""

from __future__ import annotations

import traceback
from types import FunctionType
from typing import Any

import pytest

from owt.errors import BadRequest, KernelDied, MissingExtra, NoSuchFunction, SyntaxFault
from owt.kernel.calls import failure
from owt.kernel.calls.failure import MAX_DETAIL, MAX_NAME, MAX_TRACEBACK, describe
from owt.kernel.calls.interrupts import Stopped
from owt.kernel.code.compiled import FILENAME, FOLDER
from owt.wire.chunk import Failed


def raised(error: BaseException) -> BaseException:
    """Return the error as if code of this file had raised it."""
    try:
        raise error
    except BaseException as caught:
        return caught


def of(error: BaseException) -> Failed:
    return describe(raised(error), None, None)


def test_describe_reports_a_memory_error_with_its_notes() -> None:
    error = MemoryError()
    error.add_note("the limit")
    assert of(error).detail == "the limit"
    assert "the limit" in of(error).traceback


def test_describe_reports_class_text_and_traceback_of_an_exception() -> None:
    failed = of(ZeroDivisionError("by nothing"))
    assert failed == Failed(
        500,
        "exception",
        "the adaptor raised ZeroDivisionError",
        "by nothing",
        "ZeroDivisionError",
        failed.traceback,
    )
    assert failed.traceback.startswith("Traceback (most recent call last):\n")
    assert f'File "{__file__}"' in failed.traceback
    assert failed.traceback.endswith("ZeroDivisionError: by nothing\n")


def test_describe_reports_bad_requests_with_their_status() -> None:
    assert of(BadRequest("kwargs", "is odd", 5)) == Failed(
        400, "bad-request", "bad request", "kwargs: is odd; got 5"
    )
    assert of(NoSuchFunction("fn_name", "is not there", "f")) == Failed(
        404, "bad-request", "no such function", "fn_name: is not there; got 'f'"
    )


def test_describe_reports_a_syntax_fault_with_the_type_syntax() -> None:
    assert of(SyntaxFault("invalid syntax", 2)) == Failed(
        400, "syntax", "syntax error", "code: line 2: invalid syntax", "SyntaxError"
    )


def test_describe_uses_the_title_of_owts_errors() -> None:
    assert of(KernelDied("it died")).title == KernelDied.title
    missing = of(MissingExtra("torch", "bark"))
    assert missing.exception == "MissingExtra"
    assert "pip install 'owt-server[bark]'" in missing.detail


@pytest.mark.parametrize("reason", ["cancelled", "interrupted"])
def test_describe_reports_a_cancel_whatever_was_raised(reason: str) -> None:
    expected = Failed(499, reason, "cancelled", f"the call was {reason}")
    assert describe(raised(KeyboardInterrupt()), reason, None) == expected
    assert describe(raised(ValueError("while cleaning up")), reason, 3.0) == expected


def test_describe_reports_the_length_of_a_timeout() -> None:
    assert describe(KeyboardInterrupt(), "timeout", 1.5) == Failed(
        504, "timeout", "timed out", "the call ran longer than its timeout of 1.5 s"
    )


def test_describe_reports_the_cause_of_a_stopped_coroutine() -> None:
    failed = of(Stopped(raised(SystemExit(3))))
    assert (failed.exception, failed.detail) == ("SystemExit", "3")
    assert "Stopped" not in failed.traceback


def adaptor_called_by_ours(code: str) -> Any:
    """Return a function that calls code of the adaptor and, in tracebacks, looks like one of owt."""
    adaptor_code: dict[str, Any] = {}
    exec(compile(code, f"{FOLDER}{FILENAME}1>", "exec"), adaptor_code)
    owt_code: dict[str, Any] = {}
    exec(compile("def call(run):\n    return run()", failure.__file__, "exec"), owt_code)
    function = owt_code["call"]
    assert isinstance(function, FunctionType)
    return lambda: function(adaptor_code["run"])


def test_a_traceback_begins_at_the_adaptors_first_frame() -> None:
    call = adaptor_called_by_ours("def run():\n    inner()\ndef inner():\n    1 / 0\n")
    try:
        call()
    except ZeroDivisionError as caught:
        # Without the frame of this file, which is not part of owt.
        error = caught.with_traceback(caught.__traceback__.tb_next.tb_next)  # type: ignore[union-attr]
    failed = describe(error, None, None)
    places = [line.strip() for line in failed.traceback.splitlines() if line.startswith("  File")]
    assert places == ['File "<adaptor 1>", line 2, in run', 'File "<adaptor 1>", line 4, in inner']


def test_causes_and_contexts_are_shown_without_owts_frames() -> None:
    call = adaptor_called_by_ours("def run():\n    raise ValueError('first')\n")
    try:
        try:
            call()
        except ValueError as first:
            first.__traceback__ = first.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
            raise KeyError("second") from first
    except KeyError as caught:
        error = caught
    text = describe(error, None, None).traceback
    assert "ValueError: first" in text
    assert "KeyError: 'second'" in text
    assert failure.__file__ not in text


def test_an_exception_group_is_shown_with_its_members() -> None:
    failed = of(ExceptionGroup("several", [raised(ValueError("one")), raised(TypeError("two"))]))  # type: ignore[list-item]
    assert "ValueError: one" in failed.traceback
    assert "TypeError: two" in failed.traceback


def test_describe_cuts_the_middle_of_long_texts() -> None:
    failed = of(ValueError("a" * 5000 + "b" * 5000 + "c" * 100_000))
    assert len(failed.detail) < MAX_DETAIL + 100
    assert failed.detail.startswith("aaaa")
    assert "characters left out" in failed.detail
    assert failed.detail.endswith("cccc")
    assert len(failed.traceback) < MAX_TRACEBACK + 100
    assert len(of(type("E" * 1000, (Exception,), {})()).exception) < MAX_NAME + 100


def test_a_text_that_utf8_cannot_hold_is_escaped() -> None:
    failed = of(ValueError("half \ud800"))
    assert failed.detail == "half \\ud800"
    assert "half \\ud800" in failed.traceback


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_describe_reports_an_exception_whose_str_raises() -> None:
    failed = of(Unspeakable())
    assert failed.detail == "<Unspeakable, whose text cannot be shown>"
    assert failed.exception == "Unspeakable"
    assert "Unspeakable" in failed.traceback


def test_describe_reports_an_exception_whose_traceback_cannot_be_formatted(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ValueError

    monkeypatch.setattr(traceback, "TracebackException", broken)
    text = of(KeyError("x")).traceback
    assert text == "KeyError: (its traceback cannot be shown: ValueError)\n"


def test_a_stop_iteration_of_an_adaptor_is_reported_as_such() -> None:
    """Python turns a StopIteration that leaves a coroutine of owt into a RuntimeError."""
    owt_code: dict[str, Any] = {}
    code = "async def work(stop):\n    raise stop\n"
    exec(compile(code, failure.__file__, "exec"), owt_code)
    try:
        owt_code["work"](StopIteration("adaptor_code")).send(None)
    except RuntimeError as error:
        error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]
        failed = describe(error, None, None)
    assert (failed.exception, failed.detail) == ("StopIteration", "adaptor_code")


def test_a_runtime_error_of_an_adaptor_is_not_unwrapped() -> None:
    try:
        raise RuntimeError("mine") from StopIteration()
    except RuntimeError as error:
        failed = describe(error, None, None)
    assert (failed.exception, failed.detail) == ("RuntimeError", "mine")
