"""The two clients: the I/O of `Caller`, with and without await."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext, suppress
from time import sleep
from typing import TYPE_CHECKING, Any, Self, cast

from owt.client.answers import ANYTHING
from owt.client.caller import EVENTS, JSON, Caller, Code
from owt.client.events import Event
from owt.client.following import LEAVING, Following
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

        A failure is raised where it happened. If the connection is lost, it comes back and goes on with
        the next event. Closing the generator cancels the call.
        """
        return self._events(self._request(code, kwargs, EVENTS))

    @contextmanager
    def open(self, code: Code | None = None, /, **kwargs: Any) -> Iterator[httpx.Response]:
        """Run `code` with `kwargs`, and give the answer as it begins: its status, its headers, and its
        bytes as they come, by `iter_bytes()`. Leaving the block before the end cancels the call; one whose
        `accept` asks for events, when the server has waited for a reader to come back.

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
        import httpx

        following = Following()
        try:
            while True:
                lost: Exception | None = None
                try:
                    yield from self._followed(request, following)
                except (httpx.RequestError, RemoteError, Unreachable) as error:
                    lost = error
                if (pause := following.pause(lost)) is None:
                    break
                sleep(pause)
                request = self._again(following)
            if not following.over:
                raise self._gave_up(lost or EOFError("it has no end"), following.run) from lost
        except BaseException as error:
            if run := following.left(error):
                self._cancel(run)
            raise

    def _followed(self, request: Request, following: Following) -> Generator[Event]:
        """The events of one connection."""
        from owt.wire.sse import Decoder

        decoder = Decoder()
        with self._answered(request) as response:
            for data in response.iter_bytes() if following.answered(response) else ():
                yield from following.events(decoder.feed(data))

    @contextmanager
    def _opened(self, request: Request) -> Iterator[httpx.Response]:
        import httpx

        run: str | None = None
        try:
            with self._answered(request) as response:
                run = response.headers["Owt-Run"]
                yield response
        except httpx.RequestError as error:
            raise self._gave_up(error, run) from error

    @contextmanager
    def _answered(self, request: Request) -> Iterator[httpx.Response]:
        with self._http.stream(**self._sent(request)) as response:
            self._learn(response)
            if self._has_failed(response):
                self._check(response, response.read())
            yield response

    def _cancel(self, run: str) -> None:
        """Have the server end a run, as well as that can be done in a moment."""
        import httpx

        with suppress(Exception):
            # A generator may be closed after its client.
            closed = self._http.is_closed
            new = httpx.Client(**self._settings(httpx.HTTPTransport)) if closed else nullcontext(self._http)
            with new as http:
                http.delete(self._run_url(run), headers=JSON, timeout=LEAVING)

    def _gave_up(self, error: Exception, run: str | None) -> RemoteError | Unreachable:
        if run is None:
            return self._lost(error)
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
        import asyncio

        import httpx

        following = Following()
        try:
            while True:
                lost: Exception | None = None
                try:
                    async with aclosing(self._followed(request, following)) as events:
                        async for given in events:
                            yield given
                except (httpx.RequestError, RemoteError, Unreachable) as error:
                    lost = error
                if (pause := following.pause(lost)) is None:
                    break
                await asyncio.sleep(pause)
                request = self._again(following)
            if not following.over:
                raise await self._gave_up(lost or EOFError("it has no end"), following.run) from lost
        except BaseException as error:
            if run := following.left(error):
                await self._cancel(run)
            raise

    async def _followed(self, request: Request, following: Following) -> AsyncGenerator[Event]:
        from owt.wire.sse import Decoder

        decoder = Decoder()
        async with self._answered(request) as response:
            if not following.answered(response):
                return
            pieces = cast("AsyncGenerator[bytes]", response.aiter_bytes())
            async with aclosing(pieces):
                async for data in pieces:
                    for given in following.events(decoder.feed(data)):
                        yield given

    @asynccontextmanager
    async def _opened(self, request: Request) -> AsyncIterator[httpx.Response]:
        import httpx

        run: str | None = None
        try:
            async with self._answered(request) as response:
                run = response.headers["Owt-Run"]
                yield response
        except httpx.RequestError as error:
            raise await self._gave_up(error, run) from error

    @asynccontextmanager
    async def _answered(self, request: Request) -> AsyncIterator[httpx.Response]:
        async with self._http.stream(**self._sent(request)) as response:
            self._learn(response)
            if self._has_failed(response):
                self._check(response, await response.aread())
            yield response

    async def _cancel(self, run: str) -> None:
        import httpx

        with suppress(Exception):
            closed = self._http.is_closed
            transport = httpx.AsyncHTTPTransport
            new = httpx.AsyncClient(**self._settings(transport)) if closed else nullcontext(self._http)
            async with new as http:
                await http.delete(self._run_url(run), headers=JSON, timeout=LEAVING)

    async def _gave_up(self, error: Exception, run: str | None) -> RemoteError | Unreachable:
        if run is None:
            return self._lost(error)
        try:
            return self._broken(error, await self.run(run))
        except RemoteError:
            return self._broken(error, {})
