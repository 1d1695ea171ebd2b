"""Choosing coins: which unspent outputs pay for something, and what comes back as change.

First a set of coins is looked for that pays exactly, with so little over that a change output would cost more
to make and to spend: depth first over the coins, largest first, a branch given up as soon as it has too much
or can't reach enough, for a bounded number of steps. Where there is none, the fewest coins are taken: the
largest but for the last one, which is the smallest that is enough, so that large coins stay whole. Change
that would cost a good part of itself to spend is left to the fee.

A coin counts for what is left of its value when the fee for spending it is paid; one that is worth less than
that is never taken. The same coins give the same choice everywhere.

Source: Erhardt, An Evaluation of Coin Selection Strategies (2016); Bitcoin Core, coinselection.cpp.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import accumulate
from typing import Final, NamedTuple

from p2pai.primitives.ids import Amount, Outpoint

STEPS_MAX: Final = 20_000
"""Of the search for an exact sum: some 20 ms."""

COINS_MAX: Final = 1_000
"""Coins looked at, the largest: more than a transaction takes, so nothing is refused for it."""

CHANGE_INPUTS_MIN: Final = 3
"""Change is worth at least so many times the fee for spending it. Source: Bitcoin Core, the dust limit."""


class Coin(NamedTuple):
    """An unspent output that can be spent."""

    value: Amount
    outpoint: Outpoint


@dataclass(frozen=True, slots=True)
class Costs:
    """Fees at one rate, atoms."""

    base: int
    """For a transaction without inputs and change."""
    coin: int
    """For spending one coin."""
    change: int
    """For a change output."""
    coins_max: int
    """How many coins fit into the transaction."""

    @property
    def change_min(self) -> int:
        """The least change worth making, atoms."""
        return CHANGE_INPUTS_MIN * self.coin


@dataclass(frozen=True, slots=True)
class Choice:
    """Coins that pay, and what comes back; no change output where `change` is 0."""

    coins: tuple[Coin, ...]
    change: Amount


def choose(coins: Iterable[Coin], wanted: int, costs: Costs) -> Choice | None:
    """Choose coins that pay for outputs and their own fee.

    Args:
      coins: what may be spent.
      wanted: sum of the outputs, atoms; may be 0.
      costs: fees at the rate to pay.

    Returns:
      The choice; None when the coins do not suffice, or not as many of them as fit.
    """
    useful = nsmallest(COINS_MAX, (c for c in coins if c.value > costs.coin), key=_largest_first)
    values = [coin.value - costs.coin for coin in useful]
    target = wanted + costs.base
    most = costs.coins_max
    places = _exact(values, target, costs.change + costs.coin, most) or _fewest(values, target, most)
    if places is None:
        return None
    rest = sum(values[place] for place in places) - target - costs.change
    change = rest if rest >= costs.change_min else 0
    return Choice(tuple(useful[place] for place in places), Amount(change))


def _largest_first(coin: Coin) -> tuple[int, Outpoint]:
    return -coin.value, coin.outpoint


def _exact(values: Sequence[int], target: int, slack: int, most: int) -> list[int] | None:
    """Return places of values, which fall, with the least sum found from `target` to `target + slack`."""
    reach = [*accumulate(reversed(values), initial=0)][::-1]
    best: list[int] | None = None
    taken: list[int] = []
    limit, total, place = target + slack, 0, 0
    for _ in range(STEPS_MAX):
        if taken and target <= total <= limit:
            best, limit = list(taken), total - 1
        if total < target <= total + reach[place] and len(taken) < most:
            if _is_new(values, taken, place) and total + values[place] <= limit:
                taken.append(place)
                total += values[place]
            place += 1
        elif taken:
            # Give up the last one taken, and go on behind it.
            place = taken.pop()
            total -= values[place]
            place += 1
        else:
            break
    return best


def _is_new(values: Sequence[int], taken: Sequence[int], place: int) -> bool:
    # Leaving one out and taking an equal one was tried already, the other way round.
    return place == 0 or values[place] != values[place - 1] or (bool(taken) and taken[-1] == place - 1)


def _fewest(values: Sequence[int], target: int, most: int) -> list[int] | None:
    total = 0
    for count, value in enumerate(values[:most]):
        if total + value >= target:
            last = max(p for p in range(count, len(values)) if total + values[p] >= target)
            return [*range(count), last]
        total += value
    return None
