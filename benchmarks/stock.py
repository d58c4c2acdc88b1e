"""Stock Jupyter: an ipykernel and jupyter_client as they come, without HTTP."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import DEVNULL

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

PATIENCE = 60.0


class StockKernel:
    """A kernel, and a client that is connected to it."""

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
        """Run `code`; the seconds until the reply. Raises ValueError if the code raises."""
        started = time.perf_counter()
        asked = self._client.execute(code, store_history=False)
        reply = self._reply(self._client.get_shell_msg, lambda message: True, asked)
        seconds = time.perf_counter() - started
        if reply["content"]["status"] != "ok":
            raise ValueError(f"a stock kernel did not run {code!r}: {reply['content']}")
        return seconds

    def first_print(self, code: str) -> float:
        """Run `code`; the seconds until something that it prints has come."""
        started = time.perf_counter()
        asked = self._client.execute(code, store_history=False)
        self._reply(self._client.get_iopub_msg, lambda message: message["msg_type"] == "stream", asked)
        seconds = time.perf_counter() - started
        self._reply(self._client.get_shell_msg, lambda message: True, asked)
        return seconds

    def _reply(self, receive: Callable[..., dict], wanted: Callable[[dict], bool], asked: str) -> dict:
        while True:
            message = receive(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == asked and wanted(message):
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
    """The seconds from nothing to the first reply of a kernel that is started for it."""
    started = time.perf_counter()
    with stock_kernel() as kernel:
        kernel.execute(code)
        return time.perf_counter() - started
