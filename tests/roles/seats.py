"""The real seats of a chain's supervisors, and what they say: for tests of one node among others played."""

from dataclasses import dataclass, replace
from functools import cached_property

from p2pai.chain import committee, it_res
from p2pai.chain.committee import PreparedStatement, Reason, SlotStatement, ViewStatement
from p2pai.primitives import merkle
from p2pai.primitives.ids import TaskId
from p2pai.roles import ballots
from p2pai.roles.seat import Seat
from p2pai.roles.slots import (
    Ballot,
    NewView,
    Place,
    Prepared,
    Ranking,
    Report,
    Share,
    SlotOpening,
    SlotProof,
    SlotProposal,
    ViewChange,
    ViewShare,
)
from p2pai.roles.views import report_digest
from tests.chain.ledger import Chain, keys, public, secret_share
from tests.roles.lone import ids_of, supervisors_of


@dataclass
class Seats:
    """Supervisors by account, in the order of the committee."""

    chain: Chain
    task: TaskId

    @cached_property
    def accounts(self) -> tuple[int, ...]:
        return supervisors_of(self.chain, self.task)

    @cached_property
    def by_account(self) -> dict[int, Seat]:
        made = self.chain.task(self.task).committee
        owners = tuple(public(a) for a in self.accounts)
        return {
            a: Seat(self.task, made, owners, i, secret_share(made, i, keys(a)), keys(a).spending)
            for i, a in enumerate(self.accounts, 1)
        }

    def seat(self, account) -> Seat:
        return self.by_account[account]

    # --- places

    def place(self, slot, view=0) -> Place:
        return Place(self.task, committee.epoch_of(slot), view, slot)

    def leader(self, slot=0, view=0) -> int:
        """Return the account that leads."""
        return self.accounts[committee.leader(len(self.accounts), committee.epoch_of(slot), view)]

    def statement(self, slot, messages, view=0) -> SlotStatement:
        root = merkle.root(ids_of(messages))
        return SlotStatement(self.task, committee.epoch_of(slot), view, slot, root)

    # --- what they say

    def opening(self, slot, *messages, view=0) -> SlotOpening:
        return SlotOpening(self.place(slot, view), tuple(sorted(ids_of(messages))))

    def ballot(self, account, slot, *messages, view=0) -> Ballot:
        """Rank messages in the order given (each miner's by iteration)."""
        seat, place, ids = self.seat(account), self.place(slot, view), tuple(sorted(ids_of(messages)))
        known = {it_res.message_id(m): it_res.decode(m) for m in messages}
        order = ballots.rank(ids_of(messages), [(known[i].ticket, known[i].iteration) for i in ids])
        root = merkle.root(ids)
        signature = seat.sign(ballots.digest(place, root, seat.member, order))
        return Ballot(place, root, Ranking(seat.member, order, signature))

    def proposal(self, slot, *messages, view=0, voters=None, bound=False) -> SlotProposal:
        """The leader's proposal, if all voters saw the messages in the order given."""
        statement = self.statement(slot, messages, view)
        leader = self.seat(self.leader(slot, view))
        signature = leader.sign(leader.proposal_digest(statement))
        voters = () if bound else voters or self.accounts
        cast = tuple(self.ballot(a, slot, *messages, view=view).ranking for a in voters)
        return SlotProposal(statement, ids_of(messages), cast, signature)

    def share(self, account, statement) -> Share:
        seat = self.seat(account)
        return Share(statement, seat.member, seat.share(statement))

    def prepare(self, account, slot, *messages, view=0) -> Share:
        return self.share(account, PreparedStatement(self.statement(slot, messages, view)))

    def commit(self, account, slot, *messages, view=0) -> Share:
        return self.share(account, self.statement(slot, messages, view))

    def prepared(self, slot, *messages, view=0) -> Prepared:
        statement = self.statement(slot, messages, view)
        return Prepared(statement, self.certify(PreparedStatement(statement)))

    def certify(self, statement):
        return self.chain.certify(self.task, statement)

    # --- views

    def change(self, account, slot, view=1, lock=None, before=None, reasons=(Reason.SLOW,), messages=()):
        """A supervisor's wish for a later view."""
        seat = self.seat(account)
        epoch = committee.epoch_of(slot)
        proof = SlotProof(before.statement, before.signature) if before else None
        report = Report(self.task, epoch, view, slot, proof, lock, seat.member, b"")
        report = replace(report, signature=seat.sign(report_digest(report)))
        shares = tuple(ViewShare(r, seat.share(ViewStatement(self.task, epoch, view, r))) for r in reasons)
        return ViewChange(report, shares, ids_of(messages))

    def new_view(self, *changes, reason=Reason.SLOW) -> NewView:
        report = changes[0].report
        statement = ViewStatement(self.task, report.epoch, report.view, reason)
        messages = max((c.messages for c in changes), key=len)
        return NewView(statement, self.certify(statement), tuple(c.report for c in changes), messages)
