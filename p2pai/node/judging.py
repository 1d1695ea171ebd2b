"""What this node knows of blocks by replaying them: each is replayed once, whoever wants to know.

A verifier asks about the blocks that it was drawn for, an auditor about all, and every node about a block
that a FRAUD_PROOF names. What a replay said is durable before anybody acts on it, and remembered; so a flood
of accusations costs one replay for each block at most.

Source: PoUW §5.2; PROTOCOL sections 8, 9.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pai import jobs
from p2pai.chain.fraud import Judgement
from p2pai.events import Fetched
from p2pai.node.ledger import Ledger
from p2pai.node.services import Services
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, Millis, PeerId
from p2pai.roles import replaying
from p2pai.roles.replaying import Finding, LuckyIteration, VerdictReached

RETRY_MS: Final = Millis(1_000)
"""Pause before a capsule is asked for again; its miner may still be storing it."""

TRIES_MAX: Final = 20

PAUSE_MS: Final = Millis(60_000)
"""After that many tries in vain the block is left alone for so long."""

REPLAYS_MAX: Final = 8
"""Blocks that are replayed at once, or wait for their capsules."""


@dataclass(slots=True)
class _Replay:
    tries: int = 0
    accused: bool = False
    """Somebody says that the block is false: it matters on whatever branch it stands."""


class Judging:
    """Replays blocks of the tree; the outcome goes to `tree.judged`, then `done` is called."""

    def __init__(self, services: Services, ledger: Ledger, done: Callable[[Hash32], None]) -> None:
        self._services, self._ledger, self._done = services, ledger, done
        self.open: dict[Hash32, _Replay] = {}
        self._paused: dict[Hash32, int] = {}
        """When a block that could not be replayed may be tried again."""

    def restore(self, record: VerdictReached) -> None:
        """Take back an outcome."""
        self._ledger.tree.judged[record.block] = record.judgement

    def begin(self, block: Hash32, *, accused: bool = False) -> None:
        """Replay a block, unless that was done, is under way or failed a short while ago."""
        if block in self.open:
            self.open[block].accused |= accused
            return
        now = self._services.now_ms
        self._paused = {b: until for b, until in self._paused.items() if until > now}
        busy = len(self.open) >= REPLAYS_MAX
        if busy or block in self._ledger.tree.judged or block in self._paused:
            return
        self.open[block] = _Replay(accused=accused)
        self._replay(block)

    def _replay(self, block: Hash32) -> None:
        tree = self._ledger.tree
        branch = tree.get(block)
        parent = tree.get(branch.block.header.prev) if branch else None
        wanted = self.open[block].accused or tree.is_best(block)
        if branch is None or parent is None or not wanted:
            del self.open[block]
            return
        lucky = replaying.lucky_iteration(branch.block)
        miner = parent.state.tickets[lucky.message.ticket]
        providers = (miner.peer,) if miner.peer else ()
        Fetching(self._services, lucky, providers, lambda applied: self._fetched(block, lucky, applied))

    def _fetched(self, block: Hash32, lucky: LuckyIteration, applied: bytes | None) -> None:
        if applied is None:
            self._try_again(block)
            return
        branch = self._ledger.tree.get(block)
        parent = self._ledger.tree.get(branch.block.header.prev) if branch else None
        if parent is None:
            del self.open[block]
            return
        try:
            job = replaying.replay_job(lucky, applied, parent.state)
        except InvalidInput as error:
            self._found(block, lucky, Finding(lucky.message.nonce, str(error)))
            return
        self._services.train(job, lambda result: self._replayed(block, lucky, result))

    def _try_again(self, block: Hash32) -> None:
        self.open[block].tries += 1
        if self.open[block].tries < TRIES_MAX:
            self._services.set_timer(f"capsule:{block.hex()}", RETRY_MS, lambda: self._replay(block))
        else:
            del self.open[block]
            self._paused[block] = self._services.now_ms + PAUSE_MS

    def _replayed(self, block: Hash32, lucky: LuckyIteration, result: jobs.Result) -> None:
        if isinstance(result, jobs.Replayed):
            self._found(block, lucky, replaying.judge(lucky, result))
        else:
            self._try_again(block)

    def _found(self, block: Hash32, lucky: LuckyIteration, finding: Finding) -> None:
        branch = self._ledger.tree.get(block)
        if branch is None:
            del self.open[block]
            return
        judgement = Judgement(branch.state.height, lucky.message.ticket, finding.precursor, finding.reason)

        def durable() -> None:
            del self.open[block]
            self._forget()
            self._ledger.tree.judged[block] = judgement
            self._done(block)

        self._services.persist(VerdictReached(block, judgement), durable)

    def _forget(self) -> None:
        """Forget honest blocks that nobody can accuse any more, once their verifiers have said so."""
        settled = self._ledger.state.checkpoint.height - self._ledger.spec.params.verification_window_blocks
        judged = self._ledger.tree.judged
        for block in [b for b, j in judged.items() if not j.reason and j.height <= settled]:
            del judged[block]


class Fetching:
    """Collects the parts of one capsule; ends with the peers' list, or None when a part is nowhere."""

    def __init__(
        self,
        services: Services,
        lucky: LuckyIteration,
        providers: tuple[PeerId, ...],
        then: Callable[[bytes | None], None],
    ) -> None:
        self._then, self._applied = then, lucky.message.applied
        self._missing = dict.fromkeys(lucky.parts())
        self._data: bytes | None = None
        self._failed = False
        for part in list(self._missing):
            services.fetch(part, providers, self._got)

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
