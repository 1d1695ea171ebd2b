"""Checking afterwards, from genesis, what a node that began at a snapshot took on trust.

In two passes, slowly, beside all else. First one remote's headers from genesis to the checkpoint, of which
only the hash at the end of each answer is kept: since each header names the one before, a chain that ends in
the trusted block is that block's own. Then the headers of one stretch after the other once more, against
those hashes, and their blocks, from whoever has them; each is connected with all checks to the ledger of the
block before. At the checkpoint the ledger must have the very id of the snapshot. Memory: one ledger, a
stretch of hashes, a few blocks.

A block's body that is not what its header commits to is its sender's fault. One whose transactions the
header does commit to, and that break a rule, shows that the chain is false. A FRAUD_PROOF about a block that
is on no chain any more can't be replayed; it counts as the chain says.

Source: Bitcoin Core, assumeutxo; docs/adr/0030-sync.md.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from p2pai import effects
from p2pai.chain import headers, snapshot, transition, work
from p2pai.chain.block import Block, Header, has_its_transactions, read_header
from p2pai.chain.fraud import Judgement
from p2pai.chain.genesis import genesis_state
from p2pai.chain.headers import Lineage
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import Checkpoint
from p2pai.chain.transaction import Coinbase, FraudProof
from p2pai.gossip import sync
from p2pai.node.services import Services
from p2pai.node.syncing import HANGUP_MS
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidBlock, InvalidInput, Unavailable
from p2pai.primitives.ids import Hash32, Millis, PeerId

BATCH_BLOCKS: Final = 8
"""Blocks asked for and connected at once: under a tenth of a second of work."""

PAUSE_MS: Final = Millis(50)
"""Between two questions, so that the node's own work comes first."""

RETRY_MS: Final = Millis(3_000)
"""Until the next remote is asked, where one had nothing."""


class Retracing:
    """The way from genesis to a checkpoint."""

    def __init__(
        self, trusted: Checkpoint, spec: ChainSpec, services: Services, verified: Callable[[], None]
    ) -> None:
        self._trusted, self._spec, self._services = trusted, spec, services
        self._verified = verified
        self._state = genesis_state(spec)
        self._genesis = headers.lineage(self._state)
        self._line = self._genesis
        """How far the first pass is."""
        self._ends: deque[Hash32] = deque()
        """Hashes at the ends of the stretches whose blocks are not connected."""
        self._stretch: deque[Hash32] = deque()
        """Blocks to connect next."""
        self._turn = 0
        self._is_over = False
        self.counts: dict[str, int] = {}
        """How often remotes failed, by what they did."""

    @property
    def height(self) -> int:
        """How many blocks are connected again."""
        return self._state.height

    @property
    def said(self) -> str:
        """What the user is told of it."""
        height = self._trusted.height
        return f"snapshot at height {height}: being verified, {self.height} of {height}"

    def go_on(self) -> None:
        """Ask the next question."""
        remote = self._services.next_remote(self._turn)
        if remote is None:
            self._wait(RETRY_MS)
        elif self._line.height < self._trusted.height:
            self._ask_headers(remote, self._line, self._take_outline)
        elif not self._stretch:
            self._ask_headers(remote, headers.lineage(self._state), self._take_stretch)
        else:
            wanted = tuple(self._stretch)[:BATCH_BLOCKS]
            question = record.encode_tagged(sync.AskBodies(wanted))
            self._services.ask(remote, question, lambda body: self._take(remote, body, self._take_blocks))

    def _wait(self, delay: Millis) -> None:
        self._services.set_timer("retrace", delay, self.go_on)

    # --- headers

    def _ask_headers(
        self, remote: PeerId, after: Lineage, take: Callable[[Lineage, tuple[Header, ...]], None]
    ) -> None:
        question = record.encode_tagged(sync.AskHeaders((after.tip,)))

        def read(body: bytes) -> None:
            wanted = min(sync.HEADERS_MAX, self._trusted.height - after.height)
            found = sync.read_headers(body)[:wanted]
            if len(found) < wanted:
                raise Unavailable("the remote has not all of them")
            take(after, found)

        self._services.ask(remote, question, lambda body: self._take(remote, body, read))

    def _take_outline(self, line: Lineage, found: tuple[Header, ...]) -> None:
        for header in found:
            line = headers.extend(line, header, self._spec.params)
        if line.height == self._trusted.height and line.tip != self._trusted.block:
            raise InvalidBlock("headers of a chain without the trusted block")
        self._line = line
        self._ends.append(line.tip)

    def _take_stretch(self, after: Lineage, found: tuple[Header, ...]) -> None:
        before = after.tip
        for header in found:
            if header.prev != before:
                raise InvalidBlock("headers that do not follow each other")
            before = header.hash
        if before != self._ends[0]:
            raise InvalidBlock("headers of another chain")
        self._ends.popleft()
        self._stretch.extend(header.hash for header in found)

    # --- answers

    def _take(self, remote: PeerId, body: bytes | None, read: Callable[[bytes], None]) -> None:
        pause = PAUSE_MS
        try:
            if not body:
                raise Unavailable("no answer")
            read(body)
        except Unavailable:
            self._count("not answered")
            self._fail()
            pause = RETRY_MS
        except InvalidInput as error:
            self._count("broke a rule")
            self._services.emit(effects.Hangup(remote, HANGUP_MS, str(error)))
            self._fail()
        if not self._is_over:
            self._wait(pause)

    def _fail(self) -> None:
        self._turn += 1
        if self._line.height < self._trusted.height:
            # The outline is one remote's word from its first header to its last.
            self._line = self._genesis
            self._ends.clear()

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # --- blocks

    def _take_blocks(self, body: bytes) -> None:
        found = sync.read_blocks(body)
        if not found:
            raise Unavailable("the remote has none of the blocks")
        for data in found:
            if not self._stretch or read_header(data).hash != self._stretch[0]:
                raise InvalidBlock("a block that was not asked for")
            if not self._connect(Block.decode(data)):
                return
            self._stretch.popleft()
        if self._state.height == self._trusted.height:
            self._compare()

    def _connect(self, block: Block) -> bool:
        """Connect a block; False when it shows that the chain is false."""
        if not has_its_transactions(block):
            raise InvalidBlock("a block with other transactions than its header names")
        judged, params = _as_the_chain_says(block), self._spec.params_at(self.height + 1)
        try:
            self._state = transition.apply_block(self._state, block, params, judged=judged)
        except InvalidBlock as error:
            self._check_proof(block)
            self._halt(f"block {self.height + 1} breaks a rule: {error}")
            return False
        return True

    def _check_proof(self, block: Block) -> None:
        """Raise what is wrong with a block's work proof, which its header does not commit to in all parts."""
        first = block.transactions[0].data
        if block.work_proof is None or not isinstance(first, Coinbase):
            raise InvalidBlock("a block without a work proof or a coinbase")
        params = self._spec.params_at(self.height + 1)
        work.check(block.header, block.work_proof, first, self._state, params)

    def _compare(self) -> None:
        found = snapshot.snapshot_id(self._state)
        if found == self._trusted.snapshot:
            self._is_over = True
            self._verified()
        else:
            self._halt(f"its blocks give the ledger {found.hex()}")

    def _halt(self, why: str) -> None:
        self._is_over = True
        self._services.emit(
            effects.Halt(
                f"the snapshot of checkpoint {self._trusted} is false: {why}; begin again with an empty "
                "--data-dir, at genesis or at a checkpoint of a node that you trust"
            )
        )


def _as_the_chain_says(block: Block) -> dict[Hash32, Judgement]:
    proofs = (tx.data for tx in block.transactions if isinstance(tx.data, FraudProof))
    return {p.block: Judgement(p.height, p.ticket, p.found, "as the chain says") for p in proofs}
