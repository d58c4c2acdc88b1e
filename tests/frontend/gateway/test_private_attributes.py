"""The gateway uses no private attributes of jupyter_server, Tornado and pyzmq, and overrides none.

What it uses besides their documented interfaces is named here, with the place to look at when a release
changes it.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from zmq.eventloop.zmqstream import ZMQStream

from owt.frontend import gateway
from owt.frontend.gateway.channels import ChannelsConnection
from owt.frontend.gateway.handlers import Guarded, MeHandler, StatusHandler, UnknownHandler, VersionHandler

FILES = sorted(Path(gateway.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_private_attributes_are_those_of_self(path: Path) -> None:
    accesses = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert accesses == []


@pytest.mark.parametrize(
    "handler", [ChannelsConnection, Guarded, MeHandler, StatusHandler, UnknownHandler, VersionHandler]
)
def test_private_names_do_not_hide_those_of_a_base_class(handler: type) -> None:
    tree = ast.parse(inspect.getsource(handler))
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    } | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    foreign = {name for base in handler.__mro__ if "owt." not in base.__module__ for name in vars(base)}
    assert {name for name in own & foreign if name.startswith("_") and not name.startswith("__")} == set()


def test_websocket_handler_makes_its_connection_as_before() -> None:
    # Channels.pre_get and ChannelsConnection rely on these steps of
    # jupyter_server/services/kernels/websocket.py: KernelWebsocketHandler.pre_get, open and on_close.
    source = inspect.getsource(KernelWebsocketHandler)
    for step in (
        "self.kernel_websocket_connection_class(",
        "parent=kernel, websocket_handler=self",
        "self.connection.session.session = ",
        "await self.connection.prepare()",
        "await self.connection.connect()",
        "self.connection.disconnect()",
    ):
        assert step in source, step


def test_pings_are_configured_in_milliseconds() -> None:
    # Channels.ping_interval and ping_timeout: jupyter_server/base/websocket.py, WebSocketMixin.open passes
    # them to PeriodicCallback, which takes milliseconds. Tornado reads the same names in seconds.
    source = inspect.getsource(WebSocketMixin.open)
    assert "PeriodicCallback" in source
    assert "self.ping_interval" in source


def test_connection_base_finds_its_kernel_in_parent() -> None:
    # jupyter_server/services/kernels/connection/base.py
    assert "return self.parent" in inspect.getsource(BaseKernelWebsocketConnection.kernel_manager.fget)


def test_send_callback_of_a_stream_stays_for_later_messages() -> None:
    # ChannelsConnection._connect_kernel registers it: zmq/eventloop/zmqstream.py, ZMQStream.send_multipart.
    assert "callback or self._send_callback" in inspect.getsource(ZMQStream.send_multipart)
