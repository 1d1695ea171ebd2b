"""Target: the client's data becomes a task, is shown when it is due, not before, and the model comes back."""

from dataclasses import replace

import pytest

from p2pai import jobs
from p2pai.chain import schedule, shards
from p2pai.chain.state import Stage
from p2pai.chain.training import ReedSolomon, Tau
from p2pai.chain.transaction import PayForTask, Stake
from p2pai.jaxtrain.worker import Worker
from p2pai.node import journal
from p2pai.primitives import blob
from p2pai.primitives.ids import Amount, BlobId, TaskId
from p2pai.roles.client import ModelDelivered, TaskPosted
from testnet.simulator.host import Blobs
from tests.chain.ledger import CLIENT, FRAGMENTS, Chain, definition, key_hash, label
from tests.roles.lone import Lone

DIGITS = "package:digits.npz"
ORDER = label("order")
FEE = Amount(1_000_000)
UNKNOWN = BlobId(label("not cut yet"))


@pytest.fixture
def chain():
    return Chain()


def client(chain, **changes):
    return Lone(chain, CLIENT, ("client",), **changes)


def trained_client(chain):
    blobs = Blobs()
    return client(chain, blobs=blobs, worker=Worker(blobs))


def order(**changes):
    """A definition whose data is not known yet, as the command line makes it."""
    asked = definition(**changes)
    data = replace(asked.dataset, samples=0, features=0, classes=0, fragments=(UNKNOWN,) * 10)
    return replace(asked, dataset=data)


def submit(lone, path=DIGITS, fee=FEE, **changes):
    lone.role().submit(ORDER, order(**changes), path, fee)
    for effect in lone.core.take_effects():
        lone._perform(effect)
    return lone.role().submissions[ORDER]


def with_task(chain):
    """A client with a task that the chain took, on the made-up data."""
    task = chain.submit()
    lone = client(chain)
    for chunks in ([b"batch %d of fragment %d" % (i, f) for i in range(6)] for f in range(10)):
        lone.blobs.put(chunks, shared=False)
    return lone, task


class TestSubmitting:
    def test_the_data_is_cut_and_the_task_is_paid_for(self, chain):
        lone = trained_client(chain)
        entry = submit(lone)
        (tx,) = lone.posted(PayForTask)
        assert (entry.state, entry.task, entry.txid, entry.error) == ("posted", tx.txid, tx.txid, "")
        assert tx.outputs[0] == Stake(FEE, key_hash(CLIENT))
        data = tx.data.definition.dataset
        assert (data.samples, data.features, data.classes, len(data.fragments)) == (1797, 64, 10, 10)
        assert all(f in lone.blobs for f in data.fragments)
        lone.hand_over()
        lone.mine()
        assert lone.core.state.tasks[entry.task].client == key_hash(CLIENT)

    def test_nothing_of_the_data_is_shared_yet(self, chain):
        lone = trained_client(chain)
        submit(lone)
        lone.hand_over()
        lone.mine()
        assert not lone.blobs.shared

    def test_while_the_data_is_being_cut_it_says_so(self, chain):
        lone = client(chain)
        assert submit(lone).state == "preparing"
        (effect,) = lone.jobs
        assert effect.job == jobs.Prepare(DIGITS, "npz", regression=False, batch_size=30, fragment_count=10)
        assert lone.posted(PayForTask) == []

    def test_the_same_order_twice_is_one(self, chain):
        lone = client(chain)
        for _ in range(3):
            submit(lone)
        assert len(lone.jobs) == 1
        data = chain.spec.tasks[0].dataset
        lone.trained(jobs.Prepared(data.samples, data.features, data.classes, 0, data.fragments))
        submit(lone)
        assert lone.jobs == []
        assert len(lone.posted(PayForTask)) == 1

    def test_it_is_remembered_after_a_restart(self, chain):
        lone = trained_client(chain)
        entry = submit(lone)
        again = lone.again()
        assert again.role().submissions[ORDER].task == entry.task
        submit(again)
        assert len(again.records(TaskPosted)) == 1

    def test_an_order_whose_transaction_a_crash_lost_failed_and_may_be_given_again(self, chain):
        lone = trained_client(chain)
        submit(lone)
        again = lone.again(writes=lone.writes_without(journal.TransactionPosted))
        entry = again.role().submissions[ORDER]
        assert (entry.state, entry.error != "") == ("failed", True)
        assert submit(again).state == "posted"

    @pytest.mark.parametrize(
        ("changes", "path", "fee", "reason"),
        [
            ({}, "/no/such/file.npz", FEE, "file"),
            ({"tau": Tau(1, 0)}, DIGITS, FEE, "tau"),
            ({"preferences": (0, 0)}, DIGITS, FEE, "all zero"),
            ({"preferences": (1, 1, 1)}, DIGITS, FEE, "a task has 2 preferences on this network"),
            ({}, DIGITS, Amount(10**16), "the wallet cannot pay the fee"),
        ],
        ids=["no file", "bad definition", "bad traits", "other traits", "too poor"],
    )
    def test_what_cannot_be_submitted_fails_with_a_sentence(self, chain, changes, path, fee, reason):
        lone = trained_client(chain)
        entry = submit(lone, path, fee, **changes)
        assert entry.state == "failed"
        assert reason in entry.error
        assert lone.posted(PayForTask) == []
        assert lone.records(TaskPosted) == []

    def test_after_a_failure_the_order_may_be_given_again(self, chain):
        lone = trained_client(chain)
        assert submit(lone, "/no/such/file.npz").state == "failed"
        assert submit(lone).state == "posted"

    def test_a_trainer_that_answers_something_else_is_a_failure(self, chain):
        lone = client(chain)
        submit(lone)
        lone.trained(jobs.Failed("the job needs more memory than the trainer may use"))
        entry = lone.role().submissions[ORDER]
        assert (entry.state, entry.error) == ("failed", "the job needs more memory than the trainer may use")


class TestSharing:
    def plan(self, chain, task):
        known = chain.task(task)
        return schedule.make_schedule(known.definition, known.definition_block)

    def advance(self, lone, task, stage):
        """Bring the task to a stage, with the client listening."""
        chain = lone.chain
        heard = len(chain.blocks)
        if stage is Stage.TRAINING:
            chain.begin(task)
        else:
            chain.end_training(task)
        for block in chain.blocks[heard:]:
            lone.connect(block)
        assert chain.task(task).stage is stage

    def test_each_part_is_shared_when_it_is_due(self, chain):
        lone, task = with_task(chain)
        plan = self.plan(chain, task)
        lone.mine()
        assert list(lone.blobs.shared) == []
        self.advance(lone, task, Stage.TRAINING)
        assert sorted(lone.blobs.shared) == sorted(plan.training)
        lone.mine()
        lone.wait(30_000)
        assert sorted(lone.blobs.shared) == sorted(plan.training), "the test data stays hidden"
        self.advance(lone, task, Stage.EVALUATING)
        assert sorted(lone.blobs.shared) == sorted(FRAGMENTS)

    def test_after_a_restart_what_is_due_is_shared_again(self, chain):
        lone, task = with_task(chain)
        plan = self.plan(chain, task)
        self.advance(lone, task, Stage.TRAINING)
        lone.blobs.shared.clear()
        again = lone.again()
        assert sorted(again.blobs.shared) == sorted(plan.training)
        self.advance(again, task, Stage.EVALUATING)
        again.blobs.shared.clear()
        assert sorted(again.again().blobs.shared) == sorted(FRAGMENTS)

    def test_a_task_of_somebody_else_is_not_served(self, chain):
        task = chain.start()
        lone = Lone(chain, 7, ("client",))
        lone.mine()
        assert chain.task(task).stage is Stage.TRAINING
        assert not lone.blobs.shared
        assert task not in lone.core.following

    def test_it_follows_its_task_while_it_trains(self, chain):
        lone, task = with_task(chain)
        assert task not in lone.core.following
        self.advance(lone, task, Stage.TRAINING)
        assert task in lone.core.following


class TestDelivery:
    MODEL = (b"the best model",)

    def paid(self, chain):
        """A client whose task is paid, before it has the model."""
        task = chain.start()
        chain.end_training(task)
        model = blob.blob_id(self.MODEL)
        found = chain.evaluate(task)
        assert found.model != model
        chain.queue, chain.pool = [], chain.state
        chain.evaluate(task, replace(found, model=model))
        chain.add(chain.charge(task))
        chain.mine()
        assert chain.task(task).stage is Stage.PAID
        return client(chain), task

    def test_the_model_is_fetched_and_delivered(self, chain):
        lone, task = self.paid(chain)
        lone.fetched(blob.blob_id(self.MODEL), self.MODEL)
        (effect,) = lone.jobs
        assert effect.job == jobs.Export(chain.task(task).definition.encode(), blob.blob_id(self.MODEL))
        file = BlobId(label("file"))
        lone.trained(jobs.Exported(file))
        name = f"{task.hex()}.safetensors"
        assert lone.delivered == {name: file}
        assert lone.records(ModelDelivered) == [ModelDelivered(TaskId(task), name)]

    def test_it_is_delivered_once_even_after_a_restart(self, chain):
        lone, task = self.paid(chain)
        lone.fetched(blob.blob_id(self.MODEL), self.MODEL)
        lone.trained(jobs.Exported(BlobId(label("file"))))
        again = lone.again()
        again.mine()
        assert (again.jobs, again.fetches, again.delivered) == ([], {}, {})
        assert again.role().delivered == {task: f"{task.hex()}.safetensors"}

    @pytest.mark.parametrize("fault", ["nobody has it", "it is no model"])
    def test_what_failed_is_tried_again_with_the_next_block(self, chain, fault):
        lone, _ = self.paid(chain)
        model = blob.blob_id(self.MODEL)
        if fault == "nobody has it":
            lone.fetched(model)
        else:
            lone.fetched(model, self.MODEL)
            lone.trained(jobs.Failed("malformed"))
        assert lone.delivered == {}
        lone.mine()
        assert model in lone.fetches or lone.jobs
        if lone.fetches:
            lone.fetched(model, self.MODEL)
        lone.trained(jobs.Exported(BlobId(label("file"))))
        assert len(lone.delivered) == 1

    def test_a_killed_client_gets_it_after_the_restart(self, chain):
        lone, _ = self.paid(chain)
        again = lone.again()
        assert list(again.fetches) == [blob.blob_id(self.MODEL)]

    def test_a_failed_task_delivers_nothing(self, chain):
        task = chain.start(expected_blocks=1)
        chain.mine()
        assert chain.task(task).stage is Stage.FAILED
        lone = client(chain)
        lone.mine()
        assert (lone.fetches, lone.jobs) == ({}, [])


class TestShards:
    SCHEME = ReedSolomon(2, 1)

    def start(self, chain):
        """A client with a task that the chain took, on the real data."""
        lone = trained_client(chain)
        entry = submit(lone, redundancy=self.SCHEME)
        assert entry.state == "posted", entry.error
        lone.hand_over()
        lone.mine()
        return lone, entry.task

    def test_they_are_made_and_named_with_the_order(self, chain):
        lone, task = self.start(chain)
        definition = chain.task(task).definition
        assert definition.redundancy == self.SCHEME
        listed = b"".join(lone.blobs.get(definition.dataset.shards))
        assert all(shard in lone.blobs for row in shards.read(definition, listed) for shard in row)
        assert not lone.blobs.shared

    def test_they_are_shared_in_the_place_of_the_training_data(self, chain):
        lone, task = self.start(chain)
        known = chain.task(task)
        plan = schedule.make_schedule(known.definition, known.definition_block)
        rows = shards.read(known.definition, b"".join(lone.blobs.get(known.definition.dataset.shards)))
        row = dict(zip(known.definition.dataset.fragments, rows, strict=True))
        wanted = {known.definition.dataset.shards, *(s for f in plan.training for s in row[f])}
        role = lone.role()
        role._enter(task, replace(known, stage=Stage.TRAINING))
        for effect in lone.core.take_effects():
            lone._perform(effect)
        assert set(lone.blobs.shared) == wanted
        role._enter(task, replace(known, stage=Stage.EVALUATING))
        for effect in lone.core.take_effects():
            lone._perform(effect)
        assert set(lone.blobs.shared) == wanted | set(plan.test)
