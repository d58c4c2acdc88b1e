"""owt.frontend.gateway.jupyter_sessions: notebooks and their kernels."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tornado.web import HTTPError

from owt.errors import BadRequest, Busy
from owt.frontend.gateway import jupyter_sessions as module
from owt.frontend.gateway.jupyter_sessions import JupyterSessions
from owt.frontend.gateway.kernels import SessionKernels
from owt.testing import async_test


class StubSession:
    def __init__(self, name: str) -> None:
        self.name = name


class StubKernel:
    def __init__(self, name: str) -> None:
        self.kernel_id = f"id-{name}"
        self.owt_session = StubSession(name)


class StubKernels:
    """Kernels whose ids are `id-NAME`."""

    def __init__(self, *names: str) -> None:
        self.records = None
        self.all = {f"id-{name}": StubKernel(name) for name in names}
        self.ended: list[str] = []

    def __contains__(self, id: str) -> bool:
        return id in self.all

    def listed(self) -> list[StubKernel]:
        return list(self.all.values())

    def kernel_model(self, id: str) -> dict[str, Any]:
        return {"id": id}

    async def start_kernel(self, spec: str | None, path: str | None, id: str | None = None) -> str:
        new = StubKernel(path or "none")
        self.all[new.kernel_id] = new
        return new.kernel_id

    async def shutdown_kernel(self, id: str) -> None:
        self.ended.append(id)
        del self.all[id]


@pytest.fixture
def kernels():
    return StubKernels("dev")


@pytest.fixture
def sessions(kernels):
    return JupyterSessions(cast("SessionKernels", kernels))


@async_test
async def test_owt_session_without_a_notebook_is_listed_as_a_console(sessions):
    [session] = sessions.list_sessions()
    assert (session["path"], session["type"], session["kernel"]["id"]) == ("dev", "console", "id-dev")
    assert await sessions.get_session(session["id"]) == session
    assert sessions.session_exists("dev")


@async_test
async def test_notebook_replaces_the_console(sessions):
    session = await sessions.create_session("x/n.ipynb", "n.ipynb", "notebook", None, "id-dev")
    assert sessions.list_sessions() == [session]
    assert session["notebook"] == {"path": "x/n.ipynb", "name": "n.ipynb"}


@async_test
async def test_update_leaves_other_fields(sessions):
    session = await sessions.create_session("n.ipynb", "n", "notebook", None, "id-dev")
    await sessions.update_session(session["id"], path=None, name="m")
    changed = await sessions.get_session(session["id"])
    assert (changed["path"], changed["name"]) == ("n.ipynb", "m")


@async_test
async def test_updated_console_is_remembered(sessions):
    [session] = sessions.list_sessions()
    await sessions.update_session(session["id"], path="new.ipynb", type="notebook")
    [changed] = sessions.list_sessions()
    assert (changed["id"], changed["path"], changed["type"]) == (session["id"], "new.ipynb", "notebook")


@async_test
async def test_notebook_and_kernel_end_together(sessions, kernels):
    session = await sessions.create_session("n.ipynb", "", "notebook")
    await sessions.delete_session(session["id"])
    assert kernels.ended == [session["kernel"]["id"]]
    session = await sessions.create_session("n.ipynb", "", "notebook")
    await kernels.shutdown_kernel(session["kernel"]["id"])
    for method in (sessions.get_session, sessions.delete_session):
        with pytest.raises(HTTPError, match="404"):
            await method(session["id"])


@async_test
async def test_invalid_path_is_refused_and_starts_no_kernel(sessions, kernels):
    for path in (5, "x" * 5000):
        with pytest.raises(BadRequest, match="path: must"):
            await sessions.create_session(path)
    assert list(kernels.all) == ["id-dev"]


@async_test
async def test_number_of_sessions_is_limited(sessions, monkeypatch):
    monkeypatch.setattr(module, "MAX_SESSIONS", 1)
    await sessions.create_session("1.ipynb")
    with pytest.raises(Busy, match="1 notebooks"):
        await sessions.create_session("2.ipynb")
