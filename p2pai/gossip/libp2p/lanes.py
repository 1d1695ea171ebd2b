"""How many chunks are under way: from one remote, and in all.

A remote's *lane* is shared by all transfers that ask it, first come, first served; each asks for one place
at a time, so they take turns. It widens while chunks come quickly and narrows when they come late: a fast
remote is kept busy over a long round trip, and a slow one isn't asked for more than it can send in time.

The *allotment* bounds the memory of all transfers together, in equal parts.
"""

from typing import Final

import trio

LANE_MIN: Final = 1
LANE_MAX: Final = 8
"""Chunks under way from one remote; 8 MiB hide 40 ms at 200 MB/s."""

LANE_FIRST: Final = 2
"""Before anything is known of a remote."""

QUICK_S: Final = 1.0
"""A chunk that took less widens its lane."""

SLOW_S: Final = 5.0
"""A chunk that took more narrows it."""

UNDER_WAY_MAX: Final = 32
"""Chunks under way in all, 32 MiB; while transfers begin it may be twice that."""


class Lane:
    """Places for the chunks under way from one remote."""

    def __init__(self) -> None:
        self._places = trio.CapacityLimiter(LANE_FIRST)

    async def take(self, chunk: object) -> None:
        """Wait for a place."""
        await self._places.acquire_on_behalf_of(chunk)

    def leave(self, chunk: object) -> None:
        """Give a place back."""
        self._places.release_on_behalf_of(chunk)

    def came(self, took_s: float) -> None:
        """Note how long a chunk took."""
        if took_s < QUICK_S:
            self._places.total_tokens = min(self._places.total_tokens + 1, LANE_MAX)
        elif took_s > SLOW_S:
            self._places.total_tokens = max(self._places.total_tokens - 1, LANE_MIN)

    def late(self) -> None:
        """Note that a chunk didn't come in time."""
        self._places.total_tokens = LANE_MIN


class Allotment:
    """Equal parts of what may be under way, for each of the transfers that there are."""

    def __init__(self) -> None:
        self._transfers = 0

    def enter(self) -> None:
        """Count one more transfer."""
        self._transfers += 1

    def leave(self) -> None:
        """Count one less."""
        self._transfers -= 1

    @property
    def each(self) -> int:
        """Chunks that one transfer may have under way."""
        return max(1, UNDER_WAY_MAX // max(1, self._transfers))
