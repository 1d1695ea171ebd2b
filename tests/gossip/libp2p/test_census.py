"""How many links are wanted, whoever else there is."""

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from p2pai.gossip.addresses import Scope
from p2pai.gossip.libp2p.census import FOR_TASKS_MAX, LINKS_WANTED, OUTBOUND_WANTED, Census, Linked


def census_of(networks: list[str], scope: Scope) -> Census:
    census = Census(None)
    for network in networks:
        remote = ID.from_pubkey(create_new_key_pair().public_key)
        census._links[remote] = Linked(remote, True, network, scope, None, since_s=0)  # noqa: FBT003
    return census


@pytest.mark.parametrize("scope", list(Scope))
def test_links_to_many_networks_are_enough(scope: Scope) -> None:
    census = census_of([f"10.{number}.0.0/16" for number in range(LINKS_WANTED)], scope)
    assert census.wanted == 0
    assert census.room_for_tasks == FOR_TASKS_MAX


def test_names_of_one_place_are_not_however_many_they_are() -> None:
    # They left word that they work on our task, and were all that we dialled.
    for count in (9, 16, 24):
        census = census_of(["198.51.0.0/16"] * count, Scope.WORLD)
        assert census.wanted >= OUTBOUND_WANTED - 2
    assert census_of(["198.51.0.0/16"] * 10, Scope.WORLD).room_for_tasks == 0


def test_at_home_there_is_one_network() -> None:
    census = census_of(["127.0.0.0/16"] * LINKS_WANTED, Scope.MACHINE)
    assert census.wanted == 0
