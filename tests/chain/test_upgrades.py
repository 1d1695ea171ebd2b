"""Rules that change at a height: blocks below are judged by the old ones, from there on by the new ones."""

from dataclasses import replace

import pytest

from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.params import Upgrade
from p2pai.primitives.errors import InvalidBlock
from tests.chain.ledger import Chain, devnet

HEIGHT = 2


@pytest.fixture(scope="module")
def blocks():
    """Two blocks, each with two tickets bought."""
    chain = Chain()
    for account in (0, 7):
        chain.add(chain.buy(account, count=2))
        chain.mine()
    return chain.blocks


def upgraded(**changes):
    params = replace(devnet().params, **changes)
    return replace(devnet(), upgrades=(Upgrade(HEIGHT, params),))


def test_a_block_is_judged_by_the_rules_of_its_height(blocks):
    old, new = BlockTree(devnet()), BlockTree(upgraded(tickets_per_block_max=1))
    for block in blocks:
        old.add(block)
    new.add(blocks[0])
    with pytest.raises(InvalidBlock, match="at most 1 tickets per block"):
        new.add(blocks[1])
    assert old.state.height == HEIGHT
    assert new.state == old.get(blocks[0].hash).state, "one chain up to the height"
