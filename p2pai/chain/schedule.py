"""Who trains on which mini-batch when: a function of the chain alone, so that every node can check it.

The task definition block's hash permutes the fragments; the first share is revealed. Of their mini-batches,
in that order, each epoch sets a run apart for validation: the last ones (holdout), or one fold after another
(k-fold). The others, in order, are b_0..b_(m-1). With miners sorted by ticket, the miner of rank r processes
in epoch xi (from 1) the positions r, r + |M|, r + 2|M|, ..., and position q stands for
b_((q + xi - 1) mod m): the paper's interleaved parts, except that batches keep the permuted order instead of
being sorted by hash, so that a node without the data can check a turn.

Source: PoUW §3.4, §4.2.2; PROTOCOL section 5; docs/adr/0005-batch-order.md.
"""

from dataclasses import dataclass
from itertools import pairwise

from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import KFold, Validation
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32

EPOCH_MAX = 0xFFFF
"""The epoch is two bytes in IT_RES."""


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """Where a batch lies: the fragment, its number of batches, and the batch's index in it."""

    fragment: BlobId
    batch_count: int
    index: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One iteration of one miner."""

    epoch: int
    """As IT_RES says it: from 1; after 65,535 it is 1 again (a predefined task trains for ever)."""
    batch: int
    """Index among all revealed mini-batches."""
    number: int
    """Of the epoch, from 1, without end."""
    first: int
    """The miner's first iteration of this epoch."""
    last: int
    """The miner's last iteration of this epoch."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The batches of a task whose definition block is known."""

    training: tuple[BlobId, ...]
    """Revealed fragments, in permuted order."""
    test: tuple[BlobId, ...]
    """Fragments withheld until evaluation, in permuted order."""
    batch_counts: tuple[int, ...]
    """Mini-batches in each revealed fragment."""
    folds: tuple[range, ...]
    """Mini-batches set apart: folds[(epoch - 1) mod their number]."""
    epochs: int

    @property
    def revealed_count(self) -> int:
        """Number of all revealed mini-batches."""
        return sum(self.batch_counts)

    def held_out(self, epoch: int) -> range:
        """Return the mini-batches set apart in an epoch (from 1)."""
        return self.folds[(epoch - 1) % len(self.folds)]

    def place(self, batch: int) -> BatchPlace:
        """Return where the batch of an index lies; the index is below `revealed_count`."""
        for fragment, count in zip(self.training, self.batch_counts, strict=True):
            if batch < count:
                return BatchPlace(fragment, count, batch)
            batch -= count
        raise AssertionError("batch index out of range")

    def iterations_of(self, epoch: int, rank: int, miners: int) -> int:
        """Return how many batches the miner of a rank processes in an epoch (from 1)."""
        count = self.revealed_count - len(self.held_out(epoch))
        return max(0, -(-(count - rank) // miners))

    def iterations_before(self, epoch: int, rank: int, miners: int) -> int:
        """Return how many batches the miner of a rank processes in all epochs before one."""
        cycles, rest = divmod(epoch - 1, len(self.folds))
        counts = [self.iterations_of(e + 1, rank, miners) for e in range(len(self.folds))]
        return cycles * sum(counts) + sum(counts[:rest])

    def iterations(self, rank: int, miners: int) -> int | None:
        """Return how many iterations the miner of a rank has at most; None: without end."""
        return self.iterations_before(self.epochs + 1, rank, miners) if self.epochs else None

    def turn(self, iteration: int, rank: int, miners: int) -> Turn | None:
        """Return the epoch and batch of an iteration; None when the miner has no such iteration."""
        cycle = self.iterations_before(len(self.folds) + 1, rank, miners)
        if cycle == 0:
            return None
        number = iteration // cycle * len(self.folds) + 1
        first = self.iterations_before(number, rank, miners)
        while first + self.iterations_of(number, rank, miners) <= iteration:
            first += self.iterations_of(number, rank, miners)
            number += 1
        if self.epochs and number > self.epochs:
            return None
        position = rank + (iteration - first) * miners
        last = first + self.iterations_of(number, rank, miners) - 1
        return Turn(_said(number), self._batch(position, number), number, first, last)

    def _batch(self, position: int, epoch: int) -> int:
        apart = self.held_out(epoch)
        index = (position + epoch - 1) % (self.revealed_count - len(apart))
        return index if index < apart.start else index + len(apart)


def _said(epoch: int) -> int:
    return (epoch - 1) % EPOCH_MAX + 1


def make_schedule(task: TaskDefinition, definition_block: Hash32) -> Schedule:
    """Permute a task's fragments, divide them into revealed and test data, and set batches apart."""
    count = len(task.dataset.fragments)
    order = sorted(
        range(count),
        key=lambda i: tagged_hash("p2pai/fragment-order", definition_block, i.to_bytes(4, "little")),
    )
    split = task.training_fragment_count
    batch_counts = tuple(task.batches_in_fragment(i) for i in order[:split])
    return Schedule(
        training=tuple(task.dataset.fragments[i] for i in order[:split]),
        test=tuple(task.dataset.fragments[i] for i in order[split:]),
        batch_counts=batch_counts,
        folds=_folds(task.validation, sum(batch_counts)),
        epochs=task.epochs,
    )


def _folds(validation: Validation, total: int) -> tuple[range, ...]:
    if isinstance(validation, KFold):
        cuts = [total * fold // validation.folds for fold in range(validation.folds + 1)]
        return tuple(range(a, b) for a, b in pairwise(cuts))
    return (range(total - total * validation.percent // 100, total),)
