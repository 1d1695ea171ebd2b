"""A task is in one stage and moves forward; a ticket works on one task, and its stake has one end.

I4: stages follow the arrows below; a task that is over stays as it is, and its escrow is empty or its
client's. I5: a ticket that is bound is named by its task and by no other; while it exists its stake is
locked, once it is gone the stake is free, for ever.

Source: RELIABILITY (4), I4 and I5; PROTOCOL sections 4, 5.
"""

from itertools import pairwise
from typing import Final

from p2pai.chain import coins
from p2pai.chain.state import Stage, State, Task
from p2pai.chain.transaction import BuyTickets, PayForTask, Stake
from p2pai.primitives.ids import Outpoint, TaskId
from testnet.simulator.invariants.step import Step, named_by, require

ARROWS: Final = {
    Stage.JOINING: (Stage.KEYING, Stage.REVOKED, Stage.EXPIRED),
    Stage.KEYING: (Stage.TRAINING, Stage.FAILED),
    Stage.TRAINING: (Stage.PAUSED, Stage.EVALUATING, Stage.FAILED),
    Stage.PAUSED: (Stage.TRAINING, Stage.EVALUATING, Stage.FAILED),
    Stage.EVALUATING: (Stage.PAID, Stage.MALFORMED, Stage.FAILED),
}
"""Where a task may go from each stage; from all others nowhere."""

CHARGED: Final = (Stage.PAID, Stage.MALFORMED)
"""Ends in which the fee was spent by the one payment."""


def stages(step: Step) -> None:
    """I4: every task that changed went along the arrows, and what is over is settled."""
    posted = [tx.txid for tx in step.transactions if isinstance(tx.data, PayForTask)]
    require(len(step.after.tasks) >= len(step.before.tasks), "I4: a task is forgotten")
    for task_id, (old, new) in step.tasks.items():
        history = tuple(Stage(name) for name, _ in new.history)
        require(history[-1] is new.stage, "I4: a task is in another stage than it entered last")
        if old is None:
            require(task_id in posted and history[0] is Stage.JOINING, "I4: a task came from nowhere")
        else:
            require(not old.stage.is_over, "I4: a task that is over changed")
            require(new.history[: len(old.history)] == old.history, "I4: a task's past changed")
            require(
                (old.definition, old.fee, old.client) == (new.definition, new.fee, new.client), "I4: terms"
            )
        for stage, following in pairwise(history):
            require(following in ARROWS.get(stage, ()), f"I4: a task went from {stage} to {following}")
        _require_escrow(step.after, task_id, new)


def _require_escrow(state: State, task_id: TaskId, task: Task) -> None:
    if task.stake is None:
        return
    escrow = state.utxos.get(task.stake)
    if task.stage in CHARGED:
        require(escrow is None, "I4: a task is paid, and its fee is still there")
    elif task.stage.is_over:
        require(not coins.is_locked(state, task.stake), "I4: a task is over, and its fee is locked")
        held = [t for t in named_by(task) if t in state.tickets and state.tickets[t].task == task_id]
        require(not held, "I4: a task is over and holds a ticket")
    else:
        require(escrow is not None and escrow.value == task.fee, "I4: a task's fee is not in its escrow")
        require(coins.is_locked(state, task.stake), "I4: a task's fee can be spent before its end")


def tickets(step: Step) -> None:
    """I5: every ticket that the block could touch is bound once, and its stake locked or returned once."""
    bought = [tx.txid for tx in step.transactions if isinstance(tx.data, BuyTickets)]
    rows = sum((o in step.after.tickets) - (o in step.before.tickets) for o in step.touched)
    grown = len(step.after.tickets) - len(step.before.tickets)
    require(grown == rows, "I5: a ticket came or went that nothing names")
    for outpoint in step.touched:
        if outpoint in step.after.tickets and outpoint not in step.before.tickets:
            require(outpoint.txid in bought, "I5: a ticket came back, or from nowhere")
        check_ticket(step.after, outpoint)


def check_ticket(state: State, outpoint: Outpoint) -> None:
    """I5, of one outpoint: a ticket, what was one, or none."""
    ticket = state.tickets.get(outpoint)
    if ticket is None:
        return
    stake = state.utxos.get(outpoint)
    if stake is None:
        lost = _has_lost_all(state, ticket.task, outpoint) or ticket.is_expired(state.height + 1)
        require(lost, "I5: a ticket's stake is gone while it exists")
    else:
        require(isinstance(stake, Stake), "I5: a ticket's stake is no stake")
        require(stake.key_hash == ticket.key_hash, "I5: a ticket's stake is another's")
        expired = ticket.is_expired(state.height + 1)
        require(expired or coins.is_locked(state, outpoint), "I5: a ticket's stake can be spent")
    if ticket.task is not None:
        task = state.tasks.get(ticket.task)
        require(task is not None, "I5: a ticket works on a task that is none")
        assert task is not None
        require(not task.stage.is_over, "I5: a ticket works on a task that is over")
        require(outpoint in named_by(task), "I5: a ticket is bound to a task that does not know it")


def _has_lost_all(state: State, task_id: TaskId | None, outpoint: Outpoint) -> bool:
    return task_id is not None and outpoint in state.tasks[task_id].expelled


def audit_tasks(state: State) -> None:
    """I4 and I5 over all tasks and tickets; no ticket works for two tasks."""
    worker_of: dict[Outpoint, TaskId] = {}
    for task_id, task in sorted(state.tasks.items()):
        _require_escrow(state, task_id, task)
        if task.stage.is_over:
            continue
        for _, group in task.workers():
            for ticket in group:
                first = worker_of.setdefault(ticket, task_id)
                require(first == task_id, "I5: a ticket works on two tasks")
    for outpoint in state.tickets:
        check_ticket(state, outpoint)
    for outpoint, task_id in worker_of.items():
        held = state.tickets.get(outpoint)
        expelled = outpoint in state.tasks[task_id].expelled
        require(
            expelled or (held is not None and held.task == task_id), "I5: a worker is not bound to its task"
        )
