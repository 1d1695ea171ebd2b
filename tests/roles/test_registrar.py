"""Target: what is registered on chain is what all recorded; training ends with models that were earned."""

from dataclasses import dataclass, field, replace

import pytest

from p2pai import jobs
from p2pai.chain import committee, it_res, schedule
from p2pai.chain.committee import HistoryStatement, MalformedStatement, StatusStatement
from p2pai.chain.it_res import EndState
from p2pai.chain.params import SLOTS_PER_TERM
from p2pai.chain.state import Stage
from p2pai.chain.supervision import MessageHistory, NodeStatus, ReportMalformed
from p2pai.effects import Verdict
from p2pai.primitives import blob, ecdsa, record
from p2pai.primitives.ids import BlobId
from p2pai.roles.history import ModelAnnouncement
from p2pai.roles.registrar import ABSENT_MS, REGISTER_EVERY_BLOCKS
from p2pai.roles.slots import FinalModels, HistoryProposal, Share, ViewChange, models_blob
from p2pai.roles.views import timeout_ms
from tests.chain.ledger import MINERS, Chain, flip, keys, label
from tests.roles.lone import EMPTY_MAP, Lone, certified, iteration, miners_of
from tests.roles.seats import Seats


@dataclass
class Task:
    """A task of one epoch in training, two of its supervisors, and what its miners end with."""

    chain: Chain = field(default_factory=Chain)
    epochs: int = 1

    def __post_init__(self):
        self.id = self.chain.start(epochs=self.epochs, expected_blocks=50)
        self.who = Seats(self.chain, self.id)
        self.accounts = self.who.accounts
        self.leader = Lone(self.chain, self.accounts[0], ("supervisor",))
        self.follower = Lone(self.chain, self.accounts[1], ("supervisor",))
        self.nodes = (self.leader, self.follower)
        known = self.chain.task(self.id)
        self.miners = miners_of(self.chain, self.id)
        plan = schedule.make_schedule(known.definition, known.definition_block)
        self.last = [plan.iterations(rank, known.miners) - 1 for rank in range(len(self.miners))]
        self.next_slot = 0

    def weights(self, rank):
        return (b"weights of %d" % rank,)

    def end(self, rank):
        ids = (blob.blob_id(self.weights(rank)), BlobId(label("residual", rank)), blob.blob_id_of(b""))
        return EndState(*ids, label("witness", rank))

    def last_message(self, rank, **changes):
        earned = it_res.nonce(it_res.precursor(self.end(rank), EMPTY_MAP))
        return iteration(self.chain, self.miners[rank], self.last[rank], self.id, nonce=earned, **changes)

    def announcement(self, rank, **changes):
        account = self.miners[rank]
        ticket = self.chain.tickets("miner", account, task=self.id)[0]
        model = ModelAnnouncement(self.id, ticket, self.last[rank], self.end(rank), b"")
        model = replace(model, **changes)
        return replace(model, signature=ecdsa.sign(keys(account).spending, model.digest))

    def record(self, *messages, nodes=None):
        """Let nodes hear a slot with its messages."""
        slot = certified(self.chain, self.next_slot, messages, self.id)
        for node in nodes or self.nodes:
            for data in messages:
                node.hear_iteration(data, self.id)
            node.hear_said(slot, self.accounts[2], self.id)
        self.next_slot += 1
        return slot

    def announce(self, *models, nodes=None):
        for node in nodes or self.nodes:
            for model in models:
                node.hear("model", record.encode(model), task=self.id)

    def hold(self, ranks=(0, 1, 2), nodes=None):
        """Let nodes get the models' weights, as soon as they ask."""
        for node in nodes or self.nodes:
            node.wait(self.chain.params.slot_ms)
            for rank in ranks:
                node.fetched(self.end(rank).weights, self.weights(rank))

    def finish(self, ranks=(0, 1, 2), **changes):
        """Let miners of some ranks end their training and everybody hear of it."""
        self.record(*(self.last_message(rank, **changes) for rank in ranks))
        self.announce(*(self.announcement(rank) for rank in ranks))
        self.hold(ranks)

    def leave(self, rank):
        """Let the ledger say that a miner works no more in the second epoch."""
        lost = self.chain.task(self.id).miners[rank]
        certificate = self.who.certify(StatusStatement(self.id, lost, 2))
        self.chain.post(self.accounts[1], NodeStatus(self.id, lost, 2, certificate))
        self.mine()
        known = self.chain.task(self.id)
        plan = schedule.make_schedule(known.definition, known.definition_block)
        self.last = [known.roster.iterations(plan, ticket) - 1 for ticket in known.miners]

    def mine(self, count=1):
        for _ in range(count):
            block = self.chain.mine()
            for node in self.nodes:
                node.connect(block)

    def proposals(self, delay_ms=None):
        """Return what the leader proposes to register, soon."""
        self.leader.wait(delay_ms or self.chain.params.slot_ms)
        return [s for s in self.leader.take_said() if isinstance(s, HistoryProposal)]

    def answer(self, proposal, sender=None):
        """Return what the follower says to a proposal, and its judgement."""
        self.follower.take_said()
        judged = self.follower.hear_said(proposal, self.accounts[0] if sender is None else sender, self.id)
        return judged, [s for s in self.follower.take_said() if isinstance(s, Share)]

    def answer_of(self, node, proposal, sender):
        """Return a node's votes for a proposal."""
        node.take_said()
        node.hear_said(proposal, sender, self.id)
        return [s for s in node.take_said() if isinstance(s, Share)]

    def proposal(self, first, last, root, models=()):
        """A proposal of the test's making."""
        named = models_blob(models) if models else None
        return HistoryProposal(HistoryStatement(self.id, first, last, root, named), models)

    def root(self, *slots):
        return committee.history_root([slot.statement.root for slot in slots])

    def vote(self, account, statement):
        return self.who.share(account, statement)


@pytest.fixture
def task():
    return Task()


def message(task, number, rank=0):
    return iteration(task.chain, task.miners[rank], number, task.id)


class TestWhileTrainingGoesOn:
    def slots(self, task, count=3):
        return [task.record(message(task, n)) for n in range(count)]

    def test_slots_are_registered_every_few_blocks(self, task):
        slots = self.slots(task)
        task.mine(REGISTER_EVERY_BLOCKS - 1)
        assert task.proposals() == []
        task.mine()
        (said,) = task.proposals()
        # The last slot is left for the registration that ends the training.
        assert said == task.proposal(0, 1, task.root(*slots[:2]))

    def test_one_slot_alone_is_left_for_the_end(self, task):
        self.slots(task, 1)
        task.mine(REGISTER_EVERY_BLOCKS)
        assert task.proposals() == []

    def test_who_recorded_the_same_signs(self, task):
        self.slots(task)
        task.mine(REGISTER_EVERY_BLOCKS)
        (said,) = task.proposals()
        judged, votes = task.answer(said)
        assert judged.verdict is Verdict.ACCEPT
        assert votes == [task.vote(task.accounts[1], said.statement)]

    def test_a_quorum_of_votes_makes_the_transaction_that_the_ledger_takes(self, task):
        self.slots(task)
        task.mine(REGISTER_EVERY_BLOCKS)
        (said,) = task.proposals()
        assert task.leader.posted(MessageHistory) == []
        _, (vote,) = task.answer(said)
        task.leader.hear_said(vote, task.accounts[1], task.id)
        (tx,) = task.leader.posted(MessageHistory)
        task.leader.hand_over()
        assert task.chain.task(task.id).slots == 2
        assert tx.data.signature == task.who.certify(said.statement), "whoever signed, it is the same"
        assert task.proposals(5_000) == [], "it is not registered again"
        task.mine(REGISTER_EVERY_BLOCKS)
        task.record(message(task, 3))
        (following,) = task.proposals()
        assert (following.statement.first, following.statement.last) == (2, 2)

    def test_a_proposal_without_a_quorum_is_repeated(self, task):
        self.slots(task)
        task.mine(REGISTER_EVERY_BLOCKS)
        (said,) = task.proposals()
        task.record(message(task, 3))
        repeated = task.proposals(3_000)
        assert len(repeated) >= 2
        assert all(again == said for again in repeated), "the same, so that votes for it still count"

    def test_a_proposal_is_dropped_when_the_ledger_overtakes_it(self, task):
        self.slots(task)
        task.mine(REGISTER_EVERY_BLOCKS)
        (said,) = task.proposals()
        task.chain.post(task.accounts[1], task.chain.history(task.id, 0, 1))
        task.mine()
        late = task.leader.hear_said(task.vote(task.accounts[1], said.statement), task.accounts[1], task.id)
        assert late.verdict is Verdict.ACCEPT
        assert task.leader.posted(MessageHistory) == []

    def test_forged_and_foreign_votes_do_not_count(self, task):
        self.slots(task)
        task.mine(REGISTER_EVERY_BLOCKS)
        (said,) = task.proposals()
        vote = task.vote(task.accounts[1], said.statement)
        other = task.vote(task.accounts[1], replace(said.statement, last=0))
        forged = replace(vote, signature=flip(vote.signature, 50))
        assert task.leader.hear_said(forged, task.accounts[1], task.id).verdict is Verdict.REJECT
        for member in (0, 3, 4):
            taken = replace(vote, member=member)
            assert task.leader.hear_said(taken, task.accounts[1], task.id).verdict is Verdict.REJECT
        assert task.leader.hear_said(vote, MINERS[0], task.id).verdict is Verdict.IGNORE
        task.leader.hear_said(other, task.accounts[1], task.id)
        assert task.leader.posted(MessageHistory) == []

    @pytest.mark.parametrize(
        ("first", "last", "verdict"),
        [
            (0, 0, Verdict.IGNORE),  # another root than that of slot 0
            (0, 5, Verdict.IGNORE),  # slots that are not known here
            (1, 2, Verdict.IGNORE),  # a gap
            (0, 1024, Verdict.REJECT),
            (0, 63, Verdict.IGNORE),
        ],
    )
    def test_what_was_recorded_otherwise_is_not_signed(self, task, first, last, verdict):
        slots = self.slots(task)
        root = task.root(*slots[1:2])
        sender = task.accounts[(last + 1) // 64 % 3]
        judged, votes = task.answer(task.proposal(first, last, root), sender)
        assert judged.verdict is verdict
        assert votes == []

    def test_a_root_in_another_order_is_not_signed(self, task):
        slots = self.slots(task)
        judged, votes = task.answer(task.proposal(0, 1, task.root(slots[1], slots[0])))
        assert (judged.verdict, votes) == (Verdict.IGNORE, [])
        assert len(task.answer(task.proposal(0, 1, task.root(*slots[:2])))[1]) == 1

    def test_only_the_leaders_proposal_is_signed(self, task):
        slots = self.slots(task)
        judged, votes = task.answer(task.proposal(0, 1, task.root(*slots[:2])), task.accounts[2])
        assert (judged.verdict, votes) == (Verdict.IGNORE, [])

    def test_a_leader_whose_term_just_began_is_answered(self):
        task = Task(epochs=2)
        task.leader = Lone(task.chain, task.accounts[1], ("supervisor",))
        task.follower = Lone(task.chain, task.accounts[2], ("supervisor",))
        task.nodes = (task.leader, task.follower)
        for number in range(SLOTS_PER_TERM):
            task.record(message(task, number // 3, rank=number % 3))
        task.mine(REGISTER_EVERY_BLOCKS)
        (said,) = task.proposals()
        task.mine()
        assert len(task.answer(said, task.accounts[1])[1]) == 1


class TestALeaderThatDoesNotRegister:
    def test_is_given_up(self, task):
        for number in range(3):
            task.record(message(task, number))
        task.mine(REGISTER_EVERY_BLOCKS)
        task.follower.take_said()
        task.follower.wait(timeout_ms(task.chain.params.slot_ms, 0) - 1_000)
        assert task.follower.take_said() == []
        task.follower.wait(2_000)
        change = task.follower.take_said()[0]
        assert isinstance(change, ViewChange)
        assert (change.report.slot, change.report.view) == (3, 1)

    def test_is_kept_when_it_does(self, task):
        for number in range(3):
            task.record(message(task, number))
        task.mine(REGISTER_EVERY_BLOCKS)
        task.follower.wait(2_000)
        task.chain.post(task.accounts[0], task.chain.history(task.id, 0, 1))
        task.mine()
        task.follower.take_said()
        task.follower.wait(2 * timeout_ms(task.chain.params.slot_ms, 0))
        assert task.follower.take_said() == []

    def test_the_next_one_does(self, task):
        for number in range(3):
            task.record(message(task, number))
        task.mine(REGISTER_EVERY_BLOCKS)
        task.follower.wait(timeout_ms(task.chain.params.slot_ms, 0) + 1_000)
        task.follower.take_said()
        before = certified(task.chain, 2, [message(task, 2)], task.id)
        task.follower.hear_said(
            task.who.change(task.accounts[2], 3, before=before), task.accounts[2], task.id
        )
        task.follower.wait(task.chain.params.slot_ms)
        (said,) = [s for s in task.follower.take_said() if isinstance(s, HistoryProposal)]
        assert (said.statement.first, said.statement.last) == (0, 1)
        assert len(task.answer_of(task.leader, said, task.accounts[1])) == 1


class TestMalformedData:
    def shares(self, node):
        return [s for s in node.take_said() if isinstance(s, Share)]

    def find(self, node, task, fragment=3):
        node.role()._recorders[task.id].report_malformed(fragment)
        node.wait(1_000)

    def test_who_finds_it_says_so_again_and_again(self, task):
        self.find(task.follower, task)
        task.follower.wait(3_000)
        said = self.shares(task.follower)
        assert len(said) >= 3
        assert dict.fromkeys(said) == {task.vote(task.accounts[1], MalformedStatement(task.id, 3)): None}

    def test_who_looks_into_the_data_finds_it(self, task):
        fragments = task.chain.task(task.id).definition.dataset.fragments
        for name in [f for f in task.follower.fetches if f in fragments]:
            task.follower.fetched_large(name)
        (job,) = [e for e in task.follower.jobs if isinstance(e.job, jobs.Inspect)]
        wrong = job.job.fragments[1]
        task.follower.take_said()
        found = jobs.Inspected(wrong, "a label is too large")
        task.follower.trained(found, task.follower.jobs.index(job))
        statement = MalformedStatement(task.id, fragments.index(wrong))
        assert self.shares(task.follower) == [task.vote(task.accounts[1], statement)]

    def test_the_leader_reports_what_a_quorum_found(self, task):
        known = task.chain.task(task.id)
        first = schedule.make_schedule(known.definition, known.definition_block).training[0]
        revealed = known.definition.dataset.fragments.index(first)
        self.find(task.leader, task, revealed)
        assert task.leader.posted(ReportMalformed) == []
        statement = MalformedStatement(task.id, revealed)
        task.leader.hear_said(task.vote(task.accounts[2], statement), task.accounts[2], task.id)
        (tx,) = task.leader.posted(ReportMalformed)
        assert tx.data == ReportMalformed(task.id, revealed, task.who.certify(statement))
        task.leader.hand_over()
        task.mine()
        assert task.chain.task(task.id).conclusion.is_malformed

    def test_other_fragments_and_forged_shares_do_not_count(self, task):
        self.find(task.leader, task)
        other = task.vote(task.accounts[2], MalformedStatement(task.id, 4))
        assert task.leader.hear_said(other, task.accounts[2], task.id).verdict is Verdict.ACCEPT
        none = task.vote(task.accounts[2], MalformedStatement(task.id, 999))
        assert task.leader.hear_said(none, task.accounts[2], task.id).verdict is Verdict.REJECT
        forged = replace(other, statement=MalformedStatement(task.id, 3))
        assert task.leader.hear_said(forged, task.accounts[2], task.id).verdict is Verdict.REJECT
        assert task.leader.posted(ReportMalformed) == []


class TestTheEnd:
    def test_training_ends_with_every_miners_model(self, task):
        task.finish()
        (said,) = task.proposals()
        assert said.models == tuple(task.announcement(rank) for rank in range(3))
        _, (vote,) = task.answer(said)
        task.leader.hear_said(vote, task.accounts[1], task.id)
        assert len(task.leader.posted(MessageHistory)) == 1
        task.leader.hand_over()
        known = task.chain.task(task.id)
        assert (known.stage, known.models) == (Stage.EVALUATING, models_blob(said.models))

    def test_everyone_who_signs_keeps_the_list_of_models(self, task):
        task.finish()
        (said,) = task.proposals()
        _, (vote,) = task.answer(said)
        task.leader.hear_said(vote, task.accounts[1], task.id)
        for node in task.nodes:
            assert models_blob(said.models) in node.blobs.shared
            assert node.blobs.get(models_blob(said.models)) == (record.encode(FinalModels(said.models)),)

    def test_it_does_not_end_before_all_have_announced(self, task):
        task.finish(ranks=(0, 1))
        assert task.proposals() == []
        judged, votes = task.answer(self.last_proposal(task, ranks=(0, 1)))
        assert (judged.verdict, votes) == (Verdict.IGNORE, [])

    def test_it_ends_without_those_who_are_long_silent(self, task):
        task.finish(ranks=(0, 2))
        for node in task.nodes:
            node.wait(ABSENT_MS)
        (said, *_) = task.proposals(2_000)
        assert said.models == (task.announcement(0), task.announcement(2))
        _, votes = task.answer(said)
        assert len(votes) == 1

    @pytest.mark.parametrize("late", [False, True])
    def test_it_ends_without_those_who_left(self, late):
        task = Task(epochs=2)
        last = task.last[0]
        task.leave(1)
        if late:  # past the epoch when it heard of it, it ended where it would have ended before
            task.last[0] = last
        task.finish(ranks=(0, 2), epoch=2)
        (said,) = task.proposals()
        assert said.models == (task.announcement(0), task.announcement(2))
        _, votes = task.answer(said)
        assert len(votes) == 1

    def test_nobody_signs_the_model_of_one_who_left(self):
        task = Task(epochs=2)
        task.record(task.last_message(1))
        task.announce(task.announcement(1))
        task.leave(1)
        task.finish(ranks=(0, 2))
        task.hold(ranks=(1,))
        judged, votes = task.answer(self.last_proposal(task, ranks=(0, 1, 2)))
        assert (judged.verdict, votes) == (Verdict.IGNORE, [])

    def test_it_never_ends_without_any_model(self, task):
        task.record(message(task, 0))
        assert task.proposals(2 * ABSENT_MS) == []

    def test_it_does_not_end_while_messages_are_unrecorded(self, task):
        task.finish()
        for node in task.nodes:
            node.hear_iteration(message(task, 3, rank=1), task.id)
        assert [p for p in task.proposals() if p.models] == []
        assert task.answer(self.last_proposal(task))[1] == []

    def last_proposal(self, task, ranks=(0, 1, 2), models=None):
        models = models or tuple(task.announcement(rank) for rank in ranks)
        slots = task.follower.role().recorded[task.id]
        return task.proposal(
            0, task.next_slot - 1, task.root(*(slots[n] for n in range(task.next_slot))), models
        )


class TestModelsNotEarned:
    """What a miner announces must be what its last recorded message ended with, and be there."""

    def lie(self, task, forged):
        task.record(*(task.last_message(rank) for rank in range(3)))
        task.announce(task.announcement(0), task.announcement(1), forged)
        task.hold()
        for node in task.nodes:
            node.fetched(forged.after.weights, task.weights(7))

    def is_refused(self, task, forged):
        """Neither proposed by an honest leader nor signed when another leader proposes it."""
        assert task.proposals() == []
        models = (task.announcement(0), task.announcement(1), forged)
        root = task.root(task.follower.role().recorded[task.id][0])
        judged, votes = task.answer(task.proposal(0, 0, root, models))
        return judged.verdict is Verdict.IGNORE and votes == []

    def test_other_weights_than_the_last_message_ended_with(self, task):
        other = blob.blob_id(task.weights(7))
        forged = task.announcement(2, after=replace(task.end(2), weights=other))
        self.lie(task, forged)
        assert self.is_refused(task, forged)

    @pytest.mark.parametrize("part", ["residual", "optimiser", "witness"])
    def test_another_part_of_the_end_state(self, task, part):
        task.record(*(task.last_message(rank) for rank in range(3)))
        forged = task.announcement(2, after=replace(task.end(2), **{part: label("another")}))
        task.announce(task.announcement(0), task.announcement(1), forged)
        task.hold()
        assert self.is_refused(task, forged)

    def test_a_model_of_an_earlier_iteration(self, task):
        forged = task.announcement(2, iteration=task.last[2] - 1)
        task.record(*(task.last_message(rank) for rank in range(3)))
        task.announce(task.announcement(0), task.announcement(1), forged)
        task.hold()
        assert self.is_refused(task, forged)

    def test_a_miner_that_has_not_done_all_its_iterations(self, task):
        earned = it_res.nonce(it_res.precursor(task.end(2), EMPTY_MAP))
        number = task.last[2] - 1
        unfinished = iteration(task.chain, task.miners[2], number, task.id, nonce=earned)
        forged = task.announcement(2, iteration=number)
        task.record(task.last_message(0), task.last_message(1), unfinished)
        task.announce(task.announcement(0), task.announcement(1), forged)
        task.hold()
        assert self.is_refused(task, forged)

    def test_a_model_that_is_withheld(self, task):
        task.record(*(task.last_message(rank) for rank in range(3)))
        models = tuple(task.announcement(rank) for rank in range(3))
        task.announce(*models)
        task.hold(ranks=(0, 1))
        for node in task.nodes:
            node.fetched(task.end(2).weights)
        assert self.is_refused(task, models[2])
        task.hold(nodes=(task.leader,))
        assert len(task.proposals()) == 1, "it is asked for again, and comes at last"

    def test_models_of_strangers_and_forged_ones_are_refused(self, task):
        task.finish()
        root = task.root(task.follower.role().recorded[task.id][0])
        good = tuple(task.announcement(rank) for rank in range(3))
        foreign = replace(
            good[2], ticket=task.chain.tickets("miner", MINERS[0], task=task.chain.predefined)[0]
        )
        forged = replace(good[2], signature=flip(good[2].signature, 200))
        for models in ((*good[:2], foreign), (*good[:2], forged), (*good[:2], good[1])):
            judged, votes = task.answer(task.proposal(0, 0, root, models))
            assert (judged.verdict, votes) == (Verdict.REJECT, [])

    def test_another_list_than_the_statement_names(self, task):
        task.finish()
        root = task.root(task.follower.role().recorded[task.id][0])
        good = tuple(task.announcement(rank) for rank in range(3))
        for named in (good[::-1], good[:2]):
            said = task.proposal(0, 0, root, named)
            assert task.answer(replace(said, models=good))[1] == []
