"""The verifier: replays the lucky iteration of each block it was drawn for, commits, then reveals.

What to do about a block follows from the ledger with waiting transactions: drawn and not committed - replay
and commit; committed, and commits closed - reveal. The salt comes from the node's own key, so a restart can
still reveal what it committed to.

Source: PoUW §5.2; PROTOCOL section 8.
"""

from typing import ClassVar

from p2pai.chain import verification
from p2pai.chain.state import Verification
from p2pai.chain.transaction import VerifyCommit, VerifyReveal
from p2pai.primitives.ids import Hash32, Outpoint
from p2pai.roles.base import Role, keep_ticket
from p2pai.roles.proving import commits_closed, prove
from p2pai.roles.replaying import Finding


class Verifier(Role):
    """See the module."""

    name: ClassVar[str] = "verifier"

    def tip_changed(self) -> None:
        """Do what is due for every block we were drawn for."""
        keep_ticket(self)
        ours = [outpoint for outpoint, _ in self.tickets()]
        for block, open_verification in sorted(self.node.pool.verifications.items(), key=lambda i: i[0]):
            for ticket in open_verification.verifiers:
                if ticket in ours:
                    self._attend(block, ticket, open_verification)
        prove(self.node)

    def _attend(self, block: Hash32, ticket: Outpoint, pooled: Verification) -> None:
        committed = any(c.ticket == ticket for c in pooled.commits)
        finding = self.finding(block)
        if not committed and not pooled.collected and not commits_closed(self.node, block):
            if finding is not None:
                self._commit(block, ticket, finding)
            else:
                self.node.judge(block)
        elif committed and finding is not None and not any(r.ticket == ticket for r in pooled.reveals):
            self._reveal(block, ticket, finding)

    def finding(self, block: Hash32) -> Finding | None:
        """Return what there is to say of a block: what our replay gave."""
        judgement = self.node.judged.get(block)
        return Finding(judgement.found, judgement.reason) if judgement else None

    # --- commit, reveal

    def _salt(self, block: Hash32, ticket: Outpoint) -> Hash32:
        return self.node.identity.salt(b"verdict", block, ticket.encode())

    def _commit(self, block: Hash32, ticket: Outpoint, finding: Finding) -> None:
        commitment = verification.commitment(
            ticket, block, finding.precursor, not finding.reason, self._salt(block, ticket)
        )
        self.node.post(VerifyCommit(block, ticket, commitment))

    def _reveal(self, block: Hash32, ticket: Outpoint, finding: Finding) -> None:
        if not commits_closed(self.node, block):
            return
        salt = self._salt(block, ticket)
        self.node.post(VerifyReveal(block, ticket, finding.precursor, not finding.reason, salt))
