"""Report of a server that starts in a child process to the program that started it.

The parent passes the number of an inherited descriptor, the write end of a pipe, by the hidden option
`--report-fd`. The server writes one line of JSON to it: `{"url": "..."}` once it accepts connections, or
`{"error": "cannot-listen"}`. A server that ends for any other reason closes the pipe without a line.
"""

from __future__ import annotations

import json
import os
import select
import time
from enum import Enum


class Startup(Enum):
    """Outcomes of a start that are not a URL."""

    CANNOT_LISTEN = "cannot-listen"
    """The address and port cannot be listened on; another port may be free."""
    ENDED = "ended"
    """The server closed the pipe without a report; its exit status and its log have the reason."""
    TIMED_OUT = "timed out"
    """The server did not report in time."""


def write_report(descriptor: int, report: str | Startup) -> None:
    """Report a server's URL, or why it has none, to the server's end of the pipe, and close that."""
    with open(descriptor, "w", encoding="ascii") as pipe:
        print(json.dumps({"url": report} if isinstance(report, str) else {"error": report.value}), file=pipe)


def read_report(descriptor: int, timeout: float) -> str | Startup:
    """Read the report from the parent's end of the pipe: the server's URL, or why there is none.

    `timeout` is in seconds.
    """
    deadline = time.monotonic() + timeout
    data = b""
    while not data.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
            return Startup.TIMED_OUT
        piece = os.read(descriptor, 4096)
        if not piece:
            return Startup.ENDED
        data += piece
    report = json.loads(data)
    return str(report["url"]) if "url" in report else Startup(report["error"])
