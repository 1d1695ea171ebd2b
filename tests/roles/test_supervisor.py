"""Target: a supervisor records the tasks it sits on, while they train, and remembers what it signed."""

from dataclasses import replace

import pytest

from p2pai.chain.state import Stage
from p2pai.chain.transaction import BuyTickets, JoinTask
from p2pai.effects import Verdict
from p2pai.gossip.topics import Topic
from p2pai.primitives.ids import TaskId
from p2pai.roles.slots import SlotRecorded, SlotSigned
from tests.chain.ledger import FRAGMENTS, MINERS, SUPERVISORS, Chain, label
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

    def test_without_a_seat_there_is_no_record(self, chain):
        lone = supervisor(chain, account=7)
        assert lone.role()._recorders == {}
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
