"""The tree of blocks, and which branch counts.

The chain with the greatest approved work wins; then the higher one; then the one with the lowest tip hash.
Every block above the root keeps the state after it (states share structure), so switching branches recomputes
nothing.

The root is the last block that is final: nothing up to it ever changes again. What lies below it is `Past`,
except for the last few states, by which verifiers may still replay.

A block that was proven false leaves the tree with all that builds on it, at whatever depth: when a valid
block holds the proof (on any branch, and again after a restart), or when the node says so (`convict`).

Source: PROTOCOL section 9.
"""

from collections.abc import Container
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from p2pai.chain import fraud, transition
from p2pai.chain.block import Block, Header
from p2pai.chain.committee import Certified
from p2pai.chain.fraud import Judgement
from p2pai.chain.genesis import genesis_block, genesis_state
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.chain.transaction import FraudProof, Transaction
from p2pai.primitives.errors import InvalidBlock, Unavailable
from p2pai.primitives.ids import Hash32


class Past(Protocol):
    """Final blocks, wherever they are kept; a damaged one counts as missing."""

    def block(self, block: Hash32) -> Block | None:
        """Return a block that was stored."""

    def height_of(self, block: Hash32) -> int | None:
        """Return the height of a final block."""

    def hash_at(self, height: int) -> Hash32 | None:
        """Return the hash of the final block at a height."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A block of the tree with the state after it."""

    block: Block
    state: State

    @property
    def rank(self) -> tuple[int, int, int]:
        """What fork choice maximises."""
        return self.state.weight, self.state.height, -int.from_bytes(self.state.tip, "big")


@dataclass(frozen=True, slots=True)
class Switch:
    """How the best chain changed: blocks that left it, newest first, and that joined it, oldest first."""

    left: tuple[Block, ...]
    joined: tuple[Block, ...]


class BlockTree:
    """Every valid block known, by hash."""

    def __init__(self, spec: ChainSpec, past: Past | None = None) -> None:
        self._spec = spec
        self._past = past
        self.judged: dict[Hash32, Judgement] = {}
        """What our replays said, by block; whoever replays fills it."""
        self.convicted: dict[Hash32, Block] = {}
        """Blocks that were proven false, for others to replay them."""
        self._condemned: dict[Hash32, int] = {}
        """Height of the convicted blocks, and of all that built on them."""
        self.begin_at(genesis_block(spec), genesis_state(spec))

    def begin_at(self, block: Block, state: State) -> None:
        """Begin anew with a final block as the root."""
        self._branches = {state.tip: Branch(block, state)}
        self._best_chain = [state.tip]
        """From height `_first` on."""
        self._first = state.height
        self._root = state.tip

    @property
    def state(self) -> State:
        """The state after the best tip."""
        return self._branches[self._best_chain[-1]].state

    @property
    def root(self) -> Branch:
        """The last final block."""
        return self._branches[self._root]

    def __len__(self) -> int:
        """Count the blocks whose state is in memory."""
        return len(self._branches)

    def __contains__(self, block: Hash32) -> bool:
        return block in self._branches or self._is_past(block)

    def get(self, block: Hash32) -> Branch | None:
        """Return a block whose state is in memory."""
        return self._branches.get(block)

    def branches(self) -> tuple[Branch, ...]:
        """Return every block whose state is in memory, parents before their children."""
        return tuple(self._branches.values())

    def at_height(self, height: int) -> Branch | None:
        """Return the best chain's block at a height, if its state is in memory."""
        if not 0 <= height - self._first < len(self._best_chain):
            return None
        return self._branches[self._best_chain[height - self._first]]

    def block(self, block: Hash32) -> Block | None:
        """Return a block of the tree or a final one, however old."""
        branch = self._branches.get(block)
        if branch is not None:
            return branch.block
        return self._past.block(block) if self._past and self._is_past(block) else None

    def hash_at(self, height: int) -> Hash32 | None:
        """Return the hash of the best chain's block at a height, however old."""
        branch = self.at_height(height)
        if branch is not None:
            return branch.state.tip
        return self._past.hash_at(height) if self._past and height < self._first else None

    def block_at(self, height: int) -> Block | None:
        """Return the best chain's block at a height, however old; None also while it is missing."""
        name = self.hash_at(height)
        return self.block(name) if name is not None else None

    def height_of(self, block: Hash32) -> int | None:
        """Return the height of a block of the best chain."""
        branch = self._branches.get(block)
        if branch is None:
            return self._past.height_of(block) if self._past else None
        height = branch.state.height
        return height if self.at_height(height) is branch else None

    def is_best(self, block: Hash32) -> bool:
        """Return whether a block is on the best chain."""
        return self.height_of(block) is not None

    def add(
        self, block: Block, *, trusted: bool = False, verified: Container[Hash32 | Certified] = ()
    ) -> Switch:
        """Connect a block and choose the best chain again; `trusted` and `verified` as in apply_block.

        Raises:
          Unavailable: its parent is not known.
          Unjudged: it proves something about a block that has to be replayed first.
          InvalidBlock: it breaks a rule, or descends from a block that was proven false, were it by itself.
        """
        if block.hash in self:
            return Switch((), ())
        if self.is_condemned(block.header):
            raise InvalidBlock("the block is, or builds on, one that was proven false")
        parent = self._parent(block)
        params = self._spec.params_at(parent.state.height + 1)
        state = transition.apply_block(
            parent.state, block, params, trusted=trusted, verified=verified, judged=self.judged
        )
        proofs = [tx.data for tx in block.transactions if isinstance(tx.data, FraudProof)]
        # The block's branch may not know of the last checkpoint yet: what is final stays.
        false = {proof.block: proof.height for proof in proofs if proof.height > self.root.state.height}
        if block.header.prev in self._with_descendants(false):
            raise InvalidBlock("the block proves false what it builds on")
        branch = Branch(block, state)
        self._branches[block.hash] = branch
        if false:
            return self._leave(false)
        if branch.rank > self._branches[self._best_chain[-1]].rank:
            return self._switch(branch)
        return Switch((), ())

    def may_leave(self, block: Hash32) -> bool:
        """Return whether a block is known, and not final."""
        branch = self._branches.get(block)
        return branch is not None and branch.state.height > self.root.state.height

    def convict(self, block: Hash32) -> Switch:
        """Leave a block that a replay found false, and all that builds on it; choose the best chain again."""
        assert self.judged[block].reason, "the block is honest"
        return self._leave({block: self.judged[block].height})

    def is_condemned(self, header: Header) -> bool:
        """Return whether a block is, or builds on, one that was proven false."""
        return header.hash in self._condemned or header.prev in self._condemned

    def without(self, block: Hash32) -> Branch:
        """Return the tip of the best chain that there would be if a block were convicted."""
        doomed = self._with_descendants({block: 0})
        return max((b for h, b in self._branches.items() if h not in doomed), key=lambda b: b.rank)

    def approvals(self, block: Hash32) -> list[Transaction]:
        """Return the revealed approvals of a block that stand in blocks which build on it."""
        blocks = [self._branches[h].block for h in self._with_descendants({block: 0}) if h in self._branches]
        return [tx for b in blocks for tx in b.transactions if fraud.approves(tx, block)]

    def _leave(self, false: dict[Hash32, int]) -> Switch:
        self._condemned |= self._with_descendants(false)
        assert self._root not in self._condemned, "what is final was proven false"
        left = {h: self._branches[h] for h in self._condemned if h in self._branches}
        self.convicted |= {h: branch.block for h, branch in left.items() if h in false}
        best = (b for h, b in self._branches.items() if h not in left)
        switch = self._switch(max(best, key=lambda b: b.rank))
        for h in left:
            del self._branches[h]
        return switch

    def _with_descendants(self, blocks: dict[Hash32, int]) -> dict[Hash32, int]:
        """Return blocks and all that build on them, with their heights."""
        found = dict(blocks)
        for h, branch in sorted(self._branches.items(), key=lambda item: item[1].state.height):
            if branch.block.header.prev in found:
                found[h] = branch.state.height
        return found

    def side_tips(self) -> list[Branch]:
        """Return the last blocks of the branches beside the best chain."""
        parents = dict.fromkeys(branch.block.header.prev for branch in self._branches.values())
        side = (b for name, b in self._branches.items() if name not in parents and not self.is_best(name))
        return list(side)

    def finalise(self, block: Hash32) -> tuple[Branch, ...]:
        """Make a block of the best chain the root: nothing up to it ever changes again.

        Branches that do not descend from it leave memory, and so do the states below it but for those of one
        verification window.

        Returns:
          What became final, oldest first; the last one is the new root.
        """
        root, height = self._branches[block], self._branches[block].state.height
        final = [self._at(h) for h in range(self.root.state.height + 1, height + 1)]
        assert final, "the root can only rise"
        assert final[-1] is root, "the block is not on the best chain"
        first = max(self._first, height - self._spec.params.verification_window_blocks)
        kept = {branch.state.tip: branch for branch in map(self._at, range(first, height + 1))}
        for name, branch in self._branches.items():  # parents stand before their children
            if branch.state.height > height and branch.block.header.prev in kept:
                kept[name] = branch
        self._condemned = {name: at for name, at in self._condemned.items() if at > height}
        self.convicted = {name: b for name, b in self.convicted.items() if name in self._condemned}
        del self._best_chain[: first - self._first]
        self._branches, self._first, self._root = kept, first, block
        return tuple(final)

    def locator(self) -> tuple[Hash32, ...]:
        """Return hashes of the best chain, newest first, ever sparser, down to the root."""
        heights, step, height, root = [], 1, self.state.height, self.root.state.height
        while height > root:
            heights.append(height)
            if len(heights) >= 8:
                step *= 2
            height -= step
        return tuple(self._at(h).state.tip for h in (*heights, root))

    def after(self, locator: tuple[Hash32, ...], count: int) -> tuple[Hash32, ...]:
        """Return up to `count` hashes after the first one of a locator that is on the best chain."""
        known = (self.height_of(name) for name in locator)
        start = next((height for height in known if height is not None), None)
        if start is None:
            return ()
        names = map(self.hash_at, range(start + 1, min(start + count, self.state.height) + 1))
        return tuple(name for name in takewhile(bool, names) if name is not None)

    def _at(self, height: int) -> Branch:
        return self._branches[self._best_chain[height - self._first]]

    def _is_past(self, block: Hash32) -> bool:
        return self._past is not None and self._past.height_of(block) is not None

    def _parent(self, block: Block) -> Branch:
        parent = self._branches.get(block.header.prev)
        if parent is None and not self._is_past(block.header.prev):
            raise Unavailable("the block's parent is not known")
        if parent is None or parent.state.height < self.root.state.height:
            raise InvalidBlock("the block forks off below the last checkpoint")
        return parent

    def _switch(self, best: Branch) -> Switch:
        joined: list[Block] = []
        branch = best
        while not self.is_best(branch.state.tip):
            joined.append(branch.block)
            branch = self._branches[branch.block.header.prev]
        above = branch.state.height + 1 - self._first
        left = [self._branches[h].block for h in reversed(self._best_chain[above:])]
        del self._best_chain[above:]
        self._best_chain += [block.hash for block in reversed(joined)]
        return Switch(tuple(left), tuple(reversed(joined)))
