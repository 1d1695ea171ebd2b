"""Kinds of faults that a scenario can ask for, as plain data: who, when, how much.

Adding a kind is adding a dataclass here, and saying in `testnet.simulator.faulting` how it is done to a
simulated world, and in `testnet.devnet` how to processes, where it can be.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from testnet.scenario.ranges import Range


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Fault):
    """Nothing passes between parts of the network."""

    shape: Literal["halves", "islands", "isolate", "one-way"] = "halves"
    """`halves`: two parts; `islands`: several; `isolate`: the nodes, or one of them all, against the rest;
    `one-way`: the same, but the rest is heard: what those say is lost."""
    islands: Annotated[int, Range(2, 100)] = 3
    """How many; of the shape `islands` alone."""
    lasts_s: tuple[int, int] = (0, 0)
    """How long each lasts, for a flapping one; 0, 0: to the end."""
    pause_s: tuple[int, int] = (1, 10)
    """How long all is well between two; who is on which side is drawn anew."""


FAULTS: Final[dict[str, type[Fault]]] = {"kill": Kill, "loss": Loss, "partition": Partition}
"""By the word that a file has for `kind`."""


def kind_of(plan: Fault) -> str:
    """Return the word that a file has for the kind of a plan."""
    return next(kind for kind, cls in FAULTS.items() if cls is type(plan))
