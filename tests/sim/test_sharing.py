"""Whether nodes of one process share what they compute can't be seen in a history."""

from dataclasses import replace

import pytest

from testnet.scenario.model import NodeGroup, Scenario, TaskPlan
from testnet.simulator.simulation import Options, simulate

CHAIN = Scenario(
    name="chain",
    about="The first task alone, which keeps the chain going.",
    nodes=(
        NodeGroup("peer", ("peer",), 2),
        NodeGroup("supervisor", ("supervisor", "verifier", "evaluator"), 3),
        NodeGroup("miner", ("miner",), 3),
        NodeGroup("client", ("client",), 1),
    ),
    heal_s=4,
    limit_s=120,
)
TASK = replace(CHAIN, name="task", about="A whole task.", tasks=(TaskPlan(at_s=1, epochs=1),))


@pytest.mark.parametrize(
    "scenario", [CHAIN, pytest.param(TASK, marks=pytest.mark.slow)], ids=lambda s: s.name
)
def test_a_history_is_the_same_with_and_without_sharing(scenario):
    shared, alone = (simulate(scenario, 4, Options(shares=shares)) for shares in (True, False))
    assert shared.is_passed, shared.verdict
    assert shared.head.digest == alone.head.digest
    assert shared.head.steps == alone.head.steps > 1000
    assert (shared.blocks, shared.tasks) == (alone.blocks, alone.tasks)
