"""Beginning at a checkpoint that the operator trusts, instead of at genesis.

The snapshot of the ledger there is fetched from remotes, chunk by chunk against its content id, and the
checkpoint's block from whoever has it. Until both are here the node knows no chain and follows none. What a
node accepts so it has not checked itself: `Retracing` does that afterwards.

Source: PROTOCOL section 9; RELIABILITY (5), "snapshot accepted only at a certified checkpoint hash".
"""

from collections.abc import Callable
from typing import Final

from p2pai import effects, events
from p2pai.chain import snapshot, work
from p2pai.chain.block import Block, has_its_transactions, read_header
from p2pai.chain.state import Checkpoint, State
from p2pai.gossip import sync
from p2pai.node.services import Services
from p2pai.node.syncing import HANGUP_MS
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.primitives.ids import Hash32, Millis, PeerId

RETRY_MS: Final = Millis(3_000)
"""Between questions for what nobody had."""


class Beginning:
    """Gets the snapshot and the block of one checkpoint."""

    def __init__(
        self,
        trusted: Checkpoint,
        chain: Hash32,
        services: Services,
        done: Callable[[Block, State], None],
    ) -> None:
        self.trusted, self._chain, self._services, self._done = trusted, chain, services, done
        self._block: Block | None = None
        self._state: State | None = None
        self._is_fetching = False
        self._turn = 0
        self.refusals = 0
        """How often no remote had the snapshot, or the one asked not the block."""

    @property
    def said(self) -> str:
        """What the user is told of it."""
        what = "the snapshot" if self._state is None else "the checkpoint's block"
        height = self.trusted.height
        if self.refusals:
            return f"no remote offers {what} at height {height} yet; all are asked again and again"
        return f"{what} at height {height} is being fetched"

    def go_on(self) -> None:
        """Ask for what is missing; again and again until it is here."""
        if self._state is None and not self._is_fetching:
            self._is_fetching = True
            self._services.fetch(
                self.trusted.snapshot, tuple(sorted(self._services.remotes)), self._take_snapshot, whole=True
            )
        remote = self._services.next_remote(self._turn)
        self._turn += 1
        if self._block is None and remote is not None:
            question = record.encode_tagged(sync.AskBodies((self.trusted.block,)))
            self._services.ask(remote, question, lambda body: self._take_block(remote, body))
        if self._block is None or self._state is None:
            self._services.set_timer("begin at snapshot", RETRY_MS, self.go_on)

    def _take_snapshot(self, fetched: events.Fetched) -> None:
        self._is_fetching = False
        if fetched.data is None:
            self.refusals += 1
            return
        try:
            state = snapshot.decode(fetched.data)
        except InvalidMessage as error:
            self._halt(f"the snapshot of that id is of no ledger ({error})")
            return
        if state.chain != self._chain:
            self._halt("the snapshot is of another chain")
        elif (state.height, state.tip) != (self.trusted.height, self.trusted.block):
            self._halt(f"the snapshot is of block {state.tip.hex()} at height {state.height}")
        else:
            self._state, self.refusals = state, 0
            self._finish()

    def _take_block(self, remote: PeerId, body: bytes | None) -> None:
        if self._block is not None or not body:
            return
        try:
            found = sync.read_blocks(body)
            if not found:
                self.refusals += self._state is not None
                return
            if len(found) > 1 or read_header(found[0]).hash != self.trusted.block:
                raise InvalidMessage("a block that was not asked for")
            block = Block.decode(found[0])
            if not has_its_transactions(block):
                raise InvalidMessage("a block with other transactions than its header names")
            if not work.has_its_proof(block):
                raise InvalidMessage("a block with another work proof than its header names")
        except InvalidInput as error:
            self._services.emit(effects.Hangup(remote, HANGUP_MS, str(error)))
            return
        self._block = block
        self._finish()

    def _finish(self) -> None:
        if self._block is not None and self._state is not None:
            self._done(self._block, self._state)

    def _halt(self, why: str) -> None:
        self._services.emit(
            effects.Halt(f"the checkpoint {self.trusted} can't be right: {why}; see --checkpoint")
        )
