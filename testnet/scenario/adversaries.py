"""Kinds of dishonest nodes that a scenario can ask for, as plain data.

Adding a kind is adding a dataclass here, and its doings in `testnet.simulator.adversary`.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversary:
    """What all kinds have in common."""

    nodes: tuple[str, ...]
    """Names of nodes or groups that are of this kind."""
    from_s: int = 0
    """Honest before."""


ADVERSARIES: Final[dict[str, type[Adversary]]] = {}
"""By the word that a file has for `kind`."""


def kind_of(plan: Adversary) -> str:
    """Return the word that a file has for the kind of a plan."""
    return next(kind for kind, cls in ADVERSARIES.items() if cls is type(plan))
