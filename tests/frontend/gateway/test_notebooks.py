"""owt.frontend.gateway.notebooks: which notebook has which kernel."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tornado.web import HTTPError

from owt.errors import BadRequest, Busy
from owt.frontend.gateway import notebooks as module
from owt.frontend.gateway.kernels import SessionKernels
from owt.frontend.gateway.notebooks import Notebooks
from owt.testing import async_test


class PlayedLive:
    def __init__(self, name: str) -> None:
        self.name = name


class PlayedSessionKernel:
    def __init__(self, name: str) -> None:
        self.kernel_id = f"id-{name}"
        self.live = PlayedLive(name)


class ScriptedKernels:
    """Kernels by name, `id-NAME` each."""

    def __init__(self, *names: str) -> None:
        self.all = {f"id-{name}": PlayedSessionKernel(name) for name in names}
        self.ended: list[str] = []

    def __contains__(self, id: str) -> bool:
        return id in self.all

    def own(self) -> list[PlayedSessionKernel]:
        return list(self.all.values())

    def kernel_model(self, id: str) -> dict[str, Any]:
        return {"id": id}

    async def start_kernel(self, spec: str | None, path: str | None, id: str | None = None) -> str:
        new = PlayedSessionKernel(path or "none")
        self.all[new.kernel_id] = new
        return new.kernel_id

    async def shutdown_kernel(self, id: str) -> None:
        self.ended.append(id)
        del self.all[id]


@pytest.fixture
def kernels():
    return ScriptedKernels("dev")


@pytest.fixture
def notebooks(kernels):
    return Notebooks(cast("SessionKernels", kernels))


@async_test
async def test_a_session_without_a_notebook_is_a_console_of_its_name(notebooks):
    [found] = notebooks.list_sessions()
    assert (found["path"], found["type"], found["kernel"]["id"]) == ("dev", "console", "id-dev")
    assert await notebooks.get_session(found["id"]) == found
    assert notebooks.session_exists("dev")


@async_test
async def test_a_notebook_takes_the_consoles_place(notebooks):
    made = await notebooks.create_session("x/n.ipynb", "n.ipynb", "notebook", None, "id-dev")
    assert notebooks.list_sessions() == [made]
    assert made["notebook"] == {"path": "x/n.ipynb", "name": "n.ipynb"}


@async_test
async def test_what_a_change_does_not_say_stays(notebooks):
    made = await notebooks.create_session("n.ipynb", "n", "notebook", None, "id-dev")
    await notebooks.update_session(made["id"], path=None, name="m")
    changed = await notebooks.get_session(made["id"])
    assert (changed["path"], changed["name"]) == ("n.ipynb", "m")


@async_test
async def test_a_console_that_is_changed_is_remembered(notebooks):
    [found] = notebooks.list_sessions()
    await notebooks.update_session(found["id"], path="new.ipynb", type="notebook")
    [changed] = notebooks.list_sessions()
    assert (changed["id"], changed["path"], changed["type"]) == (found["id"], "new.ipynb", "notebook")


@async_test
async def test_a_notebook_ends_with_its_kernel(notebooks, kernels):
    made = await notebooks.create_session("n.ipynb", "", "notebook")
    await notebooks.delete_session(made["id"])
    assert kernels.ended == [made["kernel"]["id"]]
    made = await notebooks.create_session("n.ipynb", "", "notebook")
    await kernels.shutdown_kernel(made["kernel"]["id"])
    for gone in (notebooks.get_session, notebooks.delete_session):
        with pytest.raises(HTTPError, match="404"):
            await gone(made["id"])


@async_test
async def test_what_is_no_text_or_too_long_is_refused_and_starts_nothing(notebooks, kernels):
    for path in (5, "x" * 5000):
        with pytest.raises(BadRequest, match="path: must"):
            await notebooks.create_session(path)
    assert list(kernels.all) == ["id-dev"]


@async_test
async def test_there_is_a_limit(notebooks, monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)
    await notebooks.create_session("1.ipynb")
    with pytest.raises(Busy, match="1 notebooks"):
        await notebooks.create_session("2.ipynb")
