"""The client: submits tasks, serves their data, takes the model.

Training data, or its shards, is shared when the group is known; the test data only when training is over; the
best model is delivered as a safetensors file when the task is paid.

Source: PoUW §3.4, §4.1, §4.2.2, §4.2.3, §4.4.
"""

from dataclasses import dataclass
from typing import ClassVar

from p2pai import jobs
from p2pai.chain import schedule, shards
from p2pai.chain.schedule import Schedule
from p2pai.chain.state import Stage, Task
from p2pai.chain.task import TaskDefinition, check
from p2pai.chain.task_life import miners_max
from p2pai.chain.transaction import PayForTask, RevokeTask, Stake
from p2pai.events import Fetched
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount, Hash32, TaskId
from p2pai.roles.base import Node, Role
from p2pai.vrf import selection


@dataclass(slots=True)
class Submission:
    """A task on its way into the chain."""

    state: str = "preparing"
    task: TaskId | None = None
    txid: Hash32 | None = None
    fee: Amount | None = None
    """Of the transaction, where the order was about money."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class TaskPosted:
    """Journal: a submission became a task."""

    submission: Hash32
    task: TaskId


@dataclass(frozen=True, slots=True)
class ModelDelivered:
    """Journal: the user has the model."""

    task: TaskId
    name: str


class Client(Role):
    """See the module."""

    name: ClassVar[str] = "client"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.submissions: dict[Hash32, Submission] = {}
        self.delivered: dict[TaskId, str] = {}
        self._stages: dict[TaskId, tuple[Stage, Hash32]] = {}
        """What we last acted on; a reorganisation may change the definition block, hence what is hidden."""

    def restore(self, record: object) -> None:
        """Take back what was submitted and delivered."""
        if isinstance(record, TaskPosted):
            self.submissions[record.submission] = Submission("posted", record.task, record.task)
        elif isinstance(record, ModelDelivered):
            self.delivered[record.task] = record.name

    def restored(self) -> None:
        """Give up orders whose transaction a crash lost; nobody has seen it."""
        for entry in self.submissions.values():
            if entry.task is not None and not self.node.has_posted(entry.task):
                entry.state, entry.error = "failed", "a crash lost the order before it was sent, order again"

    def submit(
        self,
        submission: Hash32,
        definition: TaskDefinition,
        path: str,
        fee: Amount,
        replaces: TaskId | None = None,
    ) -> None:
        """Begin a submission: cut the data, then post PAY_FOR_TASK, perhaps instead of an earlier one."""
        if submission in self.submissions and self.submissions[submission].state != "failed":
            return
        self.submissions[submission] = Submission()
        data = definition.dataset
        regression = not definition.loss.is_classification
        job = jobs.Prepare(
            path, data.format, regression, data.batch_size, len(data.fragments), definition.redundancy
        )
        self.node.train(job, lambda result: self._prepared(submission, definition, fee, replaces, result))

    def _prepared(
        self,
        submission: Hash32,
        definition: TaskDefinition,
        fee: Amount,
        replaces: TaskId | None,
        result: jobs.Result,
    ) -> None:
        entry = self.submissions[submission]
        if not isinstance(result, jobs.Prepared):
            entry.state = "failed"
            entry.error = result.reason if isinstance(result, jobs.Failed) else "the data was not prepared"
            return
        complete = definition.with_data(
            result.samples, result.features, result.classes, result.targets, result.fragments, result.shards
        )
        try:
            self._pay(submission, complete, fee, replaces)
        except InvalidInput as error:
            entry.state, entry.error = "failed", str(error)

    def _pay(
        self, submission: Hash32, definition: TaskDefinition, fee: Amount, replaces: TaskId | None
    ) -> None:
        check(definition)
        selection.check_traits(definition.preferences)
        if len(definition.preferences) != self.node.params.trait_count:
            raise InvalidInput(f"a task has {self.node.params.trait_count} preferences on this network")
        wanted, most = definition.group.miners, miners_max(definition, fee, self.node.params)
        if wanted > most:
            raise InvalidInput(
                f"{wanted} miners are too many for this dataset, time and fee; at most {most} are worth it"
            )
        entry = self.submissions[submission]
        # Not after any block that may hold it, whatever our clock says.
        data = PayForTask(definition, self.node.state.median_time, replaces)
        stake = Stake(fee, self.node.identity.key_hash)
        tx = self.node.post(data, (stake,), lambda txid: TaskPosted(submission, TaskId(txid)))
        if tx is None:
            entry.state, entry.error = "failed", "the wallet cannot pay the fee"
            if replaces is not None:
                entry.error += ", or the task to replace has started, is over or is not ours"
            return
        entry.state, entry.task, entry.txid = "posted", TaskId(tx.txid), tx.txid

    def revoke(self, submission: Hash32, task_id: TaskId) -> None:
        """Take back a task that has not started."""
        task = self.node.pool.tasks.get(task_id)
        if task is None or task.client != self.node.identity.key_hash:
            raise InvalidInput("this node has not submitted that task")
        if task.stage is not Stage.JOINING:
            raise InvalidInput(
                f"the task is {task.stage.value}; it can be revoked while it waits for workers"
            )
        tx = self.node.post(RevokeTask(task_id))
        if tx is None:
            raise InvalidInput("the wallet cannot pay for the transaction")
        self.submissions[submission] = Submission("posted", task_id, tx.txid)

    def tip_changed(self) -> None:
        """Share data and take models as our tasks move on."""
        for task_id, task in sorted(self.node.state.tasks.items(), key=lambda item: item[0]):
            place = (task.stage, task.definition_block)
            if task.client != self.node.identity.key_hash or self._stages.get(task_id) == place:
                continue
            self._stages[task_id] = place
            self._enter(task_id, task)

    def _enter(self, task_id: TaskId, task: Task) -> None:
        plan = schedule.make_schedule(task.definition, task.definition_block)
        if task.stage is Stage.TRAINING:
            self.node.follow(task_id)
        if task.stage in (Stage.TRAINING, Stage.EVALUATING):
            self._reveal(task_id, task, plan)
        if task.stage is Stage.EVALUATING:
            for fragment in plan.test:
                self.node.share(fragment)
        if task.stage is Stage.PAID and task_id not in self.delivered and task.conclusion is not None:
            self.node.fetch(
                task.conclusion.model, (), lambda fetched: self._got_model(task_id, task, fetched)
            )

    def _reveal(self, task_id: TaskId, task: Task, plan: Schedule) -> None:
        """Share the training data: whole, or its shards and the list of them."""
        listed = task.definition.dataset.shards
        if listed is None:
            for fragment in plan.training:
                self.node.share(fragment)
        else:
            self.node.share(listed)
            self.node.fetch(listed, (), lambda fetched: self._got_list(task_id, task, plan, fetched))

    def _got_list(self, task_id: TaskId, task: Task, plan: Schedule, fetched: Fetched) -> None:
        if fetched.data is None:
            self._stages.pop(task_id, None)  # the next tip tries again
            return
        rows = shards.read(task.definition, fetched.data)
        for fragment in plan.training:
            for shard in rows[task.definition.dataset.fragments.index(fragment)]:
                self.node.share(shard)

    def _got_model(self, task_id: TaskId, task: Task, fetched: Fetched) -> None:
        if fetched.chunks is None:
            self._stages.pop(task_id, None)  # the next tip tries again
            return
        job = jobs.Export(task.definition.encode(), fetched.blob)
        self.node.train(job, lambda result: self._exported(task_id, result))

    def _exported(self, task_id: TaskId, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Exported):
            self._stages.pop(task_id, None)
            return
        name = f"{task_id.hex()}.safetensors"
        self.node.deliver(result.file, name)
        self.delivered[task_id] = name
        self.node.persist(ModelDelivered(task_id, name), lambda: None)
