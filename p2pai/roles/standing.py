"""Where a supervisor stands: the next slot, the view, and what it has promised there.

Three promises keep a place from being certified twice, and each is in the journal before it leaves:

* in one view of one slot only one root is prepared;
* only what has a prepare certificate is committed, and then it is the lock;
* who asked for a later view votes in no earlier one; its report names the lock.

Of t = ceil(2n/3) members that certified a root and t that reported for a later view, more than n/3 are the
same, so an honest one reports the lock, and the new view is bound to it.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance" (OSDI 1999); docs/adr/0019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from p2pai.chain import committee
from p2pai.chain.committee import CertifiedSlot, SlotStatement, ViewStatement
from p2pai.chain.supervision import Equivocation
from p2pai.primitives.ids import BlsSignature, Hash32, TaskId
from p2pai.roles.ballots import Turn
from p2pai.roles.seat import Seat
from p2pai.roles.slots import (
    LockedSlot,
    NewView,
    Place,
    Prepared,
    Said,
    SlotProposal,
    SlotSigned,
)


class Desk(Protocol):
    """What the agreement uses of its supervisor: the record, and ways to act."""

    @property
    def now_ms(self) -> int:
        """The clock."""

    @property
    def slot_ms(self) -> int:
        """Time between slots."""

    @property
    def next_slot(self) -> int:
        """The first slot that is not recorded with all its messages."""

    @property
    def registered(self) -> int:
        """The first slot that is not registered on chain."""

    def slot(self, number: int) -> CertifiedSlot | None:
        """Return a certified slot."""

    def waiting(self) -> tuple[Hash32, ...]:
        """Return unrecorded messages in order of arrival."""

    def waiting_ms(self) -> int | None:
        """Return since when the leader has had something to do; None when nothing waits."""

    def may_record(self, message: Hash32) -> bool:
        """Return whether a message is here, unrecorded, and the one that its place has."""

    def turn(self, message: Hash32) -> Turn:
        """Return whose message that is, and of which iteration."""

    def want(self, messages: tuple[Hash32, ...]) -> None:
        """Get these messages."""

    def say(self, said: Said) -> None:
        """Tell the committee."""

    def persist(self, signed: SlotSigned, then: Callable[[], None]) -> None:
        """Write down what we promise; `then` runs when that is durable."""

    def wake(self, delay_ms: int) -> None:
        """Let the agreement look at the clock after a delay."""

    def certify(self, slot: CertifiedSlot) -> None:
        """Take in a slot that was certified here."""

    def leader_replaced(self, statement: ViewStatement, certificate: BlsSignature) -> None:
        """Register that we lead in another's place."""

    def accuse(self, evidence: Equivocation) -> None:
        """Register that a leader proposed two slots for one place."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a new view is bound to: slots before `slot` are certified, and not voted on in it."""

    slot: int
    root: Hash32 | None
    """What alone may be proposed for `slot`; None: anything."""
    messages: tuple[Hash32, ...]


class Standing:
    """See the module."""

    def __init__(self, seat: Seat, desk: Desk, signed: SlotSigned | None) -> None:
        self.seat, self.desk = seat, desk
        self.signed = signed or _fresh(seat.task, desk.next_slot)
        self.is_open = self.signed.view == 0
        """Whether the view has begun: its NewView is known. Views 0 need none."""
        self.new_view: NewView | None = None
        self.bound: Bound | None = None
        self.entered_ms = desk.now_ms
        """When the view began."""
        self._writing = 0
        self.advance()

    # --- the place

    @property
    def place(self) -> Place:
        """Where we stand."""
        return Place(self.signed.task, self.signed.epoch, self.signed.view, self.signed.slot)

    @property
    def is_active(self) -> bool:
        """Whether there is something to agree on here: the view has begun, the slot is not certified yet."""
        slot = self.signed.slot
        is_next = slot == self.desk.next_slot and self.desk.slot(slot) is None
        return self.is_open and is_next and (self.bound is None or slot >= self.bound.slot)

    @property
    def is_durable(self) -> bool:
        """Whether all that we promised is written down."""
        return self._writing == 0

    @property
    def leads(self) -> bool:
        """Whether we lead here."""
        return self.seat.leader(self.signed.epoch, self.signed.view) == self.seat.member

    @property
    def binding(self) -> Bound | None:
        """What alone may be proposed here, if anything is."""
        bound = self.bound
        return bound if bound is not None and bound.root and bound.slot == self.signed.slot else None

    @property
    def lock(self) -> Prepared | None:
        """The prepare certificate that we voted to commit last."""
        lock = self.signed.lock
        return None if lock is None else Prepared(lock.statement, lock.certificate)

    # --- moving on

    def advance(self) -> bool:
        """Go to the slot after the last recorded one; return whether we moved."""
        slot = self.desk.next_slot
        if slot <= self.signed.slot:
            return False
        if committee.epoch_of(slot) == self.signed.epoch:
            self.signed = replace(self.signed, slot=slot, proposal=None, lock=None)
            return True
        self.signed = _fresh(self.signed.task, slot)
        self.is_open, self.new_view, self.bound = True, None, None
        self.entered_ms = self.desk.now_ms
        return True

    def begin_view(self, new_view: NewView, bound: Bound) -> None:
        """Enter a view whose NewView was checked."""
        view = new_view.statement.view
        assert view > self.signed.view or (view == self.signed.view and not self.is_open)
        if view > self.signed.view:  # what was prepared in this view before a restart stays a promise
            self.signed = replace(self.signed, view=view, proposal=None)
        self.is_open, self.new_view, self.bound = True, new_view, bound
        self.entered_ms = self.desk.now_ms

    # --- promises

    def give_up(self, view: int, then: Callable[[], None]) -> None:
        """Promise to vote in no view before `view`."""
        assert view > self.signed.view, "a view that was given up stays so"
        self.is_open, self.new_view, self.bound = False, None, None
        self.entered_ms = self.desk.now_ms
        self._note(replace(self.signed, view=view, proposal=None), then)

    def prepare(self, proposal: SlotProposal, then: Callable[[], None]) -> None:
        """Promise to prepare no other root here."""
        assert self._is_here(proposal.statement), "a proposal for another place"
        assert self.signed.proposal is None, "one root is prepared in a view"
        assert self.binding is None or self.binding.root == proposal.statement.root, "another root is locked"
        self._note(replace(self.signed, proposal=proposal), then)

    def commit(self, lock: LockedSlot, then: Callable[[], None]) -> None:
        """Lock a root whose prepare certificate was checked."""
        assert self._is_here(lock.statement), "a certificate for another place"
        self._note(replace(self.signed, lock=lock), then)

    def _is_here(self, statement: SlotStatement) -> bool:
        return self.is_active and place_of(statement) == self.place

    def _note(self, signed: SlotSigned, then: Callable[[], None]) -> None:
        self.signed = signed
        self._writing += 1

        def durable() -> None:
            self._writing -= 1
            if (self.signed.epoch, self.signed.view, self.signed.slot) == (
                signed.epoch,
                signed.view,
                signed.slot,
            ):
                then()

        self.desk.persist(signed, durable)


def _fresh(task: TaskId, slot: int) -> SlotSigned:
    return SlotSigned(task, committee.epoch_of(slot), 0, slot, None, None)


def place_of(statement: SlotStatement) -> Place:
    """Return the place that a statement certifies."""
    return Place(statement.task, statement.epoch, statement.view, statement.slot)
