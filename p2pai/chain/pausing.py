"""Pausing a task that seems to be under attack, and going on.

    TRAINING --a majority considers, one of them says PAUSE--> PAUSED --likewise RESUME--> TRAINING
                                                                 +--deadline--> FAILED

Workers that suspect an attack consider a pause; once a majority of those who work has done so within
`PAUSE_WINDOW_BLOCKS`, any worker may pause the task. Nobody mines with a paused task, and its training time
stands still; what was recorded stays recorded. A pause has its own deadline, and a task only so many
pauses, so that no majority can lock stakes and fee for ever. A predefined task never pauses, because it keeps
the chain going.

Source: PoUW §7.3, "DOS attacks"; PROTOCOL sections 3, 5.
"""

from dataclasses import replace

from p2pai.chain.params import PAUSE_WINDOW_BLOCKS, PAUSED_BLOCKS_MAX, PAUSES_MAX
from p2pai.chain.state import Considered, Stage, State, Task
from p2pai.chain.supervision import ConsiderPause, ConsiderResume, Pause, Resume
from p2pai.chain.tickets import Context, require_ticket
from p2pai.primitives.errors import InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import Outpoint, TaskId


def apply_consider_pause(state: State, data: ConsiderPause, context: Context) -> State:
    """Note that a worker suspects an attack.

    Raises:
      InvalidTransaction: the task is not training, or not to be paused, or the worker has said so already.
      InvalidTicket: the ticket does not work on the task.
    """
    task = _require_worker(state, data.task, data.ticket, Stage.TRAINING, context)
    if task.is_predefined or task.pauses >= PAUSES_MAX:
        raise InvalidTransaction(f"a client's task may pause {PAUSES_MAX} times, a predefined one never")
    return _consider(state, data.task, data.ticket, context)


def apply_consider_resume(state: State, data: ConsiderResume, context: Context) -> State:
    """Note that a worker finds the attack over.

    Raises:
      InvalidTransaction: the task is not paused, or the worker has said so already.
      InvalidTicket: the ticket does not work on the task.
    """
    _require_worker(state, data.task, data.ticket, Stage.PAUSED, context)
    return _consider(state, data.task, data.ticket, context)


def apply_pause(state: State, data: Pause, context: Context) -> State:
    """Pause a task.

    Raises:
      InvalidTransaction: it is not training, or no majority considers it.
      InvalidTicket: the ticket does not work on the task.
    """
    task = _require_worker(state, data.task, data.ticket, Stage.TRAINING, context)
    _require_majority(task, context.height)
    paused = task.enter(Stage.PAUSED, context.height)
    trained = context.height - task.since
    return state.with_task(
        data.task, replace(paused, considering=(), pauses=task.pauses + 1, trained_blocks=trained)
    )


def apply_resume(state: State, data: Resume, context: Context) -> State:
    """Go on with a paused task; its deadline is as far away as it was.

    Raises:
      InvalidTransaction: it is not paused, or no majority considers it.
      InvalidTicket: the ticket does not work on the task.
    """
    task = _require_worker(state, data.task, data.ticket, Stage.PAUSED, context)
    _require_majority(task, context.height)
    resumed = task.enter(Stage.TRAINING, context.height)
    since = context.height - task.trained_blocks
    return state.with_task(data.task, replace(resumed, considering=(), since=since))


def workers(task: Task) -> tuple[Outpoint, ...]:
    """Return whose majority pauses a task: the miners that work, and its supervisors."""
    return tuple(t for t in (*task.roster.working, *task.supervisors) if t not in task.expelled)


def considering(task: Task, height: int) -> tuple[Outpoint, ...]:
    """Return the workers who consider a change in the block at a height."""
    here = workers(task)
    recent = (c for c in task.considering if c.height + PAUSE_WINDOW_BLOCKS > height)
    return tuple(c.ticket for c in recent if c.ticket in here)


def has_majority(task: Task, height: int) -> bool:
    """Return whether more than half of the workers consider a change in the block at a height."""
    return 2 * len(considering(task, height)) > len(workers(task))


def is_due(task: Task, height: int) -> bool:
    """Return whether a pause has lasted too long at the end of block `height`."""
    return task.stage is Stage.PAUSED and height >= task.since + PAUSED_BLOCKS_MAX


def _consider(state: State, task_id: TaskId, ticket: Outpoint, context: Context) -> State:
    task = state.tasks[task_id]
    recent = considering(task, context.height)
    if ticket in recent:
        raise InvalidTransaction("the worker considers it already")
    kept = tuple(c for c in task.considering if c.ticket in recent)
    said = Considered(ticket, context.height)
    return state.with_task(task_id, replace(task, considering=(*kept, said)))


def _require_worker(state: State, task_id: TaskId, ticket: Outpoint, stage: Stage, context: Context) -> Task:
    task = state.tasks.get(task_id)
    if task is None or task.stage is not stage:
        raise InvalidTransaction(f"the task is not {stage.value}")
    require_ticket(state, ticket, context)
    if ticket not in workers(task):
        raise InvalidTicket("the ticket does not work on the task")
    return task


def _require_majority(task: Task, height: int) -> None:
    if not has_majority(task, height):
        raise InvalidTransaction("no majority of the workers considers it")
