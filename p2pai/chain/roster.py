"""Who of a task's miners works in which epoch, and what falls to each: the schedule over changes of workers.

The miners that began stay the task's miners: they give every model, score and payout its place. A shift says
that from an epoch on only some of them work: their ranks among each other, and what they are assigned, are
as if they had been the group all along. A miner's iterations are counted over all its epochs, whoever else
works in them, so that nothing which it signed before a shift changes its meaning.

Source: PoUW §4.2.2 ("if a miner quits ... the above assignment is re-evaluated"); PROTOCOL section 5;
docs/adr/0023-miners-that-leave.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from p2pai.chain.params import MINERS_MIN
from p2pai.chain.schedule import Schedule, Turn
from p2pai.primitives.ids import Outpoint

EPOCH_SHIFTED_MIN = 2
"""The first epoch has begun before anybody can be missed."""


@dataclass(frozen=True, slots=True)
class Shift:
    """From an epoch on, as counted without end, these miners work."""

    epoch: int
    miners: tuple[Outpoint, ...]


@dataclass(frozen=True, slots=True)
class _Span:
    """Epochs with the same miners."""

    first: int
    end: int | None
    """The first epoch after; None where training has no end."""
    miners: tuple[Outpoint, ...]

    def before(self, plan: Schedule, ticket: Outpoint, epoch: int) -> int:
        """Return how many iterations a miner would have before an epoch, had these been the miners always."""
        return plan.iterations_before(epoch, self.miners.index(ticket), self.miners)

    def count(self, plan: Schedule, ticket: Outpoint, end: int) -> int:
        """Return how many iterations a miner has in the epochs before `end`."""
        return self.before(plan, ticket, end) - self.before(plan, ticket, self.first)


@dataclass(frozen=True, slots=True)
class Roster:
    """A task's miners over its epochs."""

    miners: tuple[Outpoint, ...]
    """Who began, in order."""
    shifts: tuple[Shift, ...] = ()
    """In order of their epochs, each of fewer miners than the one before."""

    @property
    def working(self) -> tuple[Outpoint, ...]:
        """Who works at last."""
        return self.shifts[-1].miners if self.shifts else self.miners

    @property
    def next_shift(self) -> int:
        """The first epoch that another shift may name."""
        return self.shifts[-1].epoch + 1 if self.shifts else EPOCH_SHIFTED_MIN

    @property
    def earlier(self) -> "Roster":
        """What held before the last shift."""
        return replace(self, shifts=self.shifts[:-1])

    def may_differ(self, plan: Schedule, turn: Turn | None) -> bool:
        """Return whether a turn, or (None) one too many, may be another on another chain."""
        if not self.shifts and len(self.miners) <= MINERS_MIN:
            return False
        first = self.shifts[0].epoch if self.shifts else EPOCH_SHIFTED_MIN
        return turn.number >= first if turn else plan.epochs == 0 or first <= plan.epochs

    def at(self, epoch: int) -> tuple[Outpoint, ...]:
        """Return who works in an epoch (from 1, without end)."""
        begun = (shift.miners for shift in reversed(self.shifts) if shift.epoch <= epoch)
        return next(begun, self.miners)

    def works(self, ticket: Outpoint, epoch: int) -> bool:
        """Return whether a miner works in an epoch."""
        return ticket in self.at(epoch)

    def without(self, ticket: Outpoint, epoch: int) -> "Roster":
        """Return the roster in which a miner works no more from an epoch on."""
        left = tuple(t for t in self.working if t != ticket)
        return replace(self, shifts=(*self.shifts, Shift(epoch, left)))

    def turn(self, plan: Schedule, ticket: Outpoint, iteration: int) -> Turn | None:
        """Return the epoch and batch of a miner's iteration; None when it has no such iteration."""
        if not self.shifts and ticket in self.miners:
            return plan.turn(iteration, self.miners.index(ticket), self.miners)
        done = 0
        for span in self._spans(plan, ticket):
            count = None if span.end is None else span.count(plan, ticket, span.end)
            if count is None or iteration < done + count:
                return _turn_in(plan, span, ticket, iteration, done)
            done += count
        return None

    def iterations_before(self, plan: Schedule, ticket: Outpoint, epoch: int) -> int:
        """Return how many iterations a miner has in all epochs before one."""
        spans = [s for s in self._spans(plan, ticket) if s.first < epoch]
        return sum(s.count(plan, ticket, epoch if s.end is None else min(s.end, epoch)) for s in spans)

    def iterations(self, plan: Schedule, ticket: Outpoint) -> int | None:
        """Return how many iterations a miner has in all; None: without end."""
        ends = [span.end for span in self._spans(plan, ticket)]
        if None in ends:
            return None
        return self.iterations_before(plan, ticket, max((end for end in ends if end), default=1))

    def _spans(self, plan: Schedule, ticket: Outpoint) -> Iterator[_Span]:
        """Walk over the epochs in which a miner works."""
        begun = (Shift(1, self.miners), *self.shifts)
        ends = (*(shift.epoch for shift in self.shifts), plan.epochs + 1 if plan.epochs else None)
        for shift, end in zip(begun, ends, strict=True):
            if ticket in shift.miners:
                yield _Span(shift.epoch, end, shift.miners)


def _turn_in(plan: Schedule, span: _Span, ticket: Outpoint, iteration: int, done: int) -> Turn | None:
    """Return a turn in one span; `done` iterations were before it."""
    skipped = span.before(plan, ticket, span.first) - done
    turn = plan.turn(iteration + skipped, span.miners.index(ticket), span.miners)
    if turn is None or skipped == 0:
        return turn
    return replace(turn, first=turn.first - skipped, last=turn.last - skipped)
