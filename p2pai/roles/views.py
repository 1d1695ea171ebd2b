"""Replacing a leader: who sees no progress asks for the next view, and takes its lock along.

    no progress -> ViewChange, until t agree -> NewView by the next leader -> its proposals

A member gives up a leader when something waits for longer than the view's timeout, which doubles with each
view, so that it outgrows whatever delays there are; or at once, on proof that the leader equivocates. It
joins n - t + 1 others that ask for a later view: one of them is honest. It goes on to the view after only
when t members have asked for this one and its leader is silent, so that nobody runs ahead alone.

A NewView carries t reports. Its furthest slot is the first that may be undecided; the newest lock reported
for it is what alone may be proposed there. Slots before are certified, as the report shows: who lacks them
gets them, and votes on none. For later slots nothing can have been certified before: all who reported stood
before them, and vote in earlier views no more.

Source: PoUW §4.3; Castro and Liskov (OSDI 1999); PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from p2pai.chain import committee
from p2pai.chain.committee import PreparedStatement, Reason, ViewStatement
from p2pai.chain.params import VIEW_MAX
from p2pai.primitives import merkle, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlsSignature, Hash32
from p2pai.roles.leading import REPEAT_MS
from p2pai.roles.slots import NewView, Report, SlotProof, ViewChange, ViewShare
from p2pai.roles.standing import Bound, Standing

VIEW_MS: Final = 5_000
"""Least time for a view's leader to record what waits: what was lost is said again after one second."""

VIEW_SLOTS: Final = 4
"""The same, in slots, for networks whose slots are long."""

DOUBLINGS_MAX: Final = 6
"""Times that the timeout doubles: to minutes, by then the network is the trouble and not the leader."""

LEAST: Final = Reason.SLOW
"""What every member can sign that wants another leader."""

_GRAVITY: Final = (Reason.MALICIOUS, Reason.SILENT, Reason.SLOW)
"""Reasons, the gravest first."""


def timeout_ms(slot_ms: int, view: int) -> int:
    """Return how long the leader of a view may let something wait."""
    return max(VIEW_MS, VIEW_SLOTS * slot_ms) << min(view, DOUBLINGS_MAX)


def report_digest(report: Report) -> Hash32:
    """Return what a member signs under its report."""
    return tagged_hash("p2pai/report", record.encode(replace(report, signature=b"")))


class Views:
    """See the module."""

    def __init__(self, standing: Standing, moved: Callable[[], None]) -> None:
        self._at, self._moved = standing, moved
        self.heard_ms = standing.desk.now_ms
        """When the leader last said something."""
        self.reset()

    def reset(self) -> None:
        """Forget what others want: another epoch, or other members."""
        self._changes: dict[int, ViewChange] = {}
        self._checked: dict[Report, None] = {}
        self._reason = LEAST
        self._wanted_ms: int | None = None
        self._said_ms = self._helped_ms = self._at.desk.now_ms

    def tick(self) -> None:
        """Do what is due."""
        at = self._at
        if at.desk.waiting_ms() is None:
            return
        if at.is_open:
            self._watch()
            return
        if at.desk.now_ms - self._said_ms >= REPEAT_MS and at.is_durable:
            self._say()
        limit_ms = timeout_ms(at.desk.slot_ms, at.signed.view)
        if self._wanted_ms is not None and at.desk.now_ms - self._wanted_ms >= limit_ms:
            self.give_up(Reason.SILENT)

    def _watch(self) -> None:
        at = self._at
        if at.desk.now_ms - self._since_ms() >= timeout_ms(at.desk.slot_ms, at.signed.view):
            self.give_up(self._complaint())

    def _since_ms(self) -> int:
        waiting_ms = self._at.desk.waiting_ms()
        return max(self._at.desk.now_ms if waiting_ms is None else waiting_ms, self._at.entered_ms)

    def _complaint(self) -> Reason:
        return Reason.SLOW if self.heard_ms > self._since_ms() else Reason.SILENT

    # --- asking for another leader

    def give_up(self, reason: Reason, view: int | None = None) -> None:
        """Ask for a later view, of the next leader if none is named."""
        wanted = self._at.signed.view + 1 if view is None else view
        if wanted > VIEW_MAX or self._at.seat.secret is None:
            return
        self._reason, self._wanted_ms = reason, None
        self._at.give_up(wanted, self._say)
        self._moved()

    def _say(self) -> None:
        self._said_ms = self._at.desk.now_ms
        change = self._change()
        self._at.desk.say(change)
        self._keep(change)

    def _change(self) -> ViewChange:
        at = self._at
        signed = at.signed
        known = at.desk.slot(signed.slot - 1)
        before = None if known is None else SlotProof(known.statement, known.signature)
        report = Report(
            signed.task, signed.epoch, signed.view, signed.slot, before, at.lock, at.seat.member, b""
        )
        report = replace(report, signature=at.seat.sign(report_digest(report)))
        reasons = dict.fromkeys((LEAST, self._reason))
        shares = tuple(ViewShare(r, at.seat.share(_statement(report, r))) for r in reasons)
        return ViewChange(report, shares, signed.lock.messages if signed.lock else ())

    # --- hearing that others do

    def hear_change(self, change: ViewChange) -> None:
        """Take a member's wish for another leader.

        Raises:
          InvalidInput: it breaks a rule.
        """
        report = change.report
        self._help(report)
        known = self._changes.get(report.member)
        if report.epoch != self._at.signed.epoch or known == change or report.member == self._at.seat.member:
            return
        if known is not None and (known.report.view, known.report.slot) > (report.view, report.slot):
            return
        self._check_report(report)
        _check_messages(report, change.messages)
        self._check_shares(change)
        self._keep(change)

    def _keep(self, change: ViewChange) -> None:
        self._changes[change.report.member] = change
        self._join()
        if not self._at.is_open and len(self._wishes(self._at.signed.view)) >= self._at.seat.threshold:
            if self._wanted_ms is None:
                self._wanted_ms = self._at.desk.now_ms
            self._try_lead()

    def _wishes(self, view: int) -> list[int]:
        """Return the members that want a view or a later one."""
        return [m for m, change in self._changes.items() if change.report.view >= view]

    def _join(self) -> None:
        seat = self._at.seat
        others = (c.report.view for m, c in self._changes.items() if m != seat.member)
        views = sorted((v for v in others if v > self._at.signed.view), reverse=True)
        enough = seat.size - seat.threshold + 1
        if len(views) >= enough:
            self.give_up(self._complaint(), views[enough - 1])

    def _help(self, report: Report) -> None:
        """Tell a member that lags what it missed."""
        at = self._at
        if report.task != at.signed.task or at.desk.now_ms - self._helped_ms < REPEAT_MS:
            return
        slot = at.desk.slot(report.slot)
        begun = at.is_open and report.epoch == at.signed.epoch and report.view <= at.signed.view
        for said in (slot, at.new_view if begun else None):
            if said is not None:
                self._helped_ms = at.desk.now_ms
                at.desk.say(said)

    # --- beginning a view

    def _try_lead(self) -> None:
        at = self._at
        view = at.signed.view
        changes = {m: c for m, c in sorted(self._changes.items()) if c.report.view == view}
        if not at.leads or at.seat.member not in changes or len(changes) < at.seat.threshold:
            return
        statement, certificate = self._certificate(changes)
        reports = tuple(change.report for change in changes.values())
        newest = _newest_lock(reports)
        messages = () if newest is None else changes[newest.member].messages
        new_view = NewView(statement, certificate, reports, messages)
        self._begin(new_view)
        at.desk.leader_replaced(statement, certificate)

    def _certificate(self, changes: dict[int, ViewChange]) -> tuple[ViewStatement, BlsSignature]:
        """Combine the shares of the gravest reason that enough members give."""
        report = next(iter(changes.values())).report
        for reason in _GRAVITY:
            shares = {m: s.signature for m, c in changes.items() for s in c.shares if s.reason is reason}
            if len(shares) >= self._at.seat.threshold:
                return _statement(report, reason), self._at.seat.combine(shares)
        raise AssertionError("every member gives the least reason")

    def hear_new_view(self, new_view: NewView) -> None:
        """Enter a view that its leader shows to be agreed on.

        Raises:
          InvalidInput: it is not.
        """
        statement, at = new_view.statement, self._at
        if (statement.task, statement.epoch) != (at.signed.task, at.signed.epoch):
            return
        if statement.view < at.signed.view or (statement.view == at.signed.view and at.is_open):
            return
        self._check_new_view(new_view)
        self._begin(new_view)

    def _begin(self, new_view: NewView) -> None:
        self._wanted_ms = None
        self._at.begin_view(new_view, _bound(new_view))
        self._moved()

    # --- checks

    def _check_new_view(self, new_view: NewView) -> None:
        statement, seat = new_view.statement, self._at.seat
        members = dict.fromkeys(report.member for report in new_view.reports)
        if len(members) != len(new_view.reports) or len(members) < seat.threshold:
            raise InvalidMessage("a new view shows too few reports")
        for report in new_view.reports:
            place = (report.task, report.epoch, report.view)
            if place != (statement.task, statement.epoch, statement.view):
                raise InvalidMessage("a new view shows a report of another")
            self._check_report(report)
        newest = _newest_lock(new_view.reports)
        root = newest.lock.statement.root if newest is not None and newest.lock is not None else None
        _check_root(root, new_view.messages)
        seat.check(statement, new_view.certificate)

    def _check_report(self, report: Report) -> None:
        if report in self._checked:
            return
        if not 0 < report.view <= VIEW_MAX or committee.epoch_of(report.slot) != report.epoch:
            raise InvalidMessage("a report names an epoch or a view that is not its own")
        self._at.seat.check_signed(report.member, report_digest(report), report.signature)
        if report.lock is not None:
            self._check_lock(report)
        self._check_before(report)
        self._checked[report] = None

    def _check_lock(self, report: Report) -> None:
        assert report.lock is not None
        of = report.lock.statement
        if (of.task, of.epoch, of.slot) != (report.task, report.epoch, report.slot) or of.view > report.view:
            raise InvalidMessage("a report names a lock of another place")
        self._at.seat.check(PreparedStatement(of), report.lock.certificate)

    def _check_before(self, report: Report) -> None:
        """Check that the slots before are certified: or a report could skip one that is not."""
        before = report.before
        if before is None:
            if report.slot > self._at.desk.registered:
                raise InvalidMessage("a report does not show that the slot before is certified")
            return
        if (before.statement.task, before.statement.slot + 1) != (report.task, report.slot):
            raise InvalidMessage("a report shows another slot than the one before")
        if not committee.is_in_place(before.statement):
            raise InvalidMessage("the slot before names an epoch or a view that is not its own")
        self._at.seat.check(before.statement, before.certificate)

    def _check_shares(self, change: ViewChange) -> None:
        reasons = [share.reason for share in change.shares]
        if LEAST not in reasons or len(dict.fromkeys(reasons)) != len(reasons):
            raise InvalidMessage("a view change lacks the least reason, or gives one twice")
        for share in change.shares:
            statement = _statement(change.report, share.reason)
            self._at.seat.check_share(statement, change.report.member, share.signature)


def _statement(report: Report, reason: Reason) -> ViewStatement:
    return ViewStatement(report.task, report.epoch, report.view, reason)


def _newest_lock(reports: tuple[Report, ...]) -> Report | None:
    """Return the report with the newest lock for the furthest slot that is reported."""
    furthest = max(report.slot for report in reports)
    locked = [r for r in reports if r.slot == furthest and r.lock is not None]
    return max(locked, key=lambda r: r.lock.statement.view if r.lock else -1, default=None)


def _bound(new_view: NewView) -> Bound:
    furthest = max(report.slot for report in new_view.reports)
    newest = _newest_lock(new_view.reports)
    root = newest.lock.statement.root if newest is not None and newest.lock is not None else None
    return Bound(furthest, root, new_view.messages)


def _check_messages(report: Report, messages: tuple[Hash32, ...]) -> None:
    _check_root(report.lock.statement.root if report.lock else None, messages)


def _check_root(root: Hash32 | None, messages: tuple[Hash32, ...]) -> None:
    if (None if not messages else merkle.root(messages)) != root:
        raise InvalidMessage("message ids do not give the root of the lock")
