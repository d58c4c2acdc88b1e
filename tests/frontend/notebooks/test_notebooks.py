"""owt.frontend.notebooks.notebooks: lookups of endpoints while notebooks load, and watched files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from notebook_files import save

from owt.errors import Busy, EndpointGone, MethodNotAllowed
from owt.frontend.endpoints import Endpoints, Match
from owt.frontend.notebooks.documents import WatchedFile
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
    served = Notebooks(endpoints)
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


@async_test
async def test_changed_file_is_read_again_once(tmp_path: Path) -> None:
    path = tmp_path / "n.py"
    save(path, "x = 1")
    reloads = 0
    gate = asyncio.Event()

    async def reload() -> None:
        nonlocal reloads
        reloads += 1
        await gate.wait()

    served = Notebooks(Endpoints())
    notebook = Mock(spec=Notebook, file=WatchedFile(path), reload=reload)
    served.all.append(notebook)
    served.start((), sessions=Mock(), submit=Mock(), watch=True)
    save(path, "x = 2")
    for _ in range(4):
        served._check_files()
        await asyncio.sleep(0)
    assert reloads == 1
    # Saved while it is being read: read again afterwards.
    save(path, "x = 33")
    for _ in range(2):
        served._check_files()
    gate.set()
    await asyncio.sleep(0)
    for _ in range(2):
        served._check_files()
        await asyncio.sleep(0)
    assert reloads == 2
    served.close()
