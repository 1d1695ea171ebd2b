"""One supervisor's seat in a task's committee: its share of the group key, who leads, whose word counts.

A seat is a value: it belongs to one committee, and when the members change the supervisor takes another.

Source: PoUW §4.2.1, §4.3; PROTOCOL section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p2pai.chain import committee as certificates
from p2pai.chain.committee import Committee, SlotStatement, Statement
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlsSignature, Hash32, Outpoint, PublicKey, TaskId
from p2pai.roles.dealer import own_share

if TYPE_CHECKING:
    from p2pai.roles.base import Node


@dataclass(frozen=True, slots=True)
class Seat:
    """See the module; members count from 1."""

    task: TaskId
    committee: Committee
    owners: tuple[PublicKey, ...]
    """Spending keys of the members."""
    member: int
    """Ours."""
    secret: bytes | None = field(repr=False)
    """Our share of the group key's secret; None when a dealer cheated us and we did not accuse it in time."""
    spending: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.owners)

    @property
    def threshold(self) -> int:
        """Members that certify."""
        return self.committee.threshold

    def leader(self, epoch: int, view: int) -> int:
        """Return the member that leads."""
        return 1 + certificates.leader(self.size, epoch, view)

    def leader_key(self, epoch: int, view: int) -> PublicKey:
        """Return the key of who leads."""
        return self.owners[self.leader(epoch, view) - 1]

    # --- our word

    def sign(self, digest: Hash32) -> bytes:
        """Sign with our spending key."""
        return ecdsa.sign(self.spending, digest)

    def share(self, statement: Statement) -> BlsSignature:
        """Return our share of a certificate."""
        assert self.secret is not None, "who holds no share signs nothing"
        return certificates.sign(self.secret, statement)

    def proposal_digest(self, statement: SlotStatement) -> Hash32:
        """Return what a leader signs under a proposal."""
        return certificates.proposal_digest(statement, self.committee.key)

    # --- others' word

    def check_signed(self, member: int, digest: Hash32, signature: bytes) -> None:
        """Check a member's own signature.

        Raises:
          InvalidMessage: there is no such member.
          InvalidProof: the signature does not hold.
        """
        self._check_member(member)
        ecdsa.verify(self.owners[member - 1], digest, signature)

    def check_share(self, statement: Statement, member: int, signature: BlsSignature) -> None:
        """Check a member's share of a certificate.

        Raises:
          InvalidMessage: there is no such member.
          InvalidProof: the share does not hold.
        """
        self._check_member(member)
        certificates.verify_share(statement, member, signature, self.committee)

    def combine(self, shares: Mapping[int, BlsSignature]) -> BlsSignature:
        """Make a threshold of checked shares a certificate."""
        return certificates.combine(dict(sorted(shares.items())[: self.threshold]))

    def check(self, statement: Statement, certificate: BlsSignature) -> None:
        """Check a certificate.

        Raises:
          InvalidProof: it does not hold.
        """
        certificates.verify(statement, certificate, self.committee.key)

    def _check_member(self, member: int) -> None:
        if not 1 <= member <= self.size:
            raise InvalidMessage("the committee has no such member")


def take_seat(node: Node, task_id: TaskId, ticket: Outpoint) -> Seat | None:
    """Return the seat of a ticket in a task's committee at the tip; None while it has none."""
    committee = node.state.tasks[task_id].committee
    if committee is None or ticket not in committee.members:
        return None
    keys = node.identity.keys
    owners = tuple(node.state.tickets[t].owner for t in committee.members)
    secret = own_share(committee, keys, ticket)
    return Seat(task_id, committee, owners, 1 + committee.members.index(ticket), secret, keys.spending)
