"""Target: a supervisor records the tasks it sits on, while they train, and remembers what it signed."""

from dataclasses import replace

import pytest

from p2pai.chain.state import Stage
from p2pai.chain.transaction import BuyTickets, JoinTask
from p2pai.effects import Verdict
from p2pai.gossip.topics import Topic
from p2pai.primitives.ids import TaskId
from p2pai.roles.slots import RecordBegun, SlotRecorded, SlotSigned
from tests.chain.assembly import Assembly
from tests.chain.ledger import CLIENT, FRAGMENTS, MINERS, SUPERVISORS, Chain, label
from tests.roles.lone import Lone, certified, iteration, miners_of, statement_of, supervisors_of
from tests.roles.seats import Seats


@pytest.fixture
def chain():
    return Chain()


def supervisor(chain, account=SUPERVISORS[0], **changes):
    return Lone(chain, account, ("supervisor",), **changes)


def who(chain, task=None):
    return Seats(chain, task or chain.predefined)


class TestSeats:
    def test_it_sits_on_the_task_that_it_was_drawn_for(self, chain):
        lone = supervisor(chain)
        assert list(lone.role()._recorders) == [chain.predefined]
        names = ("it_res", "message_history", "model")
        for name in names:
            assert str(Topic(chain.spec.short_id, chain.predefined, name)) in lone.topics
        assert lone.parts == [(chain.predefined, "supervisor")]

    def test_without_a_seat_there_is_no_record(self, chain):
        lone = supervisor(chain, account=7)
        assert lone.role()._recorders == {}
        assert lone.parts == []
        said = who(chain).proposal(0, iteration(chain, MINERS[0], 0))
        assert lone.hear_said(said, SUPERVISORS[0]).verdict is Verdict.IGNORE

    def test_two_tasks_are_recorded_side_by_side(self, chain):
        task = chain.start()
        lone = supervisor(chain, supervisors_of(chain, task)[0])
        assert sorted(lone.role()._recorders) == sorted([chain.predefined, task])
        lone.hear_iteration(iteration(chain, MINERS[0], 0, task), task)
        lone.wait(2 * chain.params.slot_ms)
        assert lone.take_said() == [who(chain, task).opening(0, iteration(chain, MINERS[0], 0, task))]

    def test_a_seat_ends_with_the_training(self, chain):
        task = chain.start()
        lone = supervisor(chain)
        chain.end_training(task)
        lone.connect(chain.blocks[-1])
        assert chain.task(task).stage is Stage.EVALUATING
        assert list(lone.role()._recorders) == [chain.predefined]

    def test_it_gets_the_data_of_a_clients_task_from_the_client(self, chain):
        known = chain.task(chain.start())
        lone = supervisor(chain)
        wanted = [f for f in lone.fetches if f in FRAGMENTS]
        assert len(wanted) == known.definition.training_fragment_count
        assert all(lone.fetches[f][0] == "client" for f in wanted)

    def test_it_buys_a_ticket_and_applies(self, chain):
        task = chain.submit()
        lone = supervisor(chain)
        (tx,) = lone.posted(JoinTask)
        assert tx.data.task == task
        lone.hand_over()
        lone.mine()
        assert len(lone.posted(BuyTickets)) == 1, "the free one is taken"

    def test_what_is_no_talk_of_the_committee_is_ignored(self, chain):
        role = supervisor(chain).role()
        assert role.said("heartbeat", chain.predefined, b"", b"") is Verdict.IGNORE
        assert role.said("message_history", TaskId(label("other")), b"", b"") is Verdict.IGNORE


class TestAnotherKey:
    """On another branch a task's supervisors made another key: what they certified here is nothing there."""

    def branches(self, *, longer):
        """Return two branches, of the same task, miners and definition block; on the first it trains."""
        chain = Assembly.called(4)
        other = chain.fork()
        other.task_id = chain.task_id
        chain.make_key(chain.task_id)
        chain.mine()
        for _ in range(longer):
            chain.mine()
        liar, victim, *_ = other.members
        other.say(victim, other.deal(other.task_id, victim))
        other.say(liar, other.accuse(liar, victim))
        other.mine()
        return chain, other

    def recorded(self, chain):
        """A supervisor, of both branches, with a slot and a promise for the next one."""
        task, us = chain.task_id, chain.account(chain.now.supervisors[3])
        everyone = tuple(chain.account(t) for t in chain.now.supervisors)
        lone = supervisor(chain, us)
        miner = miners_of(chain, task)[0]
        said = [iteration(chain, miner, n, task) for n in range(2)]
        for data in said:
            lone.hear_iteration(data, task)
        lone.hear_said(certified(chain, 0, said[:1], task, everyone), everyone[0], task)
        role = lone.role()
        assert list(role.recorded[task]) == [0]
        promise = SlotSigned(task, 0, 0, 1, None, None)
        role.sign(promise, lambda: None)
        role.keep(SlotRecorded(role.recorded[task][0], (said[0],)))
        for effect in lone.core.take_effects():
            lone._perform(effect)
        assert role.signed[task] == promise
        assert role.final[task]
        return lone

    @pytest.mark.parametrize("longer", [0, 1], ids=["while it is made", "once it is made"])
    def test_nothing_of_the_old_record_is_kept(self, longer):
        chain, other = self.branches(longer=longer)
        lone, task = self.recorded(chain), chain.task_id
        recorder = lone.role()._recorders[task]
        other.make_key(task)
        while other.height <= chain.height or other.now.stage is Stage.KEYING:
            other.mine()
        for block in other.blocks:
            lone.hear("block", block.encoded)
        there = lone.core.state.tasks[task]
        assert (there.stage, there.miners) == (Stage.TRAINING, chain.now.miners)
        assert there.definition_block == chain.now.definition_block
        assert there.committee.key != chain.now.committee.key
        self.check_blank(lone, task)
        assert lone.role()._recorders[task] is not recorder
        assert lone.records(RecordBegun)[-1] == RecordBegun(task, there.committee.key)
        again = lone.again()
        self.check_blank(again, task)
        begun = len(again.records(RecordBegun))
        again.connect(other.mine())
        assert len(again.records(RecordBegun)) == begun, "the record goes on"
        # The first slot is the first one again, under the new key alone.
        miner = miners_of(other, task)[0]
        data = iteration(other, miner, 0, task)
        again.hear_iteration(data, task)
        everyone = tuple(other.account(t) for t in other.now.supervisors)
        old = certified(chain, 0, [data], task, tuple(range(1, 5)))
        assert again.hear_said(old, everyone[0], task).verdict is Verdict.REJECT
        again.hear_said(certified(other, 0, [data], task, everyone), everyone[0], task)
        assert list(again.role().recorded[task]) == [0]

    def check_blank(self, lone, task):
        role, history = lone.role(), lone.core.following[task].history
        assert (task in role.signed, role.recorded.get(task), task in role.final) == (False, {}, False)
        assert (history.slots, history.next_slot) == ({}, 0)

    def test_a_key_that_is_shared_anew_leaves_the_record(self):
        chain = Assembly.training(4)
        lone, task = self.recorded(chain), chain.task_id
        slots = dict(lone.role().recorded[task])
        key = chain.now.committee.key
        chain.post(CLIENT, chain.equivocate(chain.now.supervisors[0]))
        lone.mine()
        chain.make_key(task)
        lone.mine()
        assert (chain.now.committee.renewed, chain.now.committee.key) == (True, key)
        assert lone.role().recorded[task] == slots
        assert len([r for r in lone.records(RecordBegun) if r.task == task]) == 1
        assert lone.again().role().recorded[task] == slots


class TestJournal:
    MESSAGE_COUNT = 3

    def signed(self, chain):
        """A follower that prepared slot 0."""
        leader, account, _ = supervisors_of(chain)
        lone = supervisor(chain, account)
        messages = [iteration(chain, MINERS[0], n) for n in range(self.MESSAGE_COUNT)]
        for data in messages:
            lone.hear_iteration(data)
        lone.hear_said(who(chain).proposal(0, *messages), leader)
        return lone, messages

    def test_what_was_promised_is_remembered(self, chain):
        lone, messages = self.signed(chain)
        proposal = replace(who(chain).proposal(0, *messages), ballots=())
        entry = SlotSigned(chain.predefined, 0, 0, 0, proposal, None)
        assert lone.role().signed == {chain.predefined: entry}
        assert lone.again().role().signed == lone.role().signed

    def test_records_are_taken_back_oldest_first(self, chain):
        _, messages = self.signed(chain)
        slot = certified(chain, 0, messages)
        role = Lone(chain, 7, ("supervisor",)).role()
        entry = SlotSigned(chain.predefined, 0, 0, 0, None, None)
        following = replace(entry, slot=1)
        for record in (entry, SlotRecorded(slot, (messages[-1],)), following):
            role.restore(record)
        assert role.recorded == {chain.predefined: {0: slot}}
        assert role.final == {chain.predefined: (messages[-1],)}
        assert role.signed == {chain.predefined: following}

    def test_a_note_that_never_reached_the_disk_was_never_said(self, chain):
        leader, account, _ = supervisors_of(chain)
        lone = supervisor(chain, account)
        lone.hold_disk = True
        one, other = (iteration(chain, MINERS[0], 0, finished_s=n) for n in range(2))
        lone.hear_iteration(one)
        lone.hear_said(who(chain).proposal(0, one), leader)
        lone.wait(4_000)
        assert lone.take_said() == []
        again = lone.again()
        assert again.role().signed == {}
        again.hear_iteration(other)
        again.hear_said(who(chain).proposal(0, other), leader)
        (vote,) = again.take_said()
        assert vote.statement.slot == statement_of(chain, 0, [other]), "the first was no promise"

    def test_the_last_message_of_a_miner_is_kept_for_the_registration(self, chain):
        task = chain.start(epochs=1)
        lone, miner = supervisor(chain), miners_of(chain, task)[0]
        messages = [iteration(chain, miner, n, task) for n in (12, 13, 14)]
        for data in messages:
            lone.hear_iteration(data, task)
        lone.hear_said(certified(chain, 0, messages, task), SUPERVISORS[0], task)
        assert lone.role().final[task] == (messages[2],), "of its fifteen iterations"
        (latest,) = lone.again().core.following[task].history.latest.values()
        assert latest.encode() == messages[2]
