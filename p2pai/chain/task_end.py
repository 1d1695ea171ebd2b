"""How a task ends: what becomes of its fee and of its workers' stakes. No coin stays locked.

    REVOKED, EXPIRED, FAILED   the fee is the client's again, what was captured of stakes is burned
    PAID, MALFORMED            one CHARGE_FOR_TASK divides the fee and what was captured (evaluation.py)

Whatever the end, what is left of every worker's stake is its owner's again.

Source: PoUW §3.3, §4.4, §7.3; PROTOCOL section 5.
"""

from dataclasses import replace

from p2pai.chain.state import Stage, State
from p2pai.chain.tickets import lock, release
from p2pai.primitives.ids import Amount, TaskId


def revoke(state: State, task_id: TaskId, height: int) -> State:
    """End a task that its client took back."""
    return _close_applications(state, task_id, Stage.REVOKED, height)


def expire(state: State, task_id: TaskId, height: int) -> State:
    """End a task for which too few applied."""
    return _close_applications(state, task_id, Stage.EXPIRED, height)


def fail(state: State, task_id: TaskId, height: int) -> State:
    """End a task that came to nothing after it had workers."""
    return _end(state, task_id, Stage.FAILED, height)


def pay(state: State, task_id: TaskId, height: int) -> State:
    """End a task by its one payment; what was captured goes back into circulation."""
    task = state.tasks[task_id]
    assert task.conclusion is not None
    stage = Stage.MALFORMED if task.conclusion.is_malformed else Stage.PAID
    state = replace(state, burned=Amount(state.burned - task.captured))
    return _end(state, task_id, stage, height)


def stop_keying(state: State, task_id: TaskId) -> State:
    """Give up an attempt at a key; whoever was called to it and does not supervise yet is free again."""
    task = state.tasks[task_id]
    called = task.keying.members if task.keying else ()
    known = (*task.supervisors, *task.expelled)
    state = lock(state, tuple(t for t in called if t not in known), None)
    return state.with_task(task_id, replace(task, keying=None))


def _close_applications(state: State, task_id: TaskId, stage: Stage, height: int) -> State:
    task = state.tasks[task_id]
    state = lock(state, tuple(j.ticket for j in task.joins), None)
    return state.with_task(task_id, task.enter(stage, height))


def _end(state: State, task_id: TaskId, stage: Stage, height: int) -> State:
    state = stop_keying(state, task_id)
    task = state.tasks[task_id]
    workers = tuple(t for _, tickets in task.workers() for t in tickets)
    if task.stage is Stage.KEYING:  # nobody has worked: all but those who prevented it may be drawn again
        honest = tuple(t for t in (*workers, *task.reserves) if t not in task.expelled)
        state = release(lock(state, honest, None), task.expelled)
    else:
        state = release(state, (*workers, *task.expelled))
    made = replace(task.committee, dealt=()) if task.committee else None
    return state.with_task(task_id, replace(task.enter(stage, height), committee=made))
