"""Who trains on which mini-batch when: a function of the chain alone, so that every node can check it.

The task definition block's hash permutes the fragments; the first share is revealed. Of their mini-batches,
in that order, each epoch sets a run apart for validation: the last ones (holdout), or one fold after another
(k-fold). The others, in order, are b_0..b_(m-1). With miners sorted by ticket, the miner of rank r processes
in epoch xi (from 1) the positions r, r + |M|, r + 2|M|, ..., and position q stands for
b_((q + xi - 1) mod m): the paper's interleaved parts, except that batches keep the permuted order instead of
being sorted by hash, so that a node without the data can check a turn. The paper's other method, which a
task may choose, is consistent hashing (see assignment.py); what it deals out depends on the miners' tickets.

Source: PoUW §3.4, §4.2.2; PROTOCOL section 5; docs/adr/0005-batch-order.md.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise

from p2pai.chain import assignment
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import Assignment, KFold, Validation
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, Outpoint
from p2pai.primitives.memo import Same, pure

EPOCH_MAX = 0xFFFF
"""The epoch is two bytes in IT_RES."""

EPOCHS_CACHED = 64
"""Epochs whose mini-batches are kept as they were dealt out: 8 bytes for each mini-batch."""

CYCLES_CACHED = 4096
"""Miners for whom it is kept where the epochs of a cycle of folds begin: a tuple of at most 21 numbers."""

TURNS_CACHED = 8192
"""Turns that are not computed again: each message is compared with the one before it."""

PLANS_CACHED = 32
"""Groups of miners for which it is kept where their epochs begin: at most 1 MiB each, and another for each
miner that has left."""

Miners = tuple[Outpoint, ...] | int
"""A task's miners by rank: their tickets. For interleaved parts their number is enough."""


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


@dataclass(frozen=True)
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
    assignment: Assignment
    definition_block: Hash32

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Plans are asked for turns with every message.
        return (self.definition_block, self.epochs, self.batch_counts).__hash__()

    @cached_property
    def revealed_count(self) -> int:
        """Number of all revealed mini-batches."""
        return sum(self.batch_counts)

    def held_out(self, epoch: int) -> range:
        """Return the mini-batches set apart in an epoch (from 1)."""
        return self.folds[(epoch - 1) % len(self.folds)]

    def trained_batch(self, index: int, epoch: int) -> int:
        """Return which of all batches is the one of an index among those not set apart in an epoch."""
        apart = self.held_out(epoch)
        return index if index < apart.start else index + len(apart)

    def place(self, batch: int) -> BatchPlace:
        """Return where the batch of an index lies; the index is below `revealed_count`."""
        for fragment, count in zip(self.training, self.batch_counts, strict=True):
            if batch < count:
                return BatchPlace(fragment, count, batch)
            batch -= count
        raise AssertionError("batch index out of range")

    def iterations_of(self, epoch: int, rank: int, miners: Miners) -> int:
        """Return how many batches the miner of a rank processes in an epoch (from 1)."""
        if self._is_hashed:
            starts = _starts(self, _tickets(miners))[rank]
            return starts[epoch] - starts[epoch - 1]
        fold, starts = (epoch - 1) % len(self.folds), self._cycle_of(rank, miners)
        return starts[fold + 1] - starts[fold]

    def iterations_before(self, epoch: int, rank: int, miners: Miners) -> int:
        """Return how many batches the miner of a rank processes in all epochs before one."""
        if self._is_hashed:
            return _starts(self, _tickets(miners))[rank][epoch - 1]
        cycles, rest = divmod(epoch - 1, len(self.folds))
        starts = self._cycle_of(rank, miners)
        return cycles * starts[-1] + starts[rest]

    def iterations(self, rank: int, miners: Miners) -> int | None:
        """Return how many iterations the miner of a rank has at most; None: without end."""
        return self.iterations_before(self.epochs + 1, rank, miners) if self.epochs else None

    def turn(self, iteration: int, rank: int, miners: Miners) -> Turn | None:
        """Return the epoch and batch of an iteration; None when the miner has no such iteration."""
        if self._is_hashed:
            return self._hashed_turn(iteration, rank, _tickets(miners))
        return _turn(self, iteration, rank, _number(miners))

    def _interleaved_turn(self, iteration: int, rank: int, miners: int) -> Turn | None:
        """Return the same where the batches are dealt out in interleaved parts."""
        number = self._epoch_of(iteration, rank, miners)
        if number is None or (self.epochs and number > self.epochs):
            return None
        first = self.iterations_before(number, rank, miners)
        last = first + self.iterations_of(number, rank, miners) - 1
        batch = self._interleaved(rank + (iteration - first) * _number(miners), number)
        return Turn(_said(number), batch, number, first, last)

    @cached_property
    def _trained_counts(self) -> tuple[int, ...]:
        """Mini-batches of the epochs of one cycle of folds, without those set apart."""
        return tuple(self.revealed_count - len(apart) for apart in self.folds)

    def _cycle_of(self, rank: int, miners: Miners) -> tuple[int, ...]:
        return _cycle(self._trained_counts, rank, _number(miners))

    @property
    def _is_hashed(self) -> bool:
        return self.assignment is Assignment.CONSISTENT_HASHING

    def _hashed_turn(self, iteration: int, rank: int, miners: tuple[Outpoint, ...]) -> Turn | None:
        starts = _starts(self, miners)[rank]
        number = bisect_right(starts, iteration)
        if number > self.epochs:
            return None
        first, last = starts[number - 1], starts[number] - 1
        batch = _dealt(self, number, miners)[rank][iteration - first]
        return Turn(_said(number), batch, number, first, last)

    def _epoch_of(self, iteration: int, rank: int, miners: Miners) -> int | None:
        """Return the epoch, without end, that an iteration is in; None where the miner never has a turn."""
        starts = self._cycle_of(rank, miners)
        if starts[-1] == 0:
            return None
        cycles, rest = divmod(iteration, starts[-1])
        return cycles * len(self.folds) + bisect_right(starts, rest)

    def _interleaved(self, position: int, epoch: int) -> int:
        index = (position + epoch - 1) % self._trained_counts[(epoch - 1) % len(self.folds)]
        return self.trained_batch(index, epoch)


@lru_cache(maxsize=TURNS_CACHED)
def _turn(plan: Schedule, iteration: int, rank: int, miners: int) -> Turn | None:
    return plan._interleaved_turn(iteration, rank, miners)


@lru_cache(maxsize=CYCLES_CACHED)
def _cycle(trained: tuple[int, ...], rank: int, miners: int) -> tuple[int, ...]:
    """Return the first iteration of a miner in each epoch of a cycle of folds, and how many a cycle has."""
    counts = (max(0, -(-(count - rank) // miners)) for count in trained)
    return tuple(accumulate(counts, initial=0))


@lru_cache(maxsize=EPOCHS_CACHED)
def _dealt(plan: Schedule, epoch: int, miners: tuple[Outpoint, ...]) -> tuple[tuple[int, ...], ...]:
    """Return each miner's batches of an epoch, in the order to process them, by consistent hashing."""
    places = [
        (fragment, index)
        for fragment, count in zip(plan.training, plan.batch_counts, strict=True)
        for index in range(count)
    ]
    apart = plan.held_out(epoch)
    batches = places[: apart.start] + places[apart.stop :]
    hands = assignment.deal(plan.definition_block, miners, batches, epoch)
    return tuple(tuple(plan.trained_batch(index, epoch) for index in hand) for hand in hands)


@lru_cache(maxsize=PLANS_CACHED)
def _starts(plan: Schedule, miners: tuple[Outpoint, ...]) -> tuple[Sequence[int], ...]:
    """Return for each miner its first iteration of each epoch, and at last how many it has."""
    assert plan.epochs, "consistent hashing without end"
    counts = zip(*(map(len, _dealt(plan, epoch + 1, miners)) for epoch in range(plan.epochs)), strict=True)
    return tuple(array("I", accumulate(own, initial=0)) for own in counts)


def _tickets(miners: Miners) -> tuple[Outpoint, ...]:
    assert not isinstance(miners, int), "consistent hashing asks who the miners are"
    return miners


def _number(miners: Miners) -> int:
    return miners if isinstance(miners, int) else len(miners)


def _said(epoch: int) -> int:
    return (epoch - 1) % EPOCH_MAX + 1


@pure(lambda task, block: (Same(task), block))
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
        assignment=task.assignment,
        definition_block=definition_block,
    )


def _folds(validation: Validation, total: int) -> tuple[range, ...]:
    if isinstance(validation, KFold):
        cuts = [total * fold // validation.folds for fold in range(validation.folds + 1)]
        return tuple(range(a, b) for a, b in pairwise(cuts))
    return (range(total - total * validation.percent // 100, total),)
