"""What a node knows of a task's messages: every IT_RES it heard, and the slots that record them.

Messages are kept by id; a slot is known when its certificate is, and *recorded* when all its messages are
here too. Messages of slots long gone are dropped; supervisors keep them as blobs.

Source: PoUW §4.3; PROTOCOL section 6.
"""

from dataclasses import dataclass, field
from typing import Final

from p2pai.chain import it_res
from p2pai.chain.committee import CertifiedSlot
from p2pai.chain.it_res import EndState, IterationResult
from p2pai.chain.work_proof import Recorded
from p2pai.primitives import blob, ecdsa, merkle, record
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, Outpoint, PublicKey, TaskId

SLOTS_KEPT: Final = 256
"""Slots whose messages stay in memory: minutes of training, far more than a work proof spans."""

UNRECORDED_MAX: Final = 4096
"""Messages waiting for a slot; a task group of 80 sends that in about a minute."""


ITERATIONS_MAX: Final = 1 << 32
"""Iterations are counted in four bytes."""

QUEUE_BYTES_MAX: Final = 192 * 1024
"""Bytes of the peers' messages applied in one iteration: the core is handed blobs of up to 256 KiB."""

QUEUE_MAX: Final = 512
"""Peers' updates applied in one iteration, at most (two bytes count them in IT_RES)."""


@dataclass(frozen=True, slots=True)
class PeerMessages:
    """The blob that IT_RES names as applied and as queued: whole messages, ordered by id."""

    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """The peers' messages of one iteration."""

    ids: tuple[Hash32, ...]
    messages: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """The blob that IT_RES names."""
        return record.encode(PeerMessages(self.messages))

    @property
    def blob(self) -> BlobId:
        """Its content id."""
        return blob.blob_id_of(self.data)


@dataclass(frozen=True, slots=True)
class ModelAnnouncement:
    """A miner's final model: what its last iteration ended with, signed."""

    task: TaskId
    ticket: Outpoint
    iteration: int
    after: EndState
    signature: bytes

    @property
    def digest(self) -> Hash32:
        """What the miner signs."""
        place = self.ticket.encode() + self.iteration.to_bytes(4, "little")
        return tagged_hash("p2pai/model", self.task, place, record.encode(self.after))

    def verify(self, key: PublicKey) -> None:
        """Check the miner's signature.

        Raises:
          InvalidProof: it does not hold.
        """
        if self.iteration >= ITERATIONS_MAX:
            raise InvalidProof("no task has that many iterations")
        ecdsa.verify(key, self.digest, self.signature)


@dataclass(slots=True)
class TaskHistory:
    """One task's messages."""

    messages: dict[Hash32, bytes] = field(default_factory=dict)
    decoded: dict[Hash32, IterationResult] = field(default_factory=dict)
    places: dict[tuple[Outpoint, int], Hash32] = field(default_factory=dict)
    """(ticket, iteration) -> message id."""
    unrecorded: dict[Hash32, None] = field(default_factory=dict)
    """Ids of messages in no known slot, in order of arrival."""
    slots: dict[int, CertifiedSlot] = field(default_factory=dict)
    recorded: dict[Hash32, tuple[int, int]] = field(default_factory=dict)
    """Message id -> slot and index in it."""
    next_slot: int = 0
    """The first slot that is not recorded here; slots before it are complete, or were before our time."""
    latest: dict[Outpoint, IterationResult] = field(default_factory=dict)
    """The newest message of each miner."""
    models: dict[Outpoint, ModelAnnouncement] = field(default_factory=dict)
    is_whole: bool = False
    """Whether no slot may be left out: the record of a supervisor."""
    forgotten: dict[Outpoint, int] = field(default_factory=dict)
    """The last iteration of each miner whose message was recorded and is no longer kept."""
    wanted: tuple[Hash32, ...] = ()
    """Ids of further messages that somebody here waits for."""

    def add_message(self, message: IterationResult, data: bytes) -> Hash32 | None:
        """Keep a checked message; return its id, or None when that place is taken or there is no room.

        A miner that signs two messages for one place can make nodes keep different ones. What a certified
        slot or the leader's proposal names takes the place of the other, so that the nodes agree again.
        """
        place = (message.ticket, message.iteration)
        identifier = it_res.message_id(data)
        if identifier in self.messages:
            return None
        rival = self.places.get(place)
        named = identifier in self.recorded or (identifier in self.wanted and rival not in self.recorded)
        is_old = message.iteration <= self.forgotten.get(message.ticket, -1)
        if not named and (is_old or rival is not None or len(self.unrecorded) >= UNRECORDED_MAX):
            return None
        if rival is not None:
            self.unrecorded.pop(rival, None)
        self.messages[identifier] = data
        self.decoded[identifier] = message
        self.places[place] = identifier
        if identifier not in self.recorded:
            self.unrecorded[identifier] = None
        latest = self.latest.get(message.ticket)
        if latest is None or latest.iteration < message.iteration:
            self.latest[message.ticket] = message
        return identifier

    def add_slot(self, slot: CertifiedSlot) -> bool:
        """Keep a checked slot; return whether it is new."""
        number = slot.statement.slot
        if number in self.slots or number < self.next_slot:
            return False
        self.slots[number] = slot
        for index, identifier in enumerate(slot.messages):
            self.recorded[identifier] = (number, index)
            self.unrecorded.pop(identifier, None)
        return True

    def take(
        self, miners: tuple[Outpoint, ...], applied: dict[Outpoint, int], limits: dict[Outpoint, int]
    ) -> Queue:
        """Choose the updates of a next iteration, and count them as applied.

        Args:
          miners: of the task, in order.
          applied: the next iteration expected of each miner; moved on.
          limits: iterations that some miners' updates stay below.
        """
        ids: list[Hash32] = []
        size = 0
        for ticket in miners:
            following, limit = applied.get(ticket, 0), limits.get(ticket)
            while len(ids) < QUEUE_MAX and (limit is None or following < limit):
                identifier = self.places.get((ticket, following))
                if identifier is None:
                    break
                size += len(self.messages[identifier])
                if size > QUEUE_BYTES_MAX:
                    break
                ids.append(identifier)
                following += 1
            applied[ticket] = following
        ids.sort()
        return Queue(tuple(ids), tuple(self.messages[i] for i in ids))

    def begin_at(self, slot: int) -> None:
        """Regard earlier slots as before our time."""
        self.next_slot = max(self.next_slot, slot)

    def begin_anew(self) -> None:
        """Forget all slots: they were certified by supervisors that the task has no more."""
        self.slots.clear()
        self.recorded.clear()
        self.forgotten.clear()
        self.unrecorded = dict.fromkeys(self.messages)
        self.next_slot = 0

    def missing(self) -> tuple[Hash32, ...]:
        """Return ids of messages that known slots name, or somebody waits for, and that are not here."""
        numbers = (n for n in sorted(self.slots) if n >= self.next_slot)
        named = [i for n in numbers for i in self.slots[n].messages]
        return tuple(dict.fromkeys(i for i in (*named, *self.wanted) if i not in self.messages))

    def advance(self) -> list[int]:
        """Move `next_slot` past the slots that are complete; return their numbers."""
        done = []
        while (slot := self.slots.get(self.next_slot)) is not None:
            if any(identifier not in self.messages for identifier in slot.messages):
                break
            done.append(self.next_slot)
            self.next_slot += 1
            self._forget(self.next_slot - SLOTS_KEPT)
        return done

    def place(self, identifier: Hash32, first_slot: int) -> Recorded:
        """Return a recorded message with its Merkle path, its slot counted from `first_slot`."""
        number, index = self.recorded[identifier]
        messages = self.slots[number].messages
        path = merkle.inclusion_path(messages, index)
        return Recorded(self.messages[identifier], number - first_slot, index, len(messages), path)

    def _forget(self, number: int) -> None:
        slot = self.slots.get(number)
        if slot is None:
            return
        for identifier in slot.messages:
            self.messages.pop(identifier, None)
            message = self.decoded.pop(identifier, None)
            self.recorded.pop(identifier, None)
            if message is not None:
                self.places.pop((message.ticket, message.iteration), None)
                last = self.forgotten.get(message.ticket, -1)
                self.forgotten[message.ticket] = max(last, message.iteration)
        del self.slots[number]
