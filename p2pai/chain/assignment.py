"""Consistent hashing with bounded loads: which miner processes which mini-batch of an epoch.

Miners and mini-batches stand on a ring of 2^256 places. A mini-batch goes clockwise, to the first miner that
has fewer than ceil(5/4 * m / |M|) of the epoch's m mini-batches, so that none works much more than another.
Mini-batches are dealt out in the order of their places. Where a miner leaves or joins, most mini-batches keep
their miner; with interleaved parts nearly all of them change it.

A mini-batch's place is a hash of where it lies in the dataset and of the epoch, not of its content, so that a
node without the data can check a turn; a miner's is a hash of its ticket and the task definition block, which
nobody knew when the data was committed to.

Source: PoUW §4.2.2; Mirrokni, Thorup and Zadimoghaddam, arXiv:1608.01350; PROTOCOL section 5;
docs/adr/0021-assignment-and-redundancy.md.
"""

from collections.abc import Sequence

from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, Outpoint

EXCESS = (5, 4)
"""c, how much more than the average a miner may get: between the 1 and 2 that the paper allows. Nearer to 1
loads are more equal, and more mini-batches move with a change of miners."""

Batch = tuple[BlobId, int]
"""A mini-batch by its fragment and its index in it."""


def load_max(batches: int, miners: int) -> int:
    """Return how many of so many mini-batches one of so many miners gets at most."""
    numerator, denominator = EXCESS
    return -(-numerator * batches // (denominator * miners))


def deal(
    block: Hash32, miners: Sequence[Outpoint], batches: Sequence[Batch], epoch: int
) -> tuple[tuple[int, ...], ...]:
    """Deal out an epoch's mini-batches.

    Args:
      block: the task definition block's hash.
      miners: their tickets, at least one.
      batches: those to be trained on.
      epoch: from 1, without end.

    Returns:
      For each miner, in the order of `miners`, indices into `batches` in the order of the ring, which is the
      order to process them in.
    """
    cards = sorted((_batch_place(batch, epoch), batch, index) for index, batch in enumerate(batches))
    seats = sorted((_miner_place(block, miner), miner, rank) for rank, miner in enumerate(miners))
    hands: list[list[int]] = [[] for _ in miners]
    most, free = load_max(len(batches), len(miners)), _Ring(len(miners))
    position = 0
    for place, _, index in cards:
        while position < len(seats) and seats[position][0] < place:
            position += 1
        chosen = free.first(position % len(seats))
        hand = hands[seats[chosen][2]]
        hand.append(index)
        if len(hand) == most:
            free.close(chosen)
    return tuple(map(tuple, hands))


class _Ring:
    """Positions on a circle, some of them full; finds the next one that is not, in almost constant time."""

    def __init__(self, size: int) -> None:
        self._next = list(range(size))
        """Of a full position one after it; of any other itself."""

    def first(self, position: int) -> int:
        """Return the first position from here on that is not full."""
        while self._next[position] != position:
            self._next[position] = self._next[self._next[position]]
            position = self._next[position]
        return position

    def close(self, position: int) -> None:
        """Take a position for full."""
        self._next[position] = (position + 1) % len(self._next)


def _batch_place(batch: Batch, epoch: int) -> Hash32:
    fragment, index = batch
    return tagged_hash("p2pai/ring-batch", fragment, index.to_bytes(4, "little"), epoch.to_bytes(4, "little"))


def _miner_place(block: Hash32, miner: Outpoint) -> Hash32:
    return tagged_hash("p2pai/ring-miner", block, miner.encode())
