"""owt.frontend.malloc: reuse of freed memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

PAGES = """
import resource
from owt.frontend import malloc

malloc.keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def allocate():
    return sum(len(block) for block in [b"x" * (8 << 20) for _ in range(3)])

allocate()
before = faults()
for _ in range(10):
    allocate()
print((faults() - before) * resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_blocks_of_megabytes_are_reused_without_page_faults() -> None:
    command = [sys.executable, "-c", PAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 8 << 20
