"""The Schulze method: one order of a slot's messages from the orders that the supervisors saw them in.

Candidate a beats b when the widest path from a to b is wider than that from b to a. A path is as wide as its
weakest link; a link is a pair that a majority of the ballots ranks so, as strong as that majority is large
(winning votes). Beating is a strict partial order; here it is extended to a total one by the lowest hash, so
that every node finds the same.

No width is ever computed. For each size w of a majority, take the graph of the links of w ballots or more:
a beats b exactly when in one of these graphs a path leads from a to b and none back. Sets of candidates are
integers, one bit for each, so a graph is a row of bits for each candidate, and what can be reached in it is
a few hundred operations on rows, where Floyd and Warshall need n^3 on numbers.

Source: Schulze, "A new monotonic, clone-independent, reversal symmetric, and Condorcet-consistent
single-winner election method", Social Choice and Welfare 36 (2011); PROTOCOL section 6.
"""

from collections.abc import Sequence
from typing import Final

from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32

CANDIDATES_MAX: Final = 256
"""Candidates of a ranking: as many as a slot has messages. Source: PROTOCOL section 6."""

BALLOTS_MAX: Final = 64
"""Ballots of a ranking, one for each supervisor; the work grows with the square of their number."""

Row = int
"""A set of candidates: bit i stands for the candidate of the i-th lowest hash."""


def check_ballot(ballot: Sequence[int], candidate_count: int) -> None:
    """Check that a ballot ranks every candidate once.

    Raises:
      InvalidMessage: it does not.
    """
    if sorted(ballot) != list(range(candidate_count)):
        raise InvalidMessage("a ballot does not rank every message once")


def rank(candidates: Sequence[Hash32], ballots: Sequence[Sequence[int]]) -> tuple[Hash32, ...]:
    """Return all candidates in the order that the ballots give together, best first.

    Again and again, of those that no remaining candidate beats, the one of the lowest hash comes next.

    Args:
      candidates: what is ranked, no two equal, at most `CANDIDATES_MAX`.
      ballots: each a permutation of positions in `candidates`, best first; at most `BALLOTS_MAX`. Their order
        does not matter.
    """
    assert len(candidates) <= CANDIDATES_MAX
    assert len(ballots) <= BALLOTS_MAX
    by_hash = sorted(candidates)
    numbers = {candidate: number for number, candidate in enumerate(by_hash)}
    assert len(numbers) == len(candidates), "a candidate stands twice"
    renumbered = [[numbers[candidates[position]] for position in ballot] for ballot in ballots]
    return tuple(by_hash[number] for number in _order(len(candidates), renumbered))


def _order(count: int, ballots: Sequence[Sequence[int]]) -> list[int]:
    """Return the candidates' numbers in order; a lower number wins a tie."""
    majorities = _majorities(count, ballots)
    if not majorities:
        return list(range(count))
    sizes = [row.bit_count() for row in majorities[0]]
    if sorted(sizes) == list(range(count)):
        # Majorities alone order all candidates without a circle, and no path can contradict them.
        return sorted(range(count), key=lambda candidate: sizes[candidate])
    return _extend(_beaten_by(count, majorities))


def _majorities(count: int, ballots: Sequence[Sequence[int]]) -> list[list[Row]]:
    """Return a graph for each size of a majority, the smallest first.

    A graph has a row for each candidate: those that so many ballots or more rank above it.
    """
    least = len(ballots) // 2 + 1
    tallies = [_tally(rows) for rows in zip(*(_above(count, ballot) for ballot in ballots), strict=True)]
    return [[tally[size] for tally in tallies] for size in range(least, len(ballots) + 1)]


def _above(count: int, ballot: Sequence[int]) -> list[Row]:
    """Return for each candidate those that a ballot ranks above it."""
    rows = [-1] * count
    seen = 0
    for candidate in ballot:
        assert rows[candidate] < 0, "a ballot ranks a candidate twice"
        rows[candidate] = seen
        seen |= 1 << candidate
    assert len(ballot) == count, "a ballot leaves a candidate out"
    return rows


def _tally(rows: Sequence[Row]) -> list[Row]:
    """Return for n from 0 the candidates that stand in n of the rows or more."""
    at_least = [-1] + [0] * len(rows)
    for heard, row in enumerate(rows, 1):
        for n in range(heard, 0, -1):
            at_least[n] |= at_least[n - 1] & row
    return at_least


def _beaten_by(count: int, graphs: Sequence[Sequence[Row]]) -> list[Row]:
    """Return for each candidate those that beat it."""
    beaten_by = [0] * count
    for graph in graphs:
        reaching = _close(graph)
        # Two candidates lie on a circle exactly when the same ones reach them, themselves included.
        circles: dict[Row, Row] = {}
        for candidate, row in enumerate(reaching):
            circles[row] = circles.get(row, 0) | 1 << candidate
        for candidate, row in enumerate(reaching):
            beaten_by[candidate] |= row & ~circles[row]
    return beaten_by


def _close(graph: Sequence[Row]) -> list[Row]:
    """Return for each candidate those from which a path leads to it, itself included."""
    reaching = [0] * len(graph)
    # Whom few precede comes first, so that later searches soon meet what is known.
    for candidate in sorted(range(len(graph)), key=lambda c: graph[c].bit_count()):
        found = 1 << candidate
        open_ = graph[candidate] & ~found
        found |= open_
        while open_:
            lowest = open_ & -open_
            number = lowest.bit_length() - 1
            known = reaching[number]
            new = (known or graph[number]) & ~found
            found |= new
            open_ = open_ & ~known if known else open_ ^ lowest | new
        reaching[candidate] = found
    return reaching


def _extend(beaten_by: Sequence[Row]) -> list[int]:
    """Return a total order that extends the partial one."""
    order: list[int] = []
    waiting = list(range(len(beaten_by)))
    remaining = (1 << len(beaten_by)) - 1
    while waiting:
        place = next(i for i, candidate in enumerate(waiting) if not beaten_by[candidate] & remaining)
        order.append(waiting.pop(place))
        remaining ^= 1 << order[-1]
    return order
