"""Kinds of faults that a scenario can ask for, as plain data: who, when, how much.

Adding a kind is adding a dataclass here, and saying in `testnet.simulator.faulting` how it is done to a
simulated world, and in `testnet.devnet` how to processes, where it can be.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What all kinds have in common."""

    nodes: tuple[str, ...] = ("any",)
    """Names of nodes or groups; `any` for all of them."""
    from_s: int = 0
    until_s: int = 0
    """0: until the scenario heals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Fault):
    """kill -9 and a start again, time after time, of one of the nodes at a time."""

    every_s: tuple[int, int] = (1, 5)
    down_ms: tuple[int, int] = (500, 4_000)
    count_max: int = 0
    """0: as often as the time allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(Fault):
    """Gossip to and from the nodes is lost."""

    percent: int = 10


FAULTS: Final[dict[str, type[Fault]]] = {"kill": Kill, "loss": Loss}
"""By the word that a file has for `kind`."""


def kind_of(plan: Fault) -> str:
    """Return the word that a file has for the kind of a plan."""
    return next(kind for kind, cls in FAULTS.items() if cls is type(plan))
