"""Target: iteration after iteration: which updates enter, what is said when, how it ends and goes on."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from p2pai import jobs
from p2pai.chain import it_res, message_map
from p2pai.chain.committee import MalformedStatement
from p2pai.chain.supervision import ReportMalformed
from p2pai.chain.training import SCORE_MAX, Assignment
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import merkle, record
from p2pai.roles.history import QUEUE_BYTES_MAX, QUEUE_MAX, ModelAnnouncement, PeerMessages
from p2pai.roles.memory import IterationSent, StateKept
from p2pai.roles.outgoing import REPUBLISH_AGE_MS
from p2pai.roles.session import KEEP_EVERY, RETRY_MS
from p2pai.roles.slots import DataFault
from tests.chain.ledger import MINERS, SUPERVISORS, Chain, public
from tests.roles.lone import Lone, ids_of, iteration, miners_of
from tests.roles.sharded import Part, cut
from tests.roles.trained import Group, start_task

A, B, C = MINERS


@pytest.fixture
def alone():
    """One miner; the others are played by the test, or silent."""
    return Group(accounts=(A,))


def applied_counts(group, account=A):
    return [m.peer_count for m in group.decoded(account)]


class TestMessages:
    def test_iterations_follow_one_another_on_the_right_batches(self, alone):
        for _ in range(5):
            alone.step()
        messages = alone.decoded(A)
        assert [m.iteration for m in messages] == list(range(len(messages)))
        known = alone.chain.task(alone.task)
        assert len({m.batch for m in messages}) == len(messages)
        assert all(len(m.metrics) == len(known.definition.metrics) for m in messages)
        for m in messages:
            message_map.check(m.message_map, known.definition.weight_count)
            it_res.verify_signature(m, alone.task, public(A))

    def test_follow_consistent_hashing_where_the_task_asks_for_it(self):
        chain = Chain()
        task = start_task(chain, assignment=Assignment.CONSISTENT_HASHING)
        group = Group(accounts=(A,), chain=chain, task=task)
        session = group.role().session
        for _ in range(5):
            group.step()
        place, known = session.place, chain.task(task)
        assert place.roster == known.roster
        turns = [place.turn(i) for i in range(5)]
        places = [session.plan.place(turn.batch) for turn in turns]
        leaves = [group.nodes[A].blobs.get(p.fragment)[p.index] for p in places]
        assert [m.batch for m in group.decoded(A)][:5] == [merkle.leaf_hash(chunk) for chunk in leaves]

    def test_what_one_announces_the_next_applies(self, alone):
        for number in range(4):
            alone.nodes[A].hear_iteration(iteration(alone.chain, B, number))
            alone.step()
        messages = alone.decoded(A)
        for one, following in pairwise(messages):
            assert following.applied == one.queued

    def test_a_message_leaves_when_it_is_noted(self, alone):
        node = alone.nodes[A]
        alone.step()
        node.hold_disk = True
        node.take("it_res")
        node.wait(2_000)
        assert node.take("it_res") == []
        node.hold_disk = False
        node.write()
        said = node.take("it_res")
        assert said
        assert {it_res.decode(m).iteration for m in said} <= {
            e.iteration for e in node.records(IterationSent)
        }

    def test_what_is_lost_is_said_again_until_it_is_recorded(self, alone):
        node = alone.nodes[A]
        node.hear_iteration(iteration(alone.chain, B, 200))  # nobody is waited for at the end of an epoch
        alone.step(certify=False)
        first = alone.messages[A][0]
        node.wait(REPUBLISH_AGE_MS + 1_000)
        assert node.said.count(("it_res", alone.task, first)) == 1
        alone.step()
        node.take("it_res")
        node.wait(3 * REPUBLISH_AGE_MS)
        assert first not in node.take("it_res")

    def test_what_is_lost_is_said_again_while_it_waits_for_its_peers(self, alone):
        node = alone.nodes[A]
        session = node.role().session
        for _ in range(session.place.turn(0).last + 1):
            alone.step(certify=False)
        last = alone.messages[A][-1]
        node.take("it_res")
        node.wait(5 * REPUBLISH_AGE_MS)
        assert last in node.take("it_res")

    def test_it_is_not_faster_than_the_network_allows(self, alone):
        node = alone.nodes[A]
        node.take("it_res")
        node.wait(10 * alone.chain.params.iteration_ms_min)
        assert len(node.take("it_res")) == 10


class TestQueue:
    def test_each_message_is_applied_once_in_order_and_without_gaps(self, alone):
        node, said = alone.nodes[A], [iteration(alone.chain, B, n) for n in range(6)]
        # 0 and 2 come first: 2 must wait for 1.
        for arrived in ((0, 2), (), (1,), (5, 4), (3,), (), ()):
            for n in arrived:
                node.hear_iteration(said[n])
            alone.step()
        counts = applied_counts(alone)
        assert sum(counts) == 6
        assert [c for c in counts if c] == [1, 2, 3]
        runs = [(0,), (1, 2), (3, 4, 5)]
        named = [m.peer_ids for m in alone.decoded(A) if m.peer_count]
        assert named == [it_res.hash_ids(tuple(sorted(ids_of([said[n] for n in run])))) for run in runs]

    def test_the_list_is_ordered_by_id_and_kept_with_the_capsule(self, alone):
        node = alone.nodes[A]
        said = [iteration(alone.chain, account, n) for account in (B, C) for n in range(4)]
        for data in said:
            node.hear_iteration(data)
        alone.step()
        alone.step()
        (message,) = [m for m in alone.decoded(A) if m.peer_count]
        ids = sorted(ids_of(said))
        assert (message.peer_count, message.peer_ids) == (8, it_res.hash_ids(tuple(ids)))

    def test_it_does_not_apply_its_own_twice(self, alone):
        for _ in range(6):
            alone.step()
        assert sum(applied_counts(alone)) == 0

    def test_a_flood_is_spread_over_iterations(self, alone):
        """Many messages at once: the list stays a blob that a node takes whole."""
        node, count = alone.nodes[A], QUEUE_MAX + 60
        said = [iteration(alone.chain, B, n) for n in range(count)]
        for data in said:
            node.hear_iteration(data)
        for _ in range(5):
            alone.step(certify=False)
        counts = applied_counts(alone)
        assert sum(counts) == count
        assert max(counts) <= QUEUE_MAX
        largest = max(counts)
        assert largest < count
        assert len(record.encode(PeerMessages(tuple(said[:largest])))) <= QUEUE_BYTES_MAX + 4 * largest

    def test_updates_move_the_weights(self):
        """Two miners with the same seed part ways when one of them hears of another's updates."""
        ends = []
        for hears in (False, True):
            group = Group(accounts=(A, B))
            for _ in range(4):
                group.step(certify=hears)
            ends.append([m.weights for m in group.decoded(A)])
        assert ends[0][0] == ends[1][0]
        assert ends[0][-1] != ends[1][-1]


class TestEpochs:
    def test_it_waits_for_the_majority_to_end_the_epoch(self, alone):
        node = alone.nodes[A]
        session = node.role().session
        count = session.place.turn(0).last + 1
        for _ in range(count + 3):
            alone.step()
        assert len(alone.messages[A]) == count, "two of three are not there yet"
        per_epoch = session.plan.iterations_of(1, miners_of(alone.chain).index(B), 3)
        node.hear_iteration(iteration(alone.chain, B, per_epoch - 2))
        alone.step()
        assert len(alone.messages[A]) == count
        node.hear_iteration(iteration(alone.chain, B, per_epoch - 1))
        alone.step()
        alone.step()
        assert [m.epoch for m in alone.decoded(A)][count:] == [2] * (len(alone.messages[A]) - count)
        assert len(alone.messages[A]) > count


class TestRestart:
    def test_no_iteration_is_signed_twice(self, alone):
        for _ in range(3):
            alone.step()
            alone.restart(A)
            alone.step()
        numbers = [m.iteration for m in alone.decoded(A)]
        assert numbers == sorted(dict.fromkeys(numbers))
        assert len(numbers) >= 5

    def test_its_last_messages_are_said_again(self, alone):
        """One that is in no slot may have reached a single node, which may be gone by now."""
        for _ in range(3):
            alone.step(certify=False)
        node = alone.nodes[A]
        node.hold_disk = False
        last = it_res.decode(alone.messages[A][-1])
        again = alone.restart(A)
        again.wait(alone.chain.params.iteration_ms_min)
        said = [it_res.decode(data) for data in again.take("it_res")]
        said.sort(key=lambda m: m.iteration)
        assert said[: last.iteration + 1] == alone.decoded(A)
        assert last.iteration >= 2

    def test_what_was_not_noted_was_not_said_and_is_done_again(self, alone):
        alone.step()
        node = alone.nodes[A]
        done = len(alone.messages[A])
        node.hold_disk = True
        node.wait(1_000)
        assert node.take("it_res") == []
        again = alone.restart(A)
        again.wait(500)
        numbers = [it_res.decode(data).iteration for data in again.take("it_res")]
        assert done in numbers

    def test_it_goes_on_from_the_state_kept_with_its_own_later_updates(self, alone):
        for _ in range(KEEP_EVERY + 3):
            for account in (B, C):
                alone.nodes[A].hear_iteration(iteration(alone.chain, account, len(alone.messages.get(A, ()))))
            alone.step()
        (kept,) = alone.nodes[A].records(StateKept)
        ticket = alone.role().session.ticket
        assert dict(kept.applied)[ticket] == KEEP_EVERY
        last = len(alone.messages[A]) - 1
        again = alone.restart(A)
        for data in alone.messages[A]:
            again.hear_iteration(data)
        assert again.role().session.resumed_at == last + 1
        for _ in range(4):
            alone.step()
        numbers = [m.iteration for m in alone.decoded(A)]
        assert numbers == list(range(len(numbers)))
        own = [m for m in alone.decoded(A)[last + 1 :] if m.peer_count]
        assert sum(m.peer_count for m in own) >= last + 1 - KEEP_EVERY, (
            "what it had said since the state kept"
        )

    def test_a_trainer_that_was_lost_is_opened_again(self, alone):
        for _ in range(2):
            alone.step()
        node = alone.nodes[A]
        node.worker = Worker(node.blobs)  # the old one died with its sessions
        said = len(alone.messages[A])
        node.wait(RETRY_MS + 1_000)
        alone.step()
        numbers = [m.iteration for m in alone.decoded(A)]
        assert len(numbers) > said
        assert numbers == list(range(len(numbers)))


def drop_predefined(lone):
    """Let the predefined task, which is trained meanwhile, never get its data."""
    lone.jobs = [effect for effect in lone.jobs if not isinstance(effect.job, jobs.Prepare)]


class TestMalformedData:
    """There is nothing to train on, and the supervisors, who hold shards, can't see it for themselves."""

    def miner(self, index=0):
        """A miner of a task in shards that has restored all fragments, in its trainer's hands."""
        part = Part(8)
        lone = Lone(part.chain, MINERS[index], ("miner",))
        drop_predefined(lone)
        blobs = cut()[0]
        while lone.fetches:
            for wanted in list(lone.fetches):
                lone.fetched(wanted, blobs.get(wanted))
        while lone.jobs and isinstance(lone.jobs[0].job, jobs.Restore):
            fragment = lone.jobs[0].job.fragment
            lone.blobs.put(blobs.get(fragment), shared=False)
            lone.trained(jobs.Restored(fragment, ""))
        (effect,) = lone.jobs
        assert effect.job == jobs.Inspect(part.definition.encode(), part.plan.training)
        return part, lone

    def accusing(self, number=2):
        part, lone = self.miner()
        fragment = part.plan.training[number]
        lone.trained(jobs.Inspected(fragment, "a label is out of range"))
        place = part.definition.dataset.fragments.index(fragment)
        return part, lone, DataFault(part.id, place)

    def test_it_is_told_again_and_again_on_the_tasks_topic(self):
        part, lone, fault = self.accusing()
        body = record.encode_tagged(fault)
        assert [entry for entry in lone.said if entry[0] == "message_history"] == [
            ("message_history", part.id, body)
        ]
        for _ in range(3):
            lone.take("message_history")
            lone.wait(RETRY_MS)
            assert lone.take_said() == [fault]

    def test_no_trainer_is_opened_and_nothing_said_of_iterations(self):
        _, lone, _ = self.accusing()
        lone.wait(10 * RETRY_MS)
        lone.mine()
        assert lone.jobs == []
        assert (lone.take("it_res"), lone.take("model")) == ([], [])

    def test_good_data_are_trained_on(self):
        part, lone = self.miner()
        lone.trained(jobs.Inspected(None, ""))
        (effect,) = lone.jobs
        assert isinstance(effect.job, jobs.Open)
        assert effect.job.fragments == part.plan.training
        assert lone.take_said() == []

    def test_it_ends_when_the_supervisors_have_certified_it(self):
        part, lone, fault = self.accusing()
        statement = MalformedStatement(part.id, fault.fragment)
        report = ReportMalformed(part.id, fault.fragment, part.chain.certify(part.id, statement))
        part.chain.post(SUPERVISORS[0], report)
        lone.mine()
        lone.take("message_history")
        lone.wait(10 * RETRY_MS)
        assert lone.take("message_history") == []

    def test_a_restart_looks_again(self):
        part, lone, fault = self.accusing()
        again = lone.again()
        drop_predefined(again)
        assert again.take("message_history") == []
        for _ in part.plan.training:
            again.trained(jobs.Restored(again.jobs[0].job.fragment, ""))
        again.trained(jobs.Inspected(part.plan.training[2], "a label is out of range"))
        assert again.take_said() == [fault]


@cache
def finished():
    """A client's task of one epoch, trained to its end by all three miners."""
    chain = Chain()
    group = Group(accounts=MINERS, chain=chain, task=start_task(chain))
    group.run(lambda: all(model_of(node) for node in group.nodes.values()))
    return group


def model_of(node):
    said = [body for name, _, body in node.said if name == "model"]
    return record.decode(ModelAnnouncement, said[0], size_max=1 << 16) if said else None


class TestTheEnd:
    def test_every_iteration_was_done_once(self):
        group = finished()
        for account in MINERS:
            rank = miners_of(group.chain, group.task).index(account)
            numbers = [m.iteration for m in group.decoded(account)]
            assert numbers == list(range(15 if rank < 2 else 14))

    @pytest.mark.parametrize("account", MINERS)
    def test_the_announced_model_is_what_the_last_message_ended_with(self, account):
        group = finished()
        model, last = model_of(group.nodes[account]), group.decoded(account)[-1]
        model.verify(public(account))
        assert (model.task, model.ticket, model.iteration) == (group.task, last.ticket, last.iteration)
        assert it_res.nonce(it_res.precursor(model.after, last.message_map)) == last.nonce

    @pytest.mark.parametrize("account", MINERS)
    def test_the_model_is_there_for_supervisors_and_evaluators(self, account):
        node = finished().nodes[account]
        weights = model_of(node).after.weights
        assert weights in node.blobs.shared
        known = finished().chain.task(finished().task)
        scored = Worker(node.blobs).run(
            jobs.Evaluate(known.definition.encode(), (weights,), known.definition.dataset.fragments[:2])
        )
        assert scored.scores[0] > SCORE_MAX // 4, "better than guessing one of ten"

    @pytest.mark.parametrize("account", MINERS)
    def test_what_the_last_message_speaks_of_was_kept_before_it_was_said(self, account):
        node, last = finished().nodes[account], finished().decoded(account)[-1]
        entries = [e for e in node.records(object) if isinstance(e, IterationSent | StateKept)]
        kept = [e for e in entries if isinstance(e, StateKept) and e.task == finished().task][-1]
        (sent,) = [
            e
            for e in entries
            if isinstance(e, IterationSent) and (e.task, e.iteration) == (finished().task, last.iteration)
        ]
        assert entries.index(kept) < entries.index(sent)
        assert kept.state.weights == model_of(node).after.weights

    def test_afterwards_it_trains_the_next_task(self):
        for account in MINERS:
            assert finished().role(account).session.task_id == finished().chain.predefined

    def test_the_model_is_announced_again_after_a_restart(self):
        group = finished()
        node = group.nodes[A]
        again = node.again(worker=Worker(node.blobs))
        again.wait(1_000)
        assert replace(model_of(again), signature=b"") == replace(model_of(node), signature=b"")
        said = [
            it_res.decode(body) for name, scope, body in again.said if (name, scope) == ("it_res", group.task)
        ]
        assert said == group.decoded(A)

    def test_it_is_announced_until_the_training_is_over(self):
        group = finished()
        node = group.nodes[B]
        node.take("model")
        node.wait(3 * RETRY_MS)
        assert len(node.take("model")) in (2, 3)
        chain = group.chain.fork()
        chain.end_training(group.task)
        chain.mine_until(node.core.state.height + 1)
        for block in chain.blocks[group.chain.height :]:
            node.connect(block)
        node.wait(RETRY_MS)
        node.take("model")
        node.wait(5 * RETRY_MS)
        assert node.take("model") == []
