"""The way of one message through the network, put together from what several nodes saw of it.

Each recording is read once, by a `Witness`. Where a node first got the message from is an edge of a tree,
whose root published it or got it from somebody who was not recorded. Times are told by the first recording's
clock, the others corrected by what is known of theirs.

Source: docs/RECORDING.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from p2pai.gossip.clocks import Clocks, Offset
from p2pai.gossip.message_names import MessageName
from p2pai.gossip.recording import Entry, Recording
from p2pai.gossip.sightings import Arrived, Dropped, Message, Outcome, Published, Sent
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId

SAMPLES_MAX: Final = 50_000
"""Messages of a recording by which its clock is compared; some 20 MB."""

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of the message that came to a node."""

    time_us: int
    """By the node's own clock, as all times of a witness."""
    remote: PeerId
    outcome: Outcome


@dataclass(slots=True)
class Witness:
    """What one node saw of a message, and when it had others."""

    head: Recording
    name: MessageName
    messages: dict[bytes, Message] = field(default_factory=dict)
    """Those that the name means: one, if it says enough."""
    published_us: int | None = None
    copies: list[Copy] = field(default_factory=list)
    sent: list[tuple[int, PeerId]] = field(default_factory=list)
    dropped: list[tuple[int, PeerId]] = field(default_factory=list)
    had_us: dict[bytes, int] = field(default_factory=dict)
    """When it first had a message, by id."""
    sent_us: dict[tuple[bytes, PeerId], int] = field(default_factory=dict)
    came_us: dict[tuple[bytes, PeerId], int] = field(default_factory=dict)

    def see(self, entry: Entry) -> None:
        """Take in an entry of the recording."""
        time_us = entry.time_us
        match entry.what:
            case Arrived(remote, message, Outcome.INVALID):
                # Nobody signed it, so it is no more than a copy of what its id names.
                if self.name.means(message.id):
                    self.copies.append(Copy(time_us, remote, Outcome.INVALID))
            case Arrived(remote, message, outcome):
                self._sample(self.came_us, (message.id, remote), time_us)
                self._sample(self.had_us, message.id, time_us)
                if self._means(message):
                    self.copies.append(Copy(time_us, remote, outcome))
            case Published(message):
                self._sample(self.had_us, message.id, time_us)
                if self._means(message):
                    self.published_us = time_us
            case Sent(remote, _, name):
                self._sample(self.sent_us, (name, remote), time_us)
                if self.name.means(name):
                    self.sent.append((time_us, remote))
            case Dropped(remote, _, name) if self.name.means(name):
                self.dropped.append((time_us, remote))

    def _means(self, message: Message) -> bool:
        meant = self.name.means(message.id)
        if meant:
            self.messages[message.id] = message
        return meant

    def _sample(self, known: dict[Any, int], name: Any, time_us: int) -> None:  # noqa: ANN401
        if len(known) < SAMPLES_MAX:
            known.setdefault(name, time_us)

    @property
    def first(self) -> Copy | None:
        """The copy that was judged."""
        return next((copy for copy in self.copies if copy.outcome is not Outcome.INVALID), None)

    @property
    def first_us(self) -> int | None:
        """When this node first had the message."""
        times = [] if self.first is None else [self.first.time_us]
        if self.published_us is not None:
            times.append(self.published_us)
        return min(times, default=None)

    @property
    def source(self) -> PeerId | None:
        """Who brought it first; None: nobody, or this node published it."""
        return self.first.remote if self.first is not None and self.published_us is None else None


def trace(witnesses: Sequence[Witness]) -> Report:
    """Return the way of the message that all witnesses were asked about, in JSON's types, times in us.

    Raises:
      InvalidInput: nobody saw it, several messages are meant, or two witnesses are one.
    """
    if len({witness.head.peer for witness in witnesses}) < len(witnesses):
        raise InvalidInput("two of these are recordings of the same node; give one of each")
    message = _the_one(witnesses)
    offsets = compare_clocks(witnesses)
    nodes = {witness.head.peer: (witness, offset) for witness, offset in zip(witnesses, offsets, strict=True)}
    start_us = min(at for w, o in nodes.values() if (at := _shared(w.first_us, o)) is not None)
    return {
        "id": message.id.hex(),
        "topic": message.topic,
        "author": next((w.head.peer for w in witnesses if w.published_us is not None), None),
        "size": len(message.data),
        "start_us": start_us,
        "nodes": [_node(witness, offset, start_us) for witness, offset in nodes.values()],
        "tree": [_branch(root, nodes, start_us, ()) for root in _roots(nodes)],
    }


def compare_clocks(witnesses: Sequence[Witness]) -> tuple[Offset | None, ...]:
    """Return how far each witness's clock is ahead of the first one's."""
    clocks, numbers = Clocks(len(witnesses)), {w.head.peer: i for i, w in enumerate(witnesses)}
    for receiver, witness in enumerate(witnesses):
        for (name, remote), came_us in witness.came_us.items():
            sender = numbers.get(remote)
            if sender is None or sender == receiver:
                continue
            other = witnesses[sender]
            left_us = other.sent_us.get((name, witness.head.peer), other.had_us.get(name))
            if left_us is not None:
                clocks.passed(sender, receiver, came_us - left_us)
    return clocks.offsets()


def _the_one(witnesses: Iterable[Witness]) -> Message:
    found = {name: message for witness in witnesses for name, message in witness.messages.items()}
    if not found:
        raise InvalidInput("no node of these recordings saw such a message")
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} messages are meant by that; give more digits")
    return next(iter(found.values()))


def _shared(time_us: int | None, offset: Offset | None) -> int | None:
    """Return a time by the first recording's clock."""
    return None if time_us is None else time_us - (offset.us if offset else 0)


def _node(witness: Witness, offset: Offset | None, start_us: int) -> Report:
    def after(time_us: int | None) -> int | None:
        shared = _shared(time_us, offset)
        return None if shared is None else shared - start_us

    return {
        "node": witness.head.peer,
        "first_us": after(witness.first_us),
        "published": witness.published_us is not None,
        "from": witness.source,
        "copies": [
            {"after_us": after(c.time_us), "from": c.remote, "outcome": c.outcome.value}
            for c in witness.copies
        ],
        "sent": [{"after_us": after(at_us), "to": remote} for at_us, remote in witness.sent],
        "dropped": [{"after_us": after(at_us), "to": remote} for at_us, remote in witness.dropped],
        "clock": None if offset is None else {"ahead_us": offset.us, "error_us": offset.error_us},
    }


_Nodes = dict[PeerId, tuple[Witness, Offset | None]]


def _roots(nodes: _Nodes) -> list[PeerId]:
    """Return who had the message from nobody that was recorded: its publisher, and strangers."""
    had = [w for w, _ in nodes.values() if w.first_us is not None]
    own = [w.head.peer for w in had if w.source is None]
    strangers = [w.source for w in had if w.source is not None and w.source not in nodes]
    silent = [w.source for w in had if w.source in nodes and nodes[w.source][0].first_us is None]
    return list(dict.fromkeys((*own, *strangers, *(name for name in silent if name is not None))))


def _branch(name: PeerId, nodes: _Nodes, start_us: int, above: tuple[PeerId, ...]) -> Report:
    """Return a node with those who had the message from it first, soonest first."""
    witness, offset = nodes.get(name, (None, None))
    shared = _shared(witness.first_us, offset) if witness else None
    children = [w.head.peer for w, _ in nodes.values() if w.source == name and w.head.peer not in above]
    below = [_branch(child, nodes, start_us, (*above, name)) for child in children]
    below.sort(key=lambda branch: (branch["after_us"] is None, branch["after_us"]))
    return {
        "node": name,
        "recorded": witness is not None,
        "after_us": None if shared is None else shared - start_us,
        "children": below,
    }
