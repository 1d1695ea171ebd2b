"""Attacks on the network and on the chain: every row holds, and does not without its defence.

What: the scenarios of the library about long-range forks, bad answers, selfish miners and nodes that missed a
change of rules; and what their files can't say. How: whole simulations, with the fast trainer.
"""

import pytest

from testnet.scenario.shelf import load
from testnet.simulator.simulation import Options, Simulation, simulate

HELD_MAX = 16 << 20
"""Bytes held because of one remote. Source: RELIABILITY (2), "long-range, deep fork"."""


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [slow("bad-answers"), "selfish"])
def test_the_row_holds(name):
    outcome = simulate(load(name), 1)
    assert outcome.is_passed, outcome.verdict


@pytest.mark.parametrize(
    ("name", "what"),
    [
        slow("long-range", "I6 was broken"),
        slow("bad-answers", "on one tip"),
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
