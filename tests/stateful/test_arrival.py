"""Property: the state after a tree of blocks does not depend on when which block arrives, on the hash seed of
the interpreter, or on how often the node was killed and came back from what it had written.
"""

import os
import subprocess
import sys
from random import Random

import pytest

from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.snapshot import snapshot_id
from p2pai.primitives.errors import Unavailable
from tests.chain.ledger import MINERS, VERIFIERS, Chain, devnet
from tests.chain.test_fork_choice import naive_best
from tests.node.parts import Driven

ROUNDS_MAX = 1_000


def chains():
    """Return a few chains that fork off each other, some of their blocks approved."""
    trunk = Chain()
    for i in range(4):
        trunk.mine(miner=MINERS[i % 3])
    trunk.approve(trunk.blocks[-1], VERIFIERS[:2])
    trunk.mine()
    left, right = trunk.fork(), trunk.fork()
    for i in range(3):
        left.mine(miner=MINERS[i % 2])
        right.mine(miner=MINERS[2])
    right.approve(right.blocks[-1], VERIFIERS)
    right.mine()
    tail = left.fork()
    for _ in range(2):
        tail.mine(miner=MINERS[1])
    return trunk, left, right, tail


def arrive(made, seed):
    """Give a tree every block in a random order, orphans again and again, with restarts between."""
    random = Random(seed)
    blocks = list({b.hash: b for chain in made for b in chain.blocks}.values())
    tree, written, restarts = BlockTree(devnet()), [], 0
    for _ in range(ROUNDS_MAX):
        if not blocks:
            return tree, restarts
        block = blocks.pop(random.randrange(len(blocks)))
        try:
            tree.add(block)
            written.append(block)
        except Unavailable:
            blocks.append(block)
        if random.randrange(8) == 0:
            tree, restarts = BlockTree(devnet()), restarts + 1
            for block in written:
                tree.add(block, trusted=True)
    raise AssertionError("some blocks never found their parents")


@pytest.fixture(scope="module")
def made():
    return chains()


def test_the_order_of_arrival_and_restarts_do_not_matter(made):
    best, restarts = naive_best(made), 0
    for seed in range(12):
        tree, times = arrive(made, seed)
        assert snapshot_id(tree.state) == snapshot_id(best)
        restarts += times
    assert restarts > 12


PROGRAM = """
import sys
from p2pai.chain.snapshot import snapshot_id
from tests.stateful.test_arrival import arrive, chains
tree, restarts = arrive(chains(), int(sys.argv[1]))
print(snapshot_id(tree.state).hex(), tree.state.tip.hex())
"""


def in_another_process(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, hash_seed]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_the_hash_seed_does_not_matter(made):
    """Three interpreters, each with a hash seed and an order of arrival of its own."""
    best = naive_best(made)
    expected = f"{snapshot_id(best).hex()} {best.tip.hex()}\n"
    assert [in_another_process(seed) for seed in ("1", "2", "3")] == [expected] * 3


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_is_killed_comes_back_to_the_same_state(made, seed):
    """A whole node hears the blocks from gossip, and is killed after some of them, its last writes lost."""
    random, node, kills = Random(seed), Driven(), 0
    for chain in made:
        for block in chain.blocks:
            if block.hash not in node.core.ledger.tree:
                node.hear("block", block.encoded)
            if random.randrange(3):
                node.persist()
            if random.randrange(5) == 0:
                node, kills = node.restarted(), kills + 1
                for again in chain.blocks:
                    if again.hash not in node.core.ledger.tree:
                        node.hear("block", again.encoded)
    assert kills > 0
    assert snapshot_id(node.core.state) == snapshot_id(naive_best(made))
