"""Whether the Hub can be reached from here. Asked in the background, so that a page hardly waits for the network."""

from __future__ import annotations

import socket
import threading
import time
from functools import lru_cache
from urllib.parse import urlsplit

#: An answer is good for this long, in seconds.
_FRESH = 60.0
_TIMEOUT = 3.0


class Reach:
    """What is known of the way to one endpoint."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._asked = float("-inf")
        self._known: bool | None = None
        self._asking: threading.Thread | None = None

    def known(self, patience: float = 0.3) -> bool | None:
        """The last answer, asked again when it is old. The first is waited for, `patience` seconds at most."""
        if time.monotonic() - self._asked > _FRESH:
            self._asked = time.monotonic()
            self._asking = threading.Thread(target=self._ask, name="hub-reach", daemon=True)
            self._asking.start()
            if self._known is None:
                self._asking.join(patience)
        return self._known

    def _ask(self) -> None:
        try:
            socket.create_connection(self._address, timeout=_TIMEOUT).close()
        except (OSError, UnicodeError):
            self._known = False
        else:
            self._known = True


@lru_cache
def reach_of(endpoint: str) -> Reach:
    """The one of this process for `endpoint`."""
    return Reach(endpoint)
