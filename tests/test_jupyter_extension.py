"""owt.jupyter_extension: what it changes in a Jupyter server. tests/live/test_gateway_clients.py runs one."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.gateway.connections import GatewayWebSocketConnection
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

from owt.jupyter_extension import BinaryGatewayConnection, _load_jupyter_server_extension

ROOT = Path(__file__).resolve().parent.parent
SETTING = "kernel_websocket_connection_class"


class OwnConnection(GatewayWebSocketConnection):  # type: ignore[misc]
    """Connection class that the user of the Jupyter server has set."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (GatewayWebSocketConnection, BinaryGatewayConnection),
        (OwnConnection, OwnConnection),
        # A server without a gateway.
        (ZMQChannelsWebsocketConnection, ZMQChannelsWebsocketConnection),
    ],
)
def test_extension_replaces_jupyters_own_connection_to_a_gateway(before: type, after: type) -> None:
    settings = {SETTING: before}
    _load_jupyter_server_extension(SimpleNamespace(web_app=SimpleNamespace(settings=settings)))
    assert settings[SETTING] is after


def test_installation_enables_the_extension() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    files = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    [source] = [file for file, place in files.items() if "/jupyter_server_config.d/" in place]
    enabled = json.loads((ROOT / source).read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"]
    for name in enabled:
        assert import_module(name)._jupyter_server_extension_points() == [{"module": name}]
