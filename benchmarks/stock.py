"""Stock Jupyter: ipykernel and jupyter_client, without HTTP."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import DEVNULL

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

PATIENCE = 60.0


class StockKernel:
    """A kernel and a connected client."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(stderr=DEVNULL)
        self._client: BlockingKernelClient = self.manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)

    @property
    def pid(self) -> int:
        return self.manager.provisioner.pid

    def execute(self, code: str) -> float:
        """Run `code`; return the seconds until the reply. Raises ValueError if the code raises."""
        started = time.perf_counter()
        request = self._client.execute(code, store_history=False)
        reply = self._reply(self._client.get_shell_msg, lambda message: True, request)
        seconds = time.perf_counter() - started
        if reply["content"]["status"] != "ok":
            raise ValueError(f"a stock kernel did not run {code!r}: {reply['content']}")
        return seconds

    def first_print(self, code: str) -> float:
        """Run `code`; return the seconds until its first printed output."""
        started = time.perf_counter()
        request = self._client.execute(code, store_history=False)
        self._reply(self._client.get_iopub_msg, lambda message: message["msg_type"] == "stream", request)
        seconds = time.perf_counter() - started
        self._reply(self._client.get_shell_msg, lambda message: True, request)
        return seconds

    def _reply(self, receive: Callable[..., dict], matches: Callable[[dict], bool], request: str) -> dict:
        while True:
            message = receive(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == request and matches(message):
                return message

    def close(self) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@contextmanager
def stock_kernel() -> Iterator[StockKernel]:
    kernel = StockKernel()
    try:
        yield kernel
    finally:
        kernel.close()


def first_answer(code: str) -> float:
    """Return the seconds from the start of a kernel to its first reply."""
    started = time.perf_counter()
    with stock_kernel() as kernel:
        kernel.execute(code)
        return time.perf_counter() - started
