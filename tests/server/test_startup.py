"""Report of a starting server, through a pipe."""

from __future__ import annotations

import os
import threading

import pytest

from owt.server.startup import Startup, read_report, write_report


@pytest.mark.parametrize("report", ["http://127.0.0.1:9876/owt", Startup.CANNOT_LISTEN])
def test_the_parent_reads_the_report_that_the_server_writes(report: str | Startup) -> None:
    parent, server = os.pipe()
    write_report(server, report)
    assert read_report(parent, 10) == report
    # The server's end is closed.
    assert os.read(parent, 1) == b""
    os.close(parent)


def test_a_report_may_arrive_in_pieces() -> None:
    parent, server = os.pipe()
    os.write(server, b'{"url": "http')
    rest = threading.Timer(0.01, os.write, (server, b'://h:1"}\n'))
    rest.start()
    assert read_report(parent, 10) == "http://h:1"
    rest.join()
    os.close(server)
    os.close(parent)


def test_a_pipe_that_is_closed_without_a_report_means_that_the_server_ended() -> None:
    parent, server = os.pipe()
    os.close(server)
    assert read_report(parent, 10) is Startup.ENDED
    os.close(parent)


def test_a_server_that_does_not_report_in_time_is_told_from_one_that_ended() -> None:
    parent, server = os.pipe()
    os.write(server, b'{"url": ')
    assert read_report(parent, 0) is Startup.TIMED_OUT
    os.close(server)
    os.close(parent)
