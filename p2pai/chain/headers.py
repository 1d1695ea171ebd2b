"""What a header must be after its ancestors: rules that need no body and no ledger.

`Lineage` is what those rules look at. A `State` has it, and so has a chain of headers whose bodies are not
here yet: `follow` moves it on by one header, for both alike. How heavy a chain is headers do not tell, since
approvals stand in the bodies.

Source: PROTOCOL sections 8, 9.
"""

from dataclasses import dataclass
from typing import Protocol

from p2pai.chain import difficulty
from p2pai.chain.block import VERSION, Header
from p2pai.chain.params import MEDIAN_TIME_BLOCKS, Params
from p2pai.primitives.errors import InvalidBlock, Unavailable
from p2pai.primitives.ids import Hash32

Anchor = tuple[int, int, int]
"""Height, time and bits of the first block: where ASERT counts from."""


class Ancestry(Protocol):
    """What both a State and a Lineage know of a block and those before it."""

    @property
    def tip(self) -> Hash32: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def times(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def anchor(self) -> Anchor | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Lineage:
    """A block known by its header, and those before it."""

    tip: Hash32
    height: int
    times: tuple[int, ...]
    """Of the last blocks, oldest first, for the median."""
    anchor: Anchor | None


def lineage(block: Ancestry) -> Lineage:
    """Return what counts of a block for the headers after it, without its ledger."""
    return Lineage(block.tip, block.height, block.times, block.anchor)


def follow(before: Ancestry, header: Header, block: Hash32) -> Lineage:
    """Return the lineage after a header whose hash is `block`; checks nothing."""
    height = before.height + 1
    times = (*before.times, header.time)[-MEDIAN_TIME_BLOCKS:]
    return Lineage(block, height, times, before.anchor or (height, header.time, header.bits))


def extend(before: Ancestry, header: Header, params: Params) -> Lineage:
    """Check a header whose body is not here, and return the lineage after it.

    Raises:
      InvalidBlock: the first rule that it breaks.
    """
    check_header(before, header, params)
    check_target(header)
    return follow(before, header, header.hash)


def check_header(before: Ancestry, header: Header, params: Params) -> None:
    """Check a header against its ancestors; work and clock are the caller's to check.

    Raises:
      InvalidBlock: the first rule that it breaks.
    """
    if header.version != VERSION:
        raise InvalidBlock(f"block version {header.version}, expected {VERSION}")
    if header.prev != before.tip:
        raise InvalidBlock("the block does not follow this state")
    if header.bits != next_bits(before, params):
        raise InvalidBlock("the target is not the one due")
    if header.time <= median_time(before.times):
        raise InvalidBlock("the block's time is not after the median of the last blocks")


def check_target(header: Header) -> None:
    """Check that the work hash lies under the header's own target.

    Raises:
      InvalidBlock: it does not.
    """
    if not meets_target(header):
        raise InvalidBlock("the work hash is above the target")


def meets_target(header: Header) -> bool:
    """Return whether the header's work hash lies under its own target."""
    return int.from_bytes(header.work_hash, "little") <= difficulty.decode_bits(header.bits)


def check_time(header: Header, now_s: int, ahead_s_max: int) -> None:
    """Leave a block from the future for later; whose clock is wrong can't be told.

    Raises:
      Unavailable: its time is more than `ahead_s_max` seconds ahead of the local clock.
    """
    if header.time > now_s + ahead_s_max:
        raise Unavailable("the block's time is too far in the future")


def median_time(times: tuple[int, ...]) -> int:
    """Return the median of the last blocks' times, Unix seconds."""
    return sorted(times)[len(times) // 2]


def next_bits(before: Ancestry, params: Params) -> int:
    """Return the compact target of the next block (ASERT, anchored at the first block)."""
    if before.anchor is None:
        return params.genesis_bits
    height, time, bits = before.anchor
    return difficulty.next_bits(
        bits,
        before.times[-1] - time,
        before.height - height,
        params.spacing_s,
        params.half_life_s,
        params.limit_bits,
    )
