"""HTTP/1.1 that waits for nobody for ever: a head in time and of a bounded size, a body that keeps coming."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Request line and headers together, in bytes; browsers send a few thousand.
MAX_HEAD_BYTES = 64 * 1024
#: So much of a body must come within each wait; a byte now and then is no upload.
LEAST_BYTES = 1024
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, which would hold a half-sent head or body until the sender ends it.

    What a slow sender holds meanwhile is a socket and at most 64 kB: no thread, no transaction.
    """

    patience = 30.0
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _body_bytes = 0
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        """Somebody calls: the head is due."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that has no end is refused."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request starts, the first on this connection or a later one."""
        super().on_message_begin()
        self._in_head = True
        self._wait()

    def on_headers_complete(self) -> None:
        """The body is due, where there is one."""
        self._in_head, self._head_bytes, self._body_bytes = False, 0, 0
        self._wait()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of it: enough of it buys more time."""
        self._body_bytes += len(body)
        if self._body_bytes >= LEAST_BYTES:
            self._body_bytes = 0
            self._wait()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Now it is we who are waited for."""
        self._rest()
        self._head_bytes = 0
        super().on_message_complete()

    def _wait(self, *, again: bool = False) -> None:
        self._rest()
        # In two halves: when this process itself stood still, what came meanwhile is read before the second one.
        self._timer = self.loop.call_later(self.patience / 2, self._give_up if again else self._half)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _half(self) -> None:
        self._wait(again=True)

    def _give_up(self) -> None:
        if self.flow.read_paused:  # it is we who are slow
            self._wait()
        else:
            self.transport.abort()


def patient(seconds: float) -> type[PatientProtocol]:
    """The protocol that gives up after `seconds`."""
    return type("Patient", (PatientProtocol,), {"patience": seconds})
