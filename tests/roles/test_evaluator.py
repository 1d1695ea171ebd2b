"""Target: evaluators score what miners announced, come to one conclusion each, hide it, show it, and pay."""

from dataclasses import dataclass, field, replace

import pytest

from p2pai import jobs
from p2pai.chain import evaluation, rewards, schedule
from p2pai.chain.committee import MalformedStatement
from p2pai.chain.it_res import EndState
from p2pai.chain.state import Stage
from p2pai.chain.supervision import ReportMalformed
from p2pai.chain.task_life import MALFORMED
from p2pai.chain.transaction import ChargeForTask, Conclusion, EvaluateCommit, EvaluateReveal
from p2pai.primitives import blob, record
from p2pai.primitives.ids import BlobId, Outpoint
from p2pai.roles.evaluator import KEPT_BACK_MS, RETRY_MS, ConclusionReached
from p2pai.roles.history import ModelAnnouncement
from p2pai.roles.slots import FinalModels, models_blob
from tests.chain.ledger import EVALUATORS, FRAGMENTS, SUPERVISORS, Chain, devnet, label
from tests.roles.lone import Lone

SAMPLES = 360
COMMIT_BLOCKS = devnet().params.evaluate_commit_blocks


def models_of(task, ranks):
    """Announcements as the supervisors registered them."""
    ends = [EndState(blob.blob_id_of(b"model %d" % r), *(BlobId(label(p, r)) for p in "row")) for r in ranks]
    return tuple(
        ModelAnnouncement(task.id, task.miners[r], 14, end, b"") for r, end in zip(ranks, ends, strict=True)
    )


@dataclass
class Task:
    """A task whose training is over, with the models of some miners, and one of its evaluators."""

    ranks: tuple[int, ...] = (0, 1, 2)
    data: bytes | None = None
    """What lies under the registered id instead of the list of models."""
    chain: Chain = field(default_factory=Chain)

    def __post_init__(self):
        self.id = self.chain.start()
        known = self.chain.task(self.id)
        self.miners = known.miners
        self.models = models_of(self, self.ranks)
        self.data = self.data if self.data is not None else record.encode(FinalModels(self.models))
        registered = self.chain.history(self.id, models=blob.blob_id_of(self.data))
        self.chain.post(1, registered)
        self.chain.mine()
        assert self.chain.task(self.id).stage is Stage.EVALUATING
        self.test = schedule.make_schedule(known.definition, known.definition_block).test
        self.node = self.evaluator(EVALUATORS[0])

    def evaluator(self, account):
        return Lone(self.chain, account, ("evaluator",))

    def give_models(self, node=None):
        node = node or self.node
        node.fetched(blob.blob_id_of(self.data), (self.data,))
        for rank in self.ranks:
            node.fetched(models_of(self, (rank,))[0].after.weights, (b"model %d" % rank,))

    def give_data(self, node=None):
        for fragment in self.test:
            number = list(FRAGMENTS).index(fragment)
            chunks = tuple(b"batch %d of fragment %d" % (i, number) for i in range(6))
            (node or self.node).fetched(fragment, chunks)

    def score(self, *correct, node=None):
        """Let a node get everything and its trainer find so many right answers of each model."""
        node = node or self.node
        self.give_models(node)
        self.give_data(node)
        node.trained(jobs.Inspected(None, ""))
        node.trained(jobs.Evaluated(correct, SAMPLES))
        return node

    def conclusion(self, correct, best):
        return Conclusion(correct, SAMPLES, models_of(self, (best,))[0].after.weights)

    def found(self, node=None):
        (entry,) = (node or self.node).records(ConclusionReached)
        assert entry.task == self.id
        return entry.conclusion


@pytest.fixture
def task():
    return Task()


class TestScoring:
    def test_the_list_comes_from_the_supervisors_or_anybody(self, task):
        assert list(task.node.fetches) == [models_blob(task.models)]

    def test_models_are_asked_for_and_then_hidden_data(self, task):
        task.node.fetched(models_blob(task.models), (task.data,))
        assert sorted(task.node.fetches) == sorted(m.after.weights for m in task.models)
        for rank in task.ranks:
            task.node.fetched(task.models[rank].after.weights, (b"model %d" % rank,))
        assert sorted(task.node.fetches) == sorted(task.test)
        assert all(task.node.fetches[fragment] == ("client",) for fragment in task.test)

    def test_all_models_are_scored_on_all_hidden_fragments(self, task):
        task.give_models()
        assert task.node.jobs == []
        task.give_data()
        definition = task.chain.task(task.id).definition.encode()
        (effect,) = task.node.jobs
        assert effect.job == jobs.Inspect(definition, task.test)
        task.node.trained(jobs.Inspected(None, ""))
        (effect,) = task.node.jobs
        weights = tuple(m.after.weights for m in task.models)
        assert effect.job == jobs.Evaluate(definition, weights, task.test)

    def test_data_that_are_not_what_the_task_says_are_the_conclusion(self, task):
        task.give_models()
        task.give_data()
        task.node.trained(jobs.Inspected(task.test[1], "a label is no class"))
        assert task.found() == MALFORMED

    def test_the_best_model_is_named(self, task):
        task.score(200, 350, 340)
        assert task.found() == task.conclusion((200, 350, 340), best=1)

    @pytest.mark.parametrize(
        ("correct", "best"), [((9, 9, 9), 0), ((1, 9, 9), 1), ((9, 1, 9), 0), ((0, 0, 0), 0)]
    )
    def test_of_equally_good_models_the_first_miners_is_the_best(self, task, correct, best):
        task.score(*correct)
        assert task.found() == task.conclusion(correct, best)

    @pytest.mark.parametrize(
        ("ranks", "scores", "correct", "best"),
        [((0, 2), (5, 7), (5, 0, 7), 2), ((1,), (0,), (0, 0, 0), 1), ((2, 0), (5, 5), (5, 0, 5), 0)],
    )
    def test_an_absent_model_scores_nothing_and_is_never_the_best(self, ranks, scores, correct, best):
        task = Task(ranks)
        by_rank = dict(zip(ranks, scores, strict=True))
        task.score(*(by_rank[rank] for rank in sorted(ranks)))
        assert task.found() == task.conclusion(correct, best)

    def test_all_evaluators_conclude_the_same(self):
        task = Task((2, 0, 1))
        nodes = [task.node, *(task.evaluator(a) for a in EVALUATORS[1:])]
        found = [task.found(task.score(7, 8, 8, node=node)) for node in nodes]
        assert found == [task.conclusion((7, 8, 8), best=1)] * 3

    def test_a_model_of_a_stranger_is_not_scored(self):
        task = Task()
        foreign = replace(task.models[0], ticket=Outpoint(label("foreign"), 0))
        data = record.encode(FinalModels((foreign, *task.models[1:])))
        task = Task(ranks=(1, 2), data=data)
        task.score(7, 8)
        assert task.found() == task.conclusion((0, 7, 8), best=2)

    @pytest.mark.parametrize("data", [b"junk", record.encode(FinalModels(()))], ids=["malformed", "empty"])
    def test_a_list_that_is_none_gives_no_conclusion_and_no_error(self, data):
        task = Task(ranks=(), data=data)
        task.node.fetched(blob.blob_id_of(data), (data,))
        assert task.node.records(ConclusionReached) == []
        assert task.node.jobs == []

    @pytest.mark.parametrize("missing", ["list", "model", "data", "trainer"])
    def test_what_is_not_here_yet_is_asked_for_again(self, task, missing):
        if missing == "list":
            task.node.fetched(models_blob(task.models))
        else:
            task.node.fetched(models_blob(task.models), (task.data,))
            if missing == "model":
                task.node.fetched(task.models[1].after.weights)
            elif missing == "data":
                task.node.fetched(task.test[0])
            else:
                task.give_models()
                task.give_data()
                task.node.trained(jobs.Failed("killed"))
        assert task.node.posted(EvaluateCommit) == []
        task.node.fetches.clear()
        task.node.wait(RETRY_MS)
        task.score(1, 2, 3)
        assert task.found() == task.conclusion((1, 2, 3), best=2)


class TestAgreeing:
    def commit(self, task, node):
        node.hand_over()
        (tx,) = node.posted(EvaluateCommit)
        return tx.data

    def test_a_conclusion_is_hidden_first(self, task):
        task.score(1, 2, 3)
        data = self.commit(task, task.node)
        (own,) = [t for t in task.chain.task(task.id).evaluators if t == data.ticket]
        salt = task.node.core.identity.salt(b"conclusion", task.id, own.encode())
        conclusion = task.conclusion((1, 2, 3), best=2)
        assert data == EvaluateCommit(task.id, own, evaluation.commitment(own, task.id, conclusion, salt))
        assert [c.ticket for c in task.chain.task(task.id).commits] == [own]
        task.node.mine()
        assert task.node.posted(EvaluateReveal) == []

    def test_nothing_is_committed_before_it_is_noted(self, task):
        task.node.hold_disk = True
        task.score(1, 2, 3)
        task.node.wait(5_000)
        assert task.node.posted(EvaluateCommit) == []
        task.node.write()
        task.node.write()
        assert len(task.node.posted(EvaluateCommit)) == 1

    def test_it_is_revealed_when_all_have_committed(self, task):
        task.score(1, 2, 3)
        self.commit(task, task.node)
        conclusion = task.conclusion((1, 2, 3), best=2)
        for account in EVALUATORS[1:]:
            task.chain.post(account, task.chain.conclude(task.id, account, conclusion))
        task.node.mine()
        (tx,) = task.node.posted(EvaluateReveal)
        assert tx.data.conclusion == conclusion
        task.node.hand_over()
        assert [f.conclusion for f in task.chain.task(task.id).findings] == [conclusion]

    def test_commits_that_only_wait_do_not_count(self, task):
        task.score(1, 2, 3)
        self.commit(task, task.node)
        conclusion = task.conclusion((1, 2, 3), best=2)
        for account in EVALUATORS[1:]:
            tx = task.chain.fund(account, task.chain.conclude(task.id, account, conclusion))
            task.node.hear("tx", tx.encoded)
        task.node.wait(1_000)
        assert len(task.node.core.pool.tasks[task.id].commits) == 3
        assert task.node.posted(EvaluateReveal) == [], "a reorganisation could take them away again"

    def test_it_is_revealed_when_the_commits_are_closed(self, task):
        task.score(1, 2, 3)
        self.commit(task, task.node)
        closing = task.chain.task(task.id).since + task.chain.params.evaluate_commit_blocks
        while task.chain.height + 1 <= closing:
            assert task.node.posted(EvaluateReveal) == []
            task.node.mine()
        assert len(task.node.posted(EvaluateReveal)) == 1
        task.node.hand_over()
        assert len(task.chain.task(task.id).findings) == 1

    def test_a_restart_reveals_what_was_committed(self, task):
        task.score(1, 2, 3)
        self.commit(task, task.node)
        task.node.mine()
        again = task.node.again()
        assert again.fetches == {}, "nothing is scored twice"
        conclusion = task.conclusion((1, 2, 3), best=2)
        for account in EVALUATORS[1:]:
            task.chain.post(account, task.chain.conclude(task.id, account, conclusion))
        again.mine()
        again.hand_over()
        assert [f.conclusion for f in task.chain.task(task.id).findings] == [conclusion]

    @pytest.mark.parametrize("agrees", [True, False])
    def test_the_fee_is_paid_by_what_most_concluded(self, task, agrees):
        mine, theirs = ((1, 2, 3), 2), (((1, 2, 3), 2) if agrees else ((9, 2, 3), 0))
        task.score(*mine[0])
        self.commit(task, task.node)
        conclusion = task.conclusion(*theirs)
        for account in EVALUATORS[1:]:
            task.chain.post(account, task.chain.conclude(task.id, account, conclusion))
        for account in EVALUATORS[1:]:
            task.chain.post(account, task.chain.open_conclusion(task.id, account, conclusion))
        task.node.mine()
        assert task.chain.task(task.id).conclusion == conclusion
        (opened,) = task.node.posted(EvaluateReveal)
        assert opened.data.conclusion == task.conclusion(*mine), "it is not too late to be paid"
        charges = task.node.posted(ChargeForTask)
        task.chain.add(opened)
        task.node.mine()
        (tx,) = task.node.posted(ChargeForTask)
        assert charges in ([], [tx])
        assert tx == evaluation.charge(task.chain.state, task.id, task.chain.state.tasks[task.id])
        rows = rewards.task_shares(task.chain.task(task.id), conclusion)
        paid = {t for role, t, _ in rows if role == "evaluator"}
        assert (opened.data.ticket in paid) == agrees
        task.node.hand_over()
        task.node.mine()
        assert task.chain.task(task.id).stage is Stage.PAID

    def test_nobody_charges_while_another_may_reveal(self, task):
        task.score(1, 2, 3)
        self.commit(task, task.node)
        conclusion, params = task.conclusion((1, 2, 3), best=2), task.chain.params
        since, second = task.chain.task(task.id).since, EVALUATORS[1]
        task.chain.post(second, task.chain.conclude(task.id, second, conclusion))
        while task.chain.height < since + params.evaluate_commit_blocks:
            task.node.mine()
        task.node.hand_over()
        task.chain.post(second, task.chain.open_conclusion(task.id, second, conclusion))
        end = since + params.evaluate_commit_blocks + params.evaluate_reveal_blocks
        while task.chain.height < end:
            assert task.node.posted(ChargeForTask) == []
            task.node.mine()
            assert task.chain.task(task.id).conclusion == conclusion
        assert len(task.node.posted(ChargeForTask)) == 1
        task.node.hand_over()
        task.node.mine()
        assert task.chain.task(task.id).stage is Stage.PAID

    def test_what_the_supervisors_certified_as_malformed_is_charged_at_once(self):
        chain = Chain()
        task_id = chain.start()
        signature = chain.certify(task_id, MalformedStatement(task_id, 2))
        node = Lone(chain, EVALUATORS[0], ("evaluator",))
        chain.post(SUPERVISORS[0], ReportMalformed(task_id, 2, signature))
        node.mine()
        assert node.posted(EvaluateCommit) == []
        node.hand_over()
        node.mine()
        assert chain.task(task_id).stage is Stage.MALFORMED

    def test_in_another_round_it_commits_again(self, task):
        task.score(1, 2, 3)
        self.commit(task, task.node)
        params = task.chain.params
        end = task.chain.task(task.id).since + params.evaluate_commit_blocks + params.evaluate_reveal_blocks
        while task.chain.height < end:
            task.node.mine()
            task.node.hand_over()
        assert task.chain.task(task.id).round == 1
        task.node.wait(1_000)
        assert len(task.node.posted(EvaluateCommit)) == 2


class TestKeptBack:
    """A client that never shows its test data would have its models for nothing."""

    def half(self, task, before=0):
        """Let half of the time to commit pass, or so many blocks less."""
        while task.chain.height + before < task.chain.task(task.id).since + COMMIT_BLOCKS // 2:
            task.node.mine()

    def ask(self, task, *lost, times=1):
        """Let the node ask for everything again and again, of which nobody ever has what is lost."""
        node = task.node
        for _ in range(times):
            node.wait(RETRY_MS)
            for wanted in [w for w in node.fetches if w not in lost]:
                if wanted in task.test:
                    number = list(FRAGMENTS).index(wanted)
                    node.fetched(wanted, tuple(b"batch %d of fragment %d" % (i, number) for i in range(6)))
            for name in lost:
                node.fetched(name)

    LONG = KEPT_BACK_MS // RETRY_MS + 1
    """Times to ask until the client has had its time."""

    def test_data_are_waited_for_until_half_of_the_time_to_commit_is_over(self, task):
        task.give_models()
        self.ask(task, task.test[0], times=self.LONG + 1)
        self.half(task)
        assert task.node.records(ConclusionReached) == []
        self.ask(task, task.test[0])
        assert task.found() == MALFORMED
        task.node.hand_over()
        task.node.mine()
        (commit,) = task.chain.task(task.id).commits
        assert commit.ticket == task.node.posted(EvaluateCommit)[0].data.ticket
        while not task.node.posted(EvaluateReveal):
            task.node.mine()
        task.node.hand_over()
        assert [f.conclusion for f in task.chain.task(task.id).findings] == [MALFORMED]

    def test_one_block_earlier_is_too_early(self, task):
        task.give_models()
        self.half(task, before=1)
        self.ask(task, *task.test, times=self.LONG + 1)
        assert task.node.records(ConclusionReached) == []

    def test_the_client_has_ten_seconds_however_fast_blocks_come(self, task):
        task.give_models()
        self.half(task)
        self.ask(task, task.test[0], times=self.LONG)
        assert task.node.records(ConclusionReached) == []
        self.ask(task, task.test[0])
        assert task.found() == MALFORMED

    def test_data_that_come_in_the_end_are_scored(self, task):
        task.give_models()
        self.ask(task, task.test[0], times=self.LONG + 1)
        self.half(task)
        task.node.wait(RETRY_MS)
        task.give_data()
        task.node.trained(jobs.Inspected(None, ""))
        task.node.trained(jobs.Evaluated((1, 2, 3), SAMPLES))
        assert task.found() == task.conclusion((1, 2, 3), best=2)

    def lose_a_model(self, task):
        """Let the node have all models but one, when half of the time is over; return that one."""
        self.half(task)
        task.node.fetched(models_blob(task.models), (task.data,))
        for rank in (0, 2):
            task.node.fetched(task.models[rank].after.weights, (b"model %d" % rank,))
        return task.models[1].after.weights

    def test_a_model_that_nobody_has_is_not_the_clients_fault(self, task):
        self.ask(task, self.lose_a_model(task), times=2 * self.LONG)
        assert task.node.records(ConclusionReached) == []

    @pytest.mark.parametrize("order", [1, -1], ids=["model first", "data first"])
    def test_with_a_model_missing_too_it_may_be_we_who_are_cut_off(self, task, order):
        model = self.lose_a_model(task)
        self.ask(task, *[model, task.test[0]][::order], times=2 * self.LONG)
        assert task.node.records(ConclusionReached) == []
        task.node.fetched(model, (b"model 1",))
        # From here on the data alone are missing: the client's time begins.
        self.ask(task, task.test[0], times=self.LONG)
        assert task.node.records(ConclusionReached) == []
        self.ask(task, task.test[0])
        assert task.found() == MALFORMED

    def test_a_list_that_nobody_has_is_not_the_clients_fault(self, task):
        self.half(task)
        self.ask(task, models_blob(task.models), times=2 * self.LONG)
        assert task.node.records(ConclusionReached) == []


def test_who_is_no_evaluator_of_the_task_scores_nothing(task):
    other = Lone(task.chain, 7, ("evaluator",))
    assert other.fetches == {}
    other.mine()
    assert other.jobs == []
