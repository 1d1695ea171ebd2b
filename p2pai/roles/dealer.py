"""A supervisor's part in its committee's common key: it deals, checks what it is dealt, accuses or confirms.

It looks at the ledger with the waiting transactions applied, and does what is missing there: deal; accuse
whoever dealt it a wrong share; confirm the key. What it deals follows from its secret key and the attempt, so
that a restart can't make it deal twice. Members tell each other which deals they saw, and whoever sees two of
one dealer accuses it.

Source: PoUW §4.2.1, Appendix C; PROTOCOL section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from p2pai.chain import dkg, keying
from p2pai.chain.committee import Committee, Dealt
from p2pai.chain.dkg import Deal
from p2pai.chain.params import quorum
from p2pai.chain.state import Keying, Task
from p2pai.chain.supervision import DkgComplaint, DkgDeal, DkgSuccessful, TwoDeals, WrongShare
from p2pai.effects import Verdict
from p2pai.primitives import ecdsa, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32, Outpoint, PublicKey, TaskId
from p2pai.primitives.keys import Keys

if TYPE_CHECKING:
    from p2pai.roles.base import Node

SEEN_SIZE_MAX: Final = 512
"""Bytes of a message about a deal."""


@dataclass(frozen=True, slots=True)
class DealSeen:
    """A member saw this deal; said on the task's `dkg` topic."""

    attempt: int
    dealer: Outpoint
    deal: Hash32
    signature: bytes
    """The dealer's."""


def own_share(made: Committee, keys: Keys, ticket: Outpoint) -> bytes | None:
    """Return a member's secret share of its committee's key; None when it was dealt a wrong one."""
    index = made.members.index(ticket) + 1
    opened = {d.index: dkg.open_share(d.deal, d.context, keys.vrf, index) for d in made.dealt}
    shares = {i: share for i, share in opened.items() if share is not None}
    if len(shares) < len(opened):
        return None
    return dkg.combine_share(shares, renewed=made.renewed)


class Dealer:
    """One supervisor's ticket in one task whose supervisors make or renew their key."""

    def __init__(self, node: Node, task_id: TaskId, ticket: Outpoint) -> None:
        self.node, self.task_id, self.ticket = node, task_id, ticket
        self._checked: dict[tuple[Hash32, Hash32], None] = {}
        """(context, deal) of the deals whose share for us fits."""
        self._seen: dict[tuple[int, Outpoint], DealSeen] = {}

    def tip_changed(self) -> None:
        """Do what is missing in the ledger."""
        task = self.node.pool.tasks.get(self.task_id)
        attempt = task.keying if task else None
        if task is None or attempt is None:
            return
        self._deal(task, attempt)
        if self.ticket not in attempt.members:
            return
        for dealt in attempt.dealt:
            self._watch(attempt, dealt)
            if not self._fits(attempt, dealt):
                self._accuse(attempt, dealt)
                return  # the complaint begins another attempt
        if attempt.committee is not None and self.ticket not in attempt.confirmed:
            key = attempt.committee.key
            self.node.post(DkgSuccessful(self.task_id, attempt.attempt, self.ticket, key))

    # --- dealing

    def _deal(self, task: Task, attempt: Keying) -> None:
        done = any(d.ticket == self.ticket for d in attempt.dealt)
        if self.ticket not in attempt.dealers or attempt.committee is not None or done:
            return
        keys = self.node.identity.keys
        constant = own_share(task.committee, keys, self.ticket) if task.committee else None
        part = keying.dealer_context(attempt, self.ticket)
        receivers = keying.receivers(self.node.pool, attempt)
        deal = dkg.make_deal(keys.bls, part, receivers, quorum(len(receivers)), constant)
        signature = self._sign(part, deal)
        self.node.post(DkgDeal(self.task_id, attempt.attempt, self.ticket, deal, signature))

    def _sign(self, part: Hash32, deal: Deal) -> bytes:
        digest = keying.deal_digest(part, dkg.digest(deal, part))
        return ecdsa.sign(self.node.identity.keys.spending, digest)

    # --- checking

    def _fits(self, attempt: Keying, dealt: Dealt) -> bool:
        key = (dealt.context, dkg.digest(dealt.deal, dealt.context))
        if key in self._checked:
            return True
        index = attempt.members.index(self.ticket) + 1
        vrf = self.node.identity.keys.vrf
        if dkg.open_share(dealt.deal, dealt.context, vrf, index) is None:
            return False
        self._checked[key] = None
        return True

    def _accuse(self, attempt: Keying, dealt: Dealt) -> None:
        index = attempt.members.index(self.ticket) + 1
        accusation = dkg.accuse(dealt.deal, dealt.context, self.node.identity.keys.vrf, index)
        evidence = WrongShare(dealt.ticket, accusation)
        self.node.post(DkgComplaint(self.task_id, attempt.attempt, self.ticket, evidence))

    # --- comparing what was seen

    def _watch(self, attempt: Keying, dealt: Dealt) -> None:
        seen = DealSeen(attempt.attempt, dealt.ticket, dkg.digest(dealt.deal, dealt.context), dealt.signature)
        known = self._seen.get((attempt.attempt, dealt.ticket))
        if known is None:
            self._seen[attempt.attempt, dealt.ticket] = seen
            self.node.publish("dkg", self.task_id, record.encode(seen))
        elif known.deal != seen.deal:
            self._accuse_of_two(attempt, known, seen)

    def said(self, sender: PublicKey, body: bytes) -> Verdict:
        """Hear which deal another member saw.

        Raises:
          InvalidMessage: malformed.
          InvalidProof: not signed by the dealer.
        """
        del sender
        seen = record.decode(DealSeen, body, size_max=SEEN_SIZE_MAX)
        task = self.node.pool.tasks.get(self.task_id)
        attempt = task.keying if task else None
        if attempt is None or attempt.attempt != seen.attempt:
            return Verdict.IGNORE
        if seen.dealer not in attempt.dealers:
            raise InvalidMessage("not a deal of a dealer")
        known = self._seen.get((seen.attempt, seen.dealer))
        if known is not None and known.deal == seen.deal:
            return Verdict.ACCEPT
        part = keying.dealer_context(attempt, seen.dealer)
        owner = self.node.pool.tickets[seen.dealer].owner
        ecdsa.verify(owner, keying.deal_digest(part, seen.deal), seen.signature)
        if known is None:
            self._seen[seen.attempt, seen.dealer] = seen
        elif self.ticket in attempt.members:
            self._accuse_of_two(attempt, known, seen)
        return Verdict.ACCEPT

    def _accuse_of_two(self, attempt: Keying, first: DealSeen, second: DealSeen) -> None:
        evidence = TwoDeals(first.dealer, first.deal, first.signature, second.deal, second.signature)
        self.node.post(DkgComplaint(self.task_id, attempt.attempt, self.ticket, evidence))
