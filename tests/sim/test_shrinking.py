"""A failing scenario gets smaller and fails in the same way still; one that does not fail is no use."""

from dataclasses import replace

import pytest

from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput
from p2pai.roles.memory import IterationSent
from testnet.outcome import Broken, Expectation, Head, Outcome
from testnet.scenario import faults
from testnet.scenario.model import NetworkPlan, NodeGroup, Scenario, TaskPlan
from testnet.simulator.shrinking import shrink, symptom
from testnet.simulator.simulation import Options, simulate

LARGE = Scenario(
    name="large",
    about="Much goes wrong, of which the kills matter.",
    nodes=(
        NodeGroup("peer", ("peer",), 3),
        NodeGroup("supervisor", ("supervisor", "verifier", "evaluator"), 4),
        NodeGroup("miner", ("miner",), 4),
        NodeGroup("client", ("client",)),
    ),
    heal_s=12,
    limit_s=30,
    chain={"spacing_s": 2, "commitment_distance": 2},
    network=NetworkPlan(gossip="mesh", latency_ms=(1, 20)),
    tasks=(TaskPlan(at_s=2),),
    faults=(
        faults.Duplicate(percent=20),
        faults.Kill(every_s=(1, 2), down_ms=(500, 500)),
        faults.Loss(percent=3),
        faults.SlowDisk(late_ms=(10, 40)),
    ),
)


@pytest.fixture
def forgetful(monkeypatch):
    """Plant a bug: a node that starts again has forgotten which iterations it sent."""
    whole = NodeCore._restore

    def restore(self, entry):
        if not isinstance(entry, IterationSent):
            whole(self, entry)

    monkeypatch.setattr(NodeCore, "_restore", restore)


@pytest.mark.slow
def test_what_a_planted_bug_does_not_need_is_left_out(forgetful):
    search = shrink(LARGE, 1, Options(), runs_max=60)
    small = search.scenario
    assert search.wanted.startswith("I12")
    assert [type(fault) for fault in small.faults] == [faults.Kill]
    assert not small.tasks
    assert {group.name for group in small.nodes} == {"supervisor", "miner"}
    assert sum(group.count for group in small.nodes) <= 6
    assert symptom(simulate(small, search.seed)) == search.wanted
    assert search.runs <= 60
    assert search.left_out


def test_what_holds_cannot_shrink():
    calm = replace(LARGE, faults=(), tasks=(), heal_s=1)
    with pytest.raises(InvalidInput, match="large does not fail with seed 1"):
        shrink(calm, 1, Options())


def outcome(broken=None, **missed):
    expectations = tuple(Expectation(what, is_met=False) for what in missed.values())
    return Outcome(Head("x", "simulator", 1), (), broken=broken, expectations=expectations)


def test_a_symptom_is_the_same_in_other_histories():
    assert symptom(outcome()) == ""
    broken = [Broken("I6", f"I6: n{i} left", 3, f"n{i}") for i in (1, 2)]
    assert symptom(outcome(broken[0])) == symptom(outcome(broken[1])) == "I6"
    crashes = [Broken("crash", f"KeyError: b'{name}'", 3) for name in ("ab", "cd")]
    assert symptom(outcome(crashes[0])) == symptom(outcome(crashes[1])) == "crash KeyError: #"
    other = Broken("crash", "ValueError: no", 3)
    assert symptom(outcome(other)) != symptom(outcome(crashes[0]))
    assert symptom(outcome(a="task 1 ends paid")) == symptom(outcome(a="task 2 ends paid")) != ""
