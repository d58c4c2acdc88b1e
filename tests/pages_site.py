"""The pages of a service with scripted kernels, for tests of `owt.frontend.api`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import httpx
from http_site import HttpSite
from scripted_service import ScriptedService

from owt.frontend.application import Owt
from owt.frontend.runs.runs import Run
from owt.testing import async_test
from owt.testing.kernel import new_call


class Control:
    """Client of the pages of a service with scripted kernels."""

    def __init__(self, scripted: ScriptedService, client: httpx.AsyncClient) -> None:
        self.scripted, self.service, self.kernels = scripted, scripted.service, scripted.kernels
        self._client = client

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return the status and the JSON of a response."""
        options.setdefault("headers", {"Accept": "application/json"})
        response = await self._client.request(method, path, **options)
        return response.status_code, response.json()

    async def text(self, path: str) -> tuple[int, str]:
        """Return the status and the text of a response to a GET."""
        response = await self._client.get(path)
        return response.status_code, response.text

    def submit(self, user: str | None = None, **fields: Any) -> Run:
        """Submit a call of a user."""
        run, _ = self.service.submit(new_call(**fields), user)
        return run


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Control]:
    scripted = ScriptedService(**settings)
    site = HttpSite(Owt(scripted.service), scripted.service.settings)
    try:
        url = f"http://127.0.0.1:{site.address[1]}{scripted.service.settings.base_url}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield Control(scripted, client)
    finally:
        await site.close()


def with_control(**settings: Any) -> Callable[[Callable[[Control], Awaitable[None]]], Callable[[], None]]:
    """Return a decorator for tests that use the pages of a service with these settings."""

    def decorate(test: Callable[[Control], Awaitable[None]]) -> Callable[[], None]:
        @wraps(test)
        async def run() -> None:
            async with serving(**settings) as pages:
                await test(pages)

        # pytest must not take the parameter of the test for a fixture.
        del run.__wrapped__  # type: ignore[attr-defined]
        return async_test(run)

    return decorate
