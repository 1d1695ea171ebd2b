"""The leader's part in a slot: it asks for ballots, counts them, and gathers two votes on what they give.

    SlotOpening -> ballots -> SlotProposal -> prepare shares -> Prepared -> commit shares -> CertifiedSlot

A slot is opened when it is due or full. With t ballots the leader waits a little for the others', then
counts. Its proposal is in the journal before it leaves, so that a restart can't make it propose another. What
is not answered is said again, and with it what a late supervisor may lack: the slot before, and the NewView.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from p2pai.chain.committee import CertifiedSlot, PreparedStatement, SlotStatement
from p2pai.chain.params import SLOT_MESSAGES_MAX
from p2pai.primitives import merkle
from p2pai.primitives.ids import BlsSignature, Hash32
from p2pai.roles import ballots
from p2pai.roles.slots import Ballot, NewView, Prepared, Ranking, Share, SlotOpening, SlotProposal
from p2pai.roles.standing import Standing

REPEAT_MS: Final = 500
"""What is not answered is said again after this."""

BALLOT_WAIT_MS: Final = 100
"""Time for ballots beyond the threshold: some round trips, and less than a slot."""


LATENCIES_MAX: Final = 256
"""Slots whose latency is remembered, for whoever asks."""


class Leading:
    """See the module."""

    def __init__(
        self,
        standing: Standing,
        vote: Callable[[PreparedStatement | SlotStatement], None],
        commit: Callable[[Prepared], None],
    ) -> None:
        self._at, self._vote, self._commit = standing, vote, commit
        self._opened_ms = self._new_view_ms = standing.desk.now_ms
        self.latencies_ms: deque[int] = deque(maxlen=LATENCIES_MAX)
        """From opening to certificate, of the last slots that we led."""
        self._new_view: NewView | None = None
        self.reset()

    def reset(self) -> None:
        """Begin anew: at another place, or with other members."""
        self._opening: SlotOpening | None = None
        self._ballots: dict[int, Ranking] = {}
        self._count_ms: int | None = None
        self._shares: dict[PreparedStatement | SlotStatement, dict[int, BlsSignature]] = {}
        self._prepared: Prepared | None = None
        self._said_ms = self._at.desk.now_ms

    def tick(self) -> None:
        """Do what is due."""
        at = self._at
        if not at.leads or not at.is_open:
            return
        self._say_new_view()
        if not at.is_active or at.signed.proposal is not None:
            self._repeat()
        elif at.binding is not None:
            self._propose(at.binding.messages, ())
        elif self._opening is None:
            self._open()
        elif self._count_ms is not None and at.desk.now_ms >= self._count_ms:
            self._count()
        else:
            self._repeat()

    def hear(self, said: Ballot | Share) -> None:
        """Take a member's ballot or vote.

        Raises:
          InvalidInput: it breaks a rule.
        """
        if isinstance(said, Ballot):
            self._hear_ballot(said)
        else:
            self._hear_share(said)

    # --- ballots

    def _open(self) -> None:
        desk = self._at.desk
        waiting = desk.waiting()[:SLOT_MESSAGES_MAX]
        is_due = desk.now_ms - self._opened_ms >= desk.slot_ms
        if not waiting or not (is_due or len(waiting) == SLOT_MESSAGES_MAX):
            return
        self._opened_ms = self._said_ms = desk.now_ms
        self._opening = SlotOpening(self._at.place, tuple(sorted(waiting)))
        desk.say(self._opening)
        self._cast(waiting)

    def _cast(self, arrived: tuple[Hash32, ...]) -> None:
        assert self._opening is not None
        turns = [self._at.desk.turn(i) for i in self._opening.messages]
        self._take(make_ballot(self._at, self._opening, ballots.rank(arrived, turns)))

    def _hear_ballot(self, ballot: Ballot) -> None:
        at, opening, ranking = self._at, self._opening, ballot.ranking
        if opening is None or at.signed.proposal is not None or ranking.member in self._ballots:
            return
        if ballot.place != at.place or ballot.candidates != merkle.root(opening.messages):
            return
        check_ranking(at, opening.messages, ranking)
        self._take(ballot)

    def _take(self, ballot: Ballot) -> None:
        self._ballots[ballot.ranking.member] = ballot.ranking
        if len(self._ballots) == self._at.seat.size:
            self._count()
        elif len(self._ballots) == self._at.seat.threshold:
            self._count_ms = self._at.desk.now_ms + BALLOT_WAIT_MS
            self._at.desk.wake(BALLOT_WAIT_MS)

    def _count(self) -> None:
        assert self._opening is not None
        counted = tuple(self._ballots[member] for member in sorted(self._ballots))
        self._propose(ballots.count(self._opening.messages, counted), counted)

    # --- the proposal

    def _propose(self, messages: tuple[Hash32, ...], counted: tuple[Ranking, ...]) -> None:
        place, root = self._at.place, merkle.root(messages)
        statement = SlotStatement(place.task, place.epoch, place.view, place.slot, root)
        signature = self._at.seat.sign(self._at.seat.proposal_digest(statement))
        proposal = SlotProposal(statement, messages, counted, signature)
        self._at.prepare(proposal, lambda: self._say(proposal))

    def _say(self, proposal: SlotProposal) -> None:
        self._said_ms = self._at.desk.now_ms
        self._at.desk.say(proposal)
        self._vote(PreparedStatement(proposal.statement))

    # --- two votes

    def _hear_share(self, share: Share) -> None:
        statement = share.statement
        assert isinstance(statement, PreparedStatement | SlotStatement)
        if self._is_asked(statement) and share.member not in self._shares.get(statement, {}):
            self._at.seat.check_share(statement, share.member, share.signature)
            self.count(statement, share.member, share.signature)

    def _is_asked(self, statement: PreparedStatement | SlotStatement) -> bool:
        proposal = self._at.signed.proposal
        if proposal is None or not self._at.is_active or not self._at.leads:
            return False
        if isinstance(statement, PreparedStatement):
            return self._prepared is None and statement.slot == proposal.statement
        return self._prepared is not None and statement == proposal.statement

    def count(
        self, statement: PreparedStatement | SlotStatement, member: int, signature: BlsSignature
    ) -> None:
        """Count a checked vote."""
        shares = self._shares.setdefault(statement, {})
        shares[member] = signature
        if not self._is_asked(statement) or len(shares) < self._at.seat.threshold:
            return
        certificate = self._at.seat.combine(shares)
        if isinstance(statement, PreparedStatement):
            self._prepared = Prepared(statement.slot, certificate)
            self._said_ms = self._at.desk.now_ms
            self._say_prepared(self._prepared)
        else:
            self._certify(statement, certificate)

    def _certify(self, statement: SlotStatement, certificate: BlsSignature) -> None:
        proposal = self._at.signed.proposal
        assert proposal is not None
        slot = CertifiedSlot(statement, proposal.messages, certificate)
        if self._opening is not None:
            self.latencies_ms.append(self._at.desk.now_ms - self._opened_ms)
        self._at.desk.say(slot)
        self._at.desk.certify(slot)

    def _say_prepared(self, prepared: Prepared) -> None:
        self._at.desk.say(prepared)
        self._commit(prepared)

    # --- again

    def _say_new_view(self) -> None:
        """Tell late supervisors of our view, as long as it lasts."""
        desk, new_view = self._at.desk, self._at.new_view
        if new_view is None:
            return
        if new_view is not self._new_view or desk.now_ms - self._new_view_ms >= REPEAT_MS:
            self._new_view, self._new_view_ms = new_view, desk.now_ms
            desk.say(new_view)

    def _repeat(self) -> None:
        desk = self._at.desk
        if desk.now_ms - self._said_ms < REPEAT_MS or not self._at.is_durable:
            return
        self._said_ms = desk.now_ms
        place = self._at.place
        for said in (desk.slot(place.slot - 1), desk.slot(place.slot)):
            if said is not None:
                desk.say(said)
        if self._at.is_active:
            self._repeat_question()

    def _repeat_question(self) -> None:
        proposal, lock = self._at.signed.proposal, self._at.lock
        if proposal is None:
            if self._opening is not None:
                self._at.desk.say(self._opening)
            return
        if proposal.signature != self._at.seat.sign(self._at.seat.proposal_digest(proposal.statement)):
            return  # of who led here before the members changed
        self._at.desk.say(proposal)
        if self._prepared is None and lock is not None and lock.statement == proposal.statement:
            self._prepared = lock  # of before a restart
        self._vote(PreparedStatement(proposal.statement))
        if self._prepared is not None:
            self._say_prepared(self._prepared)


def make_ballot(at: Standing, opening: SlotOpening, order: bytes) -> Ballot:
    """Return our signed ballot on an opening."""
    candidates, member = merkle.root(opening.messages), at.seat.member
    signature = at.seat.sign(ballots.digest(opening.place, candidates, member, order))
    return Ballot(opening.place, candidates, Ranking(member, order, signature))


def check_ranking(at: Standing, candidates: tuple[Hash32, ...], ranking: Ranking) -> None:
    """Check a member's ranking of the ascending ids at our place; all their messages must be here.

    Raises:
      InvalidInput: it is no order of them, against the iterations, or not signed by that member.
    """
    ballots.check(ranking.order, [at.desk.turn(i) for i in candidates])
    digest = ballots.digest(at.place, merkle.root(candidates), ranking.member, ranking.order)
    at.seat.check_signed(ranking.member, digest, ranking.signature)
