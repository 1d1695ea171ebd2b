"""Attacks on the network and on the chain: every row holds, and does not without its defence.

What: the scenarios of the library about floods, Sybils, secret chains, bad answers, selfish miners and nodes
that missed a change of rules; and what their files can't say. How: whole simulations, with the fast trainer.
"""

from dataclasses import replace

import pytest

from testnet.scenario.shelf import load
from testnet.simulator.simulation import Options, Simulation, simulate

HELD_MAX = 16 << 20
"""Bytes held because of one remote. Source: RELIABILITY (2), "long-range, deep fork"."""


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["sybil", slow("bad-answers"), slow("flood"), slow("selfish")])
def test_the_row_holds(name):
    outcome = simulate(load(name), 1)
    assert outcome.is_passed, outcome.verdict


@pytest.mark.parametrize(
    ("name", "what"),
    [
        slow("long-range", "I6 was broken"),
        slow("flood", "every honest node bans flooder1 within 10 s"),
        slow("sybil", "on one tip"),
        slow("version-mix", "outdated happens at least once"),
    ],
)
def test_without_its_defence_the_row_fails(name, what):
    scenario = load(name)
    outcome = simulate(scenario, 1, Options(weakened=scenario.weakened))
    assert not outcome.is_passed
    assert what in outcome.verdict


@pytest.mark.slow
def test_a_secret_chain_is_never_adopted_and_holds_little_memory():
    simulation = Simulation(load("long-range"), 1, Options())
    holders = list(simulation.network.costumes)
    held = []

    def watch(name, event, reaction):
        if name not in holders:
            syncing = simulation.network.cores[name].ledger.syncing
            held.append(max(syncing.held_bytes(holder) for holder in holders))

    simulation.network.world.watchers.append(watch)
    outcome = simulation.run()
    assert outcome.is_passed, outcome.verdict
    assert max(held) <= HELD_MAX
    refused = {reason for _, reason in simulation.network.world.rejected}
    assert refused == {"the block forks off below the last checkpoint"}


def test_nodes_part_at_the_announced_height_and_those_of_one_version_agree():
    scenario = load("version-mix")
    (plan,) = scenario.adversaries
    simulation = Simulation(scenario, 1, Options())
    outcome = simulation.run()
    assert outcome.is_passed, outcome.verdict
    network = simulation.network
    chains = {
        name: [core.ledger.tree.hash_at(height) for height in range(core.state.height + 1)]
        for name, core in network.cores.items()
    }
    old = [chain for name, chain in chains.items() if name in network.outdated]
    new = [chain for name, chain in chains.items() if name not in network.outdated]
    assert len({chain[plan.height - 1] for chain in (*old, *new)}) == 1
    assert len({chain[plan.height] for chain in new}) == 1
    assert not {chain[-1] for chain in new} & {block for chain in old for block in chain}
    for chain in old:
        assert not set(chain[plan.height :]) & {block for other in new for block in other}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["valid", "topics", "questions"])
def test_a_flood_that_breaks_no_rule_keeps_nobody_from_working(what):
    scenario = load("flood")
    plan = replace(scenario.adversaries[0], what=what, per_s=100)
    expect = replace(scenario.expect, banned=())
    outcome = simulate(replace(scenario, adversaries=(plan,), expect=expect), 1)
    assert outcome.is_passed, outcome.verdict


@pytest.mark.slow
def test_of_twenty_that_flood_all_are_banned():
    scenario = load("flood")
    many = tuple(replace(g, count=20) if g.name == "flooder" else g for g in scenario.nodes)
    plan = replace(scenario.adversaries[0], nodes=("flooder",), per_s=100)
    outcome = simulate(replace(scenario, nodes=many, adversaries=(plan,)), 1)
    assert outcome.is_passed, outcome.verdict
