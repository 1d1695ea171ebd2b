"""Every dishonest participant of tasks against the network, and against one that lacks the defence.

What: the scenarios that ship for the rows "Byzantine ..." and "trainer ... lies" of the fault matrix. Each
must hold with its adversaries at work, and fail once the defence that it names is taken away. How:
testnet.simulator with the fast trainer; poisoning once more with the real one, since it is about accuracy.
"""

from dataclasses import replace

import pytest

from p2pai.chain import message_map
from testnet.scenario.adversaries import kind_of
from testnet.scenario.shelf import load, shipped
from testnet.simulator.adversary import KINDS
from testnet.simulator.adversary.miners import turned
from testnet.simulator.simulation import Options, simulate
from testnet.simulator.weakened import WEAKNESSES

ROWS = {
    "Byzantine leader supervisor",
    "Byzantine miner",
    "Byzantine verifier, evaluator",
    "Byzantine client",
    "trainer dies, hangs, lies to us",
}
SCENARIOS = {s.name: s for s in map(load, shipped()) if s.row in ROWS and s.adversaries}
MODULES = {"supervisors", "miners", "verifiers", "evaluators", "clients", "trainers"}
"""Of testnet.simulator.adversary."""
HELD = ("client-lies", "leader-reorders", "evaluator-flatters")
BROKEN = ("leader-reorders", "verifier-refuses", "client-is-unfunded")
"""Quick enough to be run before each commit."""
SEED = 1


def rows(quick):
    return [pytest.param(n, marks=() if n in quick else pytest.mark.slow) for n in SCENARIOS]


@pytest.mark.parametrize("name", rows(HELD))
def test_the_network_holds(name):
    outcome = simulate(SCENARIOS[name], SEED)
    assert outcome.is_passed, outcome.verdict


@pytest.mark.parametrize("name", rows(BROKEN))
def test_without_the_defence_it_does_not(name):
    scenario = SCENARIOS[name]
    outcome = simulate(scenario, SEED, Options(weakened=scenario.weakened))
    assert not outcome.is_passed, f"{scenario.weakened} is not what {name} shows"
    assert all(fired.count for fired in outcome.fired)


def test_every_kind_of_cheat_has_a_row():
    cheats = {kind for kind, body in KINDS.items() if body.__module__.rpartition(".")[2] in MODULES}
    assert cheats == {kind_of(plan) for scenario in SCENARIOS.values() for plan in scenario.adversaries}


def test_every_defence_is_taken_away_from_some_row():
    assert {load(name).weakened for name in shipped()} - {""} == set(WEAKNESSES)


@pytest.mark.parametrize("name", WEAKNESSES)
def test_a_defence_is_back_afterwards(name):
    def here():
        return [vars(owner)[attribute] for owner, attribute, _ in WEAKNESSES[name].changes]

    before = here()
    with WEAKNESSES[name].apply():
        assert all(now is not then for now, then in zip(here(), before, strict=True))
    assert here() == before


LIST = bytes((message_map.LIST, 2)) + (5).to_bytes(4, "big") + (7 | 1 << 31).to_bytes(4, "big")
BITMAP = bytes((message_map.BITMAP, 2)) + bytes((0b11_01_00_00, 0))


@pytest.mark.parametrize(("data", "weights"), [(LIST, 1000), (BITMAP, 6)])
def test_a_map_turned_round_is_one_of_the_same_weights_with_other_signs(data, weights):
    assert turned(data) != data
    message_map.check(turned(data), weights)
    assert message_map.element_count(turned(data)) == message_map.element_count(data)
    assert turned(turned(data)) == data


@pytest.mark.slow
def test_a_fifth_of_poisoning_miners_costs_at_most_two_points_of_accuracy():
    poisoned = SCENARIOS["miner-poisons"]
    sound = replace(poisoned, adversaries=(), expect=replace(poisoned.expect, slashed=()))
    scores = []
    for scenario in (sound, poisoned):
        outcome = simulate(scenario, SEED, Options(trainer="real"))
        assert outcome.is_passed, outcome.verdict
        scores += [task.score for task in outcome.tasks if not task.is_predefined]
    assert scores[1] >= scores[0] - 0.02, scores
