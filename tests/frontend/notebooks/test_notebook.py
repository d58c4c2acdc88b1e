"""owt.frontend.notebooks.notebook: a served notebook in scripted kernels, and the owners of endpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebook_files import save
from scripted_service import ScriptedService

from owt.frontend.endpoints import Endpoints
from owt.frontend.notebooks.documents import read_documents
from owt.frontend.notebooks.notebook import MAX_DEATHS, EndpointOwners, Notebook, Orphan
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernel
from owt.wire.call import ChangeDirectory
from owt.wire.chunk import Done, Failed
from owt.wire.endpoint import Endpoint
from owt.wire.messages import RegisterEndpoints


class Served:
    """A notebook of a server with scripted kernels."""

    def __init__(self, path: Path) -> None:
        self.stage = ScriptedService()
        self.path = path
        self.settled = 0
        [document] = read_documents([path])
        service = self.stage.service
        self.notebook = Notebook(
            document,
            sessions=service.sessions,
            endpoints=service.endpoints,
            submit=service.submit,
            on_settled=self._count,
        )
        self.notebook.start()

    def _count(self) -> None:
        self.settled += 1

    async def kernel(self, number: int = 1) -> ScriptedKernel:
        """Wait for the kernel of this number, and let it enter the notebook's folder."""
        kernel = await self.stage.kernels.wait_for_kernel(number)
        assert isinstance(kernel.calls[-1].operation, ChangeDirectory)
        kernel.answer()
        await settle()
        return kernel

    async def save(self, *cells: str) -> None:
        """Save the notebook and have it read again."""
        save(self.path, *cells)
        await self.notebook.reload()
        await settle()


async def finish(kernel: ScriptedKernel) -> str | None:
    """Let the newest call succeed, and return its code."""
    code = kernel.calls[-1].code
    kernel.answer()
    await settle()
    return code


async def fail(kernel: ScriptedKernel) -> None:
    failed = Failed(500, "exception", "it failed", "by zero", "ZeroDivisionError", "Traceback ...")
    kernel.send(failed, Done(500, 0.0))
    await settle()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "n.ipynb", "x = f()", "y = 2")
    return tmp_path / "n.ipynb"


@async_test
async def test_cells_run_one_after_another_in_the_notebooks_folder(path: Path) -> None:
    served = Served(path)
    kernel = await served.stage.kernels.wait_for_kernel(1)
    assert (kernel.calls[0].session, kernel.calls[0].operation) == ("n", ChangeDirectory(str(path.parent)))
    await served.kernel()
    assert [await finish(kernel), served.notebook.state] == ["x = f()", "loading"]
    assert [await finish(kernel), served.notebook.state] == ["y = 2", "ready"]
    assert (served.notebook.complete, served.settled, len(kernel.calls)) == (True, 1, 3)
    served.notebook.close()


@async_test
async def test_failing_cell_ends_the_load_and_runs_again_after_a_change(path: Path) -> None:
    served = Served(path)
    kernel = await served.kernel()
    await fail(kernel)
    assert served.notebook.show() | {"path": None} == {
        "path": None,
        "session": "n",
        "state": "failed",
        "reason": "cell 1: ZeroDivisionError: by zero",
    }
    await served.save("x = g()", "y = 2")
    assert [await finish(kernel), await finish(kernel)] == ["x = g()", "y = 2"]
    assert served.notebook.state == "ready"
    served.notebook.close()


@async_test
async def test_change_during_a_failing_cell_starts_the_next_load(path: Path) -> None:
    served = Served(path)
    kernel = await served.kernel()
    await served.save("x = g()", "y = 2")
    await fail(kernel)
    assert [await finish(kernel), await finish(kernel)] == ["x = g()", "y = 2"]
    assert (served.notebook.state, served.settled) == ("ready", 1)
    served.notebook.close()


@async_test
async def test_next_kernel_runs_the_text_saved_last(path: Path) -> None:
    served = Served(path)
    kernel = await served.kernel()
    for _ in range(2):
        await finish(kernel)
    # No cell has to run, but tracebacks have other lines.
    await served.save("# About x.\nx = f()", "y = 2")
    assert (len(kernel.calls), served.notebook.state) == (3, "ready")
    kernel.die()
    successor = await served.kernel(2)
    assert await finish(successor) == "# About x.\nx = f()"
    served.notebook.close()


@async_test
async def test_notebook_fails_after_several_kernels_died_of_it(path: Path) -> None:
    served = Served(path)
    for number in range(1, MAX_DEATHS + 1):
        (await served.kernel(number)).die("crashed")
        await settle()
    assert served.notebook.show()["reason"] == "cell 1: the kernel died: the kernel crashed"
    served.notebook.close()


@async_test
async def test_requested_restarts_do_not_count_as_deaths(path: Path) -> None:
    served = Served(path)
    for number in range(1, MAX_DEATHS + 2):
        await served.kernel(number)
        await served.stage.service.sessions.named["n"].restart()
    last = await served.kernel(MAX_DEATHS + 2)
    assert [await finish(last), await finish(last)] == ["x = f()", "y = 2"]
    assert served.notebook.complete
    served.notebook.close()


@async_test
async def test_notebook_without_a_kernel_runs_in_the_first_one_that_starts(path: Path) -> None:
    served = Served(path)
    kernel = await served.kernel()
    for _ in range(2):
        await finish(kernel)
    served.stage.kernels.start_error = OSError("no memory")
    kernel.die()
    await settle()
    assert (served.notebook.state, served.notebook.complete) == ("failed", False)
    served.stage.kernels.start_error = None
    served.stage.service.sessions.named["n"].start()
    successor = await served.kernel(2)
    assert [await finish(successor), await finish(successor)] == ["x = f()", "y = 2"]
    assert served.notebook.complete
    served.notebook.close()


@async_test
async def test_deleted_session_fails_the_notebook_until_a_change(path: Path) -> None:
    served = Served(path)
    kernel = await served.kernel()
    for _ in range(2):
        await finish(kernel)
    await served.stage.service.sessions.delete("n")
    assert (served.notebook.state, served.notebook.complete) == ("failed", False)
    assert "its session was deleted" in (served.notebook.reason or "")
    await served.save("x = g()", "y = 2")
    successor = await served.kernel(2)
    assert await finish(successor) == "x = g()"
    served.notebook.close()


class Registry:
    """A kernel of session `s` whose cells, known by their names, register endpoints."""

    def __init__(self) -> None:
        self._endpoints = Endpoints()
        self._registered: dict[str, Endpoint] = {}
        self.owners = EndpointOwners(self._endpoints, "s")

    def run(self, cell: str | None, *paths: str) -> None:
        """Register these paths; by a cell, or None for code that is no cell of the notebook."""
        before = self.owners.editions()
        for path in paths:
            version = 1 + max((endpoint.version for endpoint in self._registered.values()), default=0)
            self._registered[path] = Endpoint(path, ("GET",), "f", version=version)
        registration = RegisterEndpoints(1, tuple(self._registered.values()), keep=True)
        assert self._endpoints.register("k", "s", registration) is None
        if cell is not None:
            self.owners.add(cell, before)

    def orphans(self, *cells: str) -> list[tuple[str, object]]:
        return [(orphan.route[0], orphan.heir) for orphan in self.owners.orphans(cells)]


def test_endpoint_of_a_removed_cell_is_an_orphan() -> None:
    registry = Registry()
    registry.run("a", "/x", "/y")
    registry.run("b", "/z")
    assert registry.orphans("a", "b") == []
    assert registry.orphans("b") == [("/x", None), ("/y", None)]


def test_endpoint_that_another_cell_registered_later_is_no_orphan() -> None:
    registry = Registry()
    registry.run("a", "/x")
    registry.run("changed a", "/x")
    assert registry.orphans("changed a") == []


def test_endpoint_that_other_code_registered_later_is_no_orphan() -> None:
    registry = Registry()
    registry.run("a", "/x")
    registry.run(None, "/x", "/mine")
    assert registry.orphans() == []


def test_heir_is_the_remaining_cell_that_had_the_route_last() -> None:
    registry = Registry()
    for cell in ("a", "b", "a", "c"):
        registry.run(cell, "/x")
    edition = registry.owners.editions()["/x", "GET"]
    assert registry.owners.orphans(["a", "b"]) == [Orphan(("/x", "GET"), edition, "a")]
    assert registry.orphans("b") == [("/x", "b")]


def test_forgotten_cell_is_no_heir() -> None:
    registry = Registry()
    registry.run("a", "/x")
    registry.run("b", "/x")
    registry.owners.keep(["b"])
    assert registry.orphans("a") == [("/x", None)]
    registry.owners.keep([])
    assert registry.orphans() == []
