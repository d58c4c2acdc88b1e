"""How a kernel's end is put into words."""

import signal

import pytest

from owt.frontend.kernels.exits import describe_exit
from owt.frontend.kernels.template import UNKNOWN_CODE


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-signal.SIGKILL, "was killed by SIGKILL (by hand, or by the system when memory ran out)"),
        (-signal.SIGTERM, "was killed by SIGTERM"),
        (-signal.SIGSEGV, "crashed with SIGSEGV (a fault in native code)"),
        (-signal.SIGBUS, "crashed with SIGBUS (a fault in native code)"),
        (-40, "was killed by signal 40"),
        (UNKNOWN_CODE, "ended (how is not known, because the process that forked it is gone too)"),
    ],
)
def test_an_exit_code_is_put_into_words(code, words):
    assert describe_exit(code) == words


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_limit_of_memory_is_named_where_it_may_be_the_cause(number):
    assert "or by the 1.5 MiB of --kernel-memory" in describe_exit(-number, 3 << 19)
    assert "--kernel-memory" not in describe_exit(3, 3 << 19)
