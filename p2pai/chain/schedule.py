"""Who trains on which mini-batch when: a function of the chain alone, so that every node can check it.

The task definition block's hash permutes the fragments; the first share is for training. Their mini-batches,
in that order, less those set apart for validation, are b_0..b_(m-1). With miners sorted by ticket, the miner
of rank r processes in epoch xi (from 1) the positions r, r + |M|, r + 2|M|, ..., and position q stands for
batch (q + xi - 1) mod m: the paper's interleaved parts, except that batches keep the permuted order instead
of being sorted by hash, so that a node without the data can check a turn.

Source: PoUW §4.2.2; PROTOCOL section 5; docs/adr/0005-batch-order.md.
"""

from dataclasses import dataclass

from p2pai.chain.task import TaskDefinition
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32


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
    batch: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The batches of a task whose definition block is known."""

    training: tuple[BlobId, ...]
    """Fragments for training and validation, in permuted order."""
    test: tuple[BlobId, ...]
    """Fragments withheld until evaluation, in permuted order."""
    batch_counts: tuple[int, ...]
    """Mini-batches in each training fragment."""
    batch_count: int
    """m: batches to train on."""
    epochs: int

    def place(self, batch: int) -> BatchPlace:
        """Return where the batch of an index lies; the index is below the total of `batch_counts`."""
        for fragment, count in zip(self.training, self.batch_counts, strict=True):
            if batch < count:
                return BatchPlace(fragment, count, batch)
            batch -= count
        raise AssertionError("batch index out of range")

    def iterations_per_epoch(self, rank: int, miners: int) -> int:
        """Return how many batches the miner of a rank processes in each epoch."""
        return max(0, -(-(self.batch_count - rank) // miners))

    def iterations(self, rank: int, miners: int) -> int | None:
        """Return how many iterations the miner of a rank has in all; None: without end."""
        return self.iterations_per_epoch(rank, miners) * self.epochs if self.epochs else None

    def turn(self, iteration: int, rank: int, miners: int) -> Turn | None:
        """Return the epoch and batch of an iteration; None when the miner has no such iteration."""
        per_epoch = self.iterations_per_epoch(rank, miners)
        if per_epoch == 0 or (self.epochs and iteration >= per_epoch * self.epochs):
            return None
        epoch = 1 + iteration // per_epoch
        position = rank + iteration % per_epoch * miners
        return Turn(_wrap_epoch(epoch), (position + epoch - 1) % self.batch_count)


def _wrap_epoch(epoch: int) -> int:
    return (epoch - 1) % 0xFFFF + 1  # two bytes in IT_RES; a predefined task trains for ever


def make_schedule(task: TaskDefinition, definition_block: Hash32) -> Schedule:
    """Permute a task's fragments and divide them into training and test data."""
    count = len(task.dataset.fragments)
    order = sorted(
        range(count),
        key=lambda i: tagged_hash("p2pai/fragment-order", definition_block, i.to_bytes(4, "little")),
    )
    split = task.training_fragment_count
    batch_counts = tuple(task.batches_in_fragment(i) for i in order[:split])
    total = sum(batch_counts)
    return Schedule(
        training=tuple(task.dataset.fragments[i] for i in order[:split]),
        test=tuple(task.dataset.fragments[i] for i in order[split:]),
        batch_counts=batch_counts,
        batch_count=total - total * task.dataset.validation_percent // 100,
        epochs=task.epochs,
    )
