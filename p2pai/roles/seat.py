"""One supervisor's seat in a task's committee: who leads, whose signature counts, how it is heard.

Source: PoUW §4.3; PROTOCOL section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pai.chain import committee
from p2pai.chain.state import Task
from p2pai.chain.task_life import supervisor_keys
from p2pai.primitives import bls, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlsSignature, Outpoint, PublicKey, TaskId
from p2pai.roles.slots import Said

if TYPE_CHECKING:
    from p2pai.roles.base import Node


@dataclass(frozen=True, slots=True)
class Seat:
    """See the module."""

    node: Node
    task_id: TaskId
    ticket: Outpoint

    @property
    def task(self) -> Task:
        """The task as the tip has it."""
        return self.node.state.tasks[self.task_id]

    @property
    def index(self) -> int:
        """Our place among the supervisors."""
        return self.task.supervisors.index(self.ticket)

    def leads(self, slot: int) -> bool:
        """Return whether we lead at a slot."""
        return self._leader(slot) == self.index

    def leader_key(self, slot: int) -> PublicKey:
        """Return the key of who leads at a slot."""
        return self.node.state.tickets[self.task.supervisors[self._leader(slot)]].owner

    def sign(self, statement: committee.Statement) -> BlsSignature:
        """Sign a statement."""
        return committee.sign(self.node.identity.keys.bls, statement)

    def say(self, said: Said) -> None:
        """Tell the committee."""
        self.node.publish("message_history", self.task_id, record.encode_tagged(said))

    def check_vote(
        self, sender: PublicKey, ticket: Outpoint, statement: committee.Statement, signature: BlsSignature
    ) -> int:
        """Return the index of the supervisor who signed.

        Raises:
          InvalidMessage: the sender is not a supervisor of the task.
          InvalidProof: the signature does not hold.
        """
        if ticket not in self.task.supervisors or self.node.state.tickets[ticket].owner != sender:
            raise InvalidMessage("the signer is not a supervisor of the task")
        index = self.task.supervisors.index(ticket)
        key = supervisor_keys(self.node.state, self.task)[index]
        bls.verify(key, committee.digest(statement), signature)
        return index

    def _leader(self, slot: int) -> int:
        return committee.leader(len(self.task.supervisors), committee.epoch_of(slot), 0)
