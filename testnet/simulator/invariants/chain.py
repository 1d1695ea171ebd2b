"""Blocks follow one another, weigh what was approved, and the best of all chains is the one that counts.

I6: what enough validators voted for stays in every honest node's chain, and no height has two such blocks.
I8: hash links, heights and times rise, weight accumulates, and the tip is the argmax of fork choice over all
blocks known, recomputed without any shortcut.

Source: RELIABILITY (4), I6 and I8; PROTOCOL section 9.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from p2pai.chain.params import Params
from p2pai.chain.state import State, Verification
from p2pai.chain.transaction import VerifyReveal
from p2pai.primitives.ids import Hash32, PeerId
from testnet.simulator.invariants.step import Step, require

AHEAD_S_MAX: Final = 7_200
"""Seconds that a block may be ahead of a node's clock at most. Source: PROTOCOL section 8."""

MS_PER_S: Final = 1_000


def links(step: Step) -> None:
    """I8: a block names the one before it, is one higher, later than the median, and weighs its approvals."""
    header, before, after = step.block.header, step.before, step.after
    require(header.prev == before.tip, "I8: a block names another parent")
    require(after.tip == step.block.hash, "I8: the tip is not the block")
    require(after.height == before.height + 1, "I8: a block is not one higher than its parent")
    last = sorted(before.times)[len(before.times) // 2]
    require(header.time > last, "I8: a block is not later than the median of those before it")
    require(after.times[-1] == header.time, "I8: a block's time is not remembered")
    gained = sum(_gain(step, block) for block in {tx.block: None for tx in _approvals(step)})
    require(after.weight == before.weight + gained, f"I8: {gained} of work was approved, not what was added")


def _approvals(step: Step) -> Iterable[VerifyReveal]:
    return (tx.data for tx in step.transactions if isinstance(tx.data, VerifyReveal) and tx.data.approved)


def _gain(step: Step, block: Hash32) -> int:
    verification = step.before.verifications[block]
    more = sum(tx.block == block for tx in _approvals(step))
    return _weight(verification, verification.approvals + more) - _weight(
        verification, verification.approvals
    )


def _weight(verification: Verification, approvals: int) -> int:
    """Return a block's expected hashes by its compact target, in proportion to its approvals."""
    exponent, mantissa = verification.bits >> 24, verification.bits & 0x7FFFFF
    target = mantissa << 8 * (exponent - 3) if exponent >= 3 else mantissa >> 8 * (3 - exponent)  # noqa: PLR2004
    return ((1 << 256) // (target + 1)) * approvals // len(verification.verifiers)


def best_tip(known: Iterable[State]) -> Hash32:
    """Return the tip of greatest weight, then height, then lowest hash."""
    best: State | None = None
    for state in known:
        if best is None or _beats(state, best):
            best = state
    assert best is not None
    return best.tip


def _beats(a: State, b: State) -> bool:
    if a.weight != b.weight:
        return a.weight > b.weight
    if a.height != b.height:
        return a.height > b.height
    return a.tip < b.tip


def check_tip(tip: Hash32, known: Iterable[State]) -> None:
    """I8: a node is on the best of the chains that it knows."""
    require(tip == best_tip(known), "I8: the tip is not the best of all blocks known")


def check_time(time_s: int, now_ms: int, params: Params) -> None:
    """I8: a block that a node connects is not further ahead of its clock than an eighth of the half life."""
    most = min(AHEAD_S_MAX, params.half_life_s // 8)
    ahead_s = time_s - now_ms // MS_PER_S
    require(ahead_s <= most, f"I8: a block is {ahead_s} s ahead of the node's clock, {most} s may be")


@dataclass
class Checkpoints:
    """I6, over the states of all honest nodes."""

    certified: dict[int, Hash32] = field(default_factory=dict)
    """By height: what enough validators voted for, on any node's chain."""
    latest: dict[PeerId, tuple[int, Hash32]] = field(default_factory=dict)
    """Of each node's best chain."""

    _behind: dict[PeerId, None] = field(default_factory=dict)
    """Nodes that started again, and have not learnt of their latest checkpoint once more."""

    def start(self, name: PeerId) -> None:
        """Take note of a start: a crash may have lost the block that certified a checkpoint."""
        self._behind[name] = None

    def see(self, name: PeerId, state: State, hash_at: Callable[[int], Hash32 | None]) -> None:
        """Look at a node's best chain; `hash_at` says which block it has at a height, if it still knows."""
        height, block = state.checkpoint.height, state.checkpoint.block
        first = self.certified.setdefault(height, block)
        require(first == block, f"I6: two blocks are certified at height {height}")
        last, kept = self.latest.get(name, (height, block))
        require(
            height >= last or name in self._behind,
            f"I6: {name} went back behind its checkpoint at height {last}",
        )
        require(hash_at(last) in (kept, None), f"I6: {name} left its checkpoint at height {last}")
        require(hash_at(height) in (block, None), f"I6: {name}'s checkpoint is not on its chain")
        if height >= last:
            self.latest[name] = (height, block)
            self._behind.pop(name, None)
