"""What is at a path while notebooks are loading, or have failed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from owt.errors import Busy, EndpointGone, MethodNotAllowed
from owt.frontend.endpoints import Endpoints
from owt.frontend.notebooks.notebooks import Notebooks, StillLoading
from owt.wire.endpoint import Endpoint
from owt.wire.messages import RegisterEndpoints


def notebooks(*states: tuple[str, str, bool]) -> Notebooks:
    """The notebooks of a server where kernel `k1` of session `s` has `/there`, and `k2` had `/gone`."""
    endpoints = Endpoints()
    for kernel, path in (("k1", "/there"), ("k2", "/gone")):
        endpoints.offer(kernel, "s", RegisterEndpoints(1, (Endpoint(path, ("GET",), "f"),)))
    endpoints.lost("k2", "has crashed")
    found = Notebooks(endpoints)
    found.all += [
        SimpleNamespace(
            name=name, state=state, complete=complete, path=Path(f"{name}.py"), reason="line 1: bad"
        )
        for name, state, complete in states
    ]
    return found


def test_without_notebooks_it_is_as_the_endpoints_say():
    served = notebooks()
    assert served.find("GET", "/there").session == "s"
    assert served.find("GET", "/none") is None
    with pytest.raises(EndpointGone):
        served.find("GET", "/gone")
    with pytest.raises(MethodNotAllowed):
        served.find("PUT", "/there")


@pytest.mark.parametrize(("method", "path"), [("GET", "/none"), ("GET", "/gone"), ("PUT", "/there")])
def test_what_a_notebook_may_bring_is_waited_for(method, path):
    with pytest.raises(StillLoading):
        notebooks(("s", "loading", False)).find(method, path)


def test_also_what_is_there_but_may_need_a_later_cell():
    with pytest.raises(StillLoading):
        notebooks(("s", "loading", False)).find("GET", "/there")


def test_not_what_another_session_has():
    assert notebooks(("other", "loading", False)).find("GET", "/there") is not None


def test_what_only_changes_is_not_waited_for():
    served = notebooks(("s", "loading", True))
    assert served.find("GET", "/there") is not None
    assert served.find("GET", "/none") is None


def test_what_a_failed_notebook_might_have_brought_is_told():
    with pytest.raises(Busy, match=r"s\.py has failed, line 1: bad"):
        notebooks(("s", "failed", False)).find("GET", "/none")


def test_a_change_that_failed_leaves_what_was_there():
    served = notebooks(("s", "failed", True))
    assert served.find("GET", "/there") is not None
    assert served.find("GET", "/none") is None


def test_nobody_waits_for_a_server_that_ends():
    async def end() -> None:
        served = notebooks(("s", "loading", False))
        served.all[0].close = lambda: None
        waiting = asyncio.create_task(served.settled())
        await asyncio.sleep(0)
        served.close()
        await waiting
        await served.settled()
        with pytest.raises(Busy, match="the server is ending"):
            served.find("GET", "/there")

    asyncio.run(end())
