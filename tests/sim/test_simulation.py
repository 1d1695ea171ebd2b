"""A scenario, simulated: one seed gives one history, and what fails says how."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from p2pai import events
from p2pai.primitives.errors import InvalidInput
from testnet.scenario import faults
from testnet.scenario.model import NodeGroup, Scenario
from testnet.simulator import simulation
from testnet.simulator.invariants.pools import Pools
from testnet.simulator.simulation import simulate

ROOT = Path(__file__).parents[2]

SUPERVISORS = NodeGroup("supervisor", ("supervisor", "verifier", "evaluator"), 3)
CHAIN = Scenario(
    name="chain",
    about="No task but the first.",
    nodes=(SUPERVISORS, NodeGroup("miner", ("miner",), 3)),
    heal_s=4,
    limit_s=10,
)


def test_one_seed_is_one_history():
    first, again, other = (simulate(CHAIN, seed) for seed in (1, 1, 2))
    assert first.is_passed, first.verdict
    assert first.head.digest == again.head.digest != other.head.digest
    assert (first.head.length_ms, first.blocks) == (again.head.length_ms, again.blocks)


def test_a_history_says_which_invariants_it_was_held_to(monkeypatch):
    outcome = simulate(CHAIN, 1)
    assert outcome.invariants == tuple(f"I{number}" for number in range(1, 21))
    monkeypatch.setattr(Pools, "look", lambda *_: None)
    outcome = simulate(CHAIN, 1)
    assert "I18" not in outcome.invariants
    assert outcome.verdict == "Failed: all invariants are checked; nothing was held to I18"


def test_an_unmet_expectation_is_said_with_the_last_events():
    outcome = simulate(replace(CHAIN, expect=replace(CHAIN.expect, height_min=100)), 1)
    assert not outcome.is_passed
    assert outcome.verdict.startswith("Failed: the chain has at least 100 blocks; it has ")
    assert len(outcome.last_events) == 30


@pytest.mark.parametrize(
    ("error", "invariant"), [(AssertionError("no"), "assertion"), (ValueError("no"), "crash")]
)
def test_a_node_that_raises_fails_the_history_at_that_event(monkeypatch, error, invariant):
    honest = simulation.NodeCore.handle
    calls = []

    def handle(self, event, now_ms):
        calls.append(self)
        if len(calls) == 50:
            raise error
        return honest(self, event, now_ms)

    monkeypatch.setattr(simulation.NodeCore, "handle", handle)
    outcome = simulate(CHAIN, 1)
    broken = outcome.broken
    assert broken.invariant == invariant
    assert "no" in broken.reason
    assert broken.node == calls[-1].identity.peer
    assert f" {broken.node} " in outcome.last_events[-1]


def test_faults_happen_while_they_may_and_end_when_it_heals():
    kills = faults.Kill(nodes=("miner",), every_s=(1, 1), down_ms=(500, 500))
    outcome = simulate(replace(CHAIN, faults=(kills,)), 1)
    assert outcome.is_passed, outcome.verdict
    (fired,) = [fired for fired in outcome.fired if fired.kind == "kill"]
    assert fired.count == outcome.head.healed_ms // 1000
    assert all(at_ms < outcome.head.healed_ms + 1000 for at_ms in fired.at_ms)
    assert sum(node.starts for node in outcome.nodes) == 6 + fired.count


def test_a_fault_that_did_not_happen_fails_the_run():
    outcome = simulate(replace(CHAIN, faults=(faults.Loss(from_s=9, percent=30),)), 1)
    late = simulate(replace(CHAIN, heal_s=2, limit_s=3, faults=(faults.Kill(every_s=(5, 5)),)), 1)
    assert outcome.is_passed, "it goes on until the fault has happened"
    assert late.verdict == "Failed: kill happens at least once; it never happened"


def test_a_node_that_refuses_its_disk_is_started_again_when_it_heals(monkeypatch):
    honest = simulation.NodeCore.handle
    starts = []

    def handle(self, event, now_ms):
        if isinstance(event, events.Started) and self.identity.peer == "miner1":
            starts.append(now_ms)
            if len(starts) == 2:
                raise InvalidInput("the block of the last snapshot is damaged")
        return honest(self, event, now_ms)

    monkeypatch.setattr(simulation.NodeCore, "handle", handle)
    kill = faults.Kill(nodes=("miner1",), every_s=(1, 1), down_ms=(500, 500), count_max=1)
    outcome = simulate(replace(CHAIN, faults=(kill,)), 1)
    assert outcome.is_passed, outcome.verdict
    assert len(starts) == 3


def test_a_history_is_the_same_whatever_the_hash_seed_and_without_sharing():
    program = (
        "from testnet.scenario.chaos import draw\n"
        "from dataclasses import replace\n"
        "from testnet.simulator.simulation import Options, simulate\n"
        "drawn = replace(draw(3), heal_s=2, limit_s=6, tasks=())\n"
        "print(simulate(drawn, 3, Options(shares={shares})).head.digest)"
    )
    digests = []
    for hash_seed, shares in ((1, True), (2, False)):
        done = subprocess.run(
            [sys.executable, "-c", program.format(shares=shares)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            timeout=200,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.strip())
    assert digests[0] == digests[1] != ""
