"""stdout, stderr and displays, routed to the run that made them.

Output of a run goes to its `Outlet`; output of cells in attached notebooks goes where ipykernel
sends it, to IOPub.
"""

from __future__ import annotations

from typing import Any

from ipykernel.iostream import OutStream
from ipykernel.jsonutil import encode_images, json_clean
from ipykernel.zmqshell import ZMQDisplayPublisher

from owt.kernel import context
from owt.kernel.outlet import StreamName
from owt.wire.chunk import Display


class RunStream(OutStream):
    """sys.stdout or sys.stderr of a kernel. ipykernel also feeds it what child processes and C
    code write to file descriptors 1 and 2."""

    @property
    def _kind(self) -> StreamName:
        return "stderr" if self.name == "stderr" else "stdout"

    def write(self, string: str) -> int:
        """Write text to the run that this code works for; without one, as ipykernel does."""
        run = context.running()
        ours = run is not None and self._is_master_process()
        if ours and run is not None and (not string or run.outlet.write(self._kind, string)):
            return len(string)
        return super().write(string) or 0

    def flush(self) -> None:
        """Send what was written so far."""
        run = context.running()
        if run is not None and self._is_master_process():
            run.outlet.flush()
        else:
            super().flush()


class RunDisplayPublisher(ZMQDisplayPublisher):
    """What `display(...)` publishes through."""

    def publish(self, data: Any, metadata: Any = None, *args: Any, **kwargs: Any) -> None:
        """Publish a MIME bundle to the run that this code works for, or as ipykernel does."""
        run = context.running()
        if run is None:
            super().publish(data, metadata, *args, **kwargs)
        else:
            bundle = json_clean(encode_images(data))
            run.outlet.send([Display(bundle=bundle, metadata=json_clean(metadata or {}))])

    def clear_output(self, wait: bool = False) -> None:
        """There is nothing to clear in a call's answer: what was sent is sent."""
        if context.running() is None:
            super().clear_output(wait)
