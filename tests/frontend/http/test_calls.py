"""owt.frontend.http.calls, exchange, gate, writer and delivery: calls on scripted kernels."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from urllib.parse import quote

import pytest
from call_site import request, serving, until

from owt.frontend.http.calls import LARGE, CallExchange
from owt.testing import async_test
from owt.testing.kernel import HEAD
from owt.wire.chunk import Data, Done, Failed, Head, Stdout

FAILED = Failed(500, "exception", "the adaptor raised", "no")


@async_test
async def test_a_whole_answer_has_its_length_and_keeps_the_connection() -> None:
    async with serving() as site:
        client = await site.connect()
        for number in range(1, 4):
            await client.send(request("POST / HTTP/1.1", body=b"1 + 1"))
            kernel = await site.invoked(number)
            kernel.answer(body=b"two")
            answer = await client.answer()
            assert (answer.status, answer.text) == (200, "two")
            assert answer.headers["content-length"] == "3"
            assert answer.headers["owt-run"] == kernel.invoked[-1]
            assert "date" in answer.headers
            assert "server" not in answer.headers
            assert kernel.calls[-1].code == "1 + 1"


@async_test
async def test_a_streamed_answer_has_chunks_and_an_end() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(HEAD, Data(b"one", "text"))
        data = await client.receive()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in data
        assert data.endswith(b"\r\n\r\n3\r\none\r\n")
        kernel.send(Data(b"two", "text"), Done(200, 0.0))
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += await client.receive()
        assert data == b"3\r\ntwo\r\n0\r\n\r\n"


@async_test
async def test_large_data_of_a_stream_is_one_chunk_between_small_ones() -> None:
    large = b"x" * 16_384
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(HEAD, Data(b"one", "text"))
        assert (await client.receive()).endswith(b"\r\n\r\n3\r\none\r\n")
        kernel.send(Data(large, "text"))
        data = b""
        while not data.endswith(b"x\r\n"):
            data += await client.receive()
        kernel.send(Data(b"two", "text"), Done(200, 0.0))
        while not data.endswith(b"0\r\n\r\n"):
            data += await client.receive()
        assert data == b"%x\r\n%s\r\n3\r\ntwo\r\n0\r\n\r\n" % (len(large), large)


@async_test
async def test_output_alone_begins_no_response() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(Stdout("printed"))
        kernel.send(FAILED, Done(500, 0.0))
        answer = await client.answer()
        assert answer.status == 500
        assert "no" in answer.text


@pytest.mark.parametrize(("version", "keep"), [("1.1", ""), ("1.0", ""), ("1.0", "Connection: keep-alive")])
def test_a_stream_that_fails_breaks_its_connection(version: str, keep: str) -> None:
    @async_test
    async def scenario() -> None:
        async with serving() as site:
            client = await site.call(f"POST / HTTP/{version}", *filter(None, [keep]))
            kernel = await site.invoked()
            kernel.send(HEAD, Data(b"one", "text"), FAILED, Done(500, 0.0))
            if version == "1.1":
                assert (await client.end()).endswith(b"3\r\none\r\n")
            else:
                with pytest.raises(ConnectionError):
                    await client.end()

    scenario()


@async_test
async def test_a_stream_by_http_1_0_ends_with_its_connection() -> None:
    async with serving() as site:
        client = await site.call("POST / HTTP/1.0", "Connection: keep-alive")
        kernel = await site.invoked()
        kernel.send(HEAD, Data(b"one", "text"))
        data = await client.receive()
        kernel.send(Data(b"two", "text"), Done(200, 0.0))
        data += await client.end()
        assert b"Keep-Alive" not in data
        assert b"chunked" not in data
        assert data.endswith(b"\r\n\r\nonetwo")


@async_test
async def test_a_whole_answer_by_http_1_0_keeps_the_connection_on_request() -> None:
    async with serving() as site:
        client = await site.connect()
        for number in (1, 2):
            await client.send(request("POST / HTTP/1.0", "Connection: keep-alive", body=b"1"))
            (await site.invoked(number)).answer(body=b"one")
            answer = await client.answer()
            assert (answer.text, answer.headers["connection"]) == ("one", "keep-alive")


@async_test
async def test_a_body_shorter_than_promised_breaks_its_connection() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(Head(200, (("Content-Length", "4"),)), Data(b"one", "text"), Done(200, 0.0))
        assert (await client.end()).partition(b"\r\n\r\n")[2] == b"one"


@async_test
async def test_a_body_longer_than_promised_is_a_500() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(Head(200, (("Content-Length", "2"),)), Data(b"one", "text"), Done(200, 0.0))
        answer = await client.answer()
        assert (answer.status, answer.headers["content-length"]) == (500, str(len(answer.text)))
        assert answer.text == "bad answer: the answer is longer than its own Content-Length\n"


@pytest.mark.parametrize("promised", [3, 4, 6])
def test_a_stream_that_is_longer_than_promised_ends_visibly(promised: int) -> None:
    @async_test
    async def scenario() -> None:
        async with serving() as site:
            client = await site.call()
            kernel = await site.invoked()
            kernel.send(Head(200, (("Content-Length", str(promised)),)), Data(b"one", "text"))
            await client.receive()
            for _ in range(3):
                kernel.send(Data(b"two", "text"))
            kernel.send(Done(200, 0.0))
            assert len((await client.end()).partition(b"\r\n\r\n")[2]) < promised

    scenario()


@async_test
async def test_a_stream_of_the_promised_length_is_complete() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(Head(200, (("Content-Length", "6"),)), Data(b"one", "text"))
        kernel.send(Data(b"two", "text"))
        kernel.send(Done(200, 0.0))
        assert (await client.answer()).text == "onetwo"


@async_test
async def test_a_stream_whose_first_data_is_longer_than_promised_is_a_500() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(Head(200, (("Content-Length", "2"),)), Data(b"one", "text"))
        answer = await client.answer()
        assert (answer.status, answer.headers["content-type"]) == (500, "text/plain; charset=utf-8")
        assert answer.text == "bad answer: the answer is longer than its own Content-Length\n"


@async_test
async def test_a_response_without_body_has_no_content_headers() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(Head(204, (("Content-Type", "text/plain"), ("X-Name", "value"))), Done(204, 0.0))
        data = await client.receive()
        assert data.startswith(b"HTTP/1.1 204 ")
        assert b"X-Name: value" in data
        assert b"Content-" not in data


@async_test
async def test_repeated_headers_of_an_adaptor_are_all_sent() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        cookies = (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
        kernel.send(Head(200, cookies), Data(b"x", "text", result=True), Done(200, 0.0))
        data = await client.receive()
        assert b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n" in data


@async_test
async def test_events_begin_before_the_kernel_answers_and_get_comments() -> None:
    async with serving(keepalive=0.01) as site:
        client = await site.call("POST / HTTP/1.1", "Accept: text/event-stream")
        data = b""
        while b"retry: " not in data:
            data += await client.receive()
        kernel = await site.invoked()
        while data.count(b"\n: ") < 2 and data.count(b"\n:\n") < 2:
            data += await client.receive()
        kernel.answer(body=b"one")
        while b"event: done" not in data:
            data += await client.receive()
        assert b"event: result" in data


@async_test
async def test_the_kernel_gets_credit_before_it_sends_more() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(HEAD, Data(bytes(5000), "bytes"))
        await client.receive()
        await until(lambda: kernel.credits)
        assert kernel.credits[0][0] == kernel.invoked[0]


@async_test
async def test_a_client_that_reads_nothing_slows_down_its_run() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        kernel.send(HEAD)
        sent = granted = 0
        while granted == sent:
            kernel.send(Data(bytes(1 << 20), "bytes"))
            sent += 1
            for _ in range(50):
                await asyncio.sleep(0)
            granted = len(kernel.credits)
            assert sent < 200
        before = granted
        await client.receive()
        while len(kernel.credits) == before:
            await client.receive()


@async_test
async def test_a_disconnect_cancels_the_run_and_frees_the_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    exchanges: list[weakref.ref[CallExchange]] = []
    on_body = CallExchange.on_body

    def recorded(exchange: CallExchange) -> None:
        exchanges.append(weakref.ref(exchange))
        on_body(exchange)

    monkeypatch.setattr(CallExchange, "on_body", recorded)
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        client.sock.close()
        await until(lambda: kernel.cancelled)
        kernel.send(FAILED, Done(499, 0.0))
        await site.count(0)
        await until(lambda: gc.collect() >= 0 and exchanges[0]() is None)


@async_test
async def test_a_disconnect_right_after_the_request_cancels_the_run() -> None:
    async with serving() as site:
        (await site.call()).sock.close()
        kernel = await site.invoked()
        await until(lambda: kernel.cancelled)
        kernel.send(FAILED, Done(499, 0.0))


@pytest.mark.parametrize("size", [0, 99])
def test_a_disconnect_within_the_body_leaves_no_run(size: int) -> None:
    @async_test
    async def scenario() -> None:
        async with serving() as site:
            client = await site.connect()
            await client.send(request("POST / HTTP/1.1", "Content-Length: 100") + b"x" * size)
            await site.count(1)
            client.sock.close()
            await site.count(0)
            assert site.service.runs.all() == []

    scenario()


@async_test
async def test_a_large_body_is_parsed_in_a_thread_and_answered_alike() -> None:
    async with serving() as site:
        code = b"#" * (LARGE + 1)
        client = await site.call(body=code)
        kernel = await site.invoked()
        assert kernel.calls[0].code == code.decode()
        kernel.answer(body=b"large")
        assert (await client.answer()).text == "large"


@async_test
async def test_a_body_beyond_the_limit_gets_413_with_and_without_a_length() -> None:
    async with serving(max_body=10) as site:
        chunk = b"b\r\n12345678901"
        for framing, body in (("Content-Length: 11", b""), ("Transfer-Encoding: chunked", chunk)):
            client = await site.connect()
            await client.send(request("POST / HTTP/1.1", framing) + body)
            answer = await client.answer()
            assert answer.status == 413
            assert "the limit is 10 bytes (--max-body)" in answer.text
            assert answer.headers["connection"] == "close"
            assert await client.end() == b""


@async_test
async def test_the_url_and_the_headers_have_exact_limits_on_all_paths() -> None:
    async with serving(max_url=2000, max_header=3000) as site:
        for path in ("/", "/_owt/"):
            for size, status in ((2000, None), (2001, 414)):
                url = path + "?" + "u" * (size - len(path) - 1)
                answer = await site.ask(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert (answer.status == 414) == (status == 414)
                assert status is None or "2000 bytes (--max-url)" in answer.text
            for size, status in ((3000, None), (3001, 431)):
                line = "Host: localhost\r\nX: "
                header = line + "h" * (size - len(line) - 2)
                answer = await site.ask(f"GET {path} HTTP/1.1\r\n{header}\r\n\r\n".encode())
                assert (answer.status == 431) == (status == 431)
                assert status is None or "3000 bytes for all of them together (--max-header)" in answer.text
                assert status is None or answer.headers["connection"] == "close"


@async_test
async def test_parse_errors_and_refusals_are_recorded_as_runs() -> None:
    async with serving() as site:
        answer = await site.ask(request("POST /none HTTP/1.1"))
        assert answer.status == 400
        [run] = site.service.runs.all()
        assert answer.headers["owt-run"] == run.id
        assert run.failure is not None
        site.service.draining = True
        answer = await site.ask(request("POST / HTTP/1.1", body=b"1"))
        assert answer.status == 503
        assert answer.headers["retry-after"]


@async_test
async def test_a_get_of_the_root_is_the_welcome_page() -> None:
    async with serving() as site:
        answer = await site.ask(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<h1>owt</h1>" in answer.text


@async_test
async def test_an_unsupported_method_gets_405_before_its_body() -> None:
    async with serving() as site:
        answer = await site.ask(request("PUT /none HTTP/1.1", "Content-Length: 100"))
        assert answer.status == 405
        assert answer.headers["allow"] == "get, post, head, options"
        assert answer.headers["connection"] == "close"


@async_test
async def test_a_foreign_origin_gets_403_before_its_body() -> None:
    async with serving() as site:
        answer = await site.ask(request("POST / HTTP/1.1", "Origin: http://elsewhere", "Content-Length: 100"))
        assert answer.status == 403
        assert answer.headers["connection"] == "close"


@async_test
async def test_an_allowed_origin_gets_its_headers_and_not_the_adaptors() -> None:
    async with serving(allow_origin=["http://page"]) as site:
        client = await site.call("POST / HTTP/1.1", "Origin: http://page")
        kernel = await site.invoked()
        headers = (("Access-Control-Allow-Origin", "*"), ("Vary", "Accept"))
        kernel.send(Head(200, headers), Data(b"x", "text", result=True), Done(200, 0.0))
        data = (await client.receive()).decode()
        assert data.count("Access-Control-Allow-Origin: http://page\r\n") == 1
        assert "Access-Control-Allow-Origin: *" not in data
        assert [line for line in data.splitlines() if "Vary" in line] == ["Vary: Origin", "Vary: Accept"]


@async_test
async def test_a_fault_gets_500_and_a_log_entry_without_the_query(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(exchange: CallExchange) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(CallExchange, "on_body", fail)
    async with serving() as site:
        answer = await site.ask(request("POST /x?secret=1 HTTP/1.1", body=b"1"))
    assert answer.status == 500
    assert "its log says more" in answer.text
    assert "ZeroDivisionError: by zero" in caplog.text
    assert "POST /x" in caplog.text
    assert "secret" not in caplog.text


@async_test
async def test_a_detached_call_gets_the_addresses_of_its_run() -> None:
    async with serving(base_url="/owt") as site:
        answer = await site.ask(request("POST /owt/?detach=1 HTTP/1.1", body=b"1"))
        kernel = await site.invoked()
        assert answer.status == 202
        url = f"/owt/_owt/runs/{kernel.invoked[0]}"
        assert answer.headers["location"] == url
        assert answer.headers["owt-base"] == "/owt"
        assert json.loads(answer.text)["answer"] == f"{url}/answer"


@async_test
async def test_a_run_can_be_followed_by_its_address() -> None:
    async with serving() as site:
        client = await site.call()
        kernel = await site.invoked()
        path = f"/_owt/runs/{kernel.invoked[0]}"
        follower = await site.connect()
        await follower.send(request(f"GET {path}/answer HTTP/1.1"))
        kernel.answer(body=b"shared")
        assert (await client.answer()).text == "shared"
        assert (await follower.answer()).text == "shared"
        await follower.send(request(f"GET {path}/events?after=1 HTTP/1.1"))
        data = b""
        while b"event: done" not in data:
            data += await follower.receive()
        assert b"event: result" not in data
        for target, status in ((f"{path}/events?after=x", 400), ("/_owt/runs/none/answer", 404)):
            assert (await site.ask(request(f"GET {target} HTTP/1.1"))).status == status
        answer = await site.ask(request(f"POST {path}/events HTTP/1.1"))
        assert (answer.status, answer.headers["allow"]) == (405, "get, head, options")


@async_test
async def test_a_last_event_id_resumes_its_run_and_no_other() -> None:
    async with serving() as site:
        url = f"/?stream=sse&code={quote('1 + 1')}"
        client = await site.call(f"GET {url} HTTP/1.1", body=b"")
        kernel = await site.invoked()
        kernel.answer(body=b"one")
        while b"event: done" not in await client.receive():
            pass
        id = kernel.invoked[0]
        await client.send(request(f"GET {url} HTTP/1.1", f"Last-Event-ID: {id}-2"))
        assert b"HTTP/1.1 204 " in await client.receive()
        other = await site.ask(request("GET /?stream=sse&code=2 HTTP/1.1", f"Last-Event-ID: {id}-1"))
        assert other.status == 400
        assert "belongs to another call" in other.text
        assert len(kernel.invoked) == 1


@async_test
async def test_printed_lines_are_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as site:
        with caplog.at_level(logging.DEBUG, "owt"):
            client = await site.call()
            kernel = await site.invoked()
            kernel.send(Stdout("printed"))
            kernel.answer()
            await client.answer()
        assert f"run {kernel.invoked[0]} stdout: printed" in caplog.text
        assert "POST / 200 " in caplog.text
