"""Targets: a block that was proven false is left at any depth, with all that builds on it, and stays away."""

import pytest

from p2pai.chain.fork_choice import BlockTree, Switch
from p2pai.chain.fraud import Judgement, approves
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import FraudProof
from p2pai.primitives.errors import InvalidBlock, Unavailable
from tests.chain.ledger import MINERS, Chain, devnet, grown, label


def tree_of(*chains):
    tree = BlockTree(devnet())
    for chain in chains:
        for block in chain.blocks:
            tree.add(block, trusted=True)
    return tree


@pytest.fixture
def tree():
    return BlockTree(devnet())


def judge(tree, block, reason="message map"):
    """Let a replay have found a block false."""
    height = tree.get(block.hash).state.height
    tree.judged[block.hash] = Judgement(height, block.work_proof.ticket, label("found"), reason)


@pytest.fixture(scope="module")
def long():
    """A chain of 114 blocks, and one that left it after 4 and has 7."""
    chain = grown(4)
    return grown(110, start=chain), grown(3, start=chain, miner=MINERS[1])


class TestConviction:
    @pytest.mark.parametrize("depth", [1, 10, 100])
    def test_at_any_depth_leaves_what_a_tree_has_that_never_saw_the_block(self, long, depth):
        chain, other = long
        tree = tree_of(chain, other)
        false = chain.blocks[-depth]
        judge(tree, false)
        switch = tree.convict(false.hash)
        assert switch.left == tuple(reversed(chain.blocks[-depth:]))
        assert switch.joined == ()
        honest = Chain()
        honest.blocks = chain.blocks[:-depth]
        never = tree_of(honest, other)
        assert snapshot_id(tree.state) == snapshot_id(never.state)
        assert tree.locator() == never.locator()
        assert not any(b.hash in tree for b in chain.blocks[-depth:])

    def test_another_branch_takes_over_if_it_is_better(self, long):
        chain, other = long
        tree = tree_of(chain, other)
        judge(tree, chain.blocks[4])
        switch = tree.convict(chain.blocks[4].hash)
        assert (len(switch.left), switch.joined) == (110, tuple(other.blocks[4:]))
        assert snapshot_id(tree.state) == snapshot_id(other.state)

    def test_the_best_chain_stays_when_the_false_block_is_on_another(self, long):
        chain, other = long
        tree = tree_of(chain, other)
        judge(tree, other.blocks[5])
        assert tree.without(other.blocks[5].hash).state.tip == chain.state.tip
        assert tree.convict(other.blocks[5].hash) == Switch((), ())
        assert other.blocks[4].hash in tree
        assert tree.state.tip == chain.state.tip

    def test_neither_the_block_nor_what_builds_on_it_comes_back(self, tree):
        chain = grown(3)
        for block in chain.blocks[:2]:
            tree.add(block)
        judge(tree, chain.blocks[0])
        tree.convict(chain.blocks[0].hash)
        for block in chain.blocks:
            with pytest.raises(InvalidBlock, match="false"):
                tree.add(block)
        assert tree.convicted == {chain.blocks[0].hash: chain.blocks[0]}
        assert tree.state.height == 0

    def test_a_block_that_comes_after_its_conviction_is_refused(self, tree):
        block = grown(1).blocks[0]
        tree.judged[block.hash] = Judgement(1, block.work_proof.ticket, label("found"), "metric loss")
        tree.convict(block.hash)
        with pytest.raises(InvalidBlock, match="false"):
            tree.add(block)

    def test_without_says_what_would_be_and_changes_nothing(self, long):
        chain, other = long
        tree = tree_of(chain, other)
        assert tree.without(chain.blocks[10].hash).state.tip == chain.blocks[9].hash
        assert tree.without(chain.blocks[4].hash).state.tip == other.state.tip
        assert tree.state.tip == chain.state.tip

    def test_approvals_are_found_in_the_blocks_that_build_on_it(self):
        chain = grown(3, approved=(0,))
        tree = tree_of(chain)
        shown = tree.approvals(chain.blocks[0].hash)
        assert shown == [
            tx for b in chain.blocks for tx in b.transactions if approves(tx, chain.blocks[0].hash)
        ]
        assert len(shown) == 3
        assert tree.approvals(chain.blocks[1].hash) == []

    @pytest.mark.parametrize("trusted", [False, True])
    @pytest.mark.parametrize("late", [False, True])
    def test_a_block_that_holds_the_proof_convicts(self, trusted, late):
        """Whatever came first: the false branch, heavier than the honest one, or the proof."""
        base = grown(1)
        false = grown(3, start=base, approved=(0, 1))
        honest = base.fork()
        accused = false.blocks[1]
        said = Judgement(2, accused.work_proof.ticket, label("found"), "message map")
        honest.judged[accused.hash] = said
        honest.mine(miner=MINERS[1])
        honest.post(7, FraudProof(accused.hash, 2, said.ticket, said.found, ()))
        honest.mine(miner=MINERS[1])
        tree = BlockTree(devnet())
        if not trusted:
            tree.judged[accused.hash] = said
        first, second = (honest, false) if late else (false, honest)
        for block in first.blocks:
            tree.add(block, trusted=trusted)
        for block in second.blocks:
            try:
                tree.add(block, trusted=trusted)
            except (InvalidBlock, Unavailable):
                assert late
        assert snapshot_id(tree.state) == snapshot_id(honest.state)
        assert accused.hash not in tree

    def test_who_has_not_replayed_the_block_waits(self, tree):
        base = grown(1)
        accused = grown(1, start=base).blocks[1]
        base.judged[accused.hash] = Judgement(2, accused.work_proof.ticket, label("found"), "message map")
        base.post(7, FraudProof(accused.hash, 2, accused.work_proof.ticket, label("found"), ()))
        block = base.draft(miner=MINERS[1])
        tree.add(base.blocks[0])
        tree.add(accused)
        with pytest.raises(Unavailable, match="has to be replayed first"):
            tree.add(block)
        assert block.hash not in tree
        tree.judged.update(base.judged)
        assert tree.add(block).joined == (block,)
        assert accused.hash not in tree

    @pytest.mark.parametrize("depth", [1, 3])
    def test_a_block_that_proves_false_what_it_builds_on_is_refused(self, depth):
        """It would leave with what it accuses, and whoever connected it would look for it in vain."""
        chain = grown(3)
        accused = chain.blocks[-depth]
        ticket, height = accused.work_proof.ticket, chain.height + 1 - depth
        chain.judged[accused.hash] = Judgement(height, ticket, label("found"), "message map")
        chain.post(7, FraudProof(accused.hash, height, ticket, label("found"), ()))
        block = chain.draft(miner=MINERS[1])
        tree = tree_of(chain)
        tree.judged.update(chain.judged)
        with pytest.raises(InvalidBlock, match="proves false what it builds on"):
            tree.add(block)
        assert (block.hash in tree, accused.hash in tree) == (False, True)
        assert tree.state.tip == chain.state.tip

    def test_a_final_block_stays_whatever_a_branch_proves_that_knows_of_no_checkpoint(self):
        chain = grown(3)
        accused = chain.blocks[1]
        ticket = accused.work_proof.ticket
        chain.judged[accused.hash] = Judgement(2, ticket, label("found"), "message map")
        chain.post(7, FraudProof(accused.hash, 2, ticket, label("found"), ()))
        block = chain.draft(miner=MINERS[1])
        tree = tree_of(chain)
        tree.finalise(chain.blocks[2].hash)
        tree.judged.update(chain.judged)
        assert tree.add(block).joined == (block,)
        assert tree.state.tip == block.hash
        assert accused.hash in tree
        assert tree.convicted == {}
