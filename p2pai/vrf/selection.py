"""Ticket selection: cosine similarity against a draw.

A ticket works on a task when its preferences are close to what the task asks for, compared with a random draw
that its owner can prove and can't choose:

    s(P, Pmax) >= omega * u,   s = P . Pmax / (|P| |Pmax|),   u = draw / 2^512

A close match is likely to be selected, a distant one rarely is; omega sets how many pass. The rule is stated
over real numbers, but nodes must agree on the last bit, so both sides are squared and compared as integers.

Source: PoUW §4.1; PROTOCOL section 4.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt
from typing import Final

from p2pai.primitives.errors import InvalidTicket
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint, TaskId

TRAIT_COUNT_MAX: Final = 64
TRAIT_VALUE_MAX: Final = 2**16 - 1

DRAW_BITS: Final = 512
"""A draw is an ECVRF output read as a big-endian integer, uniform below 2^512."""

SIMILARITY_BITS: Final = 32
"""Of a similarity in fixed point, as omega is derived from."""

SURPLUS: Final = (3, 2)
"""Drawn tickets for each wanted worker, a fraction: some of them are asleep. Source: PROTOCOL section 4."""

Traits = tuple[int, ...]
"""One weight per trait (kind of model, size of data, hardware, ...), shape (n,)."""

Rank = tuple[int, Fraction]
"""Orders selected tickets, best first; compared as tuples."""


def alpha(task_definition_block: Hash32, task: TaskId, role: str, ticket: Outpoint) -> bytes:
    """Return the input of the draw: it differs by task, by role and by ticket.

    Args:
      task_definition_block: hash of the block with the task, which nobody knew when tickets were bought.
      task: the task claimed.
      role: "miner", "supervisor" or "evaluator".
      ticket: the ticket's outpoint.
    """
    return tagged_hash("p2pai/draw", task_definition_block, task, role.encode("ascii"), ticket.encode())


def draw_of(beta: bytes) -> int:
    """Read an ECVRF output, 64 bytes, as a draw."""
    assert len(beta) * 8 == DRAW_BITS, "not an ECVRF output"
    return int.from_bytes(beta, "big")


def is_selected(
    preferences: Traits, requirements: Traits, draw: int, omega: tuple[int, int] = (1, 1)
) -> bool:
    """Return whether s(preferences, requirements) >= omega * draw / 2^512, exactly.

    Args:
      preferences: the ticket's traits, shape (n,).
      requirements: the task's traits, shape (n,).
      draw: the proven draw, below 2^512.
      omega: numerator and denominator; above 1 makes selection rarer.

    Raises:
      InvalidTicket: the vectors are malformed or differ in length.
    """
    numerator, denominator = omega
    assert 0 <= draw < 1 << DRAW_BITS, "draw out of range"
    assert numerator >= 0, "omega is negative"
    assert denominator > 0, "omega has no denominator"
    dot, norms_squared = _dot_and_norms_squared(preferences, requirements)
    return (dot * denominator << DRAW_BITS) ** 2 >= (numerator * draw) ** 2 * norms_squared


def rank(preferences: Traits, requirements: Traits, draw: int) -> Rank:
    """Return a key that sorts tickets by u / s, smallest (best) first, exactly.

    The key holds (u / s)^2 times 2^1024, which sorts alike; orthogonal tickets, where s is zero, come last.

    Raises:
      InvalidTicket: the vectors are malformed or differ in length.
    """
    assert 0 <= draw < 1 << DRAW_BITS, "draw out of range"
    dot, norms_squared = _dot_and_norms_squared(preferences, requirements)
    if dot == 0:
        return 1, Fraction(draw)
    return 0, Fraction(draw**2 * norms_squared, dot**2)


def omega(tickets: Sequence[Traits], requirements: Traits, wanted: int) -> tuple[int, int]:
    """Return the omega with which about 1.5 times the wanted number of tickets are drawn.

    A ticket of similarity s passes with probability min(1, s / omega); omega is where these sum to the number
    to pass. Where so many are not there, all that are not orthogonal pass.

    Args:
      tickets: preferences of the live tickets, each of the length of `requirements`.
      requirements: the task's traits, shape (n,).
      wanted: workers that the task asks for.

    Returns:
      Numerator and denominator; similarities are rounded down to multiples of 2^-32.

    Source: PoUW §4.1 (omega_S); PROTOCOL section 4.
    """
    near = sorted((_similarity(t, requirements) for t in tickets), reverse=True)
    goal, rest = SURPLUS[0] * wanted, sum(near)
    for passing, s in enumerate(near):
        # With this many sure to pass, the others share what is left: passing + rest / omega = goal.
        places = goal - SURPLUS[1] * passing
        if SURPLUS[1] * rest >= s * places > 0:
            return SURPLUS[1] * rest, places << SIMILARITY_BITS
        rest -= s
    return 1, 1 << SIMILARITY_BITS


def _similarity(preferences: Traits, requirements: Traits) -> int:
    dot, norms_squared = _dot_and_norms_squared(preferences, requirements)
    return isqrt((dot * dot << 2 * SIMILARITY_BITS) // norms_squared)


def check_traits(traits: Traits) -> None:
    """Check one preference or requirement vector.

    Raises:
      InvalidTicket: too few or too many traits, one out of range, or all zero.
    """
    if not 1 <= len(traits) <= TRAIT_COUNT_MAX:
        raise InvalidTicket(f"{len(traits)} traits, expected 1 to {TRAIT_COUNT_MAX}")
    if not all(0 <= value <= TRAIT_VALUE_MAX for value in traits):
        raise InvalidTicket(f"trait out of range, expected 0 to {TRAIT_VALUE_MAX}")
    if not any(traits):
        raise InvalidTicket("traits are all zero, their direction is undefined")


def _dot_and_norms_squared(preferences: Traits, requirements: Traits) -> tuple[int, int]:
    check_traits(preferences)
    check_traits(requirements)
    if len(preferences) != len(requirements):
        raise InvalidTicket("preferences and requirements differ in length")
    dot = sum(p * r for p, r in zip(preferences, requirements, strict=True))
    norms_squared = sum(p * p for p in preferences) * sum(r * r for r in requirements)
    assert 0 <= dot * dot <= norms_squared  # Cauchy-Schwarz
    return dot, norms_squared
