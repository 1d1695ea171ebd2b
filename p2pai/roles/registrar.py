"""Registering a task's message history on chain, and with the last of it the miners' final models.

The leader proposes which slots to register; each supervisor compares their roots with its own; t signatures
make a MESSAGE_HISTORY. When every miner has done its last iteration and announced its model, or the missing
ones have been silent for long, the registration names the models and training is over.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0010-final-models.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2pai.chain import committee, course, it_res, schedule
from p2pai.chain.committee import CertifiedSlot, HistoryStatement
from p2pai.chain.params import quorum
from p2pai.chain.transaction import MessageHistory
from p2pai.effects import Verdict
from p2pai.events import Fetched
from p2pai.primitives import blob, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlobId, BlsSignature, Hash32, PublicKey
from p2pai.roles.history import ModelAnnouncement, TaskHistory
from p2pai.roles.slots import FinalModels, HistoryProposal, HistorySignature, models_blob

if TYPE_CHECKING:
    from p2pai.roles.seat import Seat

REGISTER_SLOTS_MAX: Final = 1024
"""Slots registered by one MESSAGE_HISTORY, at most."""

REGISTER_EVERY_BLOCKS: Final = 4
"""Blocks between registrations while training goes on."""

REPEAT_MS: Final = 1_000
"""A proposal without a quorum is said again after this."""

ABSENT_MS: Final = 30_000
"""Silence after which the training ends without the miners who have not announced a model."""


class Registrar:
    """See the module."""

    def __init__(
        self, seat: Seat, history: TaskHistory, slots: Callable[[], dict[int, CertifiedSlot]]
    ) -> None:
        self.seat, self.history, self._slots = seat, history, slots
        self._votes: dict[int, BlsSignature] = {}
        self._proposal: HistoryProposal | None = None
        self._held: dict[BlobId, None] = {}
        self._fetching: dict[BlobId, None] = {}
        self._said_ms = self._heard_ms = seat.node.now_ms
        self._registered_height = seat.node.state.height

    def slot_recorded(self) -> None:
        """Note that the task is alive."""
        self._heard_ms = self.seat.node.now_ms

    def _plan(self) -> schedule.Schedule:
        task = self.seat.task
        return schedule.make_schedule(task.definition, task.definition_block)

    def tip_changed(self) -> None:
        """Drop a proposal that the ledger has overtaken."""
        if self._proposal is not None and self._proposal.statement.first != self._pooled_slots():
            self._proposal = None
            self._votes.clear()

    def _pooled_slots(self) -> int:
        return self.seat.node.pool.tasks[self.seat.task_id].slots

    def propose(self) -> None:
        """As leader, propose what is due."""
        if self._proposal is not None and self.seat.node.now_ms - self._said_ms <= REPEAT_MS:
            return
        proposal = self._registration()
        if proposal is None:
            return
        if self._proposal is None or self._proposal != proposal:
            self._votes.clear()
        self._proposal = proposal
        self._said_ms = self.seat.node.now_ms
        self.seat.say(proposal)
        signature = self.seat.sign(proposal.statement)
        self._count(self.seat.index, signature)

    def _registration(self) -> HistoryProposal | None:
        first, end = self._pooled_slots(), self.history.next_slot
        pooled = self.seat.node.pool.tasks[self.seat.task_id]
        if pooled.stage is not self.seat.task.stage:
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
        height = self.seat.node.state.height
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
            self.seat.task_id,
            first,
            first + len(roots) - 1,
            committee.history_root(roots),
            models_blob(final) if final else None,
        )
        return HistoryProposal(statement, final)

    def _roots(self, first: int, last: int) -> list[Hash32] | None:
        slots = self._slots()
        if any(n not in slots for n in range(first, last + 1)):
            return None
        return [slots[n].statement.root for n in range(first, last + 1)]

    def _final_models(self) -> tuple[ModelAnnouncement, ...]:
        """Return the announcements that end the training, or none while it goes on."""
        plan, miners = self._plan(), self.seat.task.miners
        if plan.epochs == 0 or self.history.unrecorded:
            return ()
        known = tuple(self.history.models[t] for t in miners if t in self.history.models)
        valid = tuple(a for a in known if self._is_final(plan, a))
        silent = self.seat.node.now_ms - self._heard_ms > ABSENT_MS
        return valid if len(valid) == len(miners) or (silent and valid) else ()

    def _is_final(self, plan: schedule.Schedule, announcement: ModelAnnouncement) -> bool:
        task = self.seat.task
        miner = course.Place(plan, task.miners.index(announcement.ticket), len(task.miners))
        last = self.history.latest.get(announcement.ticket)
        if last is None or not course.may_end(task.definition, miner, last):
            return False
        earned = it_res.nonce(it_res.precursor(announcement.after, last.message_map))
        is_earned = announcement.iteration == last.iteration and earned == last.nonce
        return is_earned and announcement.after.weights in self._held

    def hold_models(self) -> None:
        """Get the announced models: one that its miner withholds must not enter the evaluation."""
        for announcement in self.history.models.values():
            weights = announcement.after.weights
            if weights not in self._held and weights not in self._fetching:
                self._fetching[weights] = None
                miner = self.seat.node.state.tickets[announcement.ticket].peer
                self.seat.node.fetch(weights, (miner,) if miner else (), self._got_model)

    def _got_model(self, fetched: Fetched) -> None:
        self._fetching.pop(fetched.blob, None)
        if fetched.chunks is not None:
            self._held[fetched.blob] = None

    def hear_proposal(self, sender: PublicKey, said: HistoryProposal) -> Verdict:
        """Sign the leader's proposal if our own record says the same."""
        statement = said.statement
        if not self._may_propose(sender, statement.last) or statement.first != self._pooled_slots():
            return Verdict.IGNORE
        if statement.last - statement.first >= REGISTER_SLOTS_MAX or statement.last < statement.first:
            raise InvalidMessage("too many slots to register, or none")
        roots = self._roots(statement.first, statement.last)
        if roots is None or committee.history_root(roots) != statement.root:
            return Verdict.IGNORE
        if statement.models is not None and not self._agrees_on_end(said):
            return Verdict.IGNORE
        signature = self.seat.sign(statement)
        self.seat.say(HistorySignature(statement, self.seat.ticket, signature))
        return Verdict.ACCEPT

    def _may_propose(self, sender: PublicKey, last: int) -> bool:
        # Whoever leads after the last slot registered, or after a later one: the leader leaves one open, and
        # what is much is registered bit by bit.
        slots = (last + 1, last + 2, self.history.next_slot, self.history.next_slot + 1)
        return any(sender == self.seat.leader_key(slot) for slot in slots)

    def _agrees_on_end(self, said: HistoryProposal) -> bool:
        plan, task = self._plan(), self.seat.task
        for announcement in said.models:
            if announcement.task != self.seat.task_id or announcement.ticket not in task.miners:
                raise InvalidMessage("a model of somebody who is not a miner of the task")
            announcement.verify(self.seat.node.state.tickets[announcement.ticket].owner)
        if said.statement.last + 1 != self.history.next_slot or self.history.unrecorded:
            return False
        tickets = dict.fromkeys(a.ticket for a in said.models)
        if not tickets or len(tickets) != len(said.models):
            raise InvalidMessage("the training ends with one model of each miner")
        silent = self.seat.node.now_ms - self._heard_ms > ABSENT_MS // 2
        complete = len(said.models) == len(task.miners) or silent
        if models_blob(said.models) != said.statement.models or not complete:
            return False
        if not all(self._is_final(plan, a) for a in said.models):
            return False
        self.seat.node.put_blob(blob.cut(record.encode(FinalModels(said.models))))
        return True

    def hear_signature(self, sender: PublicKey, said: HistorySignature) -> Verdict:
        """As leader, count a supervisor's signature."""
        if self._proposal is None or said.statement != self._proposal.statement:
            return Verdict.ACCEPT
        index = self.seat.check_vote(sender, said.ticket, said.statement, said.signature)
        self._count(index, said.signature)
        return Verdict.ACCEPT

    def _count(self, index: int, signature: BlsSignature) -> None:
        proposal = self._proposal
        assert proposal is not None
        self._votes[index] = signature
        if len(self._votes) < quorum(len(self.seat.task.supervisors)):
            return
        certificate = committee.combine(self._votes)
        if proposal.models:
            self.seat.node.put_blob(blob.cut(record.encode(FinalModels(proposal.models))))
        statement = proposal.statement
        self.seat.node.post(
            MessageHistory(
                self.seat.task_id,
                statement.first,
                statement.last,
                statement.root,
                statement.models,
                certificate.signers,
                certificate.signature,
            )
        )
        self._registered_height = self.seat.node.state.height
        self._proposal = None
        self._votes.clear()
