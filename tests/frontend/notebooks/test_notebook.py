"""owt.frontend.notebooks.notebook: a served notebook in scripted kernels."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebook_files import save
from scripted_service import ScriptedService

from owt.frontend.notebooks.documents import Contents, read_documents
from owt.frontend.notebooks.notebook import MAX_DEATHS, Notebook
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernel
from owt.wire.call import ChangeDirectory, RemoveEndpoint
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
        """Save the notebook and let it load its new contents."""
        save(self.path, *cells)
        self.notebook.update(Contents.of(self.path))
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
async def test_endpoint_cell_that_may_fail_does_not_end_the_load(tmp_path: Path) -> None:
    path = tmp_path / "tagged.py"
    path.write_text('# %% tags=["raises-exception"]\n# GET /a\n1\n# %%\n# GET /b\n2\n')
    served = Served(path)
    kernel = await served.kernel()
    await fail(kernel)
    assert (await finish(kernel) or "").startswith("# GET /b\n2\n")
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


STORY = ["import a", "LIMIT = 1", "model = load()", "def f(): return model", "y = eval('f() + LIMIT')"]


async def loaded(path: Path, *cells: str) -> tuple[Served, ScriptedKernel]:
    """Return a notebook with these cells, all of which have run."""
    save(path, *cells)
    served = Served(path)
    kernel = await served.kernel()
    await finish_all(served, kernel)
    return served, kernel


async def finish_all(served: Served, kernel: ScriptedKernel) -> list[str | None]:
    """Let calls succeed until the notebook is ready, and return the codes of these calls."""
    codes = []
    while served.notebook.state == "loading":
        codes.append(await finish(kernel))
    return codes


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        pytest.param(STORY, 5, id="nothing changed"),
        pytest.param([*STORY[:1], "# About it.\nLIMIT  =  1  # the limit", *STORY[2:]], 5, id="a comment"),
        pytest.param([*STORY[:1], "LIMIT = 2", *STORY[2:]], 1, id="a constant"),
        pytest.param([*STORY[:3], "def f(): return 2", STORY[4]], 3, id="a function below the model"),
        pytest.param(["import a, b", *STORY[1:]], 0, id="the first cell"),
        pytest.param([*STORY[:4], "def g(): pass", STORY[4]], 4, id="inserted"),
        pytest.param([*STORY, "z = 3"], 5, id="appended"),
        pytest.param([*STORY[:3], STORY[4]], 3, id="deleted"),
        pytest.param(STORY[:3], 3, id="the end deleted"),
        pytest.param([*STORY[:3], STORY[4], STORY[3]], 3, id="moved"),
        pytest.param([*STORY[:2], *STORY[1:]], 2, id="doubled"),
        pytest.param([*STORY[:3], "%matplotlib inline\n" + STORY[3], STORY[4]], 3, id="a magic"),
    ],
)
@async_test
async def test_change_runs_its_cell_and_all_cells_below(path: Path, cells: list[str], first: int) -> None:
    served, kernel = await loaded(path, *STORY)
    await served.save(*cells)
    assert await finish_all(served, kernel) == cells[first:]
    # All of it is in effect now.
    await served.save(*cells)
    assert served.notebook.state == "ready"
    served.notebook.close()


@async_test
async def test_change_undone_after_a_failure_runs_again(path: Path) -> None:
    served, kernel = await loaded(path, *STORY)
    await served.save(STORY[0], "LIMIT = 2", STORY[2], "1 / 0", STORY[4])
    assert [await finish(kernel), await finish(kernel)] == ["LIMIT = 2", STORY[2]]
    await fail(kernel)
    await served.save(*STORY)
    assert await finish_all(served, kernel) == STORY[1:]
    served.notebook.close()


@async_test
async def test_repair_of_a_failed_cell_keeps_the_model(path: Path) -> None:
    served, kernel = await loaded(path, *STORY)
    await served.save(*STORY[:3], "1 / 0", STORY[4])
    await fail(kernel)
    await served.save(*STORY)
    assert await finish_all(served, kernel) == STORY[3:]
    served.notebook.close()


@async_test
async def test_undone_syntax_error_runs_nothing(path: Path) -> None:
    served, kernel = await loaded(path, *STORY)
    await served.save(*STORY[:2], "model = load(", *STORY[3:])
    kernel.send(Failed(400, "syntax", "it cannot be compiled", "never closed"), Done(400, 0.0))
    await settle()
    assert served.notebook.state == "failed"
    ran = len(kernel.calls)
    await served.save(*STORY)
    assert (served.notebook.state, len(kernel.calls)) == ("ready", ran)
    served.notebook.close()


class Routes(Served):
    """A notebook whose cells are named after the paths that they register: `/x; /y`."""

    def __init__(self, path: Path, *cells: str) -> None:
        save(path, *cells)
        super().__init__(path)
        self._registered: dict[str, Endpoint] = {}
        self.ran: list[str | None] = []

    def register(self, *paths: str) -> None:
        for path in paths:
            version = 1 + max((endpoint.version for endpoint in self._registered.values()), default=0)
            self._registered[path] = Endpoint(path, ("GET",), "f", version=version)
        self._send()

    def _send(self, *removed: str) -> None:
        endpoints = tuple(self._registered.values())
        request = RegisterEndpoints(1, endpoints, keep=True, removed=removed)
        assert self.stage.service.endpoints.register("k", "n", request) is None

    async def run(self, failing: str | None = None) -> list[str | None]:
        """Run the cells as a kernel does; return the codes, and the paths that were removed."""
        kernel = await self.stage.kernels.wait_for_kernel(1)
        ran: list[str | None] = []
        while self.notebook.state == "loading":
            call = kernel.calls[-1]
            if isinstance(call.operation, RemoveEndpoint):
                ran.append(f"removed {call.operation.path}")
                del self._registered[call.operation.path]
                self._send(call.operation.path)
            elif call.code is not None:
                ran.append(call.code)
                self.register(*(part for part in call.code.split("; ") if part.startswith("/")))
            if call.code == failing and failing is not None:
                await fail(kernel)
            else:
                await finish(kernel)
        return ran


@async_test
async def test_endpoints_of_a_removed_cell_are_removed(path: Path) -> None:
    served = Routes(path, "/x; /y", "/z", "/w")
    await served.run()
    await served.save("/z", "/w")
    assert sorted(map(str, await served.run())) == ["/w", "/z", "removed /x", "removed /y"]
    await served.save("/z")
    assert await served.run() == ["removed /w"]
    served.notebook.close()


@async_test
async def test_endpoint_that_a_changed_cell_registers_again_stays(path: Path) -> None:
    served = Routes(path, "/x", "/y")
    await served.run()
    await served.save("/x; changed", "/y")
    assert await served.run() == ["/x; changed", "/y"]
    served.notebook.close()


@async_test
async def test_endpoint_that_other_code_registered_later_stays(path: Path) -> None:
    served = Routes(path, "a", "/x")
    await served.run()
    served.register("/x")
    await served.save("a")
    assert await served.run() == []
    served.notebook.close()


@async_test
async def test_endpoint_of_a_failed_cell_is_removed_after_its_repair(path: Path) -> None:
    served = Routes(path, "a", "b")
    await served.run()
    await served.save("a", "/x; 1 / 0")
    assert await served.run(failing="/x; 1 / 0") == ["/x; 1 / 0"]
    await served.save("a", "b")
    assert await served.run() == ["b", "removed /x"]
    served.notebook.close()


@async_test
async def test_remaining_cell_with_the_route_of_a_removed_one_runs_again(path: Path) -> None:
    served = Routes(path, "a", "/x; first", "b", "/x; second")
    await served.run()
    await served.save("a", "/x; first", "b")
    assert await served.run() == ["/x; first", "b"]
    assert served.notebook.state == "ready"
    await served.save("a", "b")
    assert await served.run() == ["b", "removed /x"]
    served.notebook.close()


@async_test
async def test_endpoint_cell_with_the_route_of_a_removed_one_registers_again(path: Path) -> None:
    cell = "# GET /x\n; /x; 1"
    served = Routes(path, cell, "a")
    await served.run()
    # A cell of the notebook that takes the route while it runs, after the endpoint cell.
    await served.save(cell, "a", "# GET /x/\n; /x; 2")
    assert len(await served.run()) == 1
    await served.save(cell, "a")
    assert await served.run() == [f"{cell}\n"]
    assert served.notebook.state == "ready"
    served.notebook.close()
