"""Sortition: a public draw of a few among many, the same for everyone.

Each candidate gets the hash of the seed and its id; the smallest hashes are chosen. Whoever can't choose the
seed can't choose the outcome, and one candidate more or less changes at most one place.

Source: PoUW §5.2 (verifiers, seeded by the hash of the block they verify); PROTOCOL section 8.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32

Candidate = TypeVar("Candidate", bound=bytes)


def choose(seed: Hash32, candidates: Iterable[Candidate], count: int) -> tuple[Candidate, ...]:
    """Choose `count` candidates, all of them if there are fewer.

    Args:
      seed: public randomness.
      candidates: distinct ids, in any order.
      count: how many, at least 0.

    Returns:
      The chosen, in order of their draws, whatever the order of `candidates`.
    """
    assert count >= 0, "negative count"
    drawn = sorted((tagged_hash("p2pai/sortition", seed, each), each) for each in candidates)
    assert all(a != b for a, b in pairwise(drawn)), "a candidate stands twice"
    return tuple(each for _, each in drawn[:count])
