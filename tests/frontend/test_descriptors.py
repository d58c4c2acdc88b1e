"""owt.frontend.descriptors: the limit, how connections and kernels share it, and the reserve."""

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
    """Return descriptors with this limit."""

    class Limited(Descriptors):
        limit = number

    return Limited()


@pytest.fixture
def soft() -> Iterator[int]:
    """Soft limit below the hard one, during the test."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = min(before, hard) // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_a_high_limit_permits_all_connections() -> None:
    assert of(20_000).connections(1000, max_kernels=104) == 1000


def test_kernels_get_what_they_need() -> None:
    few = of(1024)
    assert few.connections(1000, max_kernels=10) == 1024 - OWN - few.lingering - 10 * KERNEL


def test_kernels_get_at_most_half_of_the_descriptors() -> None:
    few = of(256)
    assert few.connections(1000, max_kernels=104) == (256 - OWN - few.lingering) // 2
    assert few.connections(50, max_kernels=104) == 50


def test_one_connection_is_always_permitted() -> None:
    assert of(10).connections(1000, max_kernels=104) == 1


def test_free_is_the_number_of_unused_descriptors() -> None:
    descriptors = Descriptors()
    before = descriptors.free()
    with open(os.devnull), open(os.devnull):
        assert descriptors.free() == before - 2
    assert descriptors.free() == before
    assert before < descriptors.limit


def test_a_kernels_start_requires_its_descriptors_and_a_margin() -> None:
    used = Descriptors().limit - Descriptors().free()
    for kernels in (1, 3):
        of(used + kernels * KERNEL + MARGIN).require(kernels)
        with pytest.raises(Busy, match=r"cannot start a kernel.*\(ulimit -n\)") as caught:
            of(used + kernels * KERNEL + MARGIN - 1).require(kernels)
        assert caught.value.retry_after > 0


def test_free_is_0_if_none_is_left_to_count_with(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        free = Descriptors().free()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert free == 0


def test_ran_out_distinguishes_a_lack_of_descriptors() -> None:
    assert ran_out(OSError(errno.EMFILE, ""))
    assert ran_out(OSError(errno.ENFILE, ""))
    assert not ran_out(OSError(errno.ENOENT, ""))
    assert not ran_out(ValueError())


def test_the_reserve_is_filled_spent_and_closed() -> None:
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


def test_the_limit_is_raised_and_restored_for_child_processes(soft: int) -> None:
    descriptors = Descriptors()
    assert descriptors.inherited == soft
    descriptors.raise_limit()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert descriptors.limit == hard
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (hard, hard)
            descriptors.restore_limit(child.pid)
            assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (soft, hard)
        finally:
            child.kill()


def test_a_limit_that_a_child_process_has_set_is_kept(soft: int) -> None:
    descriptors = Descriptors()
    descriptors.raise_limit()
    with subprocess.Popen(["sh", "-c", "ulimit -S -n 77; echo; exec sleep 60"], stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            descriptors.restore_limit(child.pid)
            assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0] == 77
        finally:
            child.kill()


def test_restoring_the_limit_of_an_ended_process_changes_no_limit(soft: int) -> None:
    descriptors = Descriptors()
    descriptors.raise_limit()
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(ProcessLookupError):
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
    descriptors.restore_limit(child.pid)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
