"""A notebook that is served, in kernels that the test plays."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebook_files import save
from scripted_service import ScriptedService

from owt.frontend.notebooks.documents import read_all
from owt.frontend.notebooks.notebook import ENTER, MOST_LOST, Notebook
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernel
from owt.wire.chunk import Done, Failed


class Served:
    """A notebook of a staged server."""

    def __init__(self, path: Path) -> None:
        self.stage = ScriptedService()
        self.path = path
        self.news = 0
        [document] = read_all([path])
        service = self.stage.service
        self.notebook = Notebook(
            document,
            sessions=service.sessions,
            endpoints=service.endpoints,
            submit=service.submit,
            on_news=self._count,
        )
        self.notebook.start()

    def _count(self) -> None:
        self.news += 1

    async def kernel(self, number: int = 1) -> ScriptedKernel:
        """The kernel of this number, which has entered the notebook's folder."""
        kernel = await self.stage.kernels.wait_for_kernel(number)
        assert kernel.calls[-1].code == ENTER
        kernel.answer()
        await settle()
        return kernel

    async def save(self, *cells: str) -> None:
        """Save it, and have it looked at until its text has been read."""
        save(self.path, *cells)
        await self.notebook.look()
        await self.notebook.look()
        await settle()


async def ran(kernel: ScriptedKernel) -> str | None:
    """The code of the newest call, which ends well now."""
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
async def test_its_cells_run_one_after_another_in_its_folder(path: Path) -> None:
    served = Served(path)
    kernel = await served.stage.kernels.wait_for_kernel(1)
    assert (kernel.calls[0].session, kernel.calls[0].kwargs) == ("n", f'{{"path": "{path.parent}"}}')
    await served.kernel()
    assert [await ran(kernel), served.notebook.state] == ["x = f()", "loading"]
    assert [await ran(kernel), served.notebook.state] == ["y = 2", "ready"]
    assert (served.notebook.complete, served.news, len(kernel.calls)) == (True, 1, 3)
    served.notebook.close()


@async_test
async def test_it_ends_at_a_cell_that_fails_and_goes_on_there_when_it_is_saved(path: Path) -> None:
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
    assert [await ran(kernel), await ran(kernel)] == ["x = g()", "y = 2"]
    assert served.notebook.state == "ready"
    served.notebook.close()


@async_test
async def test_the_next_kernel_runs_the_text_that_was_saved_last(path: Path) -> None:
    served = Served(path)
    kernel = await served.kernel()
    for _ in range(2):
        await ran(kernel)
    # Nothing to run, but where a traceback's lines are.
    await served.save("# About x.\nx = f()", "y = 2")
    assert (len(kernel.calls), served.notebook.state) == (3, "ready")
    kernel.die()
    following = await served.kernel(2)
    assert await ran(following) == "# About x.\nx = f()"
    served.notebook.close()


@async_test
async def test_a_notebook_of_which_kernels_die_is_given_up(path: Path) -> None:
    served = Served(path)
    for number in range(1, MOST_LOST + 1):
        (await served.kernel(number)).die("crashed")
        await settle()
    assert served.notebook.show()["reason"] == "cell 1: the kernel died: the kernel crashed"
    served.notebook.close()


@async_test
async def test_not_where_somebody_asked_for_other_kernels(path: Path) -> None:
    served = Served(path)
    for number in range(1, MOST_LOST + 2):
        await served.kernel(number)
        await served.stage.service.sessions.named["n"].restart()
    last = await served.kernel(MOST_LOST + 2)
    assert [await ran(last), await ran(last)] == ["x = f()", "y = 2"]
    assert served.notebook.complete
    served.notebook.close()


@async_test
async def test_a_notebook_whose_kernels_cannot_start_runs_in_the_first_one_that_does(path: Path) -> None:
    served = Served(path)
    kernel = await served.kernel()
    for _ in range(2):
        await ran(kernel)
    served.stage.kernels.start_error = OSError("no memory")
    kernel.die()
    await settle()
    assert (served.notebook.state, served.notebook.complete) == ("failed", False)
    served.stage.kernels.start_error = None
    served.stage.service.sessions.named["n"].start()
    following = await served.kernel(2)
    assert [await ran(following), await ran(following)] == ["x = f()", "y = 2"]
    assert served.notebook.complete
    served.notebook.close()
