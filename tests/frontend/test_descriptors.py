"""owt.frontend.descriptors: how many there are, how they are shared, and the reserve."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator

import pytest

from owt.errors import Busy
from owt.frontend.descriptors import KERNEL, MARGIN, OWN, RESERVE, Descriptors, ran_out


def of(number: int) -> Descriptors:
    """As if the process might have so many."""

    class Limited(Descriptors):
        limit = number

    return Limited()


@pytest.fixture
def soft() -> Iterator[int]:
    """A soft limit below the hard one, for as long as the test lasts."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = min(before, hard) // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_where_there_are_plenty_all_connections_may_come() -> None:
    assert of(20_000).connections(1000, kernels=104) == 1000


def test_kernels_keep_what_they_need() -> None:
    few = of(1024)
    assert few.connections(1000, kernels=10) == 1024 - OWN - few.lingering - 10 * KERNEL


def test_kernels_that_need_more_keep_half() -> None:
    few = of(256)
    assert few.connections(1000, kernels=104) == (256 - OWN - few.lingering) // 2
    assert few.connections(50, kernels=104) == 50


def test_one_client_may_always_come() -> None:
    assert of(10).connections(1000, kernels=104) == 1


def test_what_is_free_is_what_is_not_in_use() -> None:
    descriptors = Descriptors()
    before = descriptors.free()
    with open(os.devnull), open(os.devnull):
        assert descriptors.free() == before - 2
    assert descriptors.free() == before
    assert before < descriptors.limit


def test_a_kernel_needs_some_and_leaves_some() -> None:
    used = Descriptors().limit - Descriptors().free()
    for kernels in (1, 3):
        of(used + kernels * KERNEL + MARGIN).require(kernels)
        with pytest.raises(Busy, match=r"cannot start a kernel.*\(ulimit -n\)") as caught:
            of(used + kernels * KERNEL + MARGIN - 1).require(kernels)
        assert caught.value.retry_after > 0


def test_none_is_free_when_there_are_none_even_to_count_with(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        free = Descriptors().free()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert free == 0


def test_running_out_is_told_from_other_errors() -> None:
    assert ran_out(OSError(errno.EMFILE, ""))
    assert ran_out(OSError(errno.ENFILE, ""))
    assert not ran_out(OSError(errno.ENOENT, ""))
    assert not ran_out(ValueError())


def test_the_reserve_is_filled_spent_and_given_up() -> None:
    descriptors = Descriptors()
    before = descriptors.free()
    assert not descriptors.spend()
    descriptors.hold()
    descriptors.hold()
    assert descriptors.free() == before - RESERVE
    assert descriptors.spend()
    assert descriptors.free() == before - RESERVE + 1
    descriptors.release()
    assert descriptors.free() == before


def test_the_server_takes_what_it_may_have_and_what_it_starts_has_what_it_was_given(soft: int) -> None:
    descriptors = Descriptors()
    assert descriptors.inherited == soft
    descriptors.raise_limit()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert descriptors.limit == hard
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (hard, hard)
            descriptors.give_back(child.pid)
            assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (soft, hard)
        finally:
            child.kill()


def test_a_limit_that_a_process_has_set_itself_is_left_alone(soft: int) -> None:
    descriptors = Descriptors()
    descriptors.raise_limit()
    with subprocess.Popen(["sh", "-c", "ulimit -S -n 77; echo; exec sleep 60"], stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            descriptors.give_back(child.pid)
            assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0] == 77
        finally:
            child.kill()


def test_a_process_that_has_ended_is_no_problem(soft: int) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    Descriptors().give_back(child.pid)
