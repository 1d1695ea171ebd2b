"""Which remotes we have nothing to do with for a while."""

from typing import Final

import trio
from libp2p.peer.id import ID

REFUSED_MAX: Final = 4096
"""Remotes that are refused at a time; the oldest refusal is forgotten first."""


class Refusals:
    """Remotes that were hung up, each until its time is over."""

    def __init__(self) -> None:
        self._until: dict[ID, float] = {}

    def add(self, remote: ID, seconds: float) -> None:
        """Refuse a remote for a while."""
        if len(self._until) >= REFUSED_MAX:
            self._until.pop(next(iter(self._until)))
        self._until[remote] = trio.current_time() + seconds

    def is_welcome(self, remote: ID) -> bool:
        """Tell whether a remote isn't refused at present."""
        return self.seconds_left(remote) == 0

    def seconds_left(self, remote: ID) -> float:
        """Return for how long a remote is refused still; 0 when it isn't."""
        until = self._until.get(remote)
        if until is None:
            return 0.0
        left = until - trio.current_time()
        if left > 0:
            return left
        del self._until[remote]
        return 0.0
