"""Targets: no chain that leaves a certified checkpoint is ever adopted, whatever it weighs."""

import pytest

from p2pai import events
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.snapshot import snapshot_id
from p2pai.effects import Judge, Verdict
from p2pai.gossip.envelope import seal
from p2pai.gossip.topics import Topic
from p2pai.primitives.errors import InvalidBlock, Unavailable
from p2pai.primitives.ids import PeerId
from tests.chain.voters import EVERY, OPENS, Voters, opened
from tests.roles.lone import Lone


@pytest.fixture(scope="module")
def final():
    """A chain on which the block at height EVERY is certified, its blocks hardly approved since."""
    chain = opened().fork()
    for ticket in chain.voting.validators[:3]:
        chain.cast(ticket)
    chain.mine()
    assert chain.state.checkpoint.block == chain.blocks[EVERY - 1].hash
    return chain


@pytest.fixture(scope="module")
def heavier(final):
    """Another chain from right below the checkpoint, longer, with more approvals, and its own certificate."""
    fork = Voters(final.spec)
    for block in final.blocks[: EVERY - 1]:
        fork.connect(block)
    fork.precursors.update(final.precursors)
    fork.add(fork.fund(9))
    fork.grow(OPENS + 3)
    for ticket in fork.voting.validators[:3]:
        fork.cast(ticket)
    fork.grow(OPENS + 6)
    assert fork.state.weight > final.state.weight
    assert fork.state.checkpoint.height == EVERY
    assert fork.state.checkpoint.block != final.state.checkpoint.block
    return fork


def grown(chain):
    tree = BlockTree(chain.spec)
    for block in chain.blocks:
        tree.add(block, trusted=True)
    return tree


def offer(tree, blocks):
    """Offer blocks in order; return why each was refused."""
    refusals = []
    for block in blocks:
        with pytest.raises((InvalidBlock, Unavailable)) as refused:
            tree.add(block)
        refusals.append(str(refused.value))
    return refusals


class TestTree:
    def test_without_the_checkpoint_it_would_be_adopted(self, final, heavier):
        tree = grown(final)
        for block in heavier.blocks[EVERY - 1 :]:
            tree.add(block)
        assert tree.state.tip == heavier.state.tip

    def test_a_heavier_chain_from_below_is_refused(self, final, heavier):
        tree = grown(final)
        tree.finalise(final.state.checkpoint.block)
        refusals = offer(tree, heavier.blocks[EVERY - 1 :])
        assert refusals[0] == "the block forks off below the last checkpoint"
        assert set(refusals[1:]) == {"the block's parent is not known"}
        assert snapshot_id(tree.state) == snapshot_id(final.state)

    def test_one_that_was_there_before_leaves(self, final, heavier):
        tree = grown(final)
        for block in heavier.blocks[EVERY - 1 : EVERY + 2]:
            tree.add(block)
        assert tree.state.tip == final.state.tip
        tree.finalise(final.state.checkpoint.block)
        assert heavier.blocks[EVERY - 1].hash not in tree
        offer(tree, heavier.blocks[EVERY + 2 :])
        assert tree.state.tip == final.state.tip

    def test_one_from_genesis_is_refused(self, final):
        secret = Voters(final.spec)
        secret.add(secret.fund(9))
        secret.mine()
        tree = grown(final)
        tree.finalise(final.state.checkpoint.block)
        offer(tree, secret.blocks)

    def test_a_fork_above_it_is_chosen_as_ever(self, final):
        tree = grown(final)
        tree.finalise(final.state.checkpoint.block)
        fork = Voters(final.spec)
        for block in final.blocks[:EVERY]:
            fork.connect(block)
        fork.precursors.update(final.precursors)
        fork.add(fork.fund(9))
        fork.grow(OPENS + 6)
        for block in fork.blocks[EVERY:]:
            tree.add(block)
        assert tree.state.tip == fork.state.tip


class TestNode:
    def hear(self, lone, block):
        topic = str(Topic(lone.chain.spec.short_id, None, "block"))
        data = seal(b"\7" * 32, topic, 1, block.encoded)
        reaction = lone.give(events.Received(PeerId("n9"), topic, data))
        return next(effect.verdict for effect in reaction if isinstance(effect, Judge))

    def test_stays_on_the_chain_that_it_saw_certified(self, final, heavier):
        lone = Lone(final, 7, ("peer",))
        for node in (lone, lone.again()):
            verdicts = [self.hear(node, block) for block in heavier.blocks[EVERY - 1 :]]
            assert Verdict.ACCEPT not in verdicts
            assert node.core.state.tip == final.state.tip

    def test_takes_the_first_that_it_sees(self, final, heavier):
        """Whoever has seen neither can't know better: the heavier chain wins, and is final then."""
        lone = Lone(heavier, 7, ("peer",))
        assert lone.core.state.tip == heavier.state.tip
        assert {self.hear(lone, block) for block in final.blocks[EVERY - 1 :]} <= {
            Verdict.REJECT,
            Verdict.IGNORE,
        }
        assert lone.core.state.tip == heavier.state.tip
