"""Targets: approved work wins over height, every order of arrival leads to one chain, switching is exact."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pai.chain.fork_choice import BlockTree, Switch
from p2pai.chain.genesis import genesis_block
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import Pay
from p2pai.primitives.errors import InvalidBlock, Unavailable
from tests.chain.assembly import Assembly
from tests.chain.ledger import CLIENT, MINERS, Chain, devnet, grown, key_hash, label
from tests.chain.play import play


def tree_of(*chains):
    tree = BlockTree(devnet())
    for chain in chains:
        for block in chain.blocks:
            tree.add(block)
    return tree


def hashes(blocks):
    return tuple(block.hash for block in blocks)


def naive_best(chains):
    """Fork choice recomputed over every block of every chain."""
    states = {c.state.tip: c.state for chain in chains for c in prefixes(chain)}
    return max(states.values(), key=lambda s: (s.weight, s.height, -int.from_bytes(s.tip, "big")))


def prefixes(chain):
    again = Chain()
    yield again
    for block in chain.blocks:
        again.connect(block)
        yield again


@pytest.fixture
def tree():
    return BlockTree(devnet())


class TestAdding:
    def test_a_chain_grows(self, tree):
        chain = grown(3)
        for height, block in enumerate(chain.blocks, start=1):
            assert tree.add(block) == Switch((), (block,))
            assert tree.state.height == height
        assert snapshot_id(tree.state) == snapshot_id(chain.state)

    def test_starts_at_genesis(self, tree):
        genesis = genesis_block(devnet())
        assert tree.state.tip == genesis.hash
        assert genesis.hash in tree
        assert tree.at_height(0).block == genesis

    def test_a_block_twice_is_nothing_new(self, tree):
        (block,) = grown(1).blocks
        tree.add(block)
        assert tree.add(block) == Switch((), ())

    def test_a_block_without_its_parent_waits(self, tree):
        first, second = grown(2).blocks
        with pytest.raises(Unavailable, match="the block's parent is not known"):
            tree.add(second)
        assert second.hash not in tree
        tree.add(first)
        assert tree.add(second).joined == (second,)

    def test_an_invalid_block_leaves_nothing_behind(self, tree):
        chain = Chain()
        chain.post(CLIENT)
        bad = chain.draft(coinbase=lambda tx: replace(tx, outputs=()))
        with pytest.raises(InvalidBlock, match="the coinbase does not pay what is due"):
            tree.add(bad)
        assert bad.hash not in tree
        assert tree.get(bad.hash) is None
        tree.add(chain.draft())

    def test_a_bad_proof_does_not_spoil_the_good_block_of_the_same_hash(self, tree):
        block = grown(1).blocks[0]
        bad = replace(block, work_proof=replace(block.work_proof, batch_path=()))
        assert bad.hash == block.hash
        with pytest.raises(InvalidBlock):
            tree.add(bad)
        assert tree.add(block).joined == (block,)

    def test_trusted_blocks_lead_to_the_same_state(self, tree):
        chain = grown(3, approved=(0,))
        for block in chain.blocks:
            tree.add(block, trusted=True)
        assert snapshot_id(tree.state) == snapshot_id(chain.state)


class TestChoice:
    def test_more_approved_work_beats_height(self):
        short, long = grown(1, approved=(0,)), grown(6, miner=MINERS[1])
        assert (short.height, short.state.weight > 0) == (2, True)
        assert (long.height, long.state.weight) == (6, 0)
        for chains in ((short, long), (long, short)):
            assert tree_of(*chains).state.tip == short.state.tip

    def test_more_approvals_beat_fewer(self):
        base = grown(1)
        two, three = base.fork(), base.fork()
        two.approve(base.blocks[0], (1, 2))
        two.mine_until(5)
        three.approve(base.blocks[0], (1, 2, 3))
        three.mine(miner=MINERS[1])
        assert tree_of(two, three).state.tip == three.state.tip

    def test_height_beats_nothing_approved(self):
        short, long = grown(2), grown(3, miner=MINERS[1])
        for chains in ((short, long), (long, short)):
            assert tree_of(*chains).state.tip == long.state.tip

    def test_the_lowest_hash_breaks_a_tie(self):
        twins = [grown(1, miner=miner) for miner in MINERS]
        lowest = min(twin.state.tip for twin in twins)
        for order in (twins, twins[::-1], twins[1:] + twins[:1]):
            assert tree_of(*order).state.tip == lowest

    def test_rejected_blocks_weigh_nothing(self):
        rejected = Chain()
        rejected.approve(rejected.mine(), approved=False)
        rejected.mine()
        assert tree_of(rejected, grown(3, miner=MINERS[1])).state.height == 3


class TestSwitching:
    def test_tells_which_blocks_left_and_joined(self):
        base = grown(1)
        left, right = grown(2, start=base), grown(3, start=base, miner=MINERS[1])
        tree = tree_of(left)
        for block in right.blocks[1:-1]:
            tree.add(block)
        known = tree.state.tip
        switch = tree.add(right.blocks[-1])
        joined = right.blocks[1:] if known == left.state.tip else right.blocks[-1:]
        assert switch.joined == tuple(joined)
        assert switch.left == (tuple(left.blocks[:0:-1]) if known == left.state.tip else ())
        assert [tree.at_height(h).block for h in range(1, 5)] == right.blocks
        assert all(tree.is_best(b.hash) for b in right.blocks)
        assert not any(tree.is_best(b.hash) for b in left.blocks[1:])
        assert tree.at_height(5) is None
        assert tree.at_height(-1) is None

    def test_there_and_back_leads_to_the_same_state(self):
        base = grown(1)
        left, right = grown(1, start=base), grown(2, start=base, miner=MINERS[1])
        tree = tree_of(left)
        before = snapshot_id(tree.state)
        assert before == snapshot_id(left.state)
        for block in right.blocks:
            tree.add(block)
        assert snapshot_id(tree.state) == snapshot_id(right.state)
        back = grown(2, start=left)
        for block in back.blocks:
            tree.add(block)
        assert snapshot_id(tree.state) == snapshot_id(back.state)
        assert snapshot_id(tree.get(left.state.tip).state) == before

    def test_a_payment_on_the_losing_branch_is_undone(self):
        paid, other = Chain(), grown(2, miner=MINERS[1])
        paid.post(CLIENT, outputs=(Pay(12345, key_hash(9)),))
        paid.mine()
        tree = tree_of(paid)
        assert sum(o.value for o in tree.state.utxos.values() if o.value == 12345)
        for block in other.blocks:
            tree.add(block)
        assert not any(o.value == 12345 for o in tree.state.utxos.values())
        assert snapshot_id(tree.state) == snapshot_id(other.state)

    @pytest.mark.parametrize("seed", range(4))
    def test_the_order_of_arrival_does_not_matter(self, seed):
        self.check_arrival(seed, Random(seed))

    @pytest.mark.slow
    @settings(max_examples=24, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0, 2**32), order=st.randoms(use_true_random=False))
    def test_every_order_of_arrival_leads_to_the_same_state(self, seed, order):
        self.check_arrival(seed, order)

    def check_arrival(self, seed, order):
        chains = branches(seed)
        blocks = list({b.hash: b for chain in chains for b in chain.blocks}.values())
        order.shuffle(blocks)
        tree, left = BlockTree(devnet()), ()
        best = [tree.state.tip]
        while blocks:
            waiting = []
            for block in blocks:
                try:
                    switch = tree.add(block)
                except Unavailable:
                    waiting.append(block)
                    continue
                follow(best, switch)
                left += switch.left
            blocks = waiting
        expected = naive_best(chains)
        assert snapshot_id(tree.state) == snapshot_id(expected)
        assert best == [tree.at_height(h).state.tip for h in range(tree.state.height + 1)]


def branches(seed):
    """Return a few chains that fork off each other at random."""
    random, chains = Random(seed), [Assembly()]
    for i in range(3):
        parent = random.choice(chains)
        fork = Assembly()
        for block in parent.blocks[: random.randrange(len(parent.blocks) + 1)]:
            fork.precursors.update(parent.precursors)
            fork.connect(block)
        play(fork, seed + i, blocks=random.randrange(1, 5))
        chains.append(fork)
    return chains


def follow(best, switch):
    """Carry a switch out on a list of tips, as a node does."""
    for block in switch.left:
        assert best.pop() == block.hash
    for block in switch.joined:
        assert best[-1] == block.header.prev
        best.append(block.hash)


class TestSync:
    CHAIN = grown(40)

    def test_a_locator_is_dense_at_the_tip_and_ends_at_genesis(self):
        tree = tree_of(self.CHAIN)
        heights = [tree.get(h).state.height for h in tree.locator()]
        assert heights == [40, 39, 38, 37, 36, 35, 34, 33, 31, 27, 19, 3, 0]
        assert BlockTree(devnet()).locator() == (genesis_block(devnet()).hash,)

    @pytest.mark.parametrize("known", [0, 1, 5, 33, 39, 40])
    def test_blocks_after_a_locator(self, known):
        tree, behind = tree_of(self.CHAIN), BlockTree(devnet())
        for block in self.CHAIN.blocks[:known]:
            behind.add(block)
        assert tree.after(behind.locator(), 100) == hashes(self.CHAIN.blocks[known:])
        assert tree.after(behind.locator(), 3) == hashes(self.CHAIN.blocks[known : known + 3])

    def test_blocks_after_a_fork(self):
        base = grown(2)
        ours, theirs = grown(4, start=base), grown(2, start=base, miner=MINERS[1])
        assert tree_of(ours).after(tree_of(theirs).locator(), 100) == hashes(ours.blocks[2:])

    def test_an_unknown_locator_starts_at_genesis(self):
        assert tree_of(self.CHAIN).after((label("unknown"),), 2) == ()
        assert tree_of(self.CHAIN).after((), 2) == ()
