"""A supervisor's part in agreeing on slots: a machine without I/O, which its supervisor feeds and lets act.

Each slot takes a ballot and two votes (leading.py, voting.py) under the leader of a view (views.py); what was
promised is in standing.py. Here messages find their way to these, and a leader that signs two proposals for
one place is caught.

Source: PoUW §4.3, §7.3 (Byzantine leader); PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from __future__ import annotations

from typing import Final

from p2pai.chain import committee
from p2pai.chain.committee import PreparedStatement, Reason, SlotStatement
from p2pai.chain.params import SLOTS_PER_TERM, VIEW_MAX
from p2pai.chain.supervision import Equivocation
from p2pai.primitives.ids import Outpoint, PublicKey
from p2pai.roles.leading import Leading
from p2pai.roles.seat import Seat
from p2pai.roles.slots import (
    Ballot,
    NewView,
    Place,
    Prepared,
    Said,
    Share,
    SlotOpening,
    SlotProposal,
    SlotSigned,
    ViewChange,
)
from p2pai.roles.standing import Desk, Standing, place_of
from p2pai.roles.views import LEAST, Views
from p2pai.roles.voting import Voting

WITNESSED_MAX: Final = 64
"""Places whose proposals are remembered: those of a term."""


class Agreement:
    """See the module."""

    def __init__(self, seat: Seat, desk: Desk, signed: SlotSigned | None) -> None:
        self._desk = desk
        self.standing = Standing(seat, desk, signed)
        self._voting = Voting(self.standing, self._vote)
        self._leading = Leading(self.standing, self._vote, self._voting.hear)
        self._views = Views(self.standing, self._moved)
        self._witnessed: dict[Place, tuple[SlotStatement, bytes]] = {}
        self._accused: dict[Place, None] = {}

    @property
    def seat(self) -> Seat:
        """Our seat."""
        return self.standing.seat

    @property
    def leads(self) -> bool:
        """Whether we lead in the view that has begun."""
        return self.standing.leads and self.standing.is_open

    def may_lead(self, key: PublicKey) -> bool:
        """Return whether a member leads here, or where others may stand: a view or a term beside ours."""
        here = self.standing.signed
        views = [(here.epoch, view) for view in range(max(here.view - 1, 0), here.view + 2)]
        terms = [(epoch, 0) for epoch in (here.epoch - 1, here.epoch + 1) if epoch >= 0]
        return any(key == self.seat.leader_key(epoch, view) for epoch, view in (*views, *terms))

    @property
    def latencies_ms(self) -> tuple[int, ...]:
        """From opening to certificate, of the last slots that we led."""
        return tuple(self._leading.latencies_ms)

    def take_seat(self, seat: Seat) -> None:
        """Go on in a new committee, with a new view: votes and ballots of the old one do not count there."""
        self.standing.seat = seat
        self._witnessed.clear()
        self._views.reset()
        if self.standing.is_open:
            self._views.give_up(LEAST)
        self._moved()

    # --- what happens

    def tick(self) -> None:
        """Look at the clock."""
        self._views.tick()
        self._leading.tick()

    def message_received(self) -> None:
        """See what waited for a miner's message."""
        self._voting.message_received()

    def slot_recorded(self) -> None:
        """Go on after a slot was recorded, perhaps several."""
        epoch = self.standing.signed.epoch
        if not self.standing.advance():
            return
        if self.standing.signed.epoch != epoch:
            self._views.reset()
        self._moved()

    def hear(self, sender: PublicKey, said: Said) -> None:
        """Take what a member said.

        Raises:
          InvalidInput: it breaks a rule.
        """
        match said:
            case SlotOpening(place):
                if sender == self.seat.leader_key(place.epoch, place.view):
                    self._hear_leader(said)
            case Ballot() | Share():
                self._leading.hear(said)
            case SlotProposal():
                self._hear_proposal(said)
            case Prepared():
                self._hear_leader(said)
            case ViewChange():
                self._views.hear_change(said)
            case NewView():
                self._views.hear_new_view(said)
            case Equivocation():
                self._hear_evidence(said)

    # --- what follows

    def _moved(self) -> None:
        """Begin anew at another place, in another view, or with other members."""
        self._voting.reset()
        self._leading.reset()
        self._leading.tick()

    def _vote(self, statement: PreparedStatement | SlotStatement) -> None:
        if self.seat.secret is None:
            return
        signature = self.seat.share(statement)
        if self.standing.leads:
            self._leading.count(statement, self.seat.member, signature)
        else:
            self._desk.say(Share(statement, self.seat.member, signature))

    def _hear_leader(self, said: SlotOpening | SlotProposal | Prepared) -> None:
        self._views.heard_ms = self._desk.now_ms
        self._voting.hear(said)

    # --- two proposals for one place

    def _hear_proposal(self, proposal: SlotProposal) -> None:
        statement = proposal.statement
        if not self._is_near(statement):
            return
        self._check_leader(statement, proposal.signature)
        self._witness(statement, proposal.signature)
        self._hear_leader(proposal)

    def _is_near(self, statement: SlotStatement) -> bool:
        """Return whether we came to a place or are about to; of others a leader could name any number."""
        here = self.standing.signed
        if not committee.is_in_place(statement) or not 0 <= here.slot + 1 - statement.slot <= SLOTS_PER_TERM:
            return False
        return statement.view <= (here.view + 1 if statement.epoch == here.epoch else VIEW_MAX)

    def _check_leader(self, statement: SlotStatement, signature: bytes) -> None:
        leader = self.seat.leader(statement.epoch, statement.view)
        self.seat.check_signed(leader, self.seat.proposal_digest(statement), signature)

    def _witness(self, statement: SlotStatement, signature: bytes) -> None:
        place = place_of(statement)
        first, first_signature = self._witnessed.setdefault(place, (statement, signature))
        if len(self._witnessed) > WITNESSED_MAX:
            self._witnessed.pop(next(iter(self._witnessed)))
        if first.root != statement.root:
            self._accuse(place, ((first, first_signature), (statement, signature)))

    def _hear_evidence(self, evidence: Equivocation) -> None:
        place = place_of(evidence.first)
        pairs = ((evidence.first, evidence.first_signature), (evidence.second, evidence.second_signature))
        if place in self._accused or not self._is_near(evidence.first):
            return
        if place != place_of(evidence.second) or evidence.first.root == evidence.second.root:
            return
        for statement, signature in pairs:
            self._check_leader(statement, signature)
        self._accuse(place, pairs)

    def _accuse(self, place: Place, pairs: tuple[tuple[SlotStatement, bytes], ...]) -> None:
        """Show everybody that a leader equivocated, and ask for the next one."""
        if place in self._accused:
            return
        self._accused[place] = None
        (first, first_signature), (second, second_signature) = sorted(pairs, key=lambda p: p[0].root)
        ticket = self._ticket(place)
        evidence = Equivocation(place.task, ticket, first, first_signature, second, second_signature)
        self._desk.say(evidence)
        self._desk.accuse(evidence)
        standing = self.standing
        if standing.is_open and (place.epoch, place.view) == (standing.signed.epoch, standing.signed.view):
            self._views.give_up(Reason.MALICIOUS)

    def _ticket(self, place: Place) -> Outpoint:
        return self.seat.committee.members[self.seat.leader(place.epoch, place.view) - 1]
