"""The two clients: the I/O of `Caller`, with and without await."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self

from owt.client.answers import ANYTHING
from owt.client.caller import EVENTS, JSON, Caller, Code
from owt.client.events import Event, event, is_opening
from owt.client.request import Request
from owt.errors import RemoteError, Unreachable

if TYPE_CHECKING:
    import httpx


class Client(Caller):
    """Calls a server and waits for what it answers. Usable from several threads; a context manager.

    `code` is text or a function, whose source is sent (see `owt.client.function`), or None with the
    options `adaptor`, or `session` and `fn_name`. Everything that calls raises `CannotSend` for what
    cannot be sent, `RemoteError` for what failed there, with the remote traceback, and `Unreachable`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        session: str | None = None,
        auth: str | None = None,
        token: str | None = None,
    ) -> None:
        super().__init__(url, session=session, auth=auth, token=token)
        import httpx

        self._http = httpx.Client(**self._settings(httpx.HTTPTransport))

    def call(self, code: Code | None = None, /, **kwargs: Any) -> Any:
        """Run `code` with `kwargs`, and give the whole answer, decoded by its Content-Type.

        JSON becomes objects, a stream of JSON lines a list, text str and everything else (images,
        audio) bytes. A number is its text, as for any HTTP client. Streams are waited for.
        """
        with self.open(code, **kwargs) as response:
            return self._value(response, response.read())

    def stream(self, code: Code | None = None, /, **kwargs: Any) -> Generator[Event]:
        """Run `code` with `kwargs`, and give what it yields, prints and displays as it happens.

        A failure is raised where it happened. Closing the generator cancels the call.
        """
        return self._events(self._request(code, kwargs, EVENTS))

    @contextmanager
    def open(self, code: Code | None = None, /, **kwargs: Any) -> Iterator[httpx.Response]:
        """Run `code` with `kwargs`, and give the answer as it begins: its status, its headers, and its
        bytes as they come, by `iter_bytes()`. Leaving the block before the end cancels the call.

        An adaptor's own answer of status 400 or above is an answer here. What goes wrong inside
        the block is raised from it.
        """
        with self._opened(self._request(code, kwargs, ANYTHING)) as response:
            yield response

    def run(self, id: str) -> dict[str, Any]:
        """What the server knows of a run (`RemoteError.run`, the header Owt-Run), with what it printed."""
        import httpx

        try:
            answer = self._http.get(self._run_url(id), headers=JSON)
            if self._learn(answer):
                answer = self._http.get(self._run_url(id), headers=JSON)
            return self._told(answer)
        except httpx.RequestError as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """End the connections, also those of the clients made by `with_options`."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _events(self, request: Request) -> Generator[Event]:
        from httpx_sse import EventSource

        with self._opened(request) as response:
            for each in EventSource(response).iter_sse():
                if not is_opening(each):
                    yield event(each.event, each.data, each.id)

    @contextmanager
    def _opened(self, request: Request) -> Iterator[httpx.Response]:
        import httpx

        run: str | None = None
        try:
            with self._http.stream(
                request.method, request.url, content=request.content, headers=request.headers
            ) as response:
                run = response.headers.get("Owt-Run")
                self._learn(response)
                if self._has_failed(response):
                    self._check(response, response.read())
                yield response
        except httpx.RequestError as error:
            raise (self._lost(error) if run is None else self._broke(error, run)) from error

    def _broke(self, error: Exception, run: str) -> RemoteError | Unreachable:
        try:
            return self._broken(error, self.run(run))
        except RemoteError:
            return self._broken(error, {})


class AsyncClient(Caller):
    """`Client` with await: the same methods, options and errors. An asynchronous context manager."""

    def __init__(
        self,
        url: str | None = None,
        *,
        session: str | None = None,
        auth: str | None = None,
        token: str | None = None,
    ) -> None:
        super().__init__(url, session=session, auth=auth, token=token)
        import httpx

        self._http = httpx.AsyncClient(**self._settings(httpx.AsyncHTTPTransport))

    async def call(self, code: Code | None = None, /, **kwargs: Any) -> Any:
        """As `Client.call`. Cancelling it cancels the call."""
        async with self.open(code, **kwargs) as response:
            return self._value(response, await response.aread())

    def stream(self, code: Code | None = None, /, **kwargs: Any) -> AsyncGenerator[Event]:
        """As `Client.stream`. To cancel the call at once when a loop ends early, put the generator
        into `contextlib.aclosing`."""
        return self._events(self._request(code, kwargs, EVENTS))

    @asynccontextmanager
    async def open(self, code: Code | None = None, /, **kwargs: Any) -> AsyncIterator[httpx.Response]:
        """As `Client.open`, with `aiter_bytes()`."""
        async with self._opened(self._request(code, kwargs, ANYTHING)) as response:
            yield response

    async def run(self, id: str) -> dict[str, Any]:
        """As `Client.run`."""
        import httpx

        try:
            answer = await self._http.get(self._run_url(id), headers=JSON)
            if self._learn(answer):
                answer = await self._http.get(self._run_url(id), headers=JSON)
            return self._told(answer)
        except httpx.RequestError as error:
            raise self._lost(error) from error

    async def aclose(self) -> None:
        """End the connections, also those of the clients made by `with_options`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _events(self, request: Request) -> AsyncGenerator[Event]:
        from httpx_sse import EventSource

        async with self._opened(request) as response, aclosing(EventSource(response).aiter_sse()) as events:
            async for each in events:
                if not is_opening(each):
                    yield event(each.event, each.data, each.id)

    @asynccontextmanager
    async def _opened(self, request: Request) -> AsyncIterator[httpx.Response]:
        import httpx

        run: str | None = None
        try:
            async with self._http.stream(
                request.method, request.url, content=request.content, headers=request.headers
            ) as response:
                run = response.headers.get("Owt-Run")
                self._learn(response)
                if self._has_failed(response):
                    self._check(response, await response.aread())
                yield response
        except httpx.RequestError as error:
            raise (self._lost(error) if run is None else await self._broke(error, run)) from error

    async def _broke(self, error: Exception, run: str) -> RemoteError | Unreachable:
        try:
            return self._broken(error, await self.run(run))
        except RemoteError:
            return self._broken(error, {})
