"""The tree of blocks, and which branch counts.

The chain with the greatest approved work wins; then the higher one; then the one with the lowest tip hash.
Every block keeps the state after it (states share structure), so switching branches recomputes nothing.

A block that was proven false leaves the tree with all that builds on it, at whatever depth: when a valid
block holds the proof (on any branch, and again after a restart), or when the node says so (`convict`).

Source: PROTOCOL section 9.
"""

from collections.abc import Container
from dataclasses import dataclass

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

    def __init__(self, spec: ChainSpec) -> None:
        genesis = Branch(genesis_block(spec), genesis_state(spec))
        self._params = spec.params
        self._branches = {genesis.state.tip: genesis}
        self._best_chain = [genesis.state.tip]
        self.judged: dict[Hash32, Judgement] = {}
        """What our replays said, by block; whoever replays fills it."""
        self.convicted: dict[Hash32, Block] = {}
        """Blocks that were proven false, for others to replay them."""
        self._condemned: dict[Hash32, int] = {}
        """Height of the convicted blocks, and of all that built on them."""

    @property
    def state(self) -> State:
        """The state after the best tip."""
        return self._branches[self._best_chain[-1]].state

    def __contains__(self, block: Hash32) -> bool:
        return block in self._branches

    def get(self, block: Hash32) -> Branch | None:
        """Return a block of the tree."""
        return self._branches.get(block)

    def branches(self) -> tuple[Branch, ...]:
        """Return every block whose state is in memory, parents before their children."""
        return tuple(self._branches.values())

    def at_height(self, height: int) -> Branch | None:
        """Return the best chain's block at a height."""
        if not 0 <= height < len(self._best_chain):
            return None
        return self._branches[self._best_chain[height]]

    def is_best(self, block: Hash32) -> bool:
        """Return whether a block is on the best chain."""
        branch = self._branches.get(block)
        return branch is not None and self.at_height(branch.state.height) is branch

    def add(
        self, block: Block, *, trusted: bool = False, verified: Container[Hash32 | Certified] = ()
    ) -> Switch:
        """Connect a block and choose the best chain again; `trusted` and `verified` as in apply_block.

        Raises:
          Unavailable: its parent is not known.
          Unjudged: it proves something about a block that has to be replayed first.
          InvalidBlock: it breaks a rule, or descends from a block that was proven false.
        """
        if block.hash in self._branches:
            return Switch((), ())
        if self.is_condemned(block.header):
            raise InvalidBlock("the block is, or builds on, one that was proven false")
        parent = self._branches.get(block.header.prev)
        if parent is None:
            raise Unavailable("the block's parent is not known")
        state = transition.apply_block(
            parent.state, block, self._params, trusted=trusted, verified=verified, judged=self.judged
        )
        branch = Branch(block, state)
        self._branches[block.hash] = branch
        proofs = [tx.data for tx in block.transactions if isinstance(tx.data, FraudProof)]
        if proofs:
            return self._leave({proof.block: proof.height for proof in proofs})
        if branch.rank > self._branches[self._best_chain[-1]].rank:
            return self._switch(branch)
        return Switch((), ())

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

    def block(self, block: Hash32) -> Block | None:
        """Return a block of the tree, or one that was proven false, so that others can replay it."""
        branch = self._branches.get(block)
        return branch.block if branch else self.convicted.get(block)

    def approvals(self, block: Hash32) -> list[Transaction]:
        """Return the revealed approvals of a block that stand in blocks which build on it."""
        blocks = [self._branches[h].block for h in self._with_descendants({block: 0}) if h in self._branches]
        return [tx for b in blocks for tx in b.transactions if fraud.approves(tx, block)]

    def _leave(self, false: dict[Hash32, int]) -> Switch:
        self._condemned |= self._with_descendants(false)
        assert self._best_chain[0] not in self._condemned, "what is final was proven false"
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

    def locator(self) -> tuple[Hash32, ...]:
        """Return hashes of the best chain, newest first, ever sparser, down to genesis."""
        heights, step, height = [], 1, len(self._best_chain) - 1
        while height > 0:
            heights.append(height)
            if len(heights) >= 8:
                step *= 2
            height -= step
        return tuple(self._best_chain[h] for h in (*heights, 0))

    def after(self, locator: tuple[Hash32, ...], count: int) -> tuple[Block, ...]:
        """Return up to `count` blocks after the first hash of a locator that is on the best chain."""
        start = next((self._branches[h].state.height for h in locator if self.is_best(h)), None)
        if start is None:
            return ()
        hashes = self._best_chain[start + 1 : start + 1 + count]
        return tuple(self._branches[h].block for h in hashes)

    def _switch(self, best: Branch) -> Switch:
        joined: list[Block] = []
        branch = best
        while not self.is_best(branch.state.tip):
            joined.append(branch.block)
            branch = self._branches[branch.block.header.prev]
        fork_height = branch.state.height
        left = [self._branches[h].block for h in reversed(self._best_chain[fork_height + 1 :])]
        del self._best_chain[fork_height + 1 :]
        self._best_chain += [block.hash for block in reversed(joined)]
        return Switch(tuple(left), tuple(reversed(joined)))
