"""Program that runs the tests in two stages, for two cores: `python tests/stages.py [OPTIONS]`.

The first stage tests modules, the second running servers. The second starts only if the first has not failed:
its tests would fail for the same reason. `tests/conftest.py` says which folder belongs to which stage. The
tests of a file run in one process, in their order.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Processes of each stage. Tests of running servers wait for a quarter of their time.
PROCESSES = {"first": 2, "second": 3}

# A process that a test has ended is not replaced: the new one would begin with the same test.
PARALLEL = ("--dist=loadfile", "--no-loadscope-reorder", "--max-worker-restart=0")


def main(arguments: list[str]) -> int:
    """Run both stages with these options of pytest, and return the exit status of the one that failed."""
    # Servers and kernels are started hundreds of times, and would compile all modules each time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    statuses = []
    for stage, processes in PROCESSES.items():
        print(f"the {stage} stage of the tests:", flush=True)
        options = (f"--numprocesses={processes}", *PARALLEL, f"--stage={stage}")
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        status = subprocess.call(command, env=environment)
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            if stage == "first":
                print("the first stage failed, so the tests of running servers were not started", flush=True)
            return status
        statuses.append(status)
    # Arguments may select the tests of one stage only.
    return min(statuses)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
