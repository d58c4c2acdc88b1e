"""Protocol of a WebSocket connection (RFC 6455): Tornado's, with the codes of the end that it leaves out."""

from __future__ import annotations

import sys
from asyncio import Future
from typing import cast

from tornado.iostream import IOStream
from tornado.websocket import WebSocketProtocol13

from owt.frontend.http.messages import INTERNAL_ERROR, NO_UTF8, PROTOCOL_ERROR


class Protocol(WebSocketProtocol13):
    """Tornado's protocol, with the close codes of RFC 6455, section 7.4.1, and without unmasked messages.

    `closed_by_client` is True once the client has sent the end of the connection: the handler's public
    interface does not tell an end without a code from a lost connection. Tornado itself ends the connection
    without a code if the client violates the protocol. tests/frontend/http/test_websocket.py fails if Tornado
    uses `_abort`, `_frame_mask` or `_handle_message` in another way.
    """

    closed_by_client = False

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection, or record that the client has closed it."""
        if self.client_terminated and not self.stream.closed():
            self.closed_by_client = True
            if code is not None and not _may_be_sent(code):
                code = PROTOCOL_ERROR
        super().close(code, reason)

    def _handle_message(self, opcode: int, data: bytes) -> Future[None] | None:
        # Tornado leaves the mask of the frame before.
        mask, self._frame_mask = self._frame_mask, None
        if mask is None:
            self._abort()
            return None
        return super()._handle_message(opcode, data)

    def _abort(self) -> None:
        # A handshake that fails has none.
        stream = cast(IOStream | None, self.stream)
        if stream is not None and not (self.server_terminated or stream.closed()):
            match sys.exception():
                case None:
                    code = PROTOCOL_ERROR
                case UnicodeDecodeError():
                    code = NO_UTF8
                case _:
                    code = INTERNAL_ERROR
            super().close(code)
        super()._abort()


def _may_be_sent(code: int) -> bool:
    """Return True if an endpoint may close with this code (RFC 6455, section 7.4)."""
    return 3000 <= code < 5000 or (1000 <= code < 1015 and code not in (1004, 1005, 1006))
