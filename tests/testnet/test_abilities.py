"""What real processes refuse: one sentence that says what is missing."""

from dataclasses import replace

import pytest

from p2pai.primitives.errors import InvalidInput, Unavailable
from testnet.devnet import abilities
from testnet.devnet.abilities import (
    memory_free_mib,
    memory_mib,
    network_needs,
    reduced,
    refuse_network,
    refuse_size,
    unable,
)
from testnet.devnet.deeds import DEEDS, OF_NETWORK
from testnet.devnet.running import lasting
from testnet.scenario.adversaries import ADVERSARIES
from testnet.scenario.faults import FAULTS, Kill, Loss
from testnet.scenario.model import NetworkPlan, NodeGroup, Scenario

CALM = Scenario("calm", "Nothing happens.", (NodeGroup("peer", ("peer",)),))
ADVERSARY = next(iter(ADVERSARIES))


def test_every_deed_is_a_kind_of_fault():
    assert set(OF_NETWORK) <= set(DEEDS) <= set(FAULTS.values())


def test_what_only_the_simulator_can_do_is_refused_or_left_out():
    played = replace(CALM, faults=(Kill(),), adversaries=(ADVERSARIES[ADVERSARY](nodes=("peer",)),))
    assert unable(played) == (f"adversaries of the kind {ADVERSARY}",)
    with pytest.raises(InvalidInput, match=f"calm has adversaries of the kind {ADVERSARY}, which only"):
        reduced(played, skips=False)
    assert reduced(played, skips=True) == replace(CALM, faults=(Kill(),))
    assert reduced(CALM, skips=False) == CALM


def test_somebody_must_be_there_from_the_beginning():
    late = replace(CALM, nodes=(NodeGroup("peer", ("peer",), starts_s=5),))
    with pytest.raises(InvalidInput, match="nobody of the scenario calm starts at 0 s"):
        reduced(late, skips=True)


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, ()),
        ({"faults": (Kill(),)}, ()),
        ({"faults": (Loss(), Loss())}, ("faults of the kind loss",)),
        ({"network": NetworkPlan(regions={"north": {}})}, ("regions",)),
        ({"network": NetworkPlan(upload_kib_s=100)}, ("a bounded upload",)),
    ],
)
def test_what_needs_namespaces_needs_root(changes, needs):
    played = replace(CALM, **changes)
    assert network_needs(played) == needs
    refuse_network(played, None)
    if needs:
        with pytest.raises(Unavailable, match=f"calm has {needs[0]}: a network laboratory needs root"):
            refuse_network(played, "a network laboratory needs root")
    else:
        refuse_network(played, "a network laboratory needs root")


def test_more_nodes_than_memory_are_refused():
    roles = [("miner",)] * 3 + [("peer",)]
    needed = memory_mib(roles)
    assert needed == 4 * abilities.NODE_MIB + 3 * abilities.TRAINER_MIB
    refuse_size(roles, needed + abilities.KEPT_FREE_MIB)
    with pytest.raises(Unavailable, match=f"4 nodes need about {needed} MiB of memory"):
        refuse_size(roles, needed + abilities.KEPT_FREE_MIB - 1)
    assert memory_free_mib() > 0


def test_faults_last_as_long_as_asked():
    assert lasting(CALM, None) == CALM
    longer = lasting(CALM, 3000)
    assert (longer.heal_s, longer.limit_s > 3000) == (3000, True)
    assert lasting(CALM, 10).limit_s == CALM.limit_s
