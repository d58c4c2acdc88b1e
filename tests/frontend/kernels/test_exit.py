"""owt.frontend.kernels.exit: the description of a kernel's end."""

import signal

import pytest

from owt.frontend.counters import Counters
from owt.frontend.kernels.exit import UNKNOWN_CODE, Exit, ExitKind


@pytest.mark.parametrize(
    ("code", "description"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-signal.SIGKILL, "was killed by SIGKILL (by hand, or by the system when memory ran out)"),
        (-signal.SIGTERM, "was killed by SIGTERM"),
        (-signal.SIGSEGV, "crashed with SIGSEGV (a fault in native code)"),
        (-signal.SIGBUS, "crashed with SIGBUS (a fault in native code)"),
        (-40, "was killed by signal 40"),
        (UNKNOWN_CODE, "ended (how is not known, because the process that forked it is gone too)"),
        (None, "closed its connection to the server"),
    ],
)
def test_an_exit_code_is_described_in_words(code, description):
    assert str(Exit(ExitKind.CRASHED, code)) == description


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_memory_limit_is_named_where_it_may_be_the_cause(number):
    limit = 3 << 19
    killed, exited = (Exit(ExitKind.CRASHED, code, memory_limit=limit) for code in (-number, 3))
    assert "or by the 1.5 MiB of --kernel-memory" in str(killed)
    assert "--kernel-memory" not in str(exited)


def test_the_reason_of_the_server_is_the_description():
    assert str(Exit(ExitKind.REQUESTED, reason="was restarted on request")) == "was restarted on request"


@pytest.mark.parametrize(("code", "expected"), [(None, False), (0, False), (-9, True), (UNKNOWN_CODE, True)])
def test_an_unknown_end_may_have_been_a_signal(code, expected):
    assert Exit(ExitKind.CRASHED, code).by_signal is expected


def test_each_kind_of_exit_is_counted():
    assert {kind.value for kind in ExitKind} == set(Counters().kernel_ends)
