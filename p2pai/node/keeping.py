"""What the ledger keeps on disk, and what it has in memory: blocks, the state at the last checkpoint.

Every valid block is stored when it is connected. When the best chain's checkpoint rises, the tree's root
rises with it, and a snapshot of the state there is stored: a restart begins at the snapshot and connects
the blocks above it again. Final blocks are then read from the archive; the ledger after an old one is
computed anew, from genesis, as long as that is quick.

Source: PROTOCOL section 9; adr/0025.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from p2pai.chain import snapshot, transition
from p2pai.chain.block import Block, Header, read_header_alone
from p2pai.chain.fork_choice import BlockTree, Branch
from p2pai.chain.genesis import genesis_block
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.node.archive import Archive, Kept, Past, read_kept
from p2pai.node.services import Services, Then
from p2pai.node.trust import SnapshotShared
from p2pai.primitives import blob, record
from p2pai.primitives.errors import InvalidBlock, InvalidInput, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, KeyHash

SNAPSHOTS_SHARED_MAX: Final = 2
"""Snapshots of the last checkpoints that remotes may fetch: a fetch may take longer than one interval."""

REPLAY_BLOCKS_MAX: Final = 1_024
"""Blocks from genesis that are connected again to answer a question about an old ledger: a second or two."""


@dataclass(frozen=True, slots=True)
class Mined:
    """A block of the best chain with what only the ledger after it tells."""

    block: Block
    height: int
    miner: KeyHash
    verifiers: int
    """How many were drawn to replay it."""


class Keeping:
    """The tree of blocks over an archive."""

    def __init__(self, spec: ChainSpec, services: Services, archive: Archive) -> None:
        self._spec, self._services = spec, services
        self.past = Past(archive, genesis_block(spec))
        self.tree = BlockTree(spec, self.past)
        self.genesis = self.tree.state
        self._replayed = self.genesis
        """The last old ledger that was computed anew."""
        self._shared: list[BlobId] = []
        """Snapshots that remotes may fetch, oldest first."""

    # --- life

    def restore(self, body: bytes | None, blocks: Sequence[bytes]) -> list[Block]:
        """Go on from a snapshot and the blocks above it; return those that belong to the tree.

        Raises:
          InvalidInput: the snapshot is not of this version or chain, or its block is missing.
        """
        if body is not None:
            self._begin_at(snapshot.decode(body))
        connected = []
        for data in blocks:
            block = Block.decode(read_kept(data).block)
            try:
                self.tree.add(block, trusted=True)
            except (Unavailable, InvalidBlock):
                continue  # it follows a damaged block, or one that a checkpoint left behind: it comes again
            connected.append(block)
        self.settle()
        return connected

    def restore_shared(self, snapshot_id: BlobId) -> None:
        """Take back that a snapshot is shared."""
        self._shared = [*(s for s in self._shared if s != snapshot_id), snapshot_id]

    def adopt(self, block: Block, state: State) -> None:
        """Begin at a final block whose ledger came from others."""
        self.tree.begin_at(block, state)
        root = self.tree.root
        self._services.store_block(block.hash, state.height, record.encode(_kept(root)), lambda: None)
        self._store_snapshot((root,))

    def _begin_at(self, state: State) -> None:
        if state.chain != self._spec.id:
            raise InvalidInput("the data directory is of another chain; choose another --data-dir")
        block = self.past.block(state.tip)
        if block is None:
            raise InvalidInput(
                "the block of the last snapshot is damaged; restore a backup, or use a new data directory"
            )
        self.past.top = state.height
        self.tree.begin_at(block, state)

    def keep(self, block: Hash32, then: Then) -> None:
        """Store a block of the tree; `then` runs when it is durable."""
        branch = self.tree.get(block)
        assert branch is not None
        body = record.encode(_kept(branch))
        self._services.store_block(block, branch.state.height, body, then)

    def settle(self) -> bool:
        """Make final what the best chain's checkpoint covers; return whether that was anything."""
        checkpoint = self.tree.state.checkpoint
        if checkpoint.height <= self.tree.root.state.height:
            return False
        self._store_snapshot(self.tree.finalise(checkpoint.block))
        return True

    def _store_snapshot(self, final: tuple[Branch, ...]) -> None:
        for branch in final:
            self.past.leave(branch.state.height, branch.state.tip, _kept(branch))
        height, body = final[-1].state.height, snapshot.encode(final[-1].state)
        hashes = tuple(branch.state.tip for branch in final)
        self._services.store_snapshot(height, body, hashes, lambda: self.past.arrived(height))
        self._share(body)

    def _share(self, body: bytes) -> None:
        """Let remotes fetch a snapshot, and no more than the last ones."""
        self.restore_shared(self._services.put_blob(blob.cut(body)))
        self._services.persist(SnapshotShared(self._shared[-1]), lambda: None)
        while len(self._shared) > SNAPSHOTS_SHARED_MAX:
            self._services.discard(self._shared.pop(0), tuple(self._shared))

    # --- looking back

    def encoded(self, block: Hash32) -> bytes | None:
        """Return the bytes of a known block, however old; also of one that was proven false."""
        branch = self.tree.get(block)
        known = branch.block if branch else self.tree.convicted.get(block)
        if known is not None:
            return known.encoded
        kept = self.past.kept(block)
        return kept.block if kept else None

    def headers_after(self, locator: tuple[Hash32, ...], count: int) -> Iterator[Header]:
        """Yield up to `count` headers after the first hash of a locator that is on the best chain."""
        for name in self.tree.after(locator, count):
            header = self._header(name)
            if header is None:
                return
            yield header

    def _header(self, block: Hash32) -> Header | None:
        """Return the header of a known block, and read nothing else of it."""
        branch = self.tree.get(block)
        if branch is not None:
            return branch.block.header
        kept = self.past.kept(block)
        return read_header_alone(kept.block) if kept else None

    def beginning(self, digits: str) -> tuple[Hash32, ...]:
        """Return blocks of the best chain whose hashes begin with digits: none, one, or more than one."""
        heights = range(self.tree.root.state.height, self.tree.state.height + 1)
        above = (self.tree.hash_at(height) for height in heights)
        found = [name for name in above if name is not None and name.hex().startswith(digits)]
        return tuple(dict.fromkeys((*found, *self.past.beginning(digits))))

    def mined(self, block: Hash32) -> Mined | None:
        """Return a block of the best chain above genesis, however old."""
        height = self.tree.height_of(block)
        branch = self.tree.get(block)
        kept = _kept(branch) if branch and height else self.past.kept(block)
        if not height or kept is None:
            return None
        found = self.tree.block(block)
        return Mined(found, height, kept.miner, kept.verifiers) if found else None

    def state_after(self, block: Hash32) -> State:
        """Return the ledger after a known block, computing it anew where it is an old one.

        Raises:
          Unavailable: that would take too long, or a block in between is missing.
        """
        branch = self.tree.get(block)
        if branch is not None:
            return branch.state
        height = self.past.height_of(block)
        if height is None:
            raise Unavailable("the block is not on this node's chain")
        if height > REPLAY_BLOCKS_MAX:
            raise Unavailable(
                f"the ledger at block {height} is kept no longer; only those of the first "
                f"{REPLAY_BLOCKS_MAX} blocks and from block {self.tree.root.state.height} on can be looked at"
            )
        return self._replay(height)

    def _replay(self, height: int) -> State:
        state = self._replayed if self._replayed.height <= height else self.genesis
        while state.height < height:
            block = self.tree.block_at(state.height + 1)
            if block is None:
                raise Unavailable(f"block {state.height + 1} is damaged on this disk; it is fetched again")
            params = self._spec.params_at(state.height + 1)
            state = transition.apply_block(state, block, params, trusted=True)
        self._replayed = state
        return state


def _kept(branch: Branch) -> Kept:
    # A block's verification is open in the ledger after it, whatever became of it later.
    verification = branch.state.verifications[branch.state.tip]
    return Kept(branch.block.encoded, verification.miner, len(verification.verifiers))
