"""The two clients: the I/O of `Caller`, blocking and asynchronous."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from functools import partial
from time import sleep
from types import UnionType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from owt.client import upload
from owt.client.answers import ANYTHING, check_type
from owt.client.caller import EVENTS, Caller, Code
from owt.client.events import Event
from owt.client.following import CANCEL_TIMEOUT, Attempts, Following
from owt.client.request import Request
from owt.client.values import accept_of
from owt.errors import OwtError, RemoteError, Unreachable

if TYPE_CHECKING:
    import httpx

    from owt.client.duplex import AsyncDuplex, Duplex

Value = TypeVar("Value")


class Client(Caller):
    """Blocking client of a server. Several threads may use it; a context manager.

    `code` is text, or a function whose source is sent (see `owt.client.function`), or None with the
    option `adaptor`, or with `session` and `fn_name`. Every method that calls raises `CannotSend` for what
    cannot be sent, `RemoteError`, with the remote traceback, for a failed call, and `Unreachable`.
    """

    _parts = staticmethod(upload.parts)

    def _connect(self) -> None:
        import httpx

        self._http = httpx.Client(**self._settings(httpx.HTTPTransport))

    @overload
    def call(self, code: Code | None = None, /, **kwargs: Any) -> Any: ...
    @overload
    def call(self, code: Code | None, returns: type[Value], /, **kwargs: Any) -> Value: ...
    @overload
    def call(self, code: Code | None, returns: UnionType, /, **kwargs: Any) -> Any: ...
    def call(self, code: Code | None = None, returns: Any = None, /, **kwargs: Any) -> Any:
        """Run `code` with `kwargs`, and return the whole response, decoded by its Content-Type.

        Arguments are values that JSON has, and arrays, tables, images, bytes, open files and paths of files.
        An iterator or an open file as `data` is no argument: it is the body, which the adaptor reads from
        `request.stream` while a thread sends it.
        The value comes back as what it is: JSON's values, arrays, tables and images (`owt.client.values`),
        text as str, and everything else (audio, files) as bytes. JSON lines are a list; the end of a stream
        is waited for.

        `returns` is the type of the value, such as `int`, `list[float]`, a dataclass, a `TypedDict`, an array
        or a data frame: the value is converted, or `UnexpectedValue` raised.
        """
        check_type(returns)
        request = self._call_request(code, kwargs, accept_of(returns))
        with self._repeating(request) as attempts:
            while True:
                try:
                    with self._open(request) as response:
                        return self._value(response, response.read(), returns)
                except OwtError as error:
                    sleep(attempts.delay_after(error))

    def stream(self, code: Code | None = None, /, **kwargs: Any) -> Generator[Event]:
        """Run `code` with `kwargs`, and yield what it yields, prints and displays as it happens.

        A failure is raised at its place in the stream. After a lost connection the client reconnects and
        continues with the next event. Closing the generator cancels the call.
        """
        return self._events(self._call_request(code, kwargs, EVENTS))

    def duplex(self, code: Code | None = None, /, **kwargs: Any) -> AbstractContextManager[Duplex]:
        """Run `code` with `kwargs`, and return a stream that sends items to it while it is read.

        `stream.send(item)` sends an item of `request.messages`: text, bytes, or another value as JSON, and
        `stream.end()` lets none follow. `for value in stream` yields what the adaptor yields and returns, and
        `stream.events()` the events. One thread may send while another reads. Leaving the block before the
        end cancels the call.
        """
        return self._duplex(code, kwargs)

    @contextmanager
    def _duplex(self, code: Code | None, kwargs: dict[str, Any]) -> Iterator[Duplex]:
        from owt.client.duplex import AsyncDuplex, Duplex

        self._check_open()
        stream = Duplex(AsyncDuplex(self, self._duplex_request(code, kwargs)))
        try:
            stream.begin()
            yield stream
        finally:
            if run := stream.run_to_cancel:
                self._cancel(run)
            stream.close()

    def open(self, code: Code | None = None, /, **kwargs: Any) -> AbstractContextManager[httpx.Response]:
        """Run `code` with `kwargs`, and return the response at its beginning.

        Its status and headers are there, and `iter_bytes()` yields its bytes as they arrive. Leaving the
        block before the end cancels the call; if the option `accept` asks for events, the server first waits
        for the client to reconnect.

        An adaptor's own response of status 400 or above is returned. Errors inside the block are raised from
        it.
        """
        return self._open_repeating(self._call_request(code, kwargs, ANYTHING))

    @contextmanager
    def _open_repeating(self, request: Request) -> Iterator[httpx.Response]:
        with self._repeating(request) as attempts, ExitStack() as stack:
            while True:
                try:
                    response = stack.enter_context(self._open(request))
                    break
                except OwtError as error:
                    sleep(attempts.delay_after(error))
            yield response
            if attempts.run is not None and not response.is_closed:
                self._cancel(attempts.run)

    @contextmanager
    def _repeating(self, request: Request) -> Iterator[Attempts]:
        """Yield the attempts at a request. If the block ends early and the request has chosen the id of its
        run, the server would wait for the request to be repeated: cancel the run."""
        attempts = self._attempts(request)
        try:
            yield attempts
        except BaseException as error:
            if attempts.run is not None and not isinstance(error, OwtError):
                self._cancel(attempts.run)
            raise

    @contextmanager
    def _open(self, request: Request) -> Iterator[httpx.Response]:
        import httpx

        run: str | None = None
        with self._sending_body(request) as request:
            try:
                with self._response(request) as response:
                    run = response.headers["Owt-Run"]
                    yield response
            except httpx.RequestError as error:
                raise self._broken_off(error, run, request) from error

    def _sending_body(self, request: Request) -> AbstractContextManager[Request]:
        """Send the body of a request, if it streams, in a thread while the block reads the response, whose
        request is the value of the context. The block raises what the body raises."""
        if (requests := self._body_requests(request)) is None:
            return nullcontext(request)
        from owt.client.duplex import sending_body

        return sending_body(self, *requests, upload.parts(request.body), self._cancel)

    def run(self, id: str) -> dict[str, Any]:
        """Return what the server knows about a run, and what the run printed.

        The id is `RemoteError.run`, or the response's header Owt-Run.
        """
        return self._control("GET", f"runs/{id}", learn_base=True)

    def answer(self, event: Event, text: str | None) -> None:
        """Answer an event `input` of `stream`: the `input()` that waits returns `text`.

        None ends the input, and `input()` raises EOFError.
        """
        self._control("POST", self._answer_path(event, text), text=text)

    def close(self) -> None:
        """Close the connections, also those of the clients made by `with_options`."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _control(
        self,
        method: str,
        path: str,
        *,
        options: Mapping[str, Any] | None = None,
        text: str | None = None,
        learn_base: bool = False,
    ) -> dict[str, Any]:
        """Send a request to one of the server's own resources, and return its JSON object.

        `options` is a JSON object for the request's body, or `text` is the body. With `learn_base`, the
        request is repeated if a refusal names another base URL.
        """
        import httpx

        self._check_open()
        new_request = partial(self._control_request, method, path, options=options, text=text)
        try:
            response = self._http.request(**self._arguments(new_request()))
            if learn_base and response.status_code >= 400 and self._update_base(response):
                response = self._http.request(**self._arguments(new_request()))
        except httpx.RequestError as error:
            raise self._unreachable(error) from error
        return self._document(response)

    def _events(self, request: Request) -> Generator[Event]:
        with self._sending_body(request) as request:
            yield from self._events_of_run(request)

    def _events_of_run(self, request: Request) -> Generator[Event]:
        import httpx

        first, progress = request, Following(self._attempts(request), request.follows)
        try:
            while True:
                problem: Exception | None = None
                try:
                    yield from self._events_of_connection(request, progress)
                except (httpx.RequestError, RemoteError, Unreachable) as error:
                    problem = error
                if (delay := progress.retry_delay(problem)) is None:
                    break
                sleep(delay)
                request = self._resume_request(progress, first)
            if not progress.over:
                raise self._broken_off(problem or EOFError("it has no end"), progress.run, first) from problem
        except BaseException as error:
            if run := progress.run_to_cancel(error):
                self._cancel(run)
            raise

    def _events_of_connection(self, request: Request, progress: Following) -> Generator[Event]:
        from owt.wire.sse import Decoder

        decoder = Decoder()
        with self._response(request) as response:
            if progress.begin(response):
                for data in response.iter_bytes():
                    yield from progress.decode(decoder.feed(data))

    @contextmanager
    def _response(self, request: Request) -> Iterator[httpx.Response]:
        self._check_open()
        with self._http.stream(**self._arguments(request)) as response:
            self._update_base(response)
            if self._is_failure(response):
                self._raise_failure(response, response.read())
            yield response

    def _cancel(self, run: str) -> None:
        """Cancel a run on the server, unless that fails or takes longer than a moment."""
        import httpx

        with suppress(Exception):
            # A generator may be closed after its client.
            closed = self._http.is_closed
            new = httpx.Client(**self._settings(httpx.HTTPTransport)) if closed else nullcontext(self._http)
            with new as http:
                request = self._control_request("DELETE", f"runs/{run}", CANCEL_TIMEOUT)
                http.request(**self._arguments(request))

    def _broken_off(self, error: Exception, run: str | None, request: Request) -> OwtError:
        if run is None:
            return self._lost(error, request)
        try:
            return self._broken(error, self.run(run), request)
        except RemoteError:
            return self._broken(error, {}, request)


async def async_sleep(seconds: float) -> None:
    """Sleep. The blocking client does not need asyncio, whose import takes time."""
    import asyncio

    await asyncio.sleep(seconds)


class AsyncClient(Caller):
    """Asynchronous client: the methods, options and errors of `Client`. An asynchronous context manager."""

    _parts = staticmethod(upload.parts_async)

    def _connect(self) -> None:
        import httpx

        self._http = httpx.AsyncClient(**self._settings(httpx.AsyncHTTPTransport))

    @overload
    async def call(self, code: Code | None = None, /, **kwargs: Any) -> Any: ...
    @overload
    async def call(self, code: Code | None, returns: type[Value], /, **kwargs: Any) -> Value: ...
    @overload
    async def call(self, code: Code | None, returns: UnionType, /, **kwargs: Any) -> Any: ...
    async def call(self, code: Code | None = None, returns: Any = None, /, **kwargs: Any) -> Any:
        """Do what `Client.call` does. Cancelling the task cancels the call."""
        check_type(returns)
        request = self._call_request(code, kwargs, accept_of(returns))
        async with self._repeating(request) as attempts:
            while True:
                try:
                    async with self._open(request) as response:
                        return self._value(response, await response.aread(), returns)
                except OwtError as error:
                    await async_sleep(attempts.delay_after(error))

    def stream(self, code: Code | None = None, /, **kwargs: Any) -> AsyncGenerator[Event]:
        """Do what `Client.stream` does. To cancel the call at once when a loop ends early, put the generator
        into `contextlib.aclosing`."""
        return self._events(self._call_request(code, kwargs, EVENTS))

    @asynccontextmanager
    async def duplex(self, code: Code | None = None, /, **kwargs: Any) -> AsyncIterator[AsyncDuplex]:
        """Do what `Client.duplex` does: `await stream.send(item)`, `async for value in stream`."""
        from owt.client.duplex import AsyncDuplex

        self._check_open()
        stream = AsyncDuplex(self, self._duplex_request(code, kwargs))
        try:
            await stream.begin()
            yield stream
        finally:
            if run := stream.run_to_cancel:
                await self._cancel(run)
            await stream.close()

    def open(self, code: Code | None = None, /, **kwargs: Any) -> AbstractAsyncContextManager[httpx.Response]:
        """Do what `Client.open` does, with `aiter_bytes()`."""
        return self._open_repeating(self._call_request(code, kwargs, ANYTHING))

    @asynccontextmanager
    async def _open_repeating(self, request: Request) -> AsyncIterator[httpx.Response]:
        async with self._repeating(request) as attempts, AsyncExitStack() as stack:
            while True:
                try:
                    response = await stack.enter_async_context(self._open(request))
                    break
                except OwtError as error:
                    await async_sleep(attempts.delay_after(error))
            yield response
            if attempts.run is not None and not response.is_closed:
                await self._cancel(attempts.run)

    @asynccontextmanager
    async def _repeating(self, request: Request) -> AsyncIterator[Attempts]:
        attempts = self._attempts(request)
        try:
            yield attempts
        except BaseException as error:
            if attempts.run is not None and not isinstance(error, OwtError):
                await self._cancel(attempts.run)
            raise

    @asynccontextmanager
    async def _open(self, request: Request) -> AsyncIterator[httpx.Response]:
        import httpx

        run: str | None = None
        async with self._sending_body(request) as request:
            try:
                async with self._response(request) as response:
                    run = response.headers["Owt-Run"]
                    yield response
            except httpx.RequestError as error:
                raise await self._broken_off(error, run, request) from error

    def _sending_body(self, request: Request) -> AbstractAsyncContextManager[Request]:
        """Do what `Client._sending_body` does, in a task."""
        if (requests := self._body_requests(request)) is None:
            return nullcontext(request)
        from owt.client.duplex import async_sending_body

        return async_sending_body(self, *requests, upload.parts_async(request.body), self._cancel)

    async def run(self, id: str) -> dict[str, Any]:
        """Do what `Client.run` does."""
        return await self._control("GET", f"runs/{id}", learn_base=True)

    async def answer(self, event: Event, text: str | None) -> None:
        """Do what `Client.answer` does."""
        await self._control("POST", self._answer_path(event, text), text=text)

    async def aclose(self) -> None:
        """Close the connections, also those of the clients made by `with_options`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _control(
        self,
        method: str,
        path: str,
        *,
        options: Mapping[str, Any] | None = None,
        text: str | None = None,
        learn_base: bool = False,
    ) -> dict[str, Any]:
        import httpx

        self._check_open()
        new_request = partial(self._control_request, method, path, options=options, text=text)
        try:
            response = await self._http.request(**self._arguments(new_request()))
            if learn_base and response.status_code >= 400 and self._update_base(response):
                response = await self._http.request(**self._arguments(new_request()))
        except httpx.RequestError as error:
            raise self._unreachable(error) from error
        return self._document(response)

    async def _events(self, request: Request) -> AsyncGenerator[Event]:
        async with self._sending_body(request) as request, aclosing(self._events_of_run(request)) as events:
            async for event in events:
                yield event

    async def _events_of_run(self, request: Request) -> AsyncGenerator[Event]:
        import httpx

        first, progress = request, Following(self._attempts(request), request.follows)
        try:
            while True:
                problem: Exception | None = None
                try:
                    async with aclosing(self._events_of_connection(request, progress)) as events:
                        async for event in events:
                            yield event
                except (httpx.RequestError, RemoteError, Unreachable) as error:
                    problem = error
                if (delay := progress.retry_delay(problem)) is None:
                    break
                await async_sleep(delay)
                request = self._resume_request(progress, first)
            if not progress.over:
                problem = problem or EOFError("it has no end")
                raise await self._broken_off(problem, progress.run, first) from problem
        except BaseException as error:
            if run := progress.run_to_cancel(error):
                await self._cancel(run)
            raise

    async def _events_of_connection(self, request: Request, progress: Following) -> AsyncGenerator[Event]:
        from owt.wire.sse import Decoder

        decoder = Decoder()
        async with self._response(request) as response:
            if not progress.begin(response):
                return
            pieces = cast("AsyncGenerator[bytes]", response.aiter_bytes())
            async with aclosing(pieces):
                async for data in pieces:
                    for event in progress.decode(decoder.feed(data)):
                        yield event

    @asynccontextmanager
    async def _response(self, request: Request) -> AsyncIterator[httpx.Response]:
        self._check_open()
        async with self._http.stream(**self._arguments(request)) as response:
            self._update_base(response)
            if self._is_failure(response):
                self._raise_failure(response, await response.aread())
            yield response

    async def _cancel(self, run: str) -> None:
        import httpx

        with suppress(Exception):
            closed = self._http.is_closed
            transport = httpx.AsyncHTTPTransport
            new = httpx.AsyncClient(**self._settings(transport)) if closed else nullcontext(self._http)
            async with new as http:
                request = self._control_request("DELETE", f"runs/{run}", CANCEL_TIMEOUT)
                await http.request(**self._arguments(request))

    async def _broken_off(self, error: Exception, run: str | None, request: Request) -> OwtError:
        if run is None:
            return self._lost(error, request)
        try:
            return self._broken(error, await self.run(run), request)
        except RemoteError:
            return self._broken(error, {}, request)
