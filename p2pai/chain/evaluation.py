"""Evaluators agree on the models' scores and the fee is paid.

Evaluators commit to a conclusion, then reveal it; when two thirds of them revealed the same one it is the
task's conclusion, and a single CHARGE_FOR_TASK, whose outputs follow from it, spends the fee. Without an
agreement in time others are drawn, by the hash of the block that ends the round; whoever kept silent loses a
part of its stake. A conclusion may also be that the test data are not what the task says: then the fee is
confiscated (PoUW §7.3).

Source: PoUW §4.4, Table A.3; PROTOCOL section 10.
"""

from dataclasses import replace

from p2pai.chain import draws, task_end
from p2pai.chain.params import EVALUATORS_MIN, Params, quorum
from p2pai.chain.rewards import task_payouts
from p2pai.chain.state import Finding, Sealed, Stage, State, Task
from p2pai.chain.task_life import MALFORMED
from p2pai.chain.tickets import Context, capture, lock, require_ticket
from p2pai.chain.training import SCORE_MAX
from p2pai.chain.transaction import (
    ChargeForTask,
    Conclusion,
    EvaluateCommit,
    EvaluateReveal,
    Transaction,
)
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint, TaskId


def commitment(ticket: Outpoint, task: TaskId, conclusion: Conclusion, salt: Hash32) -> Hash32:
    """Return what EVALUATE_COMMIT shows of a conclusion."""
    return tagged_hash("p2pai/conclusion", ticket.encode(), task, record.encode(conclusion), salt)


def apply_evaluate_commit(state: State, data: EvaluateCommit, context: Context) -> State:
    """Record a hidden conclusion.

    Raises:
      InvalidTransaction: the task takes no commit from this ticket.
    """
    task = _require_evaluating(state, data.task, data.ticket, context)
    if task.conclusion is not None:
        raise InvalidTransaction("the task is concluded already")
    if context.height > task.since + context.params.evaluate_commit_blocks:
        raise InvalidTransaction("the commits of this round are closed")
    if any(c.ticket == data.ticket for c in task.commits):
        raise InvalidTransaction("the conclusion is already committed")
    commits = (*task.commits, Sealed(data.ticket, data.commitment))
    return state.with_task(data.task, replace(task, commits=commits))


def apply_evaluate_reveal(state: State, data: EvaluateReveal, context: Context) -> State:
    """Open a conclusion; a quorum of equal ones concludes the task.

    Raises:
      InvalidTransaction: too early, twice, malformed, or not what was committed.
    """
    task = _require_evaluating(state, data.task, data.ticket, context)
    everyone = len(task.commits) == len(task.evaluators)
    if not everyone and context.height <= task.since + context.params.evaluate_commit_blocks:
        raise InvalidTransaction("the commits of this round are still open")
    if any(f.ticket == data.ticket for f in task.findings):
        raise InvalidTransaction("the conclusion is already revealed")
    _check_conclusion(task, data.conclusion)
    opened = commitment(data.ticket, data.task, data.conclusion, data.salt)
    if Sealed(data.ticket, opened) not in task.commits:
        raise InvalidTransaction("the conclusion is not the one committed")
    task = replace(task, findings=(*task.findings, Finding(data.ticket, data.conclusion)))
    equal = sum(f.conclusion == data.conclusion for f in task.findings)
    if task.conclusion is None and equal >= quorum(len(task.evaluators)):
        return _conclude(state, data.task, replace(task, conclusion=data.conclusion), context.params)
    return state.with_task(data.task, task)


def _conclude(state: State, task_id: TaskId, task: Task, params: Params) -> State:
    """Note the agreed conclusion; a miner without a model stayed away from its work."""
    assert task.conclusion is not None
    state = state.with_task(task_id, task)
    for ticket, score in zip(task.miners, task.conclusion.scores, strict=not task.conclusion.is_malformed):
        if score == 0 and ticket not in task.expelled:  # who left lost its share then
            state = capture(state, task_id, ticket, params.offline_penalty_percent)
    return state


def apply_charge_for_task(state: State, tx: Transaction, data: ChargeForTask, context: Context) -> State:
    """Pay the fee out; the transaction is valid only if it is exactly the one that the conclusion implies.

    Raises:
      InvalidTransaction: there is no conclusion yet, or the outputs are others.
    """
    task = state.tasks.get(data.task)
    if task is None or task.stage is not Stage.EVALUATING or task.conclusion is None:
        raise InvalidTransaction("the task has no conclusion to be paid by")
    if not may_charge(task, context.height, context.params):
        raise InvalidTransaction("other evaluators may reveal their conclusions still")
    if tx != charge(state, data.task, task):
        raise InvalidTransaction("the payouts are not those of the agreed conclusion")
    return task_end.pay(state, data.task, context.height)


def may_charge(task: Task, height: int, params: Params) -> bool:
    """Return whether nobody can reveal any more; so that who is slower than a quorum is paid as well."""
    everyone = len(task.findings) == len(task.evaluators)
    closed = height > task.since + params.evaluate_commit_blocks + params.evaluate_reveal_blocks
    return everyone or closed or not task.commits


def charge(state: State, task_id: TaskId, task: Task) -> Transaction:
    """Return the one CHARGE_FOR_TASK that the task's conclusion allows; it needs no signature."""
    assert task.conclusion is not None
    assert task.stake is not None
    result = f"RESULT:{task_id.hex()}:{task.conclusion.model.hex()}"
    if task.conclusion.is_malformed:
        result = f"MALFORMED:{task_id.hex()}"
    payouts = task_payouts(state, task, task.conclusion)
    return Transaction(1, (task.stake,), payouts, ChargeForTask(task_id, result))


def pass_deadlines(state: State, beacon: Hash32, height: int, params: Params) -> State:
    """Draw other evaluators, or fail the task, where they did not agree in time.

    Args:
      state: at the end of a block.
      beacon: the block's hash.
      height: of the block.
      params: of the network.
    """
    for task_id, task in state.active_tasks():
        end = task.since + params.evaluate_commit_blocks + params.evaluate_reveal_blocks
        if task.stage is Stage.EVALUATING and task.conclusion is None and height >= end:
            state = _end_round(state, task_id, beacon, height, params)
    return state


def _end_round(state: State, task_id: TaskId, beacon: Hash32, height: int, params: Params) -> State:
    revealed = [f.ticket for f in state.tasks[task_id].findings]
    for ticket in state.tasks[task_id].evaluators:
        if ticket not in revealed:
            state = capture(state, task_id, ticket, params.offline_penalty_percent)
    task = state.tasks[task_id]
    if task.round + 1 >= params.evaluate_rounds_max:
        return task_end.fail(state, task_id, height)
    again = replace(task, round=task.round + 1, since=height, commits=(), findings=())
    drawn = draws.draw_evaluators(state, task_id, beacon, height, params)
    if len(drawn) < EVALUATORS_MIN:
        return state.with_task(task_id, again)  # nobody else is there
    free = tuple(t for t in task.evaluators if t not in task.expelled)
    state = lock(lock(state, free, None), drawn, task_id)
    return state.with_task(task_id, replace(again, evaluators=drawn))


def _require_evaluating(state: State, task_id: TaskId, ticket: Outpoint, context: Context) -> Task:
    require_ticket(state, ticket, context)
    task = state.tasks.get(task_id)
    if task is None or task.stage is not Stage.EVALUATING:
        raise InvalidTransaction("the task is not being evaluated")
    if ticket not in task.evaluators:
        raise InvalidTransaction("the ticket is not an evaluator of this task")
    return task


def _check_conclusion(task: Task, conclusion: Conclusion) -> None:
    if conclusion.is_malformed:
        if conclusion != MALFORMED:
            raise InvalidTransaction("a conclusion without scores says nothing else")
        return
    if len(conclusion.scores) != len(task.miners):
        raise InvalidTransaction("a conclusion scores every miner")
    if not 0 < conclusion.samples <= task.definition.dataset.samples:
        raise InvalidTransaction("a conclusion counts the test samples")
    if any(score > SCORE_MAX for score in conclusion.scores):
        raise InvalidTransaction("a score has 32 bits")
