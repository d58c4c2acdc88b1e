"""owt.frontend.gateway.kernels: sessions by kernel id, with kernels that the tests play."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import zmq
from tornado.web import HTTPError

from owt.errors import BadRequest, Busy
from owt.frontend.config.settings import Settings
from owt.frontend.gateway.kernels import CHANNELS, SessionKernels
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.service import Service
from owt.frontend.sessions.limits import Limits
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.sessions import Sessions
from owt.testing import async_test
from owt.testing.kernel import ScriptedKernels


class Stage:
    """The gateway's kernels, of sessions whose kernels are played."""

    def __init__(self, most: int = 5) -> None:
        limits = Limits(2, 60.0)
        kernels = cast("Kernels", ScriptedKernels("owt"))
        pool = Pool(kernels=kernels, limits=limits, spec="owt", least=0, most=1)
        self.sessions = Sessions(kernels=kernels, limits=limits, pool=pool, spec="owt", most=most, idle=None)
        self.service = SimpleNamespace(settings=Settings(), sessions=self.sessions, draining=False)
        self.kernels = SessionKernels(cast("Service", self.service))

    @property
    def listed(self) -> list[tuple[str | None, str]]:
        return [(each["session"], each["name"]) for each in self.kernels.list_kernels()]


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
async def test_a_kernel_is_a_session_that_is_named_after_its_notebook(stage, path, name):
    first, second = [await stage.kernels.start_kernel(path=path) for _ in range(2)]
    assert list(stage.sessions.named) == [name, f"{name}-2"]
    assert [stage.kernels.get_kernel(each).live.name for each in (first, second)] == [name, f"{name}-2"]


@async_test
async def test_ids_stay_and_go_with_their_sessions(stage):
    stage.sessions.create("a")
    [model] = stage.kernels.list_kernels()
    assert stage.kernels.list_kernels()[0]["id"] == model["id"]
    await stage.kernels.shutdown_kernel(model["id"])
    assert (stage.listed, model["id"] in stage.kernels) == ([], False)
    with pytest.raises(HTTPError, match=r"404.*does not exist"):
        stage.kernels.get_kernel(model["id"])


@async_test
async def test_a_guest_is_listed_while_somebody_has_it(stage):
    guest = await stage.kernels.start_kernel("owt-session.a")
    assert await stage.kernels.start_kernel("owt-session.a") == guest
    for _ in range(2):
        assert stage.listed == [("a", "owt"), ("a", "owt-session.a")]
        await stage.kernels.shutdown_kernel(guest)
    assert stage.listed == [("a", "owt")]
    stage.kernels.notify_connect(guest)
    assert ("a", "owt-session.a") in stage.listed
    stage.kernels.notify_disconnect(guest)
    assert stage.listed == [("a", "owt")]


@async_test
async def test_an_id_that_is_asked_for_is_given_once(stage):
    id = await stage.kernels.start_kernel(kernel_id="1-2-3-4-5")
    assert id == "1-2-3-4-5"
    with pytest.raises(HTTPError, match=r"409.*already exists"):
        await stage.kernels.start_kernel(kernel_id=id)
    with pytest.raises(BadRequest, match="like a UUID"):
        await stage.kernels.start_kernel(kernel_id="1-2-3-4-" + "5" * 60)
    assert len(stage.sessions.named) == 1


@async_test
async def test_a_server_that_ends_starts_no_kernels(stage):
    stage.service.draining = True
    with pytest.raises(Busy, match="ending"):
        await stage.kernels.start_kernel()


def test_each_connection_may_be_a_notebook(stage):
    # ZeroMQ's own limit is 1023 sockets.
    assert stage.kernels._context.get(zmq.MAX_SOCKETS) >= CHANNELS * Settings().max_connections
