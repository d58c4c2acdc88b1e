"""Calls by wrk, a load generator in C that uses less CPU time than Python."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from connection import Request

COMMAND = shutil.which("wrk")
SCRIPT = Path(__file__).with_name("post.lua")
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def calls(requests: Sequence[Request], clients: int, seconds: float) -> dict:
    """Return `p50` in seconds, `rate` in calls a second, and `count` of `clients` that call without a pause.

    The requests differ only in their fields and are sent in turns. The duration is rounded to whole seconds.
    Raises ValueError for errors.
    """
    first = requests[0]
    bodies = [request.body() for request in requests]
    command = [COMMAND, "--threads=1", f"--connections={clients}", f"--duration={max(1, round(seconds))}s"]
    command += ["--latency", "--timeout=30s", "--script", SCRIPT]
    command += [f"http://127.0.0.1:{first.port}{first.path}", *bodies]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    if "Non-2xx" in text or "Socket errors" in text or not (p50 and rate and count):
        raise ValueError(f"wrk reported errors:\n{text}")
    return {"p50": float(p50[1]) * UNITS[p50[2]], "rate": float(rate[1]), "count": int(count[1])}
