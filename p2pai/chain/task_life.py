"""A task from submission to the end of training: stages, deadlines, registered message history.

    JOINING --joined--> TRAINING --models registered--> EVALUATING --charged--> PAID
       |                    |                               |
       +--too few-----------+--deadline--> FAILED <---------+--no agreement (evaluation.py)

FAILED returns the fee: the stake output is its owner's again. Every stage has a deadline in blocks, so no
coin can stay locked.

Source: PoUW §4; PROTOCOL section 5.
"""

from dataclasses import replace

from p2pai.chain import committee
from p2pai.chain.params import HISTORY_SLOTS_MAX, Params
from p2pai.chain.state import Join, Stage, State, Task
from p2pai.chain.task import check
from p2pai.chain.tickets import WORKER_ROLES, Context, free, release
from p2pai.chain.transaction import MessageHistory, PayForTask, Stake, Transaction
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, BlsPublicKey, Hash32, Outpoint, TaskId
from p2pai.vrf import selection

MINERS_MIN = 2
SUPERVISORS_MIN = 3
EVALUATORS_MIN = 3
"""Least members of a task group. Source: PoUW §4.1; three evaluators so that 2/3 means something."""


def apply_pay_for_task(state: State, tx: Transaction, data: PayForTask, context: Context) -> State:
    """Lock the fee and open the task for applications.

    Raises:
      InvalidTransaction: the definition or the stake breaks a rule.
    """
    check(data.definition)
    if data.definition.epochs == 0:
        raise InvalidTransaction("a paid task trains for at least one epoch")
    selection.check_traits(data.definition.preferences)
    if not tx.outputs or not isinstance(tx.outputs[0], Stake):
        raise InvalidTransaction("the first output must stake the fee")
    if any(isinstance(output, Stake) for output in tx.outputs[1:]):
        raise InvalidTransaction("only the first output stakes")
    fee = tx.outputs[0]
    if fee.key_hash != context.author_hash:
        raise InvalidTransaction("the fee's stake belongs to another key")
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
    return replace(state, tasks=state.tasks.set(TaskId(tx.txid), task))


def apply_message_history(state: State, data: MessageHistory, context: Context) -> State:
    """Register slots; with the miners' models, end the training.

    Raises:
      InvalidTransaction: the task is not training, or the slots do not follow the registered ones.
      InvalidProof: the certificate does not hold.
    """
    task = state.tasks.get(data.task)
    if task is None or task.stage is not Stage.TRAINING:
        raise InvalidTransaction("the task is not training")
    if data.first != task.slots or data.last < data.first:
        raise InvalidTransaction(f"the next slot to register is {task.slots}")
    if data.last - data.first >= HISTORY_SLOTS_MAX:
        raise InvalidTransaction(f"at most {HISTORY_SLOTS_MAX} slots are registered at once")
    if task.is_predefined and data.models is not None:
        raise InvalidTransaction("a predefined task trains for ever")
    owners = [state.tickets[t].owner for t in task.supervisors]
    if context.author not in owners:
        raise InvalidTransaction("only a supervisor of the task registers its history")
    statement = committee.HistoryStatement(data.task, data.first, data.last, data.root, data.models)
    certificate = committee.Certificate(data.signers, data.signature)
    committee.verify(statement, certificate, supervisor_keys(state, task))
    task = replace(task, slots=data.last + 1, models=data.models)
    if data.models is not None:
        task = enter(task, Stage.EVALUATING, context.height)
    return replace(state, tasks=state.tasks.set(data.task, task))


def supervisor_keys(state: State, task: Task) -> list[BlsPublicKey]:
    """Return the committee's keys, in the order of its bitmap."""
    return [state.tickets[t].bls_key for t in task.supervisors]


def enter(task: Task, stage: Stage, height: int) -> Task:
    """Move a task to a later stage."""
    return replace(task, stage=stage, since=height, history=(*task.history, (stage.value, height)))


def define(state: State, task_ids: tuple[TaskId, ...], block: Hash32) -> State:
    """Record the task definition block of tasks submitted in it."""
    for task_id in task_ids:
        task = replace(state.tasks[task_id], definition_block=block)
        state = replace(state, tasks=state.tasks.set(task_id, task))
    return state


def pass_deadlines(state: State, height: int, params: Params) -> State:
    """Move on the tasks whose applications or training are due at the end of block `height`."""
    for task_id, task in state.active_tasks():
        if task.stage is Stage.JOINING and height >= task.since + params.join_blocks:
            state = close_joining(state, task_id, task, height)
        elif (
            task.stage is Stage.TRAINING
            and not task.is_predefined
            and height >= task.since + task.definition.expected_blocks
        ):
            state = fail(state, task_id, task, height)
    return state


def close_joining(state: State, task_id: TaskId, task: Task, height: int) -> State:
    """Admit the applicants with the smallest rank, or fail the task when there are too few."""
    group = task.definition.group
    wanted = dict(zip(WORKER_ROLES, (group.miners, group.supervisors, group.evaluators), strict=True))
    admitted = {role: _admit(state, task, role, count) for role, count in wanted.items()}
    least = (MINERS_MIN, SUPERVISORS_MIN, EVALUATORS_MIN)
    if any(len(admitted[role]) < n for role, n in zip(WORKER_ROLES, least, strict=True)):
        return fail(state, task_id, task, height)
    inside = [t for tickets in admitted.values() for t in tickets]
    outside = tuple(j.ticket for j in task.joins if j.ticket not in inside)
    task = replace(
        enter(task, Stage.TRAINING, height),
        joins=(),
        miners=admitted["miner"],
        supervisors=admitted["supervisor"],
        evaluators=admitted["evaluator"],
    )
    return replace(free(state, outside), tasks=state.tasks.set(task_id, task))


def _admit(state: State, task: Task, role: str, count: int) -> tuple[Outpoint, ...]:
    wanted = task.definition.preferences

    def rank(join: Join) -> tuple[selection.Rank, Outpoint]:
        draw = selection.draw_of(join.beta)
        return selection.rank(state.tickets[join.ticket].preferences, wanted, draw), join.ticket

    joins = sorted((j for j in task.joins if j.role == role), key=rank)
    return tuple(sorted(j.ticket for j in joins[:count]))


def fail(state: State, task_id: TaskId, task: Task, height: int) -> State:
    """End a task without result: the fee and all stakes are their owners' again."""
    if task.stage is Stage.JOINING:
        state = free(state, tuple(j.ticket for j in task.joins))
    else:
        state = release_workers(state, task)
    return replace(state, tasks=state.tasks.set(task_id, enter(task, Stage.FAILED, height)))


def release_workers(state: State, task: Task) -> State:
    """Return the stakes of everyone who worked on a task."""
    return release(state, tuple(t for _, tickets in task.workers() for t in tickets))
