"""Registering a task's message history on chain, and with the last of it the miners' final models.

The leader proposes which slots to register; each supervisor compares their roots with its own; t shares make
a MESSAGE_HISTORY. When every miner has done its last iteration and announced its model, or the missing
ones have been silent for long, the registration names the models and training is over. Supervisors that find
a fragment of the data malformed say so, and whoever leads reports it once t have.

Source: PoUW §4.3, §7.3; PROTOCOL section 6; docs/adr/0010-final-models.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pai.chain import committee, course, it_res, schedule
from p2pai.chain.committee import HistoryStatement, MalformedStatement
from p2pai.chain.state import Stage, Task
from p2pai.chain.supervision import MessageHistory, ReportMalformed
from p2pai.effects import Verdict
from p2pai.events import Fetched
from p2pai.primitives import blob, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlobId, BlsSignature, Hash32, PublicKey
from p2pai.roles.history import ModelAnnouncement, TaskHistory
from p2pai.roles.seat import Seat
from p2pai.roles.slots import FinalModels, HistoryProposal, Share, models_blob

if TYPE_CHECKING:
    from p2pai.roles.recorder import Recorder

REGISTER_SLOTS_MAX: Final = 1024
"""Slots registered by one MESSAGE_HISTORY, at most."""

REGISTER_EVERY_BLOCKS: Final = 4
"""Blocks between registrations while training goes on."""

REPEAT_MS: Final = 1_000
"""What has no quorum is said again after this."""

ABSENT_MS: Final = 30_000
"""Silence after which the training ends without the miners who have not announced a model."""


class Registrar:
    """See the module."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._node = recorder, recorder.node
        self._shares: dict[int, BlsSignature] = {}
        self._proposal: HistoryProposal | None = None
        self._malformed: int | None = None
        self._reported: dict[int, dict[int, BlsSignature]] = {}
        """Fragment -> shares of those who found it malformed."""
        self._held: dict[BlobId, None] = {}
        self._fetching: dict[BlobId, None] = {}
        self.due_ms: int | None = None
        """Since when there has been something to register; None when nothing is."""
        self._said_ms = self._complained_ms = self._heard_ms = self._node.now_ms
        self._registered_height, self._registered = self._node.state.height, self._pooled_slots()

    @property
    def history(self) -> TaskHistory:
        """The task's messages."""
        return self._recorder.history

    @property
    def _task(self) -> Task:
        return self._recorder.task

    @property
    def _seat(self) -> Seat:
        return self._recorder.agreement.seat

    # --- what happens

    def slot_recorded(self) -> None:
        """Note that the task is alive."""
        self._heard_ms = self._node.now_ms

    def tip_changed(self) -> None:
        """Drop a proposal that the ledger has overtaken."""
        registered = self._pooled_slots()
        if registered != self._registered:
            self._registered_height, self._registered = self._node.state.height, registered
            self.due_ms = None
        if self._proposal is not None and self._proposal.statement.first != registered:
            self._drop_proposal()

    def committee_changed(self) -> None:
        """Drop what members of an earlier committee signed."""
        self._drop_proposal()
        self._reported.clear()

    def tick(self) -> None:
        """Do what is due."""
        self._hold_models()
        due = self._registration()
        if due is None:
            self.due_ms = None
        elif self.due_ms is None:
            self.due_ms = self._node.now_ms
        if due is not None and self._recorder.agreement.leads:
            self._propose(due)
        if self._malformed is not None and self._node.now_ms - self._complained_ms > REPEAT_MS:
            self._complain(self._malformed)

    def _drop_proposal(self) -> None:
        self._proposal = None
        self._shares.clear()

    # --- the history

    def _plan(self) -> schedule.Schedule:
        task = self._task
        return schedule.make_schedule(task.definition, task.definition_block)

    def _pooled_slots(self) -> int:
        return self._node.pool.tasks[self._recorder.task_id].slots

    def _propose(self, proposal: HistoryProposal) -> None:
        if proposal == self._proposal and self._node.now_ms - self._said_ms <= REPEAT_MS:
            return
        if proposal != self._proposal:
            self._shares.clear()
        self._proposal = proposal
        self._said_ms = self._node.now_ms
        self._recorder.say(proposal)
        if self._seat.secret is not None:
            self._count(self._seat.member, self._seat.share(proposal.statement))

    def _registration(self) -> HistoryProposal | None:
        """Return what is due to be registered, if anything is."""
        first, end = self._pooled_slots(), self.history.next_slot
        pooled = self._node.pool.tasks[self._recorder.task_id]
        if pooled.stage is not self._task.stage:
            return None
        models = self._final_models()
        if not models:
            end -= 1  # the registration that ends the training needs a slot too
        if end <= first or not (models or self._is_due(end - first)):
            return None
        if self._proposal is not None and not models and self._proposal.statement.first == first:
            return self._proposal
        return self._make_proposal(first, end, models)

    def _is_due(self, slots: int) -> bool:
        height = self._node.state.height
        waited = height >= self._registered_height + REGISTER_EVERY_BLOCKS
        return waited or slots >= REGISTER_SLOTS_MAX

    def _make_proposal(
        self, first: int, end: int, models: tuple[ModelAnnouncement, ...]
    ) -> HistoryProposal | None:
        roots = self._roots(first, min(end, first + REGISTER_SLOTS_MAX) - 1)
        if roots is None:
            return None
        final = models if first + len(roots) == end else ()
        statement = HistoryStatement(
            self._recorder.task_id,
            first,
            first + len(roots) - 1,
            committee.history_root(roots),
            models_blob(final) if final else None,
        )
        return HistoryProposal(statement, final)

    def _roots(self, first: int, last: int) -> list[Hash32] | None:
        slots = [self._recorder.slot(n) for n in range(first, last + 1)]
        known = [slot.statement.root for slot in slots if slot is not None]
        return known if len(known) == len(slots) else None

    def _final_models(self) -> tuple[ModelAnnouncement, ...]:
        """Return the announcements that end the training, or none while it goes on."""
        plan, miners = self._plan(), self._task.roster.working
        if plan.epochs == 0 or self.history.unrecorded:
            return ()
        known = tuple(self.history.models[t] for t in miners if t in self.history.models)
        valid = tuple(a for a in known if self._is_final(plan, a))
        silent = self._node.now_ms - self._heard_ms > ABSENT_MS
        return valid if len(valid) == len(miners) or (silent and valid) else ()

    def _is_final(self, plan: schedule.Schedule, announcement: ModelAnnouncement) -> bool:
        task = self._task
        last = self.history.latest.get(announcement.ticket)
        # Whoever was past the epoch when it heard of a shift has done what was its own before.
        rosters = dict.fromkeys((task.roster, task.roster.earlier))
        places = [course.Place(plan, announcement.ticket, roster) for roster in rosters]
        if last is None or not any(course.may_end(task.definition, place, last) for place in places):
            return False
        earned = it_res.nonce(it_res.precursor(announcement.after, last.message_map))
        is_earned = announcement.iteration == last.iteration and earned == last.nonce
        return is_earned and announcement.after.weights in self._held

    def _hold_models(self) -> None:
        """Get the announced models: one that its miner withholds must not enter the evaluation."""
        for announcement in self.history.models.values():
            weights = announcement.after.weights
            if weights not in self._held and weights not in self._fetching:
                self._fetching[weights] = None
                miner = self._node.state.tickets[announcement.ticket].peer
                self._node.fetch(weights, (miner,) if miner else (), self._got_model)

    def _got_model(self, fetched: Fetched) -> None:
        self._fetching.pop(fetched.blob, None)
        if fetched.chunks is not None:
            self._held[fetched.blob] = None

    def hear_proposal(self, sender: PublicKey, said: HistoryProposal) -> Verdict:
        """Sign the leader's proposal if our own record says the same.

        Raises:
          InvalidInput: it breaks a rule.
        """
        statement = said.statement
        if not self._recorder.agreement.may_lead(sender) or statement.first != self._pooled_slots():
            return Verdict.IGNORE
        if statement.last - statement.first >= REGISTER_SLOTS_MAX or statement.last < statement.first:
            raise InvalidMessage("too many slots to register, or none")
        roots = self._roots(statement.first, statement.last)
        if roots is None or committee.history_root(roots) != statement.root:
            return Verdict.IGNORE
        if statement.models is not None and not self._agrees_on_end(said):
            return Verdict.IGNORE
        if self._seat.secret is not None:
            self._recorder.say(Share(statement, self._seat.member, self._seat.share(statement)))
        return Verdict.ACCEPT

    def _agrees_on_end(self, said: HistoryProposal) -> bool:
        plan, task = self._plan(), self._task
        for announcement in said.models:
            if announcement.task != self._recorder.task_id or announcement.ticket not in task.miners:
                raise InvalidMessage("a model of somebody who is not a miner of the task")
            announcement.verify(self._node.state.tickets[announcement.ticket].owner)
        if said.statement.last + 1 != self.history.next_slot or self.history.unrecorded:
            return False
        tickets = dict.fromkeys(a.ticket for a in said.models)
        if not tickets or len(tickets) != len(said.models):
            raise InvalidMessage("the training ends with one model of each miner")
        silent = self._node.now_ms - self._heard_ms > ABSENT_MS // 2
        working = task.roster.working
        complete = len(said.models) == len(working) or silent
        if any(t not in working for t in tickets):
            return False
        if models_blob(said.models) != said.statement.models or not complete:
            return False
        if not all(self._is_final(plan, a) for a in said.models):
            return False
        self._node.put_blob(blob.cut(record.encode(FinalModels(said.models))))
        return True

    def hear_share(self, share: Share) -> Verdict:
        """Count a supervisor's share.

        Raises:
          InvalidInput: it does not hold.
        """
        if isinstance(share.statement, MalformedStatement):
            return self._hear_complaint(share.statement, share)
        if self._proposal is None or share.statement != self._proposal.statement:
            return Verdict.ACCEPT
        self._seat.check_share(share.statement, share.member, share.signature)
        self._count(share.member, share.signature)
        return Verdict.ACCEPT

    def _count(self, member: int, signature: BlsSignature) -> None:
        proposal = self._proposal
        assert proposal is not None
        self._shares[member] = signature
        if len(self._shares) < self._seat.threshold:
            return
        of, certificate = proposal.statement, self._seat.combine(self._shares)
        if proposal.models:
            self._node.put_blob(blob.cut(record.encode(FinalModels(proposal.models))))
        self._node.post(MessageHistory(of.task, of.first, of.last, of.root, of.models, certificate))
        self._registered_height = self._node.state.height
        self._drop_proposal()

    # --- malformed data

    def report_malformed(self, fragment: int) -> None:
        """Tell the others that a fragment of the data is not what the definition says."""
        self._malformed = fragment
        self._complain(fragment)

    def _complain(self, fragment: int) -> None:
        self._complained_ms = self._node.now_ms
        statement = MalformedStatement(self._recorder.task_id, fragment)
        if self._seat.secret is not None and self._is_open:
            share = Share(statement, self._seat.member, self._seat.share(statement))
            self._recorder.say(share)
            self._hear_complaint(statement, share)

    @property
    def _is_open(self) -> bool:
        pooled = self._node.pool.tasks.get(self._recorder.task_id)
        return pooled is not None and pooled.stage is Stage.TRAINING and not pooled.is_predefined

    def _hear_complaint(self, statement: MalformedStatement, share: Share) -> Verdict:
        if statement.fragment >= len(self._task.definition.dataset.fragments):
            raise InvalidMessage("the task has no such fragment")
        shares = self._reported.setdefault(statement.fragment, {})
        if share.member not in shares:
            self._seat.check_share(statement, share.member, share.signature)
            shares[share.member] = share.signature
        if len(shares) >= self._seat.threshold and self._recorder.agreement.leads and self._is_open:
            certificate = self._seat.combine(shares)
            self._node.post(ReportMalformed(statement.task, statement.fragment, certificate))
        return Verdict.ACCEPT
