"""The wall clock, as the core sees it."""

import time
from collections.abc import Callable
from typing import Final

from p2pai.primitives.ids import Millis

HOLD_MS_MAX: Final = 60_000
"""A step back of at most this much (a time server's correction) is waited out; a longer one is followed,
because the time before it was wrong."""


class Clock:
    """Milliseconds since 1970, UTC; never runs backwards by a small step."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns) -> None:
        """Begin; `wall_ns` tells the machine's time, nanoseconds since 1970."""
        self._wall_ns = wall_ns
        self._last_ms = 0

    def now_ms(self) -> Millis:
        """Return the time now."""
        wall_ms = self._wall_ns() // 1_000_000
        if not 0 < self._last_ms - wall_ms <= HOLD_MS_MAX:
            self._last_ms = wall_ms
        return Millis(self._last_ms)
