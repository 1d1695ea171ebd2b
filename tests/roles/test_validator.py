"""Target: who is drawn votes once for a height, across restarts and reorganisations; two votes are shown."""

from dataclasses import replace

import pytest

from p2pai import events
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import Transaction
from p2pai.chain.votes import CheckpointVote, VoteEquivocation
from p2pai.gossip.envelope import seal
from p2pai.gossip.topics import Topic
from p2pai.node import journal
from p2pai.primitives.ids import PeerId
from p2pai.roles import validator
from p2pai.roles.validator import CheckpointVoted
from tests.chain.ledger import label
from tests.chain.voters import EVERY, OPENS, branches, opened
from tests.roles.lone import Lone

WATCHER = 7
"""An account that owns no ticket."""


@pytest.fixture
def chain():
    return opened().fork()


def drawn(chain):
    """Return a validator's ticket and its owner's account."""
    ticket = chain.voting.validators[0]
    return ticket, chain.account(ticket)


def votes_of(lone):
    return [tx.data for tx in lone.posted(CheckpointVote)]


def noted(lone):
    entries = [journal.read(data) for data in lone.disk.journal]
    return [entry.vote for entry in entries if isinstance(entry, CheckpointVoted)]


def other_branch(chain):
    """Return a heavier chain with another block at the candidate's height, and a ticket drawn on both."""
    for fork in branches(chain):
        both = [ticket for ticket in fork.voting.validators if ticket in chain.voting.validators]
        if both and fork.blocks[EVERY - 1] != chain.blocks[EVERY - 1]:
            fork.grow(OPENS + 1)
            return fork, both[0]
    raise AssertionError("no ticket is drawn on two branches")


class TestVoting:
    def test_who_is_drawn_votes_for_the_block_and_its_state(self, chain):
        ticket, account = drawn(chain)
        lone = Lone(chain, account, ("peer",))
        (vote,) = votes_of(lone)
        assert (vote.ticket, vote.height, vote.block) == (ticket, EVERY, chain.blocks[EVERY - 1].hash)
        assert vote.snapshot == snapshot_id(chain.state_at(EVERY))
        assert noted(lone) == [vote]

    def test_the_vote_counts(self, chain):
        ticket, account = drawn(chain)
        lone = Lone(chain, account, ("peer",))
        for tx in lone.posted(CheckpointVote):
            chain.add(tx)
        assert [v.ticket for v in chain.voting.votes] == [ticket]

    def test_who_is_not_drawn_says_nothing(self, chain):
        assert votes_of(Lone(chain, WATCHER, ("peer",))) == []

    def test_nobody_votes_before_the_time(self, chain):
        ticket, account = drawn(chain)
        early = type(chain)(chain.spec)
        for block in chain.blocks[: OPENS - 1]:
            early.connect(block)
        lone = Lone(early, account, ("peer",))
        assert votes_of(lone) == []
        early.connect(chain.blocks[OPENS - 1])
        hear(lone, "block", chain.blocks[OPENS - 1].encoded)
        assert [vote.ticket for vote in votes_of(lone)] == [ticket]

    def test_nothing_is_said_before_it_is_written(self, chain):
        _, account = drawn(chain)
        lone = Lone(chain, account, ("peer",), hold_disk=True)
        assert votes_of(lone) == []
        kinds = [type(journal.read(effect.record)) for effect in lone.writing]
        assert kinds.index(CheckpointVoted) < kinds.index(journal.TransactionPosted)
        lone.write()
        assert len(votes_of(lone)) == 1

    def test_a_restart_says_the_same_again(self, chain):
        _, account = drawn(chain)
        lone = Lone(chain, account, ("peer",))
        again = lone.again()
        assert set(votes_of(again)) == set(votes_of(lone))

    def test_in_another_draw_too(self, chain):
        ticket, account = drawn(chain)
        first = votes_of(Lone(chain, account, ("peer",)))
        chain.state = chain.pool = chain.state_at(chain.height)
        while True:
            chain.grow(chain.height + 1)
            if not chain.voting.votes and ticket in chain.voting.validators and chain.height > OPENS:
                break
        lone = Lone(chain, account, ("peer",))
        assert votes_of(lone) == first

    def test_another_block_at_that_height_gets_no_vote(self, chain):
        """Before the restart we voted on a chain that is not the best one any more."""
        fork, ticket = other_branch(chain)
        lone = Lone(chain, chain.account(ticket), ("peer",))
        (vote,) = votes_of(lone)
        for block in fork.blocks[EVERY - 1 :]:
            hear(lone, "block", block.encoded)
        assert lone.core.state.tip == fork.state.tip
        assert ticket in lone.core.state.voting.validators
        assert votes_of(lone) == [vote]
        again = lone.again()
        assert again.core.state.tip == fork.state.tip
        assert {v.block for v in votes_of(again)} <= {vote.block}
        fresh = Lone(fork, chain.account(ticket), ("peer",))
        assert [v.block for v in votes_of(fresh)] == [fork.blocks[EVERY - 1].hash], "it would have voted"

    def test_a_certified_block_needs_no_more(self, chain):
        for ticket in chain.voting.validators[1:]:
            chain.cast(ticket)
        chain.mine()
        assert chain.state.checkpoint.height == EVERY
        assert votes_of(Lone(chain, drawn(chain)[1], ("peer",))) == []


def hear(lone, name, body):
    topic = str(Topic(lone.chain.spec.short_id, None, name))
    return lone.give(events.Received(PeerId("n9"), topic, seal(b"\7" * 32, topic, 1, body)))


class TestEvidence:
    def say(self, chain, lone, ticket, **changes):
        """Let the node hear a vote in a transaction."""
        tx = chain.fund(chain.account(ticket), chain.vote(ticket, **changes))
        hear(lone, "tx", tx.encoded)

    def accused(self, lone):
        if "evidence" in lone.timers:
            lone.fire("evidence")
        return [tx.data for tx in lone.posted(VoteEquivocation)]

    def test_two_votes_are_shown_once(self, chain):
        ticket, _ = drawn(chain)
        lone = Lone(chain, WATCHER, ("peer",))
        self.say(chain, lone, ticket)
        assert self.accused(lone) == []
        self.say(chain, lone, ticket, block=label("fork"))
        (evidence,) = self.accused(lone)
        assert evidence.first.ticket == ticket
        self.say(chain, lone, ticket, block=label("a third"))
        assert len(self.accused(lone)) == 1
        (tx,) = lone.posted(VoteEquivocation)
        chain.add(Transaction.decode(tx.encoded))
        assert ticket not in chain.pool.utxos

    def test_a_vote_said_again_is_none(self, chain):
        ticket, _ = drawn(chain)
        lone = Lone(chain, WATCHER, ("peer",))
        for _ in range(2):
            self.say(chain, lone, ticket)
        assert self.accused(lone) == []

    def test_votes_of_different_heights_are_none(self, chain):
        ticket, _ = drawn(chain)
        chain.grow(2 * EVERY)
        lone = Lone(chain, WATCHER, ("peer",))
        self.say(chain, lone, ticket)
        self.say(chain, lone, ticket, height=2 * EVERY, block=label("fork"))
        assert self.accused(lone) == []

    @pytest.mark.parametrize("changes", [{"height": EVERY * 99}, {"height": EVERY + 1}])
    def test_heights_that_nobody_votes_on_take_no_memory(self, chain, changes):
        ticket, _ = drawn(chain)
        lone = Lone(chain, WATCHER, ("peer",))
        self.say(chain, lone, ticket, **changes)
        self.say(chain, lone, ticket, block=label("fork"), **changes)
        assert self.accused(lone) == []

    def test_a_forged_vote_is_none(self, chain):
        ticket, _ = drawn(chain)
        lone = Lone(chain, WATCHER, ("peer",))
        self.say(chain, lone, ticket)
        forged = replace(chain.vote(ticket), block=label("fork"))
        hear(lone, "tx", chain.fund(8, forged).encoded)
        assert self.accused(lone) == []

    def test_on_two_branches(self, chain):
        fork, ticket = other_branch(chain)
        for branch in (chain, fork):
            branch.cast(ticket)
            branch.mine()
        lone = Lone(chain, WATCHER, ("peer",))
        for block in fork.blocks[EVERY - 1 :]:
            hear(lone, "block", block.encoded)
        (evidence,) = self.accused(lone)
        blocks = {evidence.first.block, evidence.second.block}
        assert blocks == {chain.blocks[EVERY - 1].hash, fork.blocks[EVERY - 1].hash}

    def test_memory_is_bounded(self, chain, monkeypatch):
        monkeypatch.setattr(validator, "SEEN_MAX", 3)
        tickets = sorted(chain.state.tickets)[:5]
        lone = Lone(chain, WATCHER, ("peer",))
        for ticket in tickets:
            self.say(chain, lone, ticket)
        self.say(chain, lone, tickets[0], block=label("fork"))
        assert self.accused(lone) == []
        self.say(chain, lone, tickets[4], block=label("fork"))
        assert [evidence.first.ticket for evidence in self.accused(lone)] == [tickets[4]]
