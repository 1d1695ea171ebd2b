"""Scenarios drawn by lot: each leaves some kinds of faults out, so that the others are not drowned by them.

What is drawn stays inside the budget that the promise is stated for: nothing honest is ever broken, and once
healed the network lives on. Whether a task gets through is not promised: too many of its workers may be
down while it is short of them.

Source: RELIABILITY (2); Groce et al., "Swarm Testing" (ISSTA 2012).
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from p2pai.primitives.errors import InvalidInput
from testnet.scenario.cast import ANY, shares
from testnet.scenario.faults import Fault
from testnet.scenario.lots import LOTS, Urn
from testnet.scenario.model import Expectations, NetworkPlan, NodeGroup, Scenario, TaskPlan

NODES_MIN: Final = 8
NODES: Final = (8, 11)
"""Least and most, where no number is asked for."""

HEAL_S: Final = (12, 25)
LIMIT_S: Final = 400
SETTLE_S: Final = 120
PACE: Final = {"spacing_s": 2, "commitment_distance": 2, "iteration_ms_min": 400, "slot_ms": 500}
"""Chain parameters that keep a history short."""

TASKS_MAY_END: Final = ("paid", "failed", "expired")

WORKERS: Final = ("supervisor", "verifier", "evaluator")

KINDS_MAX: Final = 4
"""Of faults in one scenario."""


def draw(seed: int, nodes: int | None = None) -> Scenario:
    """Return the scenario that a seed stands for.

    Args:
      seed: of all that is drawn.
      nodes: how many there are, at least `NODES_MIN`; drawn too when None.

    Raises:
      InvalidInput: too few nodes.
    """
    dice = random.Random(f"{seed}/chaos")
    count = dice.randint(*NODES) if nodes is None else nodes
    if count < NODES_MIN:
        raise InvalidInput(f"chaos needs at least {NODES_MIN} nodes")
    heal_s, groups = dice.randint(*HEAL_S), _groups(dice, count)
    return Scenario(
        name=f"chaos-{seed}",
        about=f"Drawn from seed {seed}.",
        nodes=groups,
        limit_s=LIMIT_S,
        heal_s=heal_s,
        chain=PACE,
        network=_network(dice),
        tasks=tuple(_task(dice, heal_s) for _ in range(dice.randint(1, _tasks_max(groups)))),
        faults=_faults(dice, groups),
        expect=Expectations(TASKS_MAY_END, settle_s=SETTLE_S, may_be_slashed=(ANY,)),
    )


def disturb(scenario: Scenario, seed: int) -> Scenario:
    """Return a scenario with faults on top that a seed stands for; its tasks need not get through."""
    dice = random.Random(f"{seed}/chaos")
    expect = replace(
        scenario.expect,
        tasks=tuple(dict.fromkeys((*scenario.expect.tasks, *TASKS_MAY_END))),
        settle_s=max(scenario.expect.settle_s, SETTLE_S),
        may_be_slashed=(ANY,),
    )
    return replace(
        scenario,
        heal_s=scenario.heal_s or dice.randint(*HEAL_S),
        limit_s=max(scenario.limit_s, LIMIT_S),
        faults=(*scenario.faults, *_faults(dice, scenario.nodes)),
        expect=expect,
    )


def _groups(dice: random.Random, count: int) -> tuple[NodeGroup, ...]:
    spare = count - NODES_MIN
    parts = shares(spare + 3, [dice.randint(1, 3) for _ in range(3)])
    supervisors, miners, peers = (part - 1 for part in parts)
    return (
        NodeGroup("peer", ("peer",), 1 + peers),
        NodeGroup("supervisor", WORKERS, 3 + supervisors),
        NodeGroup("miner", ("miner",), 3 + miners),
        NodeGroup("client", ("client",)),
    )


def _network(dice: random.Random) -> NetworkPlan:
    least = dice.choice((1, 5, 20))
    return NetworkPlan(
        gossip=dice.choice(("direct", "mesh")),
        degree=dice.randint(3, 8),
        latency_ms=(least, least + dice.choice((10, 40, 120))),
        upload_kib_s=dice.choice((0, 0, 2_048)),
    )


def _task(dice: random.Random, heal_s: int) -> TaskPlan:
    return TaskPlan(at_s=dice.randint(1, heal_s // 3), epochs=1, miners=dice.randint(2, 3))


def _tasks_max(groups: tuple[NodeGroup, ...]) -> int:
    """Return how many tasks find workers at the same time."""
    return min(group.count for group in groups if group.name in ("supervisor", "miner")) // 3


def _faults(dice: random.Random, groups: Sequence[NodeGroup]) -> tuple[Fault, ...]:
    """Draw which kinds are on, a few of them, then each."""
    urn = Urn(dice, groups)
    kinds = sorted(dice.sample(sorted(LOTS), dice.randint(1, KINDS_MAX)))
    return tuple(LOTS[kind](urn) for kind in kinds)
