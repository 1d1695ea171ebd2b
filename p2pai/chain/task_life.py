"""A task from submission to the end of training: stages, deadlines, registered message history.

    JOINING --joined--> KEYING --key--> TRAINING --models registered--> EVALUATING --charged--> PAID
       |  |                |               |   |                             |
       |  +--revoked       +--no members---+   | ^  +--malformed--> MALFORMED <---+
       +--too few--> EXPIRED               |   v |                           |
                                           | PAUSED (pausing.py)             |
                                           +--deadline--> FAILED <-----------+--no agreement

Every stage has a deadline in blocks, so no coin can stay locked (task_end.py). A task is posted anew by a
PAY_FOR_TASK that names the one it replaces.

Which block defines a task, and thereby its draws, the workers say: since the task may stand in several forks,
the one that two thirds of the applications name, else the one on this chain (PoUW Appendix B). The block in
which the applications close is the participation block.

Source: PoUW §4, Appendix B; PROTOCOL section 5.
"""

from dataclasses import replace

from p2pai.chain import committee, keying, pausing, schedule, task_end
from p2pai.chain.params import (
    ATOMS_PER_COIN,
    EVALUATORS_MIN,
    HISTORY_SLOTS_MAX,
    MINERS_MIN,
    SUPERVISORS_MIN,
    Params,
)
from p2pai.chain.state import Join, Stage, State, Task
from p2pai.chain.supervision import MessageHistory, NodeStatus, ReplaceLeader, ReportMalformed
from p2pai.chain.task import TaskDefinition, check
from p2pai.chain.tickets import WORKER_ROLES, Context, capture, derive_omegas, lock
from p2pai.chain.transaction import Conclusion, PayForTask, RevokeTask, Stake, Transaction
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Amount, BlobId, Hash32, KeyHash, Outpoint, TaskId
from p2pai.vrf import selection

MALFORMED = Conclusion((), 0, BlobId(ZERO_HASH))
"""The conclusion that a task's data are not what it says."""


def apply_pay_for_task(state: State, tx: Transaction, data: PayForTask, context: Context) -> State:
    """Lock the fee and open the task for applications.

    Raises:
      InvalidTransaction: the definition or the stake breaks a rule.
    """
    check(data.definition)
    if data.definition.epochs == 0:
        raise InvalidTransaction("a paid task trains for at least one epoch")
    selection.check_traits(data.definition.preferences)
    if len(data.definition.preferences) != context.params.trait_count:
        raise InvalidTransaction(f"a task has {context.params.trait_count} preferences on this network")
    if not tx.outputs or not isinstance(tx.outputs[0], Stake):
        raise InvalidTransaction("the first output must stake the fee")
    if any(isinstance(output, Stake) for output in tx.outputs[1:]):
        raise InvalidTransaction("only the first output stakes")
    fee = tx.outputs[0]
    if fee.key_hash != context.author_hash:
        raise InvalidTransaction("the fee's stake belongs to another key")
    if data.definition.group.miners > miners_max(data.definition, fee.value, context.params):
        raise InvalidTransaction("so many miners are not worth it for this dataset, time and fee")
    if data.timestamp > state.median_time:
        raise InvalidTransaction("the task's timestamp is not before the block")
    task = Task(
        definition=data.definition,
        client=fee.key_hash,
        fee=fee.value,
        stake=Outpoint(tx.txid, 0),
        definition_block=ZERO_HASH,
        stage=Stage.JOINING,
        since=context.height,
        history=((Stage.JOINING.value, context.height),),
    )
    return state.with_task(TaskId(tx.txid), task)


def miners_max(task: TaskDefinition, fee: Amount, params: Params) -> int:
    """Return how many miners a task may have: wD * disk size + wt * time + wF * fee. Source: PoUW §4.1."""
    data = task.dataset
    size_bytes = 4 * data.samples * (data.features + max(1, data.targets))
    by_size = params.miners_per_mib * size_bytes // 2**20
    by_fee = params.miners_per_coin * fee // ATOMS_PER_COIN
    return max(MINERS_MIN, by_size + params.miners_per_block * task.expected_blocks + by_fee)


def apply_revoke_task(state: State, data: RevokeTask, context: Context) -> State:
    """Take back a task that has not started.

    Raises:
      InvalidTransaction: it has, or it is somebody else's.
    """
    return revoke(state, data.task, context.author_hash, context.height)


def revoke(state: State, task_id: TaskId, client: KeyHash, height: int) -> State:
    """Take back a client's task, so that its fee can be spent.

    Raises:
      InvalidTransaction: there is no such task, it has started, or it is somebody else's.
    """
    task = state.tasks.get(task_id)
    if task is None or task.stage is not Stage.JOINING:
        raise InvalidTransaction("only a task that takes applications still can be revoked")
    if task.client != client:
        raise InvalidTransaction("only its client revokes a task")
    return task_end.revoke(state, task_id, height)


def apply_message_history(state: State, data: MessageHistory, context: Context) -> State:
    """Register slots; with the miners' models, end the training.

    Raises:
      InvalidTransaction: the task is not training, or the slots do not follow the registered ones.
      InvalidProof: the certificate does not hold.
    """
    task = _require_training(state, data.task, context)
    if data.first != task.slots or data.last < data.first:
        raise InvalidTransaction(f"the next slot to register is {task.slots}")
    if data.last - data.first >= HISTORY_SLOTS_MAX:
        raise InvalidTransaction(f"at most {HISTORY_SLOTS_MAX} slots are registered at once")
    if task.is_predefined and data.models is not None:
        raise InvalidTransaction("a predefined task trains for ever")
    statement = committee.HistoryStatement(data.task, data.first, data.last, data.root, data.models)
    committee.verify(statement, data.signature, group_key(task).key)
    state = state.with_task(data.task, replace(task, slots=data.last + 1, models=data.models))
    return state if data.models is None else _end_training(state, data.task, None, context.height)


def apply_replace_leader(state: State, data: ReplaceLeader, context: Context) -> State:
    """Note that a leader was replaced; the committee itself has moved on already.

    Raises:
      InvalidTransaction: the task is not training, or a later leader is installed.
      InvalidProof: the certificate does not hold.
    """
    task = _require_training(state, data.task, context)
    if (data.epoch, data.view) <= task.view or data.view == 0:
        raise InvalidTransaction("the leader has been replaced already")
    statement = committee.ViewStatement(data.task, data.epoch, data.view, data.reason)
    committee.verify(statement, data.signature, group_key(task).key)
    return state.with_task(data.task, replace(task, view=(data.epoch, data.view)))


def apply_report_malformed(state: State, data: ReportMalformed, context: Context) -> State:
    """Conclude that a task's revealed data are not what it says: the fee is confiscated. Source: PoUW §7.3.

    Raises:
      InvalidTransaction: the task is not training, or a predefined one.
      InvalidProof: the certificate does not hold.
    """
    task = _require_training(state, data.task, context)
    fragments = task.definition.dataset.fragments
    revealed = schedule.make_schedule(task.definition, task.definition_block).training
    if task.is_predefined or data.fragment not in [fragments.index(f) for f in revealed]:
        raise InvalidTransaction("the task has revealed no such fragment, or nobody is to blame for it")
    statement = committee.MalformedStatement(data.task, data.fragment)
    committee.verify(statement, data.signature, group_key(task).key)
    return _end_training(state, data.task, MALFORMED, context.height)


def apply_node_status(state: State, data: NodeStatus, context: Context) -> State:
    """Let the other miners do the work of one that is offline.

    Source: PoUW §4.2.2, §4.3, Appendix E.

    Raises:
      InvalidTransaction: the task is not training, or its work can't be divided so.
      InvalidProof: the certificate does not hold.
    """
    task = _require_training(state, data.task, context)
    if task.stage is Stage.PAUSED:
        raise InvalidTransaction("nobody can be missed while the task is paused")
    if data.ticket not in task.roster.working:
        raise InvalidTransaction("the ticket is none of the miners that work")
    if len(task.roster.working) <= MINERS_MIN:
        raise InvalidTransaction(f"a task needs {MINERS_MIN} miners")
    last = task.definition.epochs
    if data.epoch < task.roster.next_shift or (last and data.epoch > last):
        raise InvalidTransaction(
            f"the work is divided anew in epoch {task.roster.next_shift} to {last or '...'}"
        )
    statement = committee.StatusStatement(data.task, data.ticket, data.epoch)
    committee.verify(statement, data.signature, group_key(task).key)
    state = capture(state, data.task, data.ticket, context.params.skip_penalty_percent)
    task = state.tasks[data.task]
    shifts = task.roster.without(data.ticket, data.epoch).shifts
    # A miner of a block that was proven false is expelled already, and works until somebody misses it.
    gone = () if data.ticket in task.expelled else (data.ticket,)
    return state.with_task(data.task, replace(task, expelled=(*task.expelled, *gone), shifts=shifts))


def _end_training(state: State, task_id: TaskId, conclusion: Conclusion | None, height: int) -> State:
    state = task_end.stop_keying(state, task_id)
    task = state.tasks[task_id].enter(Stage.EVALUATING, height)
    return state.with_task(task_id, replace(task, conclusion=conclusion))


def _require_training(state: State, task_id: TaskId, context: Context) -> Task:
    task = state.tasks.get(task_id)
    if task is None or not task.stage.is_underway:
        raise InvalidTransaction("the task is not training")
    if context.author not in [state.tickets[t].owner for t in task.supervisors]:
        raise InvalidTransaction("only a supervisor of the task speaks for its committee")
    return task


def group_key(task: Task) -> committee.Committee:
    """Return the committee of a task that trains, or has trained."""
    assert task.committee is not None, "a task trains only with a common key"
    return task.committee


def define(state: State, task_ids: tuple[TaskId, ...], block: Hash32, params: Params) -> State:
    """Record the block that tasks were submitted in, and how rare their draws are."""
    for task_id in task_ids:
        task = state.tasks[task_id]
        if task.stage is Stage.JOINING:
            omegas = derive_omegas(state, task, params)
            state = state.with_task(task_id, replace(task, definition_block=block, omegas=omegas))
    return state


def pass_deadlines(state: State, height: int, params: Params) -> State:
    """Move on the tasks whose applications or training are due at the end of block `height`."""
    for task_id, task in state.active_tasks():
        if task.stage is Stage.JOINING and height >= task.since + params.join_blocks:
            state = close_joining(state, task_id, height)
        elif pausing.is_due(task, height) or _is_late(task, height):
            state = task_end.fail(state, task_id, height)
    return state


def _is_late(task: Task, height: int) -> bool:
    """Return whether a client's task has trained for as long as it may."""
    paid = task.stage is Stage.TRAINING and not task.is_predefined
    return paid and height >= task.since + task.definition.expected_blocks


def close_joining(state: State, task_id: TaskId, height: int) -> State:
    """Admit the applicants with the smallest rank, or let the task expire when there are too few."""
    task = state.tasks[task_id]
    block = definition_block(task)
    valid = [j for j in task.joins if j.definition_block == block]
    group = task.definition.group
    wanted = dict(zip(WORKER_ROLES, (group.miners, group.supervisors, group.evaluators), strict=True))
    ranked = {role: _rank(state, task, [j for j in valid if j.role == role]) for role in WORKER_ROLES}
    admitted = {role: tuple(sorted(ranked[role][:count])) for role, count in wanted.items()}
    least = (MINERS_MIN, SUPERVISORS_MIN, EVALUATORS_MIN)
    if any(len(admitted[role]) < n for role, n in zip(WORKER_ROLES, least, strict=True)):
        return task_end.expire(state, task_id, height)
    reserves = tuple(t for role, count in wanted.items() for t in ranked[role][count:])
    outside = tuple(j.ticket for j in task.joins if j.definition_block != block)
    task = replace(
        task.enter(Stage.KEYING, height),
        definition_block=block,
        joins=(),
        miners=admitted["miner"],
        supervisors=admitted["supervisor"],
        evaluators=admitted["evaluator"],
        reserves=reserves,
    )
    task = keying.begin(task_id, task, task.supervisors, height)
    return lock(state, outside, None).with_task(task_id, task)


def definition_block(task: Task) -> Hash32:
    """Return the block that the applications settle on: one of another fork only with two thirds of them.

    The ledger can't tell whether a block of another fork exists. With a bare majority, who holds a third of
    the tickets could try hashes until enough of its own are drawn.
    """
    named = [join.definition_block for join in task.joins]
    agreed = (block for block in dict.fromkeys(named) if 3 * named.count(block) >= 2 * len(named))
    return next(agreed, task.definition_block)


def _rank(state: State, task: Task, joins: list[Join]) -> tuple[Outpoint, ...]:
    wanted = task.definition.preferences

    def key(join: Join) -> tuple[selection.Rank, Outpoint]:
        draw = selection.draw_of(join.beta)
        return selection.rank(state.tickets[join.ticket].preferences, wanted, draw), join.ticket

    return tuple(j.ticket for j in sorted(joins, key=key))
