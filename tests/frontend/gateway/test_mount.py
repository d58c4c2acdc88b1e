"""owt.frontend.gateway.mount: the application of the gateway, from its first request to its end."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_service import ScriptedService
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from owt.frontend.gateway import handlers
from owt.frontend.gateway import mount as module
from owt.frontend.gateway.kernels import SessionKernels
from owt.frontend.gateway.mount import ROOT, Mount
from owt.testing import async_test

REQUEST = HTTPServerRequest(
    start_line=RequestStartLine("GET", f"{ROOT}/api/kernels", "HTTP/1.1"), headers=HTTPHeaders(Host="h")
)


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of the applications that the mount creates."""
    applications = []
    create = handlers.create_application

    def record(*arguments: Any) -> Any:
        applications.append(create(*arguments))
        return applications[-1]

    monkeypatch.setattr(handlers, "create_application", record)
    return applications


@async_test
async def test_requests_share_one_application_whose_sockets_close_with_the_mount(created, monkeypatch):
    closed = []
    close = SessionKernels.close

    def record(kernels: SessionKernels) -> None:
        closed.append(kernels)
        close(kernels)

    monkeypatch.setattr(SessionKernels, "close", record)
    mount = Mount(ScriptedService().service)
    # Before the first request there is nothing to close.
    mount.close()
    assert closed == []
    for _ in range(2):
        assert mount.find_handler(REQUEST) is not None
    [application] = created
    mount.close()
    assert closed == [application.settings["kernel_manager"]]


@async_test
async def test_an_extra_that_is_installed_later_is_used_by_the_next_request(created, monkeypatch):
    mount = Mount(ScriptedService().service)
    with monkeypatch.context() as patched:
        patched.setattr(module, "find_spec", lambda name: None)
        assert mount.find_handler(REQUEST) is not None
    assert created == []
    assert mount.find_handler(REQUEST) is not None
    assert len(created) == 1
    mount.close()
