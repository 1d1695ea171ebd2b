"""Watching over a task's miners: who falls silent is reported, so that the others do its work.

A miner that could go on and from which nothing comes for long, while others' messages are recorded, is taken
for offline. Whoever leads says so, with its share of a certificate; the others add theirs if they find the
same; t shares make a NODE_STATUS. It names an epoch that lies ahead, when everybody will know of it.

Silence alone counts, and not that of a miner that waits for the majority at the end of an epoch, or whose
owner trains another task meanwhile. In a task without end nothing is lost by waiting longer.

Source: PoUW §4.2.2, §4.3, Appendix E; docs/adr/0023-miners-that-leave.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pai.chain import course, schedule
from p2pai.chain.committee import CertifiedSlot, StatusStatement
from p2pai.chain.params import MINERS_MIN
from p2pai.chain.state import Stage, Task
from p2pai.chain.supervision import NodeStatus
from p2pai.effects import Verdict
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlsSignature, Outpoint, PublicKey
from p2pai.roles import barrier
from p2pai.roles.registrar import ABSENT_MS, REPEAT_MS
from p2pai.roles.seat import Seat
from p2pai.roles.slots import Share

if TYPE_CHECKING:
    from p2pai.roles.recorder import Recorder

PATIENCE_FACTOR: Final = 10
"""How much longer a miner of a task without end may be silent: an absent miner delays nobody's result."""

EPOCHS_AHEAD: Final = 2
"""Epochs between the newest one begun and the one in which the work is divided anew, at least."""

BLOCKS_AHEAD: Final = 4
"""Blocks, as long as they take on average, between a report and that epoch: it must be registered by then."""


class Watching:
    """See the module."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._node = recorder, recorder.node
        task = recorder.task
        self._plan = schedule.make_schedule(task.definition, task.definition_block)
        self._seen: dict[Outpoint, tuple[int, int]] = {}
        """Of each miner the newest iteration, and since when nothing else has come though it could."""
        self._recorded_ms: dict[Outpoint, int] = {}
        """When a message of a miner was recorded last."""
        self._shares: dict[int, tuple[StatusStatement, BlsSignature]] = {}
        """What each member certified last."""
        self._report: StatusStatement | None = None
        self._said_ms = self._node.now_ms

    @property
    def _task(self) -> Task:
        return self._recorder.task

    @property
    def _seat(self) -> Seat:
        return self._recorder.agreement.seat

    def _place(self, ticket: Outpoint) -> course.Place:
        return course.Place(self._plan, ticket, self._task.roster)

    # --- what happens

    def slot_recorded(self, slot: CertifiedSlot) -> None:
        """Note whose work goes on."""
        for identifier in slot.messages:
            ticket = self._recorder.history.decoded[identifier].ticket
            self._recorded_ms[ticket] = self._node.now_ms

    def committee_changed(self) -> None:
        """Drop what members of an earlier committee signed."""
        self._shares.clear()

    def tick(self) -> None:
        """See who is silent; say so if we lead."""
        self._look()
        self._report = self._due()
        rested = self._node.now_ms - self._said_ms > REPEAT_MS
        if self._report is not None and self._recorder.agreement.leads and rested:
            self._say(self._report)

    def hear_share(self, sender: PublicKey, share: Share) -> Verdict:
        """Count a supervisor's share; add ours if a leader asks for it and we find the same.

        Raises:
          InvalidInput: it does not hold.
        """
        statement = share.statement
        assert isinstance(statement, StatusStatement)
        if statement.ticket not in self._task.miners:
            raise InvalidMessage("the status of somebody who is not a miner of the task")
        if self._shares.get(share.member) != (statement, share.signature):
            self._seat.check_share(statement, share.member, share.signature)
            self._shares[share.member] = (statement, share.signature)
        agreement = self._recorder.agreement
        rested = self._node.now_ms - self._said_ms > REPEAT_MS // 2
        if agreement.may_lead(sender) and not agreement.leads and rested and self._agrees(statement):
            self._say(statement)
        self._register(statement)
        return Verdict.ACCEPT

    # --- who is silent

    def _look(self) -> None:
        if self._task.stage is Stage.PAUSED:
            self._seen.clear()  # nobody is missed meanwhile, nor at once afterwards
            return
        busy, epochs = self._busy(), dict[int, bool]()
        for ticket in self._task.roster.working:
            latest = self._recorder.history.latest.get(ticket)
            number = latest.iteration if latest else -1
            is_new = self._seen.get(ticket, (None, 0))[0] != number
            is_busy = self._node.state.tickets[ticket].owner in busy
            if is_new or is_busy or not self._could_go_on(ticket, number + 1, epochs):
                self._seen[ticket] = (number, self._node.now_ms)

    def _busy(self) -> list[PublicKey]:
        """Return who trains another task that it does before this one (see miner.py)."""
        state, here = self._node.state, (self._task.is_predefined, self._recorder.task_id)
        others = (
            task
            for task_id, task in state.active_tasks()
            if task.stage is Stage.TRAINING and (task.is_predefined, task_id) < here
        )
        return [state.tickets[t].owner for task in others for t in task.roster.working]

    def _could_go_on(self, ticket: Outpoint, iteration: int, epochs: dict[int, bool]) -> bool:
        """Whether a miner has more to do, and nothing to wait for; which epochs are open is noted."""
        history, place, task = self._recorder.history, self._place(ticket), self._task
        latest = history.latest.get(ticket)
        if ticket in history.models or (latest and course.may_end(task.definition, place, latest)):
            return False
        turn = place.turn(iteration)
        if turn is None or iteration != turn.first:
            return turn is not None
        if turn.number not in epochs:
            epochs[turn.number] = barrier.is_open(history, place, iteration, task.expelled)
        return epochs[turn.number]

    def _is_absent(self, ticket: Outpoint, after_ms: int) -> bool:
        known = self._seen.get(ticket)
        if known is None or len(self._task.roster.working) <= MINERS_MIN:
            return False
        patience_ms = after_ms * (PATIENCE_FACTOR if self._task.is_predefined else 1)
        goes_on = any(t != ticket and ms > known[1] for t, ms in self._recorded_ms.items())
        return goes_on and self._node.now_ms - known[1] > patience_ms

    # --- what is said of it

    def _due(self) -> StatusStatement | None:
        """Return what is to be certified, the same again as long as it may be."""
        absent = [t for t in self._task.roster.working if self._is_absent(t, ABSENT_MS)]
        if not absent:
            return None
        said = self._report
        if said is not None and said.ticket in absent and said.epoch > self._newest() + 1:
            return said if self._may_begin_at(said.epoch) else None
        epoch = self._epoch(absent[0])
        statement = StatusStatement(self._recorder.task_id, absent[0], epoch)
        return statement if self._may_begin_at(epoch) else None

    def _agrees(self, statement: StatusStatement) -> bool:
        absent = statement.ticket in self._task.roster.working
        absent = absent and self._is_absent(statement.ticket, ABSENT_MS // 2)
        return absent and statement.epoch > self._newest() and self._may_begin_at(statement.epoch)

    def _may_begin_at(self, epoch: int) -> bool:
        last = self._task.definition.epochs
        return epoch >= self._task.roster.next_shift and (last == 0 or epoch <= last)

    def _newest(self) -> int:
        """Return the newest epoch that a miner has begun."""
        latest = self._recorder.history.latest
        return max((self._epoch_of(t, m.iteration) for t, m in latest.items()), default=1)

    def _epoch_of(self, ticket: Outpoint, iteration: int) -> int:
        turn = self._place(ticket).turn(max(iteration, 0))
        return turn.number if turn else 1

    def _epoch(self, ticket: Outpoint) -> int:
        """Return from when on the others can do a miner's work: far enough ahead to be registered by then."""
        newest, (number, since_ms) = self._newest(), self._seen[ticket]
        passed = newest - self._epoch_of(ticket, number)
        needed_ms = BLOCKS_AHEAD * self._node.params.spacing_s * 1000
        ahead = 1 - (-needed_ms * passed // max(self._node.now_ms - since_ms, 1))
        return max(newest + max(EPOCHS_AHEAD, ahead), self._task.roster.next_shift)

    def _say(self, statement: StatusStatement) -> None:
        self._said_ms = self._node.now_ms
        if self._seat.secret is None:
            return
        share = Share(statement, self._seat.member, self._seat.share(statement))
        self._shares[share.member] = (statement, share.signature)
        self._recorder.say(share)
        self._register(statement)

    def _register(self, statement: StatusStatement) -> None:
        shares = {
            member: signature for member, (said, signature) in self._shares.items() if said == statement
        }
        if len(shares) < self._seat.threshold or not self._recorder.agreement.leads:
            return
        pooled = self._node.pool.tasks.get(self._recorder.task_id)
        if (
            pooled is None
            or pooled.stage is not Stage.TRAINING
            or statement.ticket not in pooled.roster.working
        ):
            return
        if statement.epoch >= pooled.roster.next_shift and len(pooled.roster.working) > MINERS_MIN:
            of, certificate = statement, self._seat.combine(shares)
            self._node.post(NodeStatus(of.task, of.ticket, of.epoch, certificate))
