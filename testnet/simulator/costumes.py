"""Dressing nodes up: which of a world's nodes are dishonest, and what of each life's core becomes of it."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from testnet.scenario import adversaries
from testnet.simulator.adversary import KINDS, Adversary, Setting
from testnet.simulator.world import World

Crew = tuple[PeerId, ...]


@dataclass(frozen=True)
class Costume:
    """What makes a core a dishonest node."""

    kind: type[Adversary]
    plan: adversaries.Adversary
    setting: Setting

    def __call__(self, core: NodeCore) -> Adversary:
        """Dress up a core of the node's next life."""
        return self.kind(self.plan, core, self.setting)


def costumes(plans: Iterable[tuple[adversaries.Adversary, Crew]], world: World) -> dict[PeerId, Costume]:
    """Return what makes a node's core a dishonest one, by the name of the node.

    Args:
      plans: each with the nodes that it is about.
      world: that they are in, and in which evil deeds are counted.

    Raises:
      InvalidInput: a kind can't be simulated.
    """
    made: dict[PeerId, Costume] = {}
    for plan, crew in plans:
        kind = adversaries.kind_of(plan)
        if kind not in KINDS:
            raise InvalidInput(f"adversaries of the kind {kind} can't be simulated")
        did, shared = partial(_count, world.fired, kind), dict[str, Any]()
        for name in crew:
            dice = random.Random(f"{world.seed}/{name}")
            made[name] = Costume(KINDS[kind], plan, Setting(name, crew, dice, did, world, shared))
    return made


def _count(fired: dict[str, int], kind: str) -> None:
    fired[kind] = fired.get(kind, 0) + 1
