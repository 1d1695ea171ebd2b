"""When a fault strikes one node at a time: how long after the last time, whom, and for how long.

Drawn from the scenario's seed and the fault's place in the file alone, so one seed strikes the same nodes in
the same order, however long real nodes take to come back.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Blow:
    """One time that a fault strikes."""

    wait_s: float
    """Since the last one was over."""
    victim: str
    for_s: float


def dice(seed: int, number: int, kind: str) -> random.Random:
    """Return the dice of one fault of a scenario, the first being 0."""
    return random.Random(f"{seed}/{number}/{kind}")


def blows(
    rolled: random.Random,
    victims: Sequence[str],
    every_s: tuple[int, int],
    for_ms: tuple[int, int],
    count_max: int = 0,
) -> Iterator[Blow]:
    """Yield one blow after the other.

    Args:
      rolled: the fault's dice.
      victims: who can be struck.
      every_s: least and most time between two blows.
      for_ms: least and most length of one.
      count_max: how many there are; 0 for no end.
    """
    for _ in range(count_max) if count_max else count():
        wait_s, victim = rolled.uniform(*every_s), rolled.choice(victims)
        yield Blow(wait_s, victim, rolled.uniform(*for_ms) / 1000)
