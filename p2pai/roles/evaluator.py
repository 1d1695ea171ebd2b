"""The evaluator: scores the miners' models on the hidden test data, agrees with the others, pays.

Test data that are not what the task says, or that the client keeps back for half of the time to commit, are
its conclusion too: then the fee is confiscated.

Source: PoUW §4.4; PROTOCOL section 10.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from p2pai import jobs
from p2pai.chain import evaluation, schedule
from p2pai.chain.state import Stage, Task
from p2pai.chain.task_life import MALFORMED
from p2pai.chain.transaction import Conclusion, EvaluateCommit, EvaluateReveal
from p2pai.events import Fetched
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import BlobId, Hash32, Millis, Outpoint, PeerId, TaskId
from p2pai.roles.base import Node, Role, apply_for_tasks, keep_ticket
from p2pai.roles.history import ModelAnnouncement
from p2pai.roles.slots import read_models

RETRY_MS: Final = Millis(1_500)
"""Pause before models or test data are asked for again."""


KEPT_BACK_MS: Final = Millis(10_000)
"""Time that a client has at least to hand out its test data, however fast blocks come."""


@dataclass(frozen=True, slots=True)
class ConclusionReached:
    """Journal: what we found, so that it can be revealed after a restart."""

    task: TaskId
    conclusion: Conclusion


class Evaluator(Role):
    """See the module."""

    name: ClassVar[str] = "evaluator"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._conclusions: dict[TaskId, Conclusion] = {}
        self._busy: dict[TaskId, Scoring] = {}
        self._kept_back_ms: dict[TaskId, int] = {}
        """Since when nothing but test data has been missing."""
        self._kept_back_round: dict[TaskId, int] = {}
        """In which round we concluded so; in the next one the data may be there."""

    def restore(self, record: object) -> None:
        """Take back conclusions."""
        if isinstance(record, ConclusionReached):
            self._conclusions[record.task] = record.conclusion

    def tip_changed(self) -> None:
        """Apply for tasks; evaluate, commit, reveal and charge as the ledger asks."""
        keep_ticket(self)
        apply_for_tasks(self)
        ours = [outpoint for outpoint, _ in self.tickets()]
        for task_id, task in self.node.pool.active_tasks():
            if task.stage is Stage.EVALUATING:
                for ticket in task.evaluators:
                    if ticket in ours:
                        self._attend(task_id, ticket, task)

    def _attend(self, task_id: TaskId, ticket: Outpoint, task: Task) -> None:
        if self._kept_back_round.get(task_id, task.round) < task.round:
            del self._kept_back_round[task_id], self._conclusions[task_id]
        conclusion = self._conclusions.get(task_id)
        if task.conclusion is not None and self._may_charge(task):
            self.node.post_unsigned(evaluation.charge(self.node.pool, task_id, task))
        elif conclusion is None:
            if task_id not in self._busy and task.models is not None:
                scoring = Scoring(self.node, task, lambda found: self._scored(task_id, found))
                self._busy[task_id] = scoring
                scoring.begin()
        elif not any(c.ticket == ticket for c in task.commits):
            self._commit(task_id, ticket, conclusion)
        elif not any(f.ticket == ticket for f in task.findings):
            self._reveal(task_id, ticket, conclusion)

    def _may_charge(self, task: Task) -> bool:
        return evaluation.may_charge(task, self.node.state.height + 1, self.node.params)

    def _waited_long(self, task_id: TaskId) -> bool:
        since_ms = self._kept_back_ms.setdefault(task_id, self.node.now_ms)
        return self.node.now_ms - since_ms >= KEPT_BACK_MS

    def _commits_close(self, task_id: TaskId) -> bool:
        """Return whether half of the time to commit is over; a commit needs some blocks to get into one."""
        task = self.node.state.tasks.get(task_id)
        if task is None or task.stage is not Stage.EVALUATING:
            return False  # it stands in no block yet, so the client may not know
        return self.node.state.height >= task.since + self.node.params.evaluate_commit_blocks // 2

    def _scored(self, task_id: TaskId, conclusion: Conclusion | None) -> None:
        if not self._busy.pop(task_id).is_kept_back:
            self._kept_back_ms.pop(task_id, None)
        elif self._waited_long(task_id) and self._commits_close(task_id):
            conclusion = MALFORMED
            self._kept_back_round[task_id] = self.node.state.tasks[task_id].round
        if conclusion is None:
            self.node.set_timer(f"evaluate:{task_id.hex()}", RETRY_MS, self.tip_changed)
            return

        def durable() -> None:
            self._conclusions[task_id] = conclusion
            self.tip_changed()

        self.node.persist(ConclusionReached(task_id, conclusion), durable)

    def _salt(self, task_id: TaskId, ticket: Outpoint) -> Hash32:
        return self.node.identity.salt(b"conclusion", task_id, ticket.encode())

    def _commit(self, task_id: TaskId, ticket: Outpoint, conclusion: Conclusion) -> None:
        salt = self._salt(task_id, ticket)
        commitment = evaluation.commitment(ticket, task_id, conclusion, salt)
        self.node.post(EvaluateCommit(task_id, ticket, commitment))

    def may_reveal(self, task_id: TaskId) -> bool:
        """Return whether a task takes reveals in the next block: no more commits."""
        confirmed = self.node.state.tasks.get(task_id)
        if confirmed is None or confirmed.stage is not Stage.EVALUATING:
            return False
        everyone = len(confirmed.commits) == len(confirmed.evaluators)
        return everyone or self.node.state.height >= confirmed.since + self.node.params.evaluate_commit_blocks

    def _reveal(self, task_id: TaskId, ticket: Outpoint, conclusion: Conclusion) -> None:
        if self.may_reveal(task_id):
            salt = self._salt(task_id, ticket)
            self.node.post(EvaluateReveal(task_id, ticket, conclusion, salt))


class Scoring:
    """Gets models and test data of one task and scores them; ends with a conclusion, or None to try again."""

    def __init__(self, node: Node, task: Task, then: Callable[[Conclusion | None], None]) -> None:
        self._node, self._task, self._then = node, task, then
        self._plan = schedule.make_schedule(task.definition, task.definition_block)
        self._announced: dict[Outpoint, ModelAnnouncement] = {}
        self._missing: dict[BlobId, None] = {}
        self._next: Callable[[], None] = self._ask_data
        self._failed = False
        self.is_kept_back = False
        """Whether it was test data alone that nobody had."""

    def begin(self) -> None:
        """Ask for the list of models."""
        assert self._task.models is not None
        self._node.fetch(self._task.models, self._peers(self._task.supervisors), self._got_list)

    def _peers(self, tickets: tuple[Outpoint, ...]) -> tuple[PeerId, ...]:
        known = (self._node.state.tickets.get(t) for t in tickets)
        return tuple(ticket.peer for ticket in known if ticket is not None and ticket.peer)

    def _got_list(self, fetched: Fetched) -> None:
        if fetched.data is None:
            self._then(None)
            return
        try:
            announced = read_models(fetched.data)
        except InvalidInput:
            self._then(None)
            return
        self._announced = {a.ticket: a for a in announced if a.ticket in self._task.miners}
        models = [a.after.weights for a in self._announced.values()]
        if not models:
            self._then(None)
            return
        peers = self._peers((*self._task.miners, *self._task.supervisors))
        self._fetch(models, peers, self._ask_data)

    def _ask_data(self) -> None:
        self._fetch(self._plan.test, (self._task.definition.client,), self._inspect)

    def _fetch(self, wanted: Sequence[BlobId], peers: tuple[PeerId, ...], then: Callable[[], None]) -> None:
        self._missing, self._next = dict.fromkeys(wanted), then
        for each in tuple(self._missing):
            self._node.fetch(each, peers, self._got)

    def _got(self, fetched: Fetched) -> None:
        if self._failed or fetched.blob not in self._missing:
            return
        if fetched.chunks is None:
            self._failed, self.is_kept_back = True, fetched.blob in self._plan.test
            self._then(None)
            return
        del self._missing[fetched.blob]
        if not self._missing:
            self._next()

    def _inspect(self) -> None:
        job = jobs.Inspect(self._task.definition.encode(), self._plan.test)
        self._node.train(job, self._inspected)

    def _inspected(self, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Inspected):
            self._then(None)
        elif result.fragment is not None:
            self._then(MALFORMED)
        else:
            models = tuple(self._announced[t].after.weights for t in self._present())
            job = jobs.Evaluate(self._task.definition.encode(), models, self._plan.test)
            self._node.train(job, self._evaluated)

    def _present(self) -> list[Outpoint]:
        return [t for t in self._task.miners if t in self._announced]

    def _evaluated(self, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Evaluated):
            self._then(None)
            return
        by_ticket = dict(zip(self._present(), result.scores, strict=True))
        scores = tuple(by_ticket.get(ticket, 0) for ticket in self._task.miners)
        best = max(self._present(), key=lambda t: (by_ticket[t], -self._task.miners.index(t)))
        self._then(Conclusion(scores, result.samples, self._announced[best].after.weights))
