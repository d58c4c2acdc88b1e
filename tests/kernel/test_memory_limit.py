"""owt.kernel.memory_limit: limit and recovery.

Each test runs a process, because a limit cannot be removed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from owt.kernel.memory_limit import MemoryLimit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory so")

MIB = 1 << 20
BEGIN = f"""
import resource
from owt.kernel.memory_limit import MemoryLimit
memory = MemoryLimit()
memory.set(64 * {MIB})

def caught(function):
    try:
        function()
    except Exception as error:
        return error
"""


def printed(code: str) -> list[str]:
    """Return the lines that a process with a limit of 64 MiB prints."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_the_limit_counts_from_the_current_size_and_cannot_be_raised() -> None:
    code = f"""
soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
print(soft == hard)
print(len(bytearray(40 * {MIB})))
print(type(caught(lambda: bytearray(80 * {MIB}))).__name__)
"""
    assert printed(code) == ["True", str(40 * MIB), "MemoryError"]


def test_a_lower_hard_limit_of_the_system_stays() -> None:
    code = """
before = resource.getrlimit(resource.RLIMIT_DATA)
MemoryLimit().set(1 << 40)
print(resource.getrlimit(resource.RLIMIT_DATA) == before)
"""
    assert printed(code) == ["True"]


@pytest.mark.parametrize(
    "lack",
    [
        "bytearray(1 << 40)",
        "__import__('mmap').mmap(-1, 1 << 40, flags=2)",
        "[__import__('_thread').start_new_thread(__import__('time').sleep, (9,)) for _ in range(99)]",
    ],
    ids=["Python", "system", "threads"],
)
def test_an_error_for_lack_of_memory_has_a_note_with_the_limit(lack: str) -> None:
    code = f"""
error = caught(lambda: {lack})
memory.relieve(error)
print(error.__notes__, flush=True)
# Without waiting for threads.
import os
os._exit(0)
"""
    assert printed(code) == ["['this kernel may allocate 64 MiB (--kernel-memory)']"]


def test_a_memory_error_as_cause_gets_the_note() -> None:
    code = f"""
def run():
    try:
        bytearray(80 * {MIB})
    except MemoryError:
        raise ValueError("no room")
error = caught(run)
memory.relieve(error)
print(hasattr(error, "__notes__"), len(error.__context__.__notes__))
"""
    assert printed(code) == ["False 1"]


def test_relieve_frees_the_memory_of_the_failed_frames() -> None:
    code = f"""
def run():
    held = []
    while True:
        held.append(bytearray(1000))
error = caught(run)
memory.relieve(error)
print(len(bytearray(40 * {MIB})))
"""
    assert printed(code) == [str(40 * MIB)]


def test_the_reserve_lets_the_next_call_free_memory() -> None:
    code = f"""
left = []
def run():
    while True:
        left.append(bytearray(1000))
memory.relieve(caught(run))
print(len(bytearray(3 * {MIB})))
memory.keep_reserve()
left.clear()
memory.keep_reserve()
print(len(bytearray(40 * {MIB})))
"""
    assert printed(code) == [str(3 * MIB), str(40 * MIB)]


def test_relieve_adds_no_note_without_a_limit() -> None:
    error = MemoryError()
    memory = MemoryLimit()
    memory.set(None)
    memory.relieve(error)
    assert not hasattr(error, "__notes__")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other thresholds")
def test_freed_memory_is_kept_for_the_next_call() -> None:
    program = """
import resource
from owt.kernel.memory_limit import keep_freed_memory
keep_freed_memory()
def call():
    blocks = [b"x" * (1 << 20) for _ in range(3)]
for _ in range(3):
    call()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    call()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert int(faults.stdout) < 100
