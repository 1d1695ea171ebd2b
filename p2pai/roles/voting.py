"""Every member's part in a slot: its ballot, and its two votes on what the leader proposes.

A member prepares a proposal when it has all its messages and finds by the ballots shown the same order; or
when the proposal is the one that the new view is bound to, which t members have checked before. It commits
what has a prepare certificate. Each vote is in the journal before it leaves. A ballot is not: nothing that is
certified rests on there being one of a member only, so another one after a restart does no harm.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from p2pai.chain.committee import PreparedStatement, SlotStatement
from p2pai.chain.params import SLOT_MESSAGES_MAX
from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.primitives.ids import Hash32
from p2pai.roles import ballots
from p2pai.roles.leading import check_ranking, make_ballot
from p2pai.roles.slots import LockedSlot, Place, Prepared, SlotOpening, SlotProposal
from p2pai.roles.standing import Standing, place_of


class Voting:
    """See the module."""

    def __init__(self, standing: Standing, vote: Callable[[PreparedStatement | SlotStatement], None]) -> None:
        self._at, self._vote = standing, vote
        self._early: dict[type, SlotOpening | SlotProposal | Prepared] = {}
        """For the next slot or a later view: it overtook the certificate or the NewView that leads there."""
        self.reset()

    def reset(self) -> None:
        """Begin anew at another place."""
        self._opening: SlotOpening | None = None
        self._proposal: SlotProposal | None = None
        early, self._early = self._early, {}
        for said in early.values():
            with suppress(InvalidInput):
                self.hear(said)

    def hear(self, said: SlotOpening | SlotProposal | Prepared) -> None:
        """Take what the leader said.

        Raises:
          InvalidInput: it breaks a rule.
        """
        if isinstance(said, SlotOpening):
            place = said.place
            check_opening(said)
        else:
            place = place_of(said.statement)
            if isinstance(said, SlotProposal):
                check_proposal(said)
        if place == self._at.place and self._at.is_active:
            self._take(said)
        elif self._is_early(place):
            self._early[type(said)] = said

    def _is_early(self, place: Place) -> bool:
        here = self._at.place
        if place.epoch > here.epoch:
            return place.slot == here.slot + 1
        return place.epoch == here.epoch and place.view >= here.view and 0 <= place.slot - here.slot <= 1

    def _take(self, said: SlotOpening | SlotProposal | Prepared) -> None:
        match said:
            case SlotOpening():
                self._hear_opening(said)
            case SlotProposal():
                self._hear_proposal(said)
            case Prepared():
                self._hear_prepared(said)

    def message_received(self) -> None:
        """See whether the last message is here that we waited for."""
        if self._opening is not None:
            self._try_ballot()
        if self._proposal is not None:
            with suppress(InvalidInput):  # the leader's fault, not that of who sent the message
                self._try_prepare()

    # --- the ballot

    def _hear_opening(self, opening: SlotOpening) -> None:
        if self._at.signed.proposal is None and self._at.binding is None:
            self._opening = opening
            self._at.desk.want(opening.messages)
            self._try_ballot()

    def _try_ballot(self) -> None:
        opening, desk = self._opening, self._at.desk
        assert opening is not None
        if not all(desk.may_record(i) for i in opening.messages):
            return
        self._opening = None  # the leader asks again if the ballot is lost
        named = dict.fromkeys(opening.messages)
        arrived = tuple(i for i in desk.waiting() if i in named)
        order = ballots.rank(arrived, [desk.turn(i) for i in opening.messages])
        desk.say(make_ballot(self._at, opening, order))

    # --- the first vote

    def _hear_proposal(self, proposal: SlotProposal) -> None:
        self._proposal = proposal
        self._at.desk.want(proposal.messages)
        self._try_prepare()

    def _try_prepare(self) -> None:
        proposal = self._proposal
        assert proposal is not None
        if self._has_prepared(proposal):
            return
        if self._at.binding is None:
            if not all(self._at.desk.may_record(i) for i in proposal.messages):
                return
            self._proposal = None  # if it is invalid, once is enough
            self._check_count(proposal)
        elif self._at.binding.root != proposal.statement.root:
            return
        statement = PreparedStatement(proposal.statement)
        self._at.prepare(_without_ballots(proposal), lambda: self._vote(statement))

    def _has_prepared(self, proposal: SlotProposal) -> bool:
        """Return whether we voted here; if it was for this, say so again."""
        signed = self._at.signed.proposal
        if signed is not None and signed.statement == proposal.statement and self._at.is_durable:
            self._vote(PreparedStatement(signed.statement))
        return signed is not None

    def _check_count(self, proposal: SlotProposal) -> None:
        members = dict.fromkeys(ranking.member for ranking in proposal.ballots)
        if len(members) != len(proposal.ballots) or len(members) < self._at.seat.threshold:
            raise InvalidMessage("a proposal shows too few ballots")
        candidates = tuple(sorted(proposal.messages))
        for ranking in proposal.ballots:
            check_ranking(self._at, candidates, ranking)
        if ballots.count(candidates, proposal.ballots) != proposal.messages:
            raise InvalidMessage("the proposed order is not what the ballots give")

    # --- the second vote

    def _hear_prepared(self, prepared: Prepared) -> None:
        statement = prepared.statement
        if self._at.lock is not None and self._at.lock.statement == statement:
            if self._at.is_durable:
                self._vote(statement)
            return
        ids = self._messages(statement)
        if ids is not None:  # else the leader says its proposal again
            self._at.seat.check(PreparedStatement(statement), prepared.certificate)
            lock = LockedSlot(statement, ids, prepared.certificate)
            self._at.commit(lock, lambda: self._vote(statement))

    def _messages(self, statement: SlotStatement) -> tuple[Hash32, ...] | None:
        for proposal in (self._at.signed.proposal, self._proposal):
            if proposal is not None and proposal.statement == statement:
                return proposal.messages
        return None


def check_opening(opening: SlotOpening) -> None:
    """Check what of an opening needs no record.

    Raises:
      InvalidMessage: it breaks a rule.
    """
    ids = opening.messages
    if not 1 <= len(ids) <= SLOT_MESSAGES_MAX or list(ids) != sorted(dict.fromkeys(ids)):
        raise InvalidMessage(f"an opening names 1 to {SLOT_MESSAGES_MAX} messages, ascending")


def check_proposal(proposal: SlotProposal) -> None:
    """Check what of a proposal needs no record.

    Raises:
      InvalidMessage: it breaks a rule.
    """
    ids = proposal.messages
    if not 1 <= len(ids) <= SLOT_MESSAGES_MAX:
        raise InvalidMessage(f"a slot has 1 to {SLOT_MESSAGES_MAX} messages")
    if len(dict.fromkeys(ids)) != len(ids):
        raise InvalidMessage("a slot names a message twice")
    if merkle.root(ids) != proposal.statement.root:
        raise InvalidMessage("the proposal's ids do not give its root")


def _without_ballots(proposal: SlotProposal) -> SlotProposal:
    return SlotProposal(proposal.statement, proposal.messages, (), proposal.signature)
