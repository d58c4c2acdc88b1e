"""owt.frontend.http.lingering: sockets whose clients have yet to notice the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from owt.frontend.http import lingering as module
from owt.frontend.http.lingering import Lingering
from owt.testing import async_test, settle

PATIENCE = 10


class Place:
    """Something lingering, and the clients of it."""

    def __init__(self, most: int = 10) -> None:
        self.closed = 0
        self.lingering = Lingering(lambda: most, self._closed)
        self.clients: list[socket.socket] = []

    def _closed(self) -> None:
        self.closed += 1

    def add(self) -> tuple[socket.socket, socket.socket]:
        """A client, and the end of the server, which lingers."""
        ours, client = socket.socketpair()
        ours.setblocking(False)
        client.setblocking(False)
        self.clients.append(client)
        self.lingering.take(ours)
        return ours, client


@contextmanager
def place(most: int = 10) -> Iterator[Place]:
    here = Place(most)
    yield here
    here.lingering.close()
    for client in here.clients:
        client.close()


@async_test
async def test_a_client_sees_the_end_and_may_send_on() -> None:
    with place() as here:
        ours, client = here.add()
        assert client.recv(1) == b""
        for _ in range(3):
            client.send(b"more")
            await settle()
        assert len(here.lingering) == 1
        client.close()
        await settle()
        assert len(here.lingering) == 0
        assert ours.fileno() == -1
        assert here.closed == 1


@async_test
async def test_a_client_that_has_gone_already_leaves_nothing() -> None:
    with place() as here:
        ours, client = socket.socketpair()
        ours.setblocking(False)
        client.close()
        here.lingering.take(ours)
        assert len(here.lingering) == 0
        assert ours.fileno() == -1


@async_test
async def test_a_client_that_never_goes_is_closed_after_a_time(monkeypatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.01)
    with place() as here:
        ours, _ = here.add()
        async with asyncio.timeout(PATIENCE):
            while len(here.lingering):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert ours.fileno() == -1


@async_test
async def test_a_client_that_sends_too_much_is_closed(monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with place() as here:
        _, client = here.add()
        client.send(bytes(100))
        await settle()
        assert len(here.lingering) == 1
        client.send(b"x")
        await settle()
        assert len(here.lingering) == 0


@async_test
async def test_there_is_room_again_once_the_oldest_has_had_its_time(monkeypatch) -> None:
    with place(most=2) as here:
        first, _ = here.add()
        assert here.lingering.room()
        here.add()
        assert not here.lingering.room()
        monkeypatch.setattr(module, "SHORTEST", 0)
        assert here.lingering.room()
        assert first.fileno() == -1
        assert len(here.lingering) == 1


@async_test
async def test_one_more_than_may_linger_takes_the_place_of_the_oldest() -> None:
    with place(most=2) as here:
        (first, _), _, _ = here.add(), here.add(), here.add()
        assert first.fileno() == -1
        assert len(here.lingering) == 2
