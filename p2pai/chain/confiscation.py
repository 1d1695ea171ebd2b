"""Taking a whole stake for a lie that anybody can check; the ticket is drawn no more, its work is not paid.

Source: PROTOCOL section 9.
"""

from dataclasses import replace

from p2pai.chain.state import Stage, State
from p2pai.primitives.ids import Amount, Outpoint, TaskId


def confiscate(state: State, outpoint: Outpoint, height: int) -> State:
    """Destroy what is left of a stake, whether its ticket is there still or not.

    Args:
      state: the ledger.
      outpoint: of the stake and its ticket.
      height: of the block.
    """
    stake = state.utxos.get(outpoint)
    if stake is None:
        return state
    burned = Amount(state.burned + stake.value)
    state = replace(state, utxos=state.utxos.delete(outpoint), burned=burned)
    ticket = state.tickets.get(outpoint)
    if ticket is None:
        return state
    if ticket.task is not None and _works(state, ticket.task, outpoint):
        return _expel(state, ticket.task, outpoint)
    if ticket.task is not None:
        state = _withdraw(state, ticket.task, outpoint)
    # It may be drawn for blocks that are not settled yet, which name it: it ends as one that has expired.
    ended = replace(ticket, task=None, expires=height)
    return replace(state, tickets=state.tickets.set(outpoint, ended))


def _works(state: State, task_id: TaskId, ticket: Outpoint) -> bool:
    task = state.tasks[task_id]
    return task.stage is not Stage.JOINING and ticket not in task.reserves


def _expel(state: State, task_id: TaskId, ticket: Outpoint) -> State:
    task = state.tasks[task_id]
    gone = () if ticket in task.expelled else (ticket,)
    return state.with_task(task_id, replace(task, expelled=(*task.expelled, *gone)))


def _withdraw(state: State, task_id: TaskId, ticket: Outpoint) -> State:
    """Take back a ticket's application for a task."""
    task = state.tasks[task_id]
    joins = tuple(j for j in task.joins if j.ticket != ticket)
    reserves = tuple(r for r in task.reserves if r != ticket)
    return state.with_task(task_id, replace(task, joins=joins, reserves=reserves))
