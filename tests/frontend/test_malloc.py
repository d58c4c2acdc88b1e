"""owt.frontend.malloc: memory that is used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

PAGES = """
import resource
from owt.frontend import malloc as memory

memory.keep()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def come_and_go():
    return sum(len(each) for each in [b"x" * (8 << 20) for _ in range(3)])

come_and_go()
before = faults()
for _ in range(10):
    come_and_go()
print((faults() - before) * resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_blocks_of_megabytes_come_from_the_system_once() -> None:
    command = [sys.executable, "-c", PAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 8 << 20
