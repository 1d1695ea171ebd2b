"""How the clocks of several recorders differ, as far as the messages that went between them tell.

A message takes time, never less than none. So what arrives at J from I at `t` by J's clock, and was sent at
`s` by I's, says that J's clock is ahead of I's by `t - s` at most. The tightest of all these bounds, also
those by way of others, are shortest paths; between the two of a pair, one each way, lies the difference.
Without messages both ways it is not known.

Source: Halpern, Megiddo and Munshi, Optimal precision in the presence of uncertainty, 1985.
"""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True, slots=True)
class Offset:
    """How much a clock is ahead of another, microseconds."""

    us: int
    """The middle of what is possible; negative where it is behind."""
    error_us: int
    """It may be so much more or less."""


class Clocks:
    """What is known of some clocks, by number."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._most: dict[tuple[int, int], int] = {(i, i): 0 for i in range(count)}
        """By how much the second is ahead of the first, at most."""

    def passed(self, sender: int, receiver: int, took_us: int) -> None:
        """Take in a message: its arrival by the receiver's clock, less its departure by the sender's."""
        known = self._most.get((sender, receiver))
        if known is None or took_us < known:
            self._most[sender, receiver] = took_us

    def offsets(self) -> tuple[Offset | None, ...]:
        """Return how much each clock is ahead of the first; None where that is not known."""
        most = dict(self._most)
        for via, one, other in product(range(self._count), repeat=3):
            if (one, via) in most and (via, other) in most:
                way = most[one, via] + most[via, other]
                most[one, other] = min(way, most.get((one, other), way))
        return tuple(_between(most.get((0, i)), most.get((i, 0))) for i in range(self._count))


def _between(ahead: int | None, behind: int | None) -> Offset | None:
    # Bounds that exclude each other come from a clock that was set while it was recorded.
    if ahead is None or behind is None or ahead + behind < 0:
        return None
    return Offset((ahead - behind) // 2, (ahead + behind + 1) // 2)
