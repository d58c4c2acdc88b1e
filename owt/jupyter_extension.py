"""Extension of Jupyter servers (JupyterLab, Notebook) that take their kernels from owt: binary messages.

Messages of widgets such as ipympl's have binary buffers. jupyter_server's client of gateways decodes each as
UTF-8 and loses the connection. The extension replaces it by a connection that passes bytes on, if the Jupyter
server has a gateway. A file in `jupyter_server_config.d`, which is installed with owt, enables it.

`SessionKernelManager` is for programs that run notebooks with nbclient.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from jupyter_server.gateway.connections import GatewayWebSocketConnection
from jupyter_server.gateway.managers import GatewayKernelManager
from tornado.websocket import WebSocketClosedError
from traitlets import observe

_SETTING = "kernel_websocket_connection_class"


class _Binary(bytes):
    """Binary message. jupyter_server decodes every message that is not text."""

    def decode(self, *_: Any, **__: Any) -> Any:
        """Return the message itself."""
        return self


class BinaryGatewayConnection(GatewayWebSocketConnection):  # type: ignore[misc]
    """Connection of a notebook to a gateway's kernel, which passes binary messages on in both directions."""

    @observe("ws")
    def _on_connected(self, change: Any) -> None:
        if (socket := change["new"]) is None:
            return
        read, write = socket.read_message, socket.write_message

        async def read_message() -> Any:
            message = await read()
            return _Binary(message) if isinstance(message, bytes) else message

        socket.read_message = read_message
        socket.write_message = lambda message: write(message, binary=isinstance(message, bytes))

    def handle_outgoing_message(self, incoming_msg: str | bytes, *args: Any) -> None:
        """Send a message of the kernel to the notebook."""
        if not isinstance(incoming_msg, bytes):
            super().handle_outgoing_message(incoming_msg, *args)
            return
        with suppress(WebSocketClosedError):
            self.websocket_handler.write_message(incoming_msg, binary=True)


class SessionKernelManager(GatewayKernelManager):  # type: ignore[misc]
    """Manager of a gateway's kernel that starts the kernelspec it was created with.

    jupyter_server's starts `python3` unless the name is repeated, so that a notebook of the kernelspec
    `owt-session.NAME` would run in a new session.
    """

    async def start_kernel(self, **kwargs: Any) -> None:
        """Start the kernel, or connect to the one of a session."""
        await super().start_kernel(**{"kernel_name": self.kernel_name, **kwargs})


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Replace the connection class of a Jupyter server with a gateway, unless its user has set another."""
    settings = server.web_app.settings
    if settings[_SETTING] is GatewayWebSocketConnection:
        settings[_SETTING] = BinaryGatewayConnection
