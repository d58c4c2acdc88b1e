"""For reference: a call as stock Jupyter would make it, by `execute` over jupyter_client, without HTTP."""

import statistics
import time
from subprocess import DEVNULL

from jupyter_client.manager import start_new_kernel


def execute_round_trip(count: int) -> float:
    """The median seconds from an execute request to its reply on the shell channel."""
    manager, client = start_new_kernel(kernel_name="python3", stderr=DEVNULL)
    try:
        times = []
        for _ in range(count):
            started = time.perf_counter()
            asked = client.execute('print("Hello, owt!")', store_history=False)
            while client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") != asked:
                pass
            times.append(time.perf_counter() - started)
        return statistics.median(times)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
