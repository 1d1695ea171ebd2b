"""One block between two states, and what of the ledger it could have touched."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from p2pai.chain.block import Block
from p2pai.chain.params import Params
from p2pai.chain.state import State, Task
from p2pai.chain.transaction import ChargeForTask, FraudProof, Output, Transaction
from p2pai.primitives.ids import Outpoint, PeerId, TaskId


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, what: str, node: PeerId | None = None) -> None:
        """Say what is broken.

        Args:
          what: the invariant's number, a colon, and a sentence.
          node: where it shows, if at one node.
        """
        super().__init__(what)
        self.number, _, self.sentence = what.partition(": ")
        self.node = node


def require(condition: object, what: str, node: PeerId | None = None) -> None:
    """Raise `Broken` unless a condition holds."""
    if not condition:
        raise Broken(what, node)


@dataclass(frozen=True)
class Step:
    """A block connected."""

    before: State
    block: Block
    after: State
    params: Params

    @cached_property
    def transactions(self) -> tuple[Transaction, ...]:
        """All but the coinbase."""
        return self.block.transactions[1:]

    @cached_property
    def made(self) -> dict[Outpoint, Output]:
        """Outputs of the block's transactions, also those that are spent in it again."""
        return {
            Outpoint(tx.txid, i): output
            for tx in self.block.transactions
            for i, output in enumerate(tx.outputs)
        }

    @cached_property
    def spent(self) -> tuple[Outpoint, ...]:
        """Inputs of the block's transactions, in order."""
        return tuple(outpoint for tx in self.transactions for outpoint in tx.inputs)

    @cached_property
    def tasks(self) -> dict[TaskId, tuple[Task | None, Task]]:
        """Tasks whose row is another than before: the old row and the new one."""
        return {
            task_id: (self.before.tasks.get(task_id), task)
            for task_id, task in self.after.tasks.items()
            if (old := self.before.tasks.get(task_id)) is not task and old != task
        }

    @cached_property
    def touched(self) -> tuple[Outpoint, ...]:
        """Every outpoint that a rule could have changed: named by the block, a task, or a verification."""
        found: dict[Outpoint, None] = dict.fromkeys((*self.made, *self.spent))
        for tx in self.transactions:
            found |= dict.fromkeys(outpoints_in(tx.data))
            if isinstance(tx.data, FraudProof):  # approvals are transactions, as bytes
                approvals = (Transaction.decode(approval).data for approval in tx.data.approvals)
                found |= dict.fromkeys(outpoints_in(tuple(approvals)))
        for old, new in self.tasks.values():
            found |= dict.fromkeys((*named_by(old), *named_by(new)))
        for state in (self.before, self.after):
            for verification in state.verifications.values():
                found |= dict.fromkeys((verification.ticket, *verification.verifiers))
            found |= dict.fromkeys(state.voting.validators if state.voting else ())
        return tuple(found)

    @cached_property
    def paid_back(self) -> int:
        """Atoms captured of stakes that the block's payments put back into circulation."""
        charged = (tx.data.task for tx in self.transactions if isinstance(tx.data, ChargeForTask))
        return sum(self.after.tasks[task].captured for task in charged)


def outpoints_in(value: Any) -> Iterator[Outpoint]:  # noqa: ANN401
    """Yield every outpoint inside a record."""
    if isinstance(value, Outpoint):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from outpoints_in(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from outpoints_in(getattr(value, field.name))


def named_by(task: Task | None) -> tuple[Outpoint, ...]:
    """Return the tickets that a task holds, held or calls, and its fee's output."""
    if task is None:
        return ()
    return (
        *((task.stake,) if task.stake else ()),
        *(ticket for _, tickets in task.workers() for ticket in tickets),
        *task.reserves,
        *task.expelled,
        *(join.ticket for join in task.joins),
        *(task.keying.members if task.keying else ()),
        *(task.keying.dealers if task.keying else ()),
    )
