"""owt.frontend.restart: restarts that are refused at once. tests/faults/test_restart.py has the others."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import cast

import pytest

from owt.frontend.http.listener import Listener
from owt.frontend.http.sockets import ListeningSockets
from owt.frontend.kept_dir import KeptDirectory
from owt.frontend.replacement import Launch
from owt.frontend.restart import Restart
from owt.frontend.service import Service
from owt.testing import async_test


def test_systemd_gets_the_end_of_a_reload_that_needs_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    restart = Restart(
        None,
        service=cast(Service, None),
        listener=cast(Listener, None),
        sockets=cast(ListeningSockets, None),
        passed=(),
        directory=None,
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        restart.request()
        assert receiver.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert receiver.recv(1000).startswith(b"READY=1\nSTATUS=no restart: a restart would end its sessions")
    assert "SIGHUP: the server goes on as it is: a restart would end" in caplog.text


@async_test
async def test_a_signal_during_a_restart_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    restart = Restart(
        Launch(),
        service=cast(Service, None),
        listener=cast(Listener, None),
        sockets=cast(ListeningSockets, None),
        passed=(),
        directory=cast(KeptDirectory, tmp_path),
    )
    # The first one waits until the server is ready.
    restart.request()
    assert "another restart follows" not in caplog.text
    restart._requested = False
    restart.request()
    restart.request()
    assert caplog.text.count("SIGHUP during a restart: another restart follows") == 1
    restart.cancel()
