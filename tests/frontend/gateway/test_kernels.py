"""owt.frontend.gateway.kernels: sessions by kernel id, with scripted kernels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
import zmq
from tornado.web import HTTPError

from owt.errors import BadRequest, Busy
from owt.frontend.config.settings import Settings
from owt.frontend.gateway import kernels as module
from owt.frontend.gateway.kernels import SOCKETS, SessionKernels
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.service import Service
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.sessions import Sessions
from owt.testing import async_test
from owt.testing.kernel import ScriptedKernels


class Stage:
    """The gateway's kernels, of sessions with scripted kernels."""

    def __init__(self) -> None:
        limits = Limits(2, 60.0)
        kernels = cast("Kernels", ScriptedKernels("owt"))
        pool = Pool(kernels=kernels, limits=limits, spec="owt", min_spares=0, max_members=1)
        self.sessions = Sessions(
            kernels=kernels, limits=limits, pool=pool, spec="owt", max_sessions=5, idle_timeout=None
        )
        self.service = SimpleNamespace(
            settings=Settings(), sessions=self.sessions, draining=False, history=None
        )
        self.kernels = SessionKernels(cast("Service", self.service))

    @property
    def listed(self) -> list[tuple[str | None, str]]:
        return [(model["session"], model["name"]) for model in self.kernels.list_kernels()]


@pytest.fixture
def stage() -> Any:
    stage = Stage()
    yield stage
    stage.kernels.close()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/My first.ipynb", "My-first"),
        ("/b/c.d.ipynb", "c-d"),
        ("ünicode", "nicode"),
        ("日本.ipynb", "notebook"),
        ("", "notebook"),
        (None, "notebook"),
        ("../..", "notebook"),
        ("x" * 5000, "x" * 56),
    ],
)
@async_test
async def test_session_of_a_kernel_is_named_after_its_notebook(stage, path, name):
    first, second = [await stage.kernels.start_kernel(path=path) for _ in range(2)]
    assert list(stage.sessions.named) == [name, f"{name}-2"]
    names = [stage.kernels.get_kernel(id).owt_session.name for id in (first, second)]
    assert names == [name, f"{name}-2"]


@async_test
async def test_kernel_id_lives_as_long_as_its_session(stage):
    stage.sessions.create("a")
    [model] = stage.kernels.list_kernels()
    assert stage.kernels.list_kernels()[0]["id"] == model["id"]
    await stage.kernels.shutdown_kernel(model["id"])
    assert (stage.listed, model["id"] in stage.kernels) == ([], False)
    with pytest.raises(HTTPError, match=r"404.*does not exist"):
        stage.kernels.get_kernel(model["id"])


@async_test
async def test_attached_kernel_is_listed_while_it_is_used(stage):
    attached = await stage.kernels.start_kernel("owt-session.a")
    assert await stage.kernels.start_kernel("owt-session.a") == attached
    own = next(kernel for kernel in stage.kernels._all() if not kernel.attached)
    for _ in range(2):
        # One for the session, unless clients use both.
        assert stage.listed == [("a", "owt-session.a")]
        own.connections = 1
        assert stage.listed == [("a", "owt-session.a"), ("a", "owt")]
        own.connections = 0
        await stage.kernels.shutdown_kernel(attached)
    assert stage.listed == [("a", "owt")]
    stage.kernels.get_kernel(attached).connections += 1
    assert stage.listed == [("a", "owt-session.a")]
    stage.kernels.get_kernel(attached).connections -= 1
    assert stage.listed == [("a", "owt")]


def test_execution_states_are_those_that_jupyter_knows(stage):
    session = Mock(state="stuck", used=1.0)
    session.spec = "owt"
    kernel, _ = stage.kernels._add(session, "id")
    assert kernel.model()["execution_state"] == "busy"


def test_left_cells_of_too_many_clients_are_closed(stage, monkeypatch):
    monkeypatch.setattr(module, "MAX_LEFT", 2)
    left = [Mock(cells={str(number)}) for number in range(4)]
    for number, cells in enumerate(left[:3]):
        stage.kernels.keep("id", str(number), cells)
    assert [cells.close.called for cells in left] == [True, False, False, False]
    # Those that have ended make room.
    left[1].cells.clear()
    stage.kernels.keep("id", "3", left[3])
    assert not left[2].close.called
    assert stage.kernels.register("id", "2", Mock()) == ({"2"}, None)
    assert left[2].close.called
    assert stage.kernels.register("id", "1", Mock()) == (set(), None)


@async_test
async def test_requested_kernel_id_must_be_unused(stage):
    id = await stage.kernels.start_kernel(kernel_id="1-2-3-4-5")
    assert id == "1-2-3-4-5"
    with pytest.raises(HTTPError, match=r"409.*already exists"):
        await stage.kernels.start_kernel(kernel_id=id)
    with pytest.raises(BadRequest, match="like a UUID"):
        await stage.kernels.start_kernel(kernel_id="1-2-3-4-" + "5" * 60)
    assert len(stage.sessions.named) == 1


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"KERNEL_A": 5}, "KERNEL_A must be a name"),
        ({"KERNEL_A": "\0"}, "KERNEL_A must be a name"),
        ({"KERNEL_ =": "x"}, "KERNEL_ = must be a name"),
        ({"KERNEL_A": "x" * 70_000}, "more than 65536 characters"),
    ],
)
@async_test
async def test_invalid_environment_is_refused(stage, env, message):
    with pytest.raises(BadRequest, match=message):
        await stage.kernels.start_kernel(env=env)
    assert not stage.sessions.named


@async_test
async def test_server_that_shuts_down_starts_no_kernels(stage):
    stage.service.draining = True
    with pytest.raises(Busy, match="shutting down"):
        await stage.kernels.start_kernel()


def test_every_connection_may_be_a_websocket(stage):
    # ZeroMQ's default limit is 1023 sockets.
    assert stage.kernels._context.get(zmq.MAX_SOCKETS) >= SOCKETS * Settings().max_connections
