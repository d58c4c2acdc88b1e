"""owt.frontend.http.streamed_calls: calls that begin before their body has ended, on scripted kernels."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from call_site import CallSite, serving, until
from http_site import RawClient

from owt.frontend.http.connection import PART
from owt.frontend.http.streamed_calls import StreamedCallExchange
from owt.testing import async_test
from owt.testing.kernel import HEAD, ScriptedKernel
from owt.wire.call import UNKNOWN_SIZE
from owt.wire.chunk import Data, Done, Failed
from owt.wire.endpoint import Endpoint
from owt.wire.messages import Input, InputEnd, RegisterEndpoints

PATH = "/?code=1"
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 (Continue)\r\n\r\n"
LOTS = 1 << 30


def head(*headers: str, path: str = PATH, method: str = "POST", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def begin(site: CallSite, *headers: str, more: bytes = b"", path: str = PATH) -> RawClient:
    """Send a head, and `more`, and wait until the kernel has the call."""
    client = await site.connect()
    count = len(site.scripted.kernels.all and site.kernel.invoked)
    await client.send(head(*headers, path=path) + more)
    await site.invoked(count + 1)
    return client


def received(kernel: ScriptedKernel) -> bytes:
    """Return what the kernel has received of the newest run's input."""
    run = kernel.invoked[-1]
    return b"".join(m.data for m in kernel.messages if isinstance(m, Input) and m.run == run)


def end_of(kernel: ScriptedKernel) -> list[str | None]:
    """Return the errors of the ends of the newest run's input: None for a complete one, if it has ended."""
    run = kernel.invoked[-1]
    return [m.error for m in kernel.messages if isinstance(m, InputEnd) and m.run == run]


@pytest.mark.parametrize(
    ("headers", "parts", "end", "size"),
    [
        ((CHUNKED,), [chunk(b"one"), chunk(b"two"), chunk(b"!")], END, UNKNOWN_SIZE),
        (("Content-Length: 7",), [b"one", b"two", b"!"], b"", 7),
    ],
    ids=["chunked", "Content-Length"],
)
@async_test
async def test_a_call_begins_before_its_body_has_ended(headers, parts, end, size):
    async with serving() as site:
        client = await begin(site, *headers, more=parts[0])
        kernel = site.kernel
        [call] = kernel.calls
        assert (call.code, call.request.body, call.request.input_size) == ("1", b"", size)
        assert kernel.messages == []
        kernel.request_input(LOTS)
        await until(lambda: received(kernel) == b"one")
        kernel.send(HEAD, Data(b"reply", "text"))
        assert b"reply" in await client.receive()
        await client.send(parts[1])
        await until(lambda: received(kernel) == b"onetwo")
        assert end_of(kernel) == []
        await client.send(parts[2] + end)
        await until(lambda: end_of(kernel) == [None])
        assert received(kernel) == b"onetwo!"
        kernel.send(Done(200, 0.0))
        assert (await client.receive()).endswith(END)
        # The connection is kept.
        await client.send(head(path="/?code=2", method="GET"))
        await site.invoked(2)
        kernel.answer(body=b"next")
        assert (await client.answer()).text == "next"


@pytest.mark.parametrize(
    ("headers", "body"), [(("Content-Length: 3",), b"one"), ((CHUNKED,), chunk(b"one") + END)]
)
@async_test
async def test_a_body_that_is_here_with_the_head_travels_with_the_call(headers, body):
    async with serving() as site:
        client = await begin(site, *headers, more=body)
        [call] = site.kernel.calls
        assert (call.request.body, call.request.input_size) == (b"one", 0)
        site.kernel.answer()
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/?code=1&use_cache=1", ()),
        ("/", ("Content-Type: application/json",)),
        ("/?code=1", ("Content-Type: application/x-www-form-urlencoded",)),
        ("/?session=s", ("Content-Type: text/x-python; charset=utf-8",)),
        ("/photo", ("Content-Type: image/png",)),
        ("/nothing", ()),
    ],
)
@async_test
async def test_a_body_that_the_call_depends_on_comes_first(path, headers):
    async with serving(max_body=100) as site:
        await register(site, Endpoint("/photo", ("POST",), "f", bodies=("image/*",)))
        client = await site.connect()
        await client.send(head(CHUNKED, *headers, path=path) + chunk(b"[" + b" " * 49))
        count = len(site.scripted.kernels.all)
        await client.send(chunk(b" " * 51))
        answer = await client.answer()
        assert (answer.status, "--max-body" in answer.text) == (413, True)
        assert len(site.scripted.kernels.all) == count


@pytest.mark.parametrize("path", ["/", "/photo", "/?code=1&use_cache=1"])
@async_test
async def test_a_large_form_on_which_the_call_depends_is_refused(path):
    async with serving(max_body=100) as site:
        await register(site, Endpoint("/photo", ("POST",), "f", bodies=("image/*",)))
        client = await site.connect()
        await client.send(head("Content-Length: 101", "Content-Type: multipart/form-data", path=path))
        answer = await client.answer()
        assert (answer.status, "--max-body" in answer.text) == (413, True)


@pytest.mark.parametrize("path", ["/?code=1&session=s", "/listen"])
@async_test
async def test_a_large_form_is_read_as_it_comes(path):
    async with serving(max_body=100) as site:
        await begin(site, "Content-Length: 1", more=b"x", path="/?code=1&session=s")
        site.kernel.answer()
        await register(site, Endpoint("/listen", ("POST",), "f"))
        form = ("Content-Length: 1000", "Content-Type: multipart/form-data; boundary=b")
        await begin(site, *form, path=path, more=b"x" * 500)
        site.kernel.request_input(LOTS)
        await until(lambda: received(site.kernel) == b"x" * 500)


@pytest.mark.parametrize(
    ("headers", "body"),
    [((), b"x" * 101), (("Content-Encoding: gzip",), gzip.compress(b"x" * 1000))],
    ids=["plain", "gzip"],
)
@async_test
async def test_a_body_that_is_here_with_the_head_is_limited_where_it_is_collected(headers, body):
    async with serving(max_body=100) as site:
        client = await site.connect()
        await client.send(head(f"Content-Length: {len(body)}", *headers, path="/nothing") + body)
        answer = await client.answer()
        assert (answer.status, "--max-body" in answer.text) == (413, True)


async def register(site: CallSite, *endpoints: Endpoint) -> None:
    """Register endpoints of a session."""
    assert site.service.endpoints.register("k0", "s", RegisterEndpoints(1, endpoints)) is None


@async_test
async def test_an_endpoint_without_an_argument_for_the_body_reads_it_as_it_comes():
    async with serving(max_body=10) as site:
        await begin(site, "Content-Length: 1", more=b"x", path="/?code=1&session=s")
        site.kernel.answer()
        await register(site, Endpoint("/listen", ("POST",), "f", bodies=("image/*",)))
        await begin(site, CHUNKED, "Content-Type: audio/raw", path="/listen", more=chunk(b"x" * 100))
        site.kernel.request_input(LOTS)
        await until(lambda: received(site.kernel) == b"x" * 100)


@async_test
async def test_the_limit_of_bodies_is_for_those_that_are_collected():
    async with serving(max_body=10) as site:
        client = await begin(site, "Content-Length: 1000", more=b"x" * 500)
        site.kernel.request_input(LOTS)
        await client.send(b"x" * 500)
        await until(lambda: end_of(site.kernel) == [None])
        assert len(received(site.kernel)) == 1000
        client = await site.connect()
        await client.send(head("Content-Length: 1000", path="/?code=1&use_cache=1"))
        # A client that waits for the response gets it after the first byte.
        await client.send(b"x")
        assert (await client.answer()).status == 413


@pytest.mark.parametrize(
    ("length", "detail"),
    [
        (str(1 << 63), "the request's body has 9223372036854775808 bytes; no client can send so much"),
        ("9" * 30, "the request's body has a length of 30 digits; no client can send so much"),
    ],
)
@async_test
async def test_a_length_that_no_body_can_have_is_refused_without_a_limit(length, detail):
    async with serving() as site:
        client = await site.connect()
        await client.send(head(f"Content-Length: {length}"))
        answer = await client.answer()
        assert (answer.status, answer.text) == (413, f"the body is too large: {detail}\n")


@async_test
async def test_a_reader_that_does_not_read_stops_the_sender():
    async with serving() as site:
        client = await begin(site, CHUNKED)
        kernel, [connection] = site.kernel, site.listener._open

        async def send_all() -> None:
            while True:
                await client.send(chunk(b"x" * PART))

        async def passes() -> int:
            """Return the bytes that have been read after many passes of the event loop."""
            for _ in range(500):
                await asyncio.sleep(0)
            return connection._received

        sending = asyncio.create_task(send_all())
        stalled = await passes()
        assert await passes() == stalled <= 3 * PART
        assert kernel.messages == []
        kernel.request_input(4 * PART)
        await until(lambda: len(received(kernel)) >= 4 * PART)
        stalled = await passes()
        assert await passes() == stalled <= 8 * PART
        assert len(received(kernel)) <= 5 * PART
        sending.cancel()


@async_test
async def test_a_silent_sender_is_not_disconnected():
    async with serving(connection_idle=0.01) as site:
        client = await begin(site, CHUNKED)
        kernel = site.kernel
        kernel.request_input(LOTS)
        # The listener looks at its connections several times meanwhile.
        other = await site.connect()
        await other.send(b"GET /")
        assert await other.end() == b""
        await client.send(chunk(b"x") + END)
        await until(lambda: end_of(kernel) == [None])
        kernel.answer(body=b"ok")
        assert (await client.answer()).text == "ok"


@async_test
async def test_the_client_may_send_when_the_adaptor_reads():
    async with serving() as site:
        client = await begin(site, "Content-Length: 3", "Expect: 100-continue")
        kernel = site.kernel
        receiving = asyncio.create_task(client.receive())
        await asyncio.sleep(0)
        assert not receiving.done()
        kernel.request_input(LOTS)
        assert await receiving == CONTINUE
        await client.send(b"one")
        await until(lambda: end_of(kernel) == [None])
        kernel.answer(body=b"ok")
        assert (await client.answer()).text == "ok"


@async_test
async def test_the_client_may_send_when_a_stream_begins():
    async with serving() as site:
        client = await begin(site, CHUNKED, "Expect: 100-continue")
        site.kernel.send(HEAD, Data(b"hello", "text"))
        assert (await client.receive()).startswith(CONTINUE + b"HTTP/1.1 200 OK\r\n")
        await client.send(chunk(b"one") + END)
        site.kernel.request_input(LOTS)
        await until(lambda: end_of(site.kernel) == [None])
        site.kernel.send(Done(200, 0.0))
        assert (await client.receive()).endswith(END)


@async_test
async def test_a_client_that_waits_gets_the_answer_of_an_adaptor_that_does_not_read():
    async with serving() as site:
        client = await begin(site, "Content-Length: 3", "Expect: 100-continue")
        site.kernel.answer(body=b"no need")
        answer = await client.answer()
        assert (answer.text, answer.headers["connection"]) == ("no need", "close")
        assert await client.end() == b""


@async_test
async def test_an_answer_before_the_end_of_the_body_is_whole_and_closes_the_connection():
    async with serving() as site:
        client = await begin(site, CHUNKED, more=chunk(b"one"))
        site.kernel.answer(body=b"enough")
        answer = await client.answer()
        assert (answer.text, answer.headers["connection"]) == ("enough", "close")
        assert await client.end() == b""
        run = site.service.runs.all()[0]
        assert run.state == "done"


@async_test
async def test_a_stream_of_an_answer_goes_on_after_the_body():
    async with serving() as site:
        client = await begin(site, "Content-Length: 6", more=b"one")
        kernel = site.kernel
        kernel.request_input(LOTS)
        kernel.send(HEAD, Data(b"first", "text"))
        assert b"first" in await client.receive()
        await client.send(b"two")
        await until(lambda: end_of(kernel) == [None])
        kernel.send(Data(b"second", "text"), Done(200, 0.0))
        assert b"second" in await client.receive()


@pytest.mark.parametrize("credit", [0, LOTS], ids=["not read", "read"])
@pytest.mark.parametrize("rest", [b"", b"x" * 50_000], ids=["silent", "sending"])
@async_test
async def test_a_client_that_vanishes_breaks_its_body_and_cancels_its_run(credit: int, rest: bytes):
    async with serving() as site:
        client = await begin(site, "Content-Length: 1000000", more=b"one" + rest)
        kernel = site.kernel
        if credit:
            kernel.request_input(credit)
        client.sock.close()
        await until(lambda: kernel.cancelled == kernel.invoked)
        if not credit:
            kernel.request_input(LOTS)
        await until(lambda: end_of(kernel) == ["broke off, because the client has disconnected"])
        kernel.send(Failed(499, "cancelled", "cancelled", ""), Done(499, 0.0))
        await site.count(0)


@async_test
async def test_a_client_that_vanishes_before_100_continue_cancels_its_run():
    async with serving() as site:
        client = await begin(site, "Content-Length: 3", "Expect: 100-continue")
        client.sock.close()
        await until(lambda: site.kernel.cancelled == site.kernel.invoked)
        await site.count(0)


@pytest.mark.parametrize("begun", [False, True])
@async_test
async def test_a_malformed_chunk_breaks_the_body(begun: bool):
    async with serving() as site:
        client = await begin(site, CHUNKED, more=chunk(b"one"))
        kernel = site.kernel
        kernel.request_input(LOTS)
        if begun:
            kernel.send(HEAD, Data(b"first", "text"))
            assert b"first" in await client.receive()
        await client.send(b"no chunk\r\n")
        rest = await client.end()
        assert (b"400 Bad Request" in rest) is not begun
        assert len(end_of(kernel)) == 1
        assert kernel.cancelled == kernel.invoked


@async_test
async def test_a_compressed_body_is_decompressed_as_it_comes():
    async with serving() as site:
        stream = zlib.compressobj(wbits=31)
        first = stream.compress(b"x" * 3_000_000) + stream.flush(zlib.Z_SYNC_FLUSH)
        client = await begin(site, CHUNKED, "Content-Encoding: gzip", more=chunk(first))
        kernel = site.kernel
        [call] = kernel.calls
        assert "Content-Encoding" not in dict(call.request.headers)
        kernel.request_input(1)
        await until(lambda: received(kernel))
        # A piece is at most a MiB; the rest waits.
        assert len(received(kernel)) <= 1 << 20
        kernel.request_input(LOTS)
        await until(lambda: len(received(kernel)) == 3_000_000)
        await client.send(chunk(stream.compress(b"end") + stream.flush()) + END)
        await until(lambda: end_of(kernel) == [None])
        assert received(kernel) == b"x" * 3_000_000 + b"end"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(b"x" * 100)[:-4], "cannot be read as gzip: it ends too early"),
        (b"no gzip", "cannot be read as gzip: Error -3 while decompressing data: incorrect header check"),
    ],
)
@async_test
async def test_a_body_that_is_no_gzip_breaks_the_body(body: bytes, reason: str):
    async with serving() as site:
        client = await begin(site, CHUNKED, "Content-Encoding: gzip", more=chunk(body))
        site.kernel.request_input(LOTS)
        await client.send(END)
        await until(lambda: end_of(site.kernel) == [reason])


@async_test
async def test_a_detached_call_is_answered_when_its_body_is_here():
    async with serving() as site:
        client = await begin(site, "Content-Length: 6", more=b"one", path=PATH + "&detach=1")
        kernel = site.kernel
        kernel.request_input(LOTS)
        await until(lambda: received(kernel) == b"one")
        receiving = asyncio.create_task(client.answer())
        await asyncio.sleep(0)
        assert not receiving.done()
        await client.send(b"two")
        assert (await receiving).status == 202
        await until(lambda: end_of(kernel) == [None])
        assert kernel.cancelled == []
        kernel.answer()


@async_test
async def test_a_detached_call_that_ends_before_its_body_is_answered_then():
    async with serving() as site:
        client = await begin(site, "Content-Length: 6", more=b"one", path=PATH + "&detach=1")
        site.kernel.answer()
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (202, "close")


@async_test
async def test_a_detached_run_continues_after_its_client_vanishes():
    async with serving() as site:
        client = await begin(site, "Content-Length: 6", more=b"one", path=PATH + "&detach=1")
        kernel = site.kernel
        kernel.request_input(LOTS)
        client.sock.close()
        await until(lambda: end_of(kernel) == ["broke off, because the client has disconnected"])
        assert kernel.cancelled == []
        kernel.answer()


@async_test
async def test_the_body_of_a_queued_call_waits_in_its_sender():
    async with serving() as site:
        first = await begin(site, "Content-Length: 1", more=b"x", path="/?code=1&session=s")
        second = await site.connect()
        await second.send(head("Content-Length: 6", path="/?code=2&session=s") + b"one")
        await until(lambda: site.service.runs.live_count == 2)
        site.kernel.answer(body=b"1")
        assert (await first.answer()).text == "1"
        await site.invoked(2)
        site.kernel.request_input(LOTS)
        await second.send(b"two")
        await until(lambda: received(site.kernel) == b"onetwo" and end_of(site.kernel) == [None])
        site.kernel.answer(body=b"2")
        assert (await second.answer()).text == "2"


@async_test
async def test_a_withdrawn_call_runs_with_its_body():
    async with serving() as site:
        client = await begin(site, "Content-Length: 6", more=b"one", path="/?code=1&session=s")
        kernel = site.kernel
        kernel.withdraw()
        kernel.pong()
        await site.invoked(2)
        kernel.request_input(LOTS)
        await client.send(b"two")
        await until(lambda: received(kernel) == b"onetwo")
        kernel.answer(body=b"ok")
        assert (await client.answer()).text == "ok"


@async_test
async def test_the_death_of_the_kernel_ends_the_call():
    async with serving() as site:
        client = await begin(site, "Content-Length: 6", more=b"one", path="/?code=1&session=s")
        site.kernel.request_input(1)
        site.kernel.die()
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (502, "close")
        assert await client.end() == b""


@async_test
async def test_a_body_over_http_1_0_streams():
    async with serving() as site:
        client = await site.connect()
        await client.send(head("Content-Length: 6", version="1.0") + b"one")
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        await client.send(b"two")
        await until(lambda: end_of(kernel) == [None])
        kernel.answer(body=b"ok")
        assert (await client.end()).endswith(b"\r\n\r\nok")


@async_test
async def test_pipelined_bodies_stay_apart():
    async with serving() as site:
        again = head(CHUNKED, path="/?code=2") + chunk(b"four") + END
        client = await begin(site, CHUNKED, more=chunk(b"one"))
        kernel = site.kernel
        kernel.request_input(LOTS)
        await client.send(chunk(b"two") + END + again)
        await until(lambda: end_of(kernel) == [None])
        assert received(kernel) == b"onetwo"
        kernel.answer(body=b"1")
        assert (await client.answer()).text == "1"
        await site.invoked(2)
        assert kernel.calls[1].request.body == b"four"
        kernel.answer(body=b"2")
        assert (await client.answer()).text == "2"


@async_test
async def test_a_paused_body_is_read_no_further_than_the_end_of_the_connection():
    async with serving() as site:
        client = await begin(site, "Content-Length: 1000000", more=b"x")
        [connection] = site.listener._open
        await client.send(b"y" * 100_000)
        await until(lambda: connection._received > 1)
        before = connection._received
        for _ in range(200):
            await asyncio.sleep(0)
        # The part that waits for the run, and a byte.
        assert connection._received in (before, before + 1)
        site.kernel.request_input(LOTS)
        await until(lambda: len(received(site.kernel)) == 100_001)


@async_test
async def test_a_body_waits_for_an_endpoint_that_a_notebook_may_define(monkeypatch):
    async with serving() as site:
        await begin(site, "Content-Length: 1", more=b"x", path="/?code=1&session=s")
        site.kernel.answer()
        await register(site, Endpoint("/listen", ("POST",), "f"))
        loading, loaded, notebooks = asyncio.Event(), asyncio.Event(), site.service.notebooks
        find = notebooks.match

        async def match(method: str, path: str) -> object:
            loading.set()
            await loaded.wait()
            return await find(method, path)

        monkeypatch.setattr(notebooks, "match", match)
        client = await site.connect()
        await client.send(head(CHUNKED, path="/listen") + chunk(b"one"))
        await loading.wait()
        await client.send(chunk(b"two") + END)
        assert len(site.kernel.invoked) == 1
        loaded.set()
        await site.invoked(2)
        site.kernel.request_input(LOTS)
        await until(lambda: received(site.kernel) == b"onetwo" and end_of(site.kernel) == [None])
        site.kernel.answer(body=b"ok")
        assert (await client.answer()).text == "ok"


@async_test
async def test_a_request_whose_client_vanishes_while_a_notebook_loads_ends(monkeypatch):
    async with serving() as site:
        await begin(site, "Content-Length: 1", more=b"x", path="/?code=1&session=s")
        site.kernel.answer()
        await register(site, Endpoint("/listen", ("POST",), "f"))
        loading, loaded, ends = asyncio.Event(), asyncio.Event(), []
        finish = StreamedCallExchange.finish

        async def match(method: str, path: str) -> object:
            loading.set()
            await loaded.wait()
            raise ValueError("a fault")

        def count(exchange: StreamedCallExchange) -> None:
            ends.append(exchange)
            finish(exchange)

        monkeypatch.setattr(site.service.notebooks, "match", match)
        monkeypatch.setattr(StreamedCallExchange, "finish", count)
        client = await site.connect()
        await client.send(head(CHUNKED, path="/listen"))
        await loading.wait()
        await client.send(END)
        await until(lambda: ends)
        client.sock.close()
        await site.count(1)
        loaded.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(ends) == 2
        assert len(site.kernel.invoked) == 1
