"""The floor of the comparison: Tornado alone, doing the same work in its own handlers.

    GET  /        answers "hi"
    POST /        reads the body, and answers "hi"
    /echo         sends back each message of a WebSocket
    POST /drop    drops the body as it comes, and answers with its length
    /event        sends one event, pauses for a moment, and ends
    /chunks       streams `count` chunks of `size` bytes, each flushed, awaiting every `batch`-th flush
    /events       streams `count` events, whose data is their number

Runs as a process of its own and prints its address.
"""

import asyncio
from collections.abc import Awaitable

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

SILENCE = 0.02


class Hi(RequestHandler):
    def get(self) -> None:
        self.write("hi")

    post = get


@stream_request_body
class Drop(RequestHandler):
    def prepare(self) -> None:
        self.size = 0

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)

    def post(self) -> None:
        self.write(str(self.size))


class Echo(WebSocketHandler):
    def on_message(self, message: str | bytes) -> Awaitable[None]:
        return self.write_message(message, binary=isinstance(message, bytes))


class Event(RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.write("data: first\n\n")
        await self.flush()
        await asyncio.sleep(SILENCE)


class Chunks(RequestHandler):
    async def get(self) -> None:
        count, batch, size = (int(self.get_argument(name)) for name in ("count", "batch", "size"))
        chunk = bytes(size)
        for number in range(1, count + 1):
            self.write(chunk)
            flushed = self.flush()
            if number % batch == 0:
                await flushed


class Events(RequestHandler):
    async def get(self) -> None:
        count, batch = (int(self.get_argument(name)) for name in ("count", "batch"))
        self.set_header("Content-Type", "text/event-stream")
        for number in range(1, count + 1):
            self.write(f"id: {number}\ndata: {number}\n\n")
            flushed = self.flush()
            if number % batch == 0:
                await flushed


async def main() -> None:
    handlers = [
        ("/", Hi), ("/echo", Echo), ("/drop", Drop), ("/event", Event), ("/chunks", Chunks),
        ("/events", Events),
    ]  # fmt: skip
    server = HTTPServer(Application(handlers), max_body_size=1 << 40)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    print(f"serving on http://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
