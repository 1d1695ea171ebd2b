"""Counts by size class, and what moved in the last minute: both of fixed size, whatever is put in.

A duration falls into one of eight classes of equal width between two powers of two, so a percentile is at
most an eighth too large, and never too small.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

_CLASS_COUNT: Final = 288
_VALUE_MAX: Final = (1 << 38) - 1
"""Three days in microseconds; longer ones count as that."""

SPAN_S: Final = 60
"""Longest window of a `Rate`, seconds."""


class Histogram:
    """How often which duration was seen, in microseconds."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _CLASS_COUNT))
        self.count = 0

    def add(self, duration_us: int) -> None:
        """Count one duration; a negative one, from clocks that differ, counts as none at all."""
        self._counts[_class_of(min(max(0, duration_us), _VALUE_MAX))] += 1
        self.count += 1

    def percentiles(self, percents: Sequence[int]) -> tuple[int | None, ...]:
        """Return durations that so many of a hundred are not longer than, microseconds; None of nothing."""
        if not self.count:
            return (None,) * len(percents)
        sums = list(accumulate(self._counts))
        return tuple(_longest(bisect_left(sums, -(-self.count * percent // 100))) for percent in percents)


class Rate:
    """Messages and bytes of each of the last seconds."""

    def __init__(self) -> None:
        self._seconds = array("q", [-1]) * SPAN_S
        self._counts = array("Q", bytes(8 * SPAN_S))
        self._sizes = array("Q", bytes(8 * SPAN_S))

    def add(self, now_s: int, size: int) -> None:
        """Count one message."""
        place = now_s % SPAN_S
        if self._seconds[place] != now_s:
            self._seconds[place] = now_s
            self._counts[place] = self._sizes[place] = 0
        self._counts[place] += 1
        self._sizes[place] += size

    def last(self, now_s: int, seconds: int) -> tuple[int, int]:
        """Return messages and bytes of so many seconds, at most `SPAN_S`, the one that goes on included."""
        places = [p for p, second in enumerate(self._seconds) if now_s - seconds < second <= now_s]
        return sum(self._counts[p] for p in places), sum(self._sizes[p] for p in places)


def _class_of(value: int) -> int:
    shift = max(0, value.bit_length() - 4)
    return 8 * shift + (value >> shift)


def _longest(number: int) -> int:
    shift = max(0, number // 8 - 1)
    return ((number - 8 * shift + 1) << shift) - 1
