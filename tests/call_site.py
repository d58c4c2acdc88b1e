"""Listener with the application of a scripted service, and clients that call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from http_site import PATIENCE, HttpSite, RawClient
from scripted_service import ScriptedService

from owt.frontend.application import Owt
from owt.testing.kernel import ScriptedKernel


class CallSite(HttpSite):
    """Listener with the application of a scripted service."""

    def __init__(self, **settings: Any) -> None:
        self.scripted = ScriptedService(queue=10, **settings)
        self.service = self.scripted.service
        super().__init__(Owt(self.service), self.service.settings)

    async def invoked(self, count: int = 1) -> ScriptedKernel:
        """Wait until the kernel has got this number of calls, and return it."""
        await until(lambda: self.scripted.kernels.all and len(self.kernel.invoked) >= count)
        return self.kernel

    @property
    def kernel(self) -> ScriptedKernel:
        """Return the only kernel."""
        return self.scripted.kernels.all[0]

    async def call(self, head: str = "POST / HTTP/1.1", *headers: str, body: bytes = b"1") -> RawClient:
        """Send a call on a connection of its own."""
        client = await self.connect()
        await client.send(request(head, *headers, body=body))
        return client


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[CallSite]:
    """Serve calls on scripted kernels."""
    site = CallSite(**settings)
    try:
        yield site
    finally:
        await site.service.sessions.close()
        await site.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def request(head: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request of Python code."""
    lines = [head, "Host: localhost", "Content-Type: text/x-python", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
