"""Helpers for tests: of owt, and of adaptors that other people write.

    LiveServer   a server in a process of its own
    Bystander    calls to another session that must all succeed meanwhile
    Gate         a gate that holds an adaptor until the test opens it
    wait_until   wait for a condition, with a deadline
    settle       wait until an event loop has nothing to do
    async_test   run a coroutine function as a test

    with LiveServer() as server:
        assert server.call("1 + 1").text == "2"

`owt.testing.kernel` has scripted kernels, which answer and die when the test says so; it loads the frontend.
"""

from owt.testing.bystander import Bystander
from owt.testing.gate import Gate
from owt.testing.live_server import LiveServer
from owt.testing.waiting import PATIENCE, async_test, settle, wait_until

__all__ = ["PATIENCE", "Bystander", "Gate", "LiveServer", "async_test", "settle", "wait_until"]
