"""Following a task: its topics, its messages, and getting what gossip lost.

Source: PoUW §4.3; LIBP2P, decision 5.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from p2pai.chain import committee, course, it_res, message_map, schedule
from p2pai.chain.committee import CertifiedSlot
from p2pai.chain.state import Stage, State, Task
from p2pai.chain.task_life import group_key
from p2pai.effects import Verdict
from p2pai.events import Fetched
from p2pai.gossip import sync
from p2pai.node.comparison import Comparison
from p2pai.node.services import Services
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.primitives.ids import BlobId, BlsPublicKey, Hash32, Millis, Outpoint, PeerId, PublicKey, TaskId
from p2pai.roles.history import ModelAnnouncement, TaskHistory
from p2pai.roles.slots import SAID_SIZE_MAX, DataFault, Said

PULL_MS: Final = Millis(700)
"""Between looks at what is missing."""

REMOTES_ASKED: Final = 2
"""For messages, at each look."""

COMPARE_TURNS: Final = 4
"""Every so many looks, a supervisor compares what it has with one of those who work on the task."""

FETCH_TURNS: Final = 8
"""Every so many looks, messages that are still missing are fetched as a supervisor's blob of their slot."""

TOPIC_NAMES: Final = ("it_res", "message_history", "model", "dkg", "heartbeat")


class Listener(Protocol):
    """Whom news of a task goes to."""

    def iteration_received(self, task: TaskId, message: Hash32) -> None:
        """Hear of a new IT_RES."""

    def slot_recorded(self, task: TaskId, slot: int) -> None:
        """Hear of a new complete slot."""

    def said(self, name: str, task: TaskId, sender: PublicKey, body: bytes) -> Verdict:
        """Hear anything else."""


class Following:
    """One followed task."""

    def __init__(
        self, task_id: TaskId, services: Services, ledger: Callable[[], State], listener: Listener
    ) -> None:
        self.task_id, self._services, self._ledger, self._listener = task_id, services, ledger, listener
        self.history = TaskHistory()
        self._key: BlsPublicKey | None = None
        """Group key of the supervisors whose slots the history holds."""
        self._turn = self._asked_slots = self._asked_messages = 0
        self._first: int | None = None
        """Ask for slots from here on, even when none is known to be missing."""
        self._plan: tuple[Hash32, schedule.Schedule] | None = None
        """With the task definition block it follows from: a reorganisation changes both."""
        self.stopped = False
        self.comparison = Comparison(task_id, services, self.history, self._take_messages)
        self.pull()

    def begin_at(self, slot: int) -> None:
        """Get the slots from `slot` on, not only those from now on."""
        if self._first is None:
            self._first = slot
            self.history.begin_at(slot)

    @property
    def _task(self) -> Task | None:
        return self._ledger().tasks.get(self.task_id)

    # --- hearing

    def hear(self, name: str, sender: PublicKey, body: bytes) -> Verdict:
        """Take a message from one of the task's topics.

        Raises:
          InvalidInput: it breaks a rule.
        """
        task = self._task
        keys_only = task is not None and task.stage is Stage.KEYING and name == "dkg"
        if task is None or not (task.stage.is_underway or keys_only):
            return Verdict.IGNORE
        self._keep_to_key(task)
        if name == "it_res":
            return self._hear_iteration(task, body)
        if name == "heartbeat" and sender in self._owners(task.miners):
            return self._listener.said(name, self.task_id, sender, body)
        if name == "model":
            return self._hear_model(task, body)
        if name == "message_history":
            said = record.decode_tagged(Said, body, size_max=SAID_SIZE_MAX)
            if isinstance(said, CertifiedSlot):
                return self.record_slot(said)
            if isinstance(said, DataFault) and sender in self._owners(task.miners):
                return self._listener.said(name, self.task_id, sender, body)
        members = (*task.supervisors, *(task.keying.members if task.keying else ()))
        if sender not in self._owners(members):
            # Supervisors change: who is a block ahead of us, or behind, is not to blame.
            return Verdict.IGNORE
        return self._listener.said(name, self.task_id, sender, body)

    def _owners(self, tickets: tuple[Outpoint, ...]) -> tuple[PublicKey, ...]:
        known = self._ledger().tickets
        return tuple(known[t].owner for t in tickets)

    def _peers(self, task: Task) -> tuple[PeerId, ...]:
        known = self._ledger().tickets
        return tuple(dict.fromkeys(known[t].peer for t in (*task.supervisors, *task.miners)))

    def _hear_iteration(self, task: Task, body: bytes) -> Verdict:
        identifier = it_res.message_id(body)
        if identifier in self.history.messages:
            return Verdict.IGNORE
        message = it_res.decode(body)
        if message.ticket not in task.miners:
            raise InvalidMessage("the sender is not a miner of the task")
        counts = (len(message.metrics), len(message.validation) or len(message.metrics))
        if counts != (len(task.definition.metrics),) * 2:
            raise InvalidMessage("IT_RES has other metrics than the task")
        if not self._fits(task, message, identifier):
            return Verdict.IGNORE
        message_map.check(message.message_map, task.definition.weight_count)
        it_res.verify_signature(message, self.task_id, self._ledger().tickets[message.ticket].owner)
        if self.history.add_message(message, body) is None:
            return Verdict.IGNORE
        self._advance()
        self._listener.iteration_received(self.task_id, identifier)
        return Verdict.ACCEPT

    def _fits(self, task: Task, message: it_res.IterationResult, identifier: Hash32) -> bool:
        """Return whether a message is what falls to its miner.

        Miners leave, and who said something may not have known of it yet. What supervisors recorded is taken
        as it is: they judged by their tip; and a miner that stays may be late by one shift, since a gap in
        its messages would hold up all that come after.

        Raises:
          InvalidMessage: it isn't, whoever works.
        """
        miner = course.Place(self._schedule(task), message.ticket, task.roster)
        try:
            self._check_turn(task, miner, message)
        except InvalidMessage:
            if not task.roster.may_differ(miner.plan, miner.turn(message.iteration)):
                raise
            return identifier in self.history.recorded or self._fitted(task, miner, message)
        return True

    def _fitted(self, task: Task, miner: course.Place, message: it_res.IterationResult) -> bool:
        if message.ticket not in task.roster.working:
            return False
        try:
            self._check_turn(task, replace(miner, roster=task.roster.earlier), message)
        except InvalidMessage:
            return False
        return True

    def _schedule(self, task: Task) -> schedule.Schedule:
        block = task.definition_block
        if self._plan is None or self._plan[0] != block:
            self._plan = (block, schedule.make_schedule(task.definition, block))
        return self._plan[1]

    def _check_turn(self, task: Task, miner: course.Place, message: it_res.IterationResult) -> None:
        turn = miner.turn(message.iteration)
        if turn is None or turn.epoch != message.epoch:
            raise InvalidMessage("the miner has no such iteration")
        before = self.history.places.get((message.ticket, message.iteration - 1))
        previous = self.history.decoded[before] if before else None
        course.check(task.definition, miner, previous, message)
        if message.validation and message.iteration != turn.last:
            raise InvalidMessage("a validation belongs to the end of an epoch")

    def _hear_model(self, task: Task, body: bytes) -> Verdict:
        announcement = record.decode(ModelAnnouncement, body, size_max=SAID_SIZE_MAX)
        if announcement.task != self.task_id or announcement.ticket not in task.miners:
            raise InvalidMessage("a model of somebody who is not a miner of the task")
        if self.history.models.get(announcement.ticket) == announcement:
            return Verdict.IGNORE
        announcement.verify(self._ledger().tickets[announcement.ticket].owner)
        self.history.models[announcement.ticket] = announcement
        return Verdict.ACCEPT

    def record_slot(self, slot: CertifiedSlot) -> Verdict:
        """Take in a certified slot.

        Raises:
          InvalidInput: its certificate does not hold.
        """
        task = self._task
        if task is None or slot.statement.task != self.task_id:
            raise InvalidMessage("the slot is of another task")
        self._keep_to_key(task)
        number = slot.statement.slot
        if number in self.history.slots or number < self.history.next_slot:
            return Verdict.IGNORE
        if not task.stage.is_underway:
            return Verdict.IGNORE
        committee.verify_slot(slot, group_key(task).key)
        if self._first is None:
            self._first = number
            self.history.begin_at(number)
        self.history.add_slot(slot)
        self._advance()
        return Verdict.ACCEPT

    def _keep_to_key(self, task: Task) -> None:
        """Begin the history anew where a reorganisation gave the task's supervisors another key."""
        key = task.committee.key if task.committee else None
        if key is None or key == self._key:
            return
        if self._key is not None:
            self.history.begin_anew()
            self._first = 0
        self._key = key

    def _advance(self) -> None:
        for number in self.history.advance():
            self._listener.slot_recorded(self.task_id, number)

    # --- getting what is missing

    def pull(self) -> None:
        """Ask remotes for messages and slots that are missing, again and again."""
        if self.stopped:
            return
        self._turn += 1
        task = self._task
        if task is not None and task.stage.is_underway:
            self._keep_to_key(task)
            self._ask_messages()
            if self._first is not None and self._lags():
                self._asked_slots += 1
                question = sync.AskSlots(self.task_id, self.history.next_slot)
                self._ask(question, self._asked_slots, self._take_slots)
            if self.history.is_whole and self._turn % COMPARE_TURNS == 0:
                self.comparison.ask(self._peers(task))
        self._services.set_timer(f"pull:{self.task_id.hex()}", PULL_MS, self.pull)

    def _ask_messages(self) -> None:
        missing = self.history.missing()[: sync.MESSAGES_MAX]
        if not missing:
            return
        # Not one remote: who signs two messages for one place can make half of them lack either.
        for _ in range(REMOTES_ASKED):
            self._asked_messages += 1
            self._ask(sync.AskMessages(self.task_id, missing), self._asked_messages, self._take_messages)
        if self._turn % FETCH_TURNS == 0:
            self._fetch_slot()

    def _ask(self, question: sync.Question, turn: int, then: Callable[[bytes | None], None]) -> None:
        remote = self._services.next_remote(turn)
        if remote is not None:
            self._services.ask(remote, record.encode_tagged(question), then)

    def _lags(self) -> bool:
        # No slot is known, or one after a gap, or it is time to see whether the end was missed.
        newest = max(self.history.slots, default=None)
        return newest is None or newest >= self.history.next_slot or self._turn % 4 == 0

    def _take_messages(self, body: bytes | None) -> None:
        reply = _reply(body)
        task = self._task
        if isinstance(reply, sync.Messages) and task is not None and task.stage.is_underway:
            for data in reply.messages:
                try:
                    self._hear_iteration(task, data)
                except InvalidInput:
                    return

    def _fetch_slot(self) -> None:
        """Get the messages of the next slot as the blob that supervisors keep of it."""
        slot = self.history.slots.get(self.history.next_slot)
        if slot is not None:
            self._services.fetch(BlobId(slot.statement.root), (), self._take_blob)

    def _take_blob(self, fetched: Fetched) -> None:
        task = self._task
        if fetched.data is None or self.stopped or task is None or not task.stage.is_underway:
            return
        try:
            for data in it_res.split(fetched.data):
                self._hear_iteration(task, data)
        except InvalidInput:
            return

    def _take_slots(self, body: bytes | None) -> None:
        reply = _reply(body)
        if not isinstance(reply, sync.Slots) or not reply.slots:
            return
        first = reply.slots[0].statement.slot
        try:
            accepted = self.record_slot(reply.slots[0]) is Verdict.ACCEPT
            if accepted and first > self.history.next_slot and not self.history.is_whole:
                self.history.begin_at(first)  # nobody keeps older ones
                self._advance()
            for slot in reply.slots[1:]:
                self.record_slot(slot)
        except InvalidInput:
            return

    def answer_messages(self, question: sync.AskMessages) -> sync.Messages:
        """Answer a remote that lacks messages."""
        known = self.history.messages
        ids = question.ids[: sync.MESSAGES_MAX]
        return sync.Messages(sync.fitting([known[i] for i in ids if i in known]))

    def answer_slots(self, question: sync.AskSlots) -> sync.Slots:
        """Answer a remote that lacks slots."""
        slots = self.history.slots
        if self._first is None or question.first < self._first:
            return sync.Slots(())  # others had them, and may have them still
        wanted = [n for n in sorted(slots) if n >= question.first][: sync.SLOTS_MAX]
        return sync.Slots(tuple(slots[n] for n in wanted))


def _reply(body: bytes | None) -> sync.Reply | None:
    if not body:
        return None
    try:
        return sync.read_reply(body)
    except InvalidInput:
        return None
