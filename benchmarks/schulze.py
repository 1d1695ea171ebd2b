"""How long a slot's order takes: the Schulze method of p2pai/chain/schulze.py against Floyd and Warshall.

    python benchmarks/schulze.py [--ballots 10] [--messages 64 256]

For each number of messages: ballots at random, the worst case, and ballots that differ by a few exchanges of
neighbours, as those of supervisors in one gossip mesh do. Both ways must give the same order.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from statistics import median

from p2pai.chain import schulze
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32

REPEATS = 5
Ballots = Sequence[Sequence[int]]
Rank = Callable[[Sequence[Hash32], Ballots], tuple[Hash32, ...]]


def naive_rank(candidates: Sequence[Hash32], ballots: Ballots) -> tuple[Hash32, ...]:
    """Do what the paper writes, number by number."""
    size = len(candidates)
    wins = [[0] * size for _ in range(size)]
    for ballot in ballots:
        for place, better in enumerate(ballot):
            row = wins[better]
            for worse in ballot[place + 1 :]:
                row[worse] += 1
    path = [[wins[a][b] if wins[a][b] > wins[b][a] else 0 for b in range(size)] for a in range(size)]
    for middle, through in enumerate(path):
        for row in path:
            first = row[middle]
            for end, rest in enumerate(through):
                width = min(rest, first)
                if width > row[end]:
                    row[end] = width
    remaining, order = list(range(size)), []
    while remaining:
        free = [c for c in remaining if all(path[o][c] <= path[c][o] for o in remaining)]
        order.append(min(free, key=lambda c: candidates[c]))
        remaining.remove(order[-1])
    return tuple(candidates[c] for c in order)


def at_random(size: int, count: int, dice: random.Random) -> list[list[int]]:
    """Return ballots that agree on nothing."""
    return [dice.sample(range(size), size) for _ in range(count)]


def nearly_equal(size: int, count: int, dice: random.Random) -> list[list[int]]:
    """Return ballots that differ by as many exchanges of neighbours as there are messages."""
    ballots = [list(range(size)) for _ in range(count)]
    for ballot in ballots:
        for _ in range(size):
            place = dice.randrange(size - 1)
            ballot[place : place + 2] = reversed(ballot[place : place + 2])
    return ballots


def seconds(rank: Rank, candidates: Sequence[Hash32], ballots: Ballots, repeats: int) -> float:
    """Return the median time of a ranking."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        rank(candidates, ballots)
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ballots", type=int, default=10)
    parser.add_argument("--messages", type=int, nargs="+", default=[64, 256])
    options = parser.parse_args()
    print(f"{'messages':>8} {'ballots':>7}  {'kind':<13} {'ours ms':>9} {'naive ms':>10} {'ratio':>7}")
    for size in options.messages:
        candidates = [tagged_hash("p2pai/benchmark", bytes([i])) for i in range(size)]
        for name, make in (("random", at_random), ("nearly equal", nearly_equal)):
            ballots = make(size, options.ballots, random.Random(size))  # noqa: S311  no secret
            assert schulze.rank(candidates, ballots) == naive_rank(candidates, ballots)
            ours = seconds(schulze.rank, candidates, ballots, REPEATS)
            naive = seconds(naive_rank, candidates, ballots, 1)
            print(
                f"{size:>8} {options.ballots:>7}  {name:<13} {1000 * ours:>9.2f} {1000 * naive:>10.0f} "
                f"{naive / ours:>7.0f}"
            )


if __name__ == "__main__":
    main()
