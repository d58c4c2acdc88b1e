"""owt.frontend.notebooks.notebooks: lookups of endpoints while notebooks load, and watched files."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from notebook_files import save

from owt.errors import Busy, EndpointGone, MethodNotAllowed
from owt.frontend.endpoints import Endpoints, Match
from owt.frontend.kernels.recovery import Recovery
from owt.frontend.notebooks import notebooks as notebooks_module
from owt.frontend.notebooks.documents import Contents, WatchedFile
from owt.frontend.notebooks.notebook import Notebook, NotebookState
from owt.frontend.notebooks.notebooks import Lookup, Notebooks
from owt.testing import async_test
from owt.wire.endpoint import Endpoint
from owt.wire.messages import RegisterEndpoints


def notebooks(*states: tuple[str, str, bool]) -> Notebooks:
    """Return notebooks of a server where kernel `k1` of session `s` has `/there`, and `k2` had `/gone`."""
    endpoints = Endpoints()
    for kernel, path in (("k1", "/there"), ("k2", "/gone")):
        endpoints.register(kernel, "s", RegisterEndpoints(1, (Endpoint(path, ("GET",), "f"),)))
    endpoints.kernel_died("k2", "has crashed")
    served = Notebooks(endpoints, Recovery())
    served.all += [
        cast(
            "Notebook",
            SimpleNamespace(
                name=name,
                state=NotebookState(state),
                complete=complete,
                path=Path(f"{name}.py"),
                reason="line 1: bad",
                close=lambda: None,
            ),
        )
        for name, state, complete in states
    ]
    return served


def session(match: Match | Lookup | None) -> str:
    assert isinstance(match, Match)
    return match.session


def test_match_without_notebooks_is_that_of_the_endpoints() -> None:
    served = notebooks()
    assert session(served.match_now("GET", "/there")) == "s"
    assert served.match_now("GET", "/none") is None
    with pytest.raises(EndpointGone):
        served.match_now("GET", "/gone")
    with pytest.raises(MethodNotAllowed):
        served.match_now("PUT", "/there")


@pytest.mark.parametrize(("method", "path"), [("GET", "/none"), ("GET", "/gone"), ("PUT", "/there")])
def test_route_that_a_loading_notebook_may_register_is_pending(method: str, path: str) -> None:
    assert notebooks(("s", "loading", False)).match_now(method, path) is Lookup.PENDING


def test_registered_endpoint_of_a_loading_notebook_is_pending() -> None:
    assert notebooks(("s", "loading", False)).match_now("GET", "/there") is Lookup.PENDING


def test_endpoint_of_another_session_is_not_pending() -> None:
    assert session(notebooks(("other", "loading", False)).match_now("GET", "/there")) == "s"


def test_routes_of_a_notebook_that_only_changes_are_not_pending() -> None:
    served = notebooks(("s", "loading", True))
    assert session(served.match_now("GET", "/there")) == "s"
    assert served.match_now("GET", "/none") is None


def test_unknown_route_beside_a_failed_notebook_reports_its_failure() -> None:
    with pytest.raises(Busy, match=r"s\.py has failed, line 1: bad"):
        notebooks(("s", "failed", False)).match_now("GET", "/none")


def test_failed_change_leaves_the_earlier_endpoints() -> None:
    served = notebooks(("s", "failed", True))
    assert session(served.match_now("GET", "/there")) == "s"
    assert served.match_now("GET", "/none") is None


@async_test
async def test_match_waits_until_the_notebook_is_ready() -> None:
    served = notebooks(("s", "loading", False))
    waiting = asyncio.create_task(served.match("GET", "/there"))
    await asyncio.sleep(0)
    assert not waiting.done()
    notebook = cast("Any", served.all[0])
    notebook.state, notebook.complete = NotebookState.READY, True
    served._notify()
    assert session(await waiting) == "s"


@async_test
async def test_match_ends_when_the_server_shuts_down() -> None:
    served = notebooks(("s", "loading", False))
    waiting = asyncio.create_task(served.match("GET", "/there"))
    await asyncio.sleep(0)
    served.close()
    with pytest.raises(Busy, match="the server is shutting down"):
        await waiting
    with pytest.raises(Busy, match="the server is shutting down"):
        await served.match("GET", "/there")


class Watched:
    """A notebook of which `updates` has the contents that were read, as lists of texts."""

    def __init__(self, path: Path) -> None:
        save(path, "x = 1")
        self.path = path
        self.file = WatchedFile(path)
        self.updates: asyncio.Queue[list[str]] = asyncio.Queue()

    def start(self) -> None:
        pass

    close = start

    def update(self, contents: Contents) -> None:
        self.updates.put_nowait([cell.text for cell in contents.cells])


def watching(*watched: Watched) -> Notebooks:
    served = Notebooks(Endpoints(), Recovery())
    served.all += cast("list[Notebook]", watched)
    served.start((), sessions=Mock(), submit=Mock(), watch=True)
    return served


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks_module, "WATCH_INTERVAL", 0.001)


@async_test
async def test_each_change_of_a_file_is_read(tmp_path: Path, no_delay: None) -> None:
    notebook = Watched(tmp_path / "n.py")
    served = watching(notebook)
    for number in range(2, 4):
        save(notebook.path, f"x = {number}")
        assert await notebook.updates.get() == [f"x = {number}"]
    served.close()


@pytest.mark.parametrize("other", ["a pipe", "a device", "half a text"])
@async_test
async def test_unreadable_file_is_reported_and_watched_further(
    tmp_path: Path, no_delay: None, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    notebook = Watched(tmp_path / "n.ipynb")
    served = watching(notebook)
    new = tmp_path / "new"
    match other:
        case "a pipe":
            os.mkfifo(new)
        case "a device":
            new.symlink_to("/dev/zero")
        case _:
            new.write_text('{"nbformat": 4')
    os.replace(new, notebook.path)
    while "the earlier version stays in effect" not in caplog.text:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    save(notebook.path, "x = 2")
    assert await notebook.updates.get() == ["x = 2"]
    served.close()


@async_test
async def test_file_system_that_does_not_respond_stops_no_other_notebook(
    tmp_path: Path, no_delay: None
) -> None:
    stuck, notebook = Watched(tmp_path / "stuck.py"), Watched(tmp_path / "n.py")
    released = threading.Event()
    stuck.file = Mock(changed=released.wait)
    served = watching(stuck, notebook)
    save(notebook.path, "x = 2")
    assert await notebook.updates.get() == ["x = 2"]
    # The end of the process waits for no daemon thread.
    watchers = [thread for thread in threading.enumerate() if thread.name == "watch"]
    assert all(thread.daemon for thread in watchers)
    served.close()
    released.set()
    for thread in watchers:
        thread.join()
