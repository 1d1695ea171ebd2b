"""Token buckets: how much may come at once, and how much for ever after.

A bucket that is overdrawn isn't refused: it tells how long to wait until it is even again. So a reader that
waits that long slows its remote down by the connection itself, and loses nothing.
"""

from dataclasses import dataclass

_MILLI = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bucket allows."""

    per_s: int
    """Tokens that come back in a second."""
    burst: int
    """Tokens that a full bucket holds."""


class Bucket:
    """Tokens of one kind; full at first."""

    __slots__ = ("_at_ms", "_level_milli", "rate")

    def __init__(self, rate: Rate, now_ms: int) -> None:
        self.rate = rate
        self._level_milli = rate.burst * _MILLI
        self._at_ms = now_ms

    def draw(self, tokens: int, now_ms: int) -> int:
        """Take tokens, into debt if there are too few; return the milliseconds until the debt is paid."""
        self._refill(now_ms)
        self._level_milli -= tokens * _MILLI
        if self._level_milli >= 0:
            return 0
        return -(self._level_milli // self.rate.per_s)

    def try_draw(self, tokens: int, now_ms: int) -> bool:
        """Take tokens if there are enough; tell whether there were."""
        self._refill(now_ms)
        if self._level_milli < tokens * _MILLI:
            return False
        self._level_milli -= tokens * _MILLI
        return True

    def is_full(self, now_ms: int) -> bool:
        """Tell whether nothing was drawn that has not come back, so that a new bucket would be the same."""
        self._refill(now_ms)
        return self._level_milli == self.rate.burst * _MILLI

    def _refill(self, now_ms: int) -> None:
        # A clock that steps back gives nothing, and takes nothing.
        elapsed_ms = max(0, now_ms - self._at_ms)
        self._level_milli = min(self.rate.burst * _MILLI, self._level_milli + elapsed_ms * self.rate.per_s)
        self._at_ms = now_ms
