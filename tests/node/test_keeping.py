"""Targets: a checkpoint moves blocks from memory to disk, and nobody who asks about them notices."""

from functools import cache

import pytest

from p2pai import effects
from p2pai.chain.snapshot import decode, snapshot_id
from p2pai.effects import Verdict
from p2pai.node import keeping
from p2pai.node.keeping import Keeping
from p2pai.primitives.errors import Unavailable
from tests.chain.ledger import MINERS, label
from tests.chain.voters import EVERY, OPENS, WINDOW, Voters, quick
from tests.node.parts import Driven, of

SPEC = quick()


@cache
def voted():
    """A chain with two checkpoints, at EVERY and 2 * EVERY, and a few blocks above."""
    chain = Voters(SPEC)
    for top in (OPENS, OPENS + EVERY):
        chain.grow(top)
        snapshot = snapshot_id(chain.state_at(chain.voting.height))
        for ticket in chain.voting.validators[: SPEC.params.checkpoint_votes]:
            chain.cast(ticket, snapshot=snapshot)
        chain.mine()
    chain.grow(OPENS + EVERY + 4)
    assert chain.state.checkpoint.height == 2 * EVERY
    return chain


@cache
def side():
    """A branch that leaves the chain just below its first checkpoint."""
    chain = Voters(SPEC)
    for block in voted().blocks[: EVERY - 1]:
        chain.connect(block)
    for _ in range(3):
        chain.mine(miner=MINERS[1])
    assert chain.blocks[EVERY - 1] != voted().blocks[EVERY - 1]
    return chain


def node(**changes):
    return Driven(7, spec=SPEC, **changes)


def hearing(*chains):
    driven = node()
    for chain in chains:
        driven.hear_chain(chain)
    return driven


@pytest.fixture(scope="module")
def heard():
    return hearing(voted())


@pytest.fixture(scope="module")
def unsettled():
    """A node that keeps everything in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeping, "settle", lambda self: False)
        driven = hearing(voted())
    assert driven.core.ledger.tree.root.state.height == 0
    return driven


class TestCheckpoint:
    def test_the_root_rises_with_it_and_memory_is_given_back(self, heard):
        tree = heard.core.ledger.tree
        assert tree.root.state.height == 2 * EVERY
        assert len(tree.branches()) == voted().height - 2 * EVERY + 1 + WINDOW
        assert snapshot_id(heard.core.state) == snapshot_id(voted().state)

    def test_the_state_there_is_stored_with_the_hashes_up_to_it(self, heard):
        stored = [effect for effect in heard.writes if isinstance(effect, effects.StoreSnapshot)]
        hashes = [block.hash for block in voted().blocks]
        assert [s.height for s in stored] == [EVERY, 2 * EVERY]
        assert [list(s.chain) for s in stored] == [hashes[:EVERY], hashes[EVERY : 2 * EVERY]]
        for snapshot in stored:
            assert decode(snapshot.body) == voted().state_at(snapshot.height)

    def test_old_blocks_are_where_they_were(self, heard):
        tree, blocks = heard.core.ledger.tree, voted().blocks
        for height, block in enumerate(blocks, start=1):
            assert tree.block_at(height) == block
            assert tree.hash_at(height) == block.hash
            assert tree.height_of(block.hash) == height
            assert heard.core.block(block.hash) == block
            assert heard.core.is_best(block.hash)
            assert block.hash in tree
        assert tree.hash_at(len(blocks) + 1) is None
        assert tree.get(blocks[0].hash) is tree.at_height(1) is None

    def test_remotes_are_served_from_genesis_on(self, heard, unsettled):
        trees = heard.core.ledger.tree, unsettled.core.ledger.tree
        assert [tree.locator()[-1] for tree in trees] == [tree.root.state.tip for tree in trees]
        for start in (0, 3, EVERY, 2 * EVERY, voted().height):
            after = [tree.after((tree.hash_at(start),), 100) for tree in trees]
            assert after[0] == after[1]
            assert len(after[0]) == voted().height - start
            names = [
                core.ledger.keeping.headers_after((trees[0].hash_at(start),), 100)
                for core in (heard.core, unsettled.core)
            ]
            assert list(names[0]) == list(names[1])
        blocks = voted().blocks
        assert [heard.core.ledger.keeping.encoded(b.hash) for b in blocks] == [b.encoded for b in blocks]

    def test_until_the_snapshot_is_durable_old_blocks_are_found_too(self):
        driven = node()
        for block in voted().blocks:
            driven.hear("block", block.encoded)
            tree = driven.core.ledger.tree
            assert [tree.block_at(h) for h in range(1, tree.state.height + 1)] == list(
                voted().blocks[: tree.state.height]
            )
        assert driven.writes == []
        assert len(driven.core.ledger.keeping.past._bodies) == 2 * EVERY
        driven.persist()
        assert driven.core.ledger.keeping.past._bodies == {}
        assert driven.core.ledger.tree.block_at(1) == voted().blocks[0]


class TestBranches:
    def test_one_from_below_a_checkpoint_leaves_memory_and_disk(self):
        driven = node()
        for block in voted().blocks[:EVERY]:
            driven.hear("block", block.encoded)
        for block in side().blocks[EVERY - 1 :]:
            assert driven.hear("block", block.encoded).verdict is Verdict.ACCEPT
        driven.hear_chain(voted())
        lost = [block.hash for block in side().blocks[EVERY - 1 :]]
        assert not any(name in driven.core.ledger.tree for name in lost)
        assert [name in driven.disk.blocks for name in lost] == [False] * 3
        assert snapshot_id(driven.core.state) == snapshot_id(voted().state)

    def test_one_that_forks_off_below_it_is_refused(self, heard):
        judge = heard.hear("block", side().blocks[EVERY - 1].encoded)
        assert (judge.verdict, judge.reason) == (
            Verdict.REJECT,
            "the block forks off below the last checkpoint",
        )

    def test_one_that_forks_off_within_the_last_window_too(self, heard):
        chain = Voters(SPEC)
        for block in voted().blocks[: 2 * EVERY - 1]:
            chain.connect(block)
        block = chain.mine(miner=MINERS[1])
        judge = heard.hear("block", block.encoded)
        assert (judge.verdict, judge.reason) == (
            Verdict.REJECT,
            "the block forks off below the last checkpoint",
        )

    def test_an_old_block_again_is_nothing_new(self, heard):
        for block in voted().blocks:
            assert heard.hear("block", block.encoded).verdict is Verdict.IGNORE
        assert heard.pending == {}


class TestRestart:
    def test_every_disk_that_a_crash_can_leave_is_a_life_to_go_on_from(self, heard):
        begun = []
        for count in range(len(heard.writes) + 1):
            again = node(writes=heard.writes[:count])
            begun.append(again.core.ledger.tree.root.state.height)
            again.hear_chain(voted())
            assert snapshot_id(again.core.state) == snapshot_id(voted().state)
            assert again.core.ledger.tree.root.state.height == 2 * EVERY
            assert again.core.ledger.tree.block_at(1) == voted().blocks[0]
        assert sorted(begun) == begun
        assert list(dict.fromkeys(begun)) == [0, EVERY, 2 * EVERY]

    def test_it_takes_only_what_lies_above(self, heard):
        started = heard.disk.started()
        assert len(started.blocks) == voted().height - 2 * EVERY
        assert decode(started.snapshot).height == 2 * EVERY

    def test_without_the_newest_snapshot_it_begins_at_the_one_before(self, heard):
        again = node(writes=heard.writes)
        del again.disk.snapshots[2 * EVERY]
        restarted = Driven(7, spec=SPEC, begin=False)
        restarted.core.ledger.keeping.past._archive = again.disk
        reaction = restarted.give(again.disk.started())
        (snapshot,) = of(reaction, effects.StoreSnapshot)
        assert snapshot.height == 2 * EVERY
        assert snapshot_id(restarted.core.state) == snapshot_id(voted().state)

    def test_a_snapshot_of_another_chain_is_refused(self, heard):
        other = Driven(7, begin=False)
        with pytest.raises(Exception, match="of another chain"):
            other.core.handle(heard.disk.started(), other.now_ms)


class TestLookingBack:
    def test_blocks_are_reported_as_if_all_were_in_memory(self, heard, unsettled):
        listed = [core.query("block.list", {"count": 100}) for core in (heard.core, unsettled.core)]
        assert listed[0] == listed[1]
        assert len(listed[0]) == voted().height
        assert any(block["approvals"] for block in listed[0])
        assert any(block["subsidy_paid"] for block in listed[0])
        for height in range(voted().height + 1):
            shown = [
                core.query("block.show", {"block": str(height)}) for core in (heard.core, unsettled.core)
            ]
            assert shown[0] == shown[1]

    @pytest.mark.parametrize("account", [1, MINERS[0]])
    def test_a_wallets_history_is_read_from_disk_too(self, account):
        """Of somebody who was paid and staked below the checkpoints."""
        driven = Driven(account, spec=SPEC)
        driven.hear_chain(voted())
        assert driven.core.ledger.tree.root.state.height == 2 * EVERY
        answer = driven.core.query("wallet.history", {"count": 10_000})
        assert answer["read"] == answer["height"] == voted().height
        owned = driven.core.query("wallet.balance", {})["total"]
        assert sum(entry["amount"] for entry in answer["entries"]) == owned
        assert len(answer["entries"]) > 1
        assert driven.core.query("wallet.history", {"count": 10_000}) == answer

    def test_the_subsidy_is_what_was_issued(self, heard):
        listed = heard.core.query("block.list", {"count": 100})
        issued = voted().state.issued - voted().state_at(0).issued
        assert sum(block["subsidy_paid"] for block in listed) == issued

    def test_blocks_are_found_by_the_beginning_of_their_hash(self, heard):
        for block in voted().blocks:
            digits = block.hash.hex()
            assert heard.core.query("block.show", {"block": digits[:12]})["hash"] == digits

    def test_tasks_are_reported_as_if_all_were_in_memory(self, heard, unsettled):
        task = heard.core.query("task.list", {})[0]["task"]
        for method in ("task.show", "task.progress", "dkg.transcript"):
            answers = [core.query(method, {"task": task}) for core in (heard.core, unsettled.core)]
            assert answers[0] == answers[1], method

    def test_the_ledger_after_any_block(self, heard):
        for height in (1, 5, 3, EVERY + 1, 2 * EVERY, voted().height):
            block = voted().blocks[height - 1].hash
            assert heard.core.ledger.keeping.state_after(block) == voted().state_at(height)

    def test_not_where_it_would_take_too_long(self, heard, monkeypatch):
        monkeypatch.setattr(keeping, "REPLAY_BLOCKS_MAX", 3)
        state_after, blocks = heard.core.ledger.keeping.state_after, voted().blocks
        assert state_after(blocks[2].hash).height == 3
        with pytest.raises(
            Unavailable, match="the ledger at block 4 is kept no longer; only those of the first"
        ):
            state_after(blocks[3].hash)
        with pytest.raises(Unavailable, match="not on this node's chain"):
            state_after(label("unknown"))

    def test_a_missing_block_is_said_to_be_missing(self, heard):
        again = node(writes=heard.writes)
        del again.disk.blocks[voted().blocks[1].hash]
        assert again.core.ledger.tree.block_at(2) is None
        assert again.core.ledger.tree.hash_at(2) == voted().blocks[1].hash
        assert len(again.core.query("block.list", {"count": 100})) == voted().height - 1
        with pytest.raises(Unavailable, match="damaged on this disk"):
            again.core.query("block.show", {"block": "2"})
        with pytest.raises(Unavailable, match="block 2 is damaged on this disk"):
            again.core.ledger.keeping.state_after(voted().blocks[4].hash)
        genesis = (voted().spec.id, again.core.ledger.tree.hash_at(0))
        assert len(list(again.core.ledger.keeping.headers_after(genesis, 10))) == 1
