"""The verifier: replays the lucky iteration of each block it was drawn for, commits, then reveals.

What to do about a block follows from the ledger with waiting transactions: drawn and not committed - replay
and commit; committed, and commits closed - reveal. The salt comes from the node's own key, so a restart can
still reveal what it committed to.

Source: PoUW §5.2; PROTOCOL section 8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from p2pai import jobs
from p2pai.chain import verification
from p2pai.chain.state import State, Verification
from p2pai.chain.transaction import VerifyCommit, VerifyReveal
from p2pai.events import Fetched
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, Millis, Outpoint
from p2pai.roles import replaying
from p2pai.roles.base import Node, Role, keep_ticket
from p2pai.roles.replaying import Finding, LuckyIteration

RETRY_MS: Final = Millis(1_000)
"""Pause before a capsule is asked for again; its miner may still be storing it."""

TRIES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class VerdictReached:
    """Journal: what a replay found, so that it can be revealed after a restart."""

    block: Hash32
    precursor: Hash32
    reason: str


class Verifier(Role):
    """See the module."""

    name: ClassVar[str] = "verifier"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.findings: dict[Hash32, Finding] = {}
        self._busy: dict[Hash32, int] = {}
        """Blocks being replayed, and tries so far."""

    def restore(self, record: object) -> None:
        """Take back verdicts."""
        if isinstance(record, VerdictReached):
            self.findings[record.block] = Finding(record.precursor, record.reason)

    def tip_changed(self) -> None:
        """Do what is due for every block we were drawn for."""
        keep_ticket(self)
        ours = [outpoint for outpoint, _ in self.tickets()]
        for block, open_verification in sorted(self.node.pool.verifications.items(), key=lambda i: i[0]):
            for ticket in open_verification.verifiers:
                if ticket in ours:
                    self._attend(block, ticket, open_verification)

    def _attend(self, block: Hash32, ticket: Outpoint, pooled: Verification) -> None:
        committed = any(c.ticket == ticket for c in pooled.commits)
        finding = self.findings.get(block)
        window = self.node.params.verification_window_blocks
        if not committed and not pooled.collected and not commits_closed(self.node.state, block, window):
            if finding is not None:
                self._commit(block, ticket, finding)
            elif block not in self._busy:
                self._busy[block] = 0
                self._replay(block)
        elif committed and finding is not None and not any(r.ticket == ticket for r in pooled.reveals):
            self._reveal(block, ticket, finding)

    # --- replay

    def _replay(self, block: Hash32) -> None:
        known = self.node.block(block)
        if known is None or not self.node.is_best(block):
            self._busy.pop(block, None)
            return
        lucky = replaying.lucky_iteration(known)
        Fetching(self.node, lucky, lambda applied: self._fetched(block, lucky, applied))

    def _fetched(self, block: Hash32, lucky: LuckyIteration, applied: bytes | None) -> None:
        if applied is None:
            self._busy[block] += 1
            if self._busy[block] < TRIES_MAX:
                self.node.set_timer(f"capsule:{block.hex()}", RETRY_MS, lambda: self._replay(block))
            return
        known = self.node.block(block)
        before = self.node.state_before(known) if known else None
        assert before is not None, "a block of the tree without its parent"
        try:
            job = replaying.replay_job(lucky, applied, before)
        except InvalidInput as error:
            self._found(block, Finding(lucky.message.nonce, str(error)))
            return
        self.node.train(job, lambda result: self._replayed(block, lucky, result))

    def _replayed(self, block: Hash32, lucky: LuckyIteration, result: jobs.Result) -> None:
        if isinstance(result, jobs.Replayed):
            self._found(block, replaying.judge(lucky, result))
        else:
            self._fetched(block, lucky, None)

    def _found(self, block: Hash32, finding: Finding) -> None:
        self._busy.pop(block, None)

        def durable() -> None:
            self.findings[block] = finding
            self.tip_changed()

        self.node.persist(VerdictReached(block, finding.precursor, finding.reason), durable)

    # --- commit, reveal

    def _salt(self, block: Hash32, ticket: Outpoint) -> Hash32:
        return self.node.identity.salt(b"verdict", block, ticket.encode())

    def _commit(self, block: Hash32, ticket: Outpoint, finding: Finding) -> None:
        commitment = verification.commitment(
            ticket, block, finding.precursor, not finding.reason, self._salt(block, ticket)
        )
        self.node.post(VerifyCommit(block, ticket, commitment))

    def _reveal(self, block: Hash32, ticket: Outpoint, finding: Finding) -> None:
        if not commits_closed(self.node.state, block, self.node.params.verification_window_blocks):
            return
        salt = self._salt(block, ticket)
        self.node.post(VerifyReveal(block, ticket, finding.precursor, not finding.reason, salt))


def commits_closed(state: State, block: Hash32, window_blocks: int) -> bool:
    """Return whether verdicts on a block may be revealed, as far as the chain itself says."""
    confirmed = state.verifications.get(block)
    if confirmed is None:
        return False
    return confirmed.collected or state.height + 1 > confirmed.height + window_blocks // 2


class Fetching:
    """Collects the parts of one capsule; ends with the peers' list, or None when a part is nowhere."""

    def __init__(self, node: Node, lucky: LuckyIteration, then: Callable[[bytes | None], None]) -> None:
        self._then, self._applied = then, lucky.message.applied
        self._missing = dict.fromkeys(lucky.parts())
        self._data: bytes | None = None
        self._failed = False
        miner = node.state.tickets.get(lucky.message.ticket)
        providers = (miner.peer,) if miner is not None and miner.peer else ()
        for part in list(self._missing):
            node.fetch(part, providers, self._got)

    def _got(self, fetched: Fetched) -> None:
        if self._failed or fetched.blob not in self._missing:
            return
        if fetched.chunks is None:
            self._failed = True
            self._then(None)
            return
        del self._missing[fetched.blob]
        if fetched.blob == self._applied:
            self._data = fetched.data
        if not self._missing:
            self._then(self._data)
