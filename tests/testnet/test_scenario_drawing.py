"""Scenarios that are drawn, written and made smaller: each is a file that says the same."""

import random
from dataclasses import replace

import pytest

from p2pai.primitives.errors import InvalidInput
from testnet.scenario import chaos, faults, shelf
from testnet.scenario.checking import check
from testnet.scenario.faults import FAULTS
from testnet.scenario.lots import LOTS
from testnet.scenario.model import TaskPlan
from testnet.scenario.reading import read
from testnet.scenario.reducing import REDUCTIONS
from testnet.scenario.writing import write

SEEDS = range(40)


@pytest.mark.parametrize("name", shelf.shipped())
def test_what_ships_is_written_as_it_was_read(name):
    scenario = shelf.load(name)
    assert read(write(scenario), name) == scenario


def test_what_is_drawn_can_be_written_and_read():
    drawn = [chaos.draw(seed) for seed in SEEDS]
    assert [read(write(scenario), "it") for scenario in drawn] == drawn
    assert chaos.draw(3) == drawn[3]


def test_all_kinds_are_drawn_each_left_out_of_many_scenarios():
    drawn = [{faults.kind_of(fault) for fault in chaos.draw(seed).faults} for seed in range(200)]
    assert set().union(*drawn) == set(LOTS)
    assert all(sum(kind in kinds for kinds in drawn) < 120 for kind in LOTS)
    assert all(drawn)


def test_every_kind_of_fault_has_a_lot():
    assert set(FAULTS) - set(LOTS) == {"swapped-read"}


@pytest.mark.parametrize("nodes", [8, 30, 80])
def test_so_many_nodes_are_drawn_as_were_asked_for(nodes):
    assert sum(group.count for group in chaos.draw(1, nodes).nodes) == nodes


def test_chaos_needs_a_network():
    with pytest.raises(InvalidInput, match="at least 8 nodes"):
        chaos.draw(1, 7)


def test_faults_are_drawn_on_top_of_a_scenario():
    calm = shelf.load("calm")
    disturbed = chaos.disturb(calm, 5)
    check(disturbed, "it")
    assert disturbed.nodes == calm.nodes
    assert disturbed.faults
    assert "failed" in disturbed.expect.tasks


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=lambda reduction: reduction.__name__)
def test_each_idea_of_less_gives_less_and_comes_to_an_end(reduction):
    dice = random.Random(1)
    for seed in SEEDS:
        scenario = replace(chaos.draw(seed), tasks=(TaskPlan(at_s=9, epochs=4), TaskPlan(client="client1")))
        for _ in range(200):
            candidates = list(reduction(scenario))
            assert all(candidate != scenario and what for what, candidate in candidates)
            if not candidates:
                break
            _, scenario = dice.choice(candidates)
        assert not candidates, "it does not end"


def test_what_is_left_means_nobody_who_is_gone():
    scenario = replace(
        chaos.draw(1), faults=(faults.Kill(nodes=("peer",)), faults.Kill(nodes=("miner3", "client1")))
    )
    without = dict(REDUCTIONS[1](scenario))
    assert without["all peers"].faults == scenario.faults[1:]
    assert without["all miners"].faults[1].nodes == ("client1",)
    check(without["all peers"], "it")
