"""What one person may use of this process at a time."""

from __future__ import annotations

import time
from collections import Counter

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.core.settings import LimitSettings
from app.domain.errors import TooManyError


class Limits:
    """Counts by person, or by address where nobody is signed in."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._most = RateLimitItemPerMinute(settings.requests_per_minute or 1)
        self._streams: Counter[str] = Counter()

    def request(self, key: str) -> None:
        """Count a request. Raises `TooManyError`."""
        if self._settings.requests_per_minute and not self._window.hit(self._most, key):
            resets = self._window.get_window_stats(self._most, key).reset_time
            seconds = max(1, int(resets - time.time()) + 1)
            raise TooManyError("Too many requests within a minute. Wait a moment.", retry_after=seconds)

    def take_stream(self, key: str) -> None:
        """One more live page, until `give_stream`. Raises `TooManyError` when there are as many as may be."""
        if self._settings.streams and self._streams[key] >= self._settings.streams:
            raise TooManyError("Too many live pages are open. Close some of them.", retry_after=10)
        self._streams[key] += 1

    def give_stream(self, key: str) -> None:
        """One less."""
        self._streams[key] -= 1
        if not self._streams[key]:
            del self._streams[key]
