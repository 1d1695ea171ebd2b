"""Time travel: a core that lives a recorded life again, event by event, and is checked against the recording.

A core's effects follow from its keys and from what it was told (adr/0001), and both the events and what it
read from its disk are recorded. So the same code does the same again, on any machine; where it does not,
`Moment.departure` says what is different, which is the first place to look for a bug: a source of chance in
the core, a recording by other code, or keys of somebody else. A core that departed once was told things that
answer what it never asked; its life ends there.

Source: docs/DEBUGGING.md; docs/adr/0038-recordings.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from p2pai.chain.spec import check_spec
from p2pai.effects import Effect
from p2pai.events import Event, Started
from p2pai.gossip.message_names import MessageName
from p2pai.gossip.recording import (
    Birth,
    BodyRead,
    Entry,
    Found,
    Happened,
    HashRead,
    HeightRead,
    Holds,
    NamesRead,
    Noted,
    Place,
    Reacted,
    Reading,
    Recording,
)
from p2pai.gossip.sightings import JUDGED, Arrived, Published
from p2pai.node.core import NodeCore
from p2pai.node.disk_reads import NotRecorded, RememberedArchive
from p2pai.node.state_hash import Standing
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import Keys, KeySource


@dataclass(frozen=True, slots=True)
class Moment:
    """An event that was lived through again."""

    number: int
    """From 1, over all lives of the recording."""
    time_us: int
    now_ms: int
    event: Event
    effects: tuple[Effect, ...]
    departure: str = ""
    """What is different from the recording; empty: nothing is."""
    different: Effect | None = None
    """The first effect that is another than was recorded, where there is one in its place."""
    is_last: bool = False
    """Whether this life ended with the event: the node failed of it, or was killed just then."""


class Reenactment:
    """Lives the lives in a recording; iterate over `moments`, once."""

    def __init__(self, reading: Reading, source: KeySource) -> None:
        """Take a recording that holds a core's inbox.

        Args:
          reading: the recording.
          source: the node's keys.

        Raises:
          InvalidInput: it holds no inbox, or these are not the keys of its node.
        """
        self._reading, self._source = reading, source
        self._keys = _check_keys(reading.head, source)
        self.head, self._birth = reading.head, _birth(reading.head)
        self.core: NodeCore | None = None
        """As it is after the last moment."""
        self.standing = Standing()
        self.number = 0
        """Events so far, over all lives."""
        self._archive = RememberedArchive()
        self._found: list[Found] = []
        self._awaited: tuple[int, Happened] | None = None
        """The event that is still to be lived through, with its time."""
        self.checked = 0
        """State hashes that came out as recorded."""

    def moments(self) -> Iterator[Moment]:
        """Live through one event after another, up to the end or to the first departure.

        Raises:
          InvalidInput: the recording is damaged.
        """
        for entry in self._reading:
            begins_life = isinstance(entry.what, Found | Happened) and self._awaited is not None
            moment = self._live(None) if begins_life else None
            moment = self._meet(entry) or moment
            if moment is not None:
                yield moment
                if moment.departure and not moment.is_last:
                    return
        if self._awaited is not None:
            yield self._live(None)

    def _meet(self, entry: Entry) -> Moment | None:
        match entry.what:
            case Found():
                self._found.append(entry.what)
            case Happened():
                self._awaited = entry.time_us, entry.what
            case BodyRead() | HeightRead() | HashRead() | NamesRead():
                self._archive.learn(entry.what)
            case Reacted():
                return self._live(entry.what)
            case Noted():
                return self._compare(entry.what)
        return None

    def _live(self, recorded: Reacted | None) -> Moment:
        """Give the core its next event; `recorded` is None where the recording ends with that event."""
        if self._awaited is None:
            raise InvalidInput("the recording tells of effects without an event")
        time_us, happened = self._awaited
        self._awaited = None
        self.number += 1
        event = self._begin_life() if isinstance(happened.event, Started) else happened.event
        if self.core is None:
            raise InvalidInput("the recording does not begin with the start of its node")
        effects: Sequence[Effect] = ()
        different: Effect | None = None
        try:
            effects = self.core.handle(event, happened.now_ms)
            departure, different = _difference(effects, self.standing.reacted(effects), recorded)
        except NotRecorded as missing:
            departure = f"the core reads {missing} from its disk, which it did not when it was recorded"
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what is looked for
            departure = _failure(error, recorded)
        done, is_last = tuple(effects), recorded is None
        self._last = Moment(self.number, time_us, happened.now_ms, event, done, departure, different, is_last)
        return self._last

    def _begin_life(self) -> Started:
        head, birth = self.head, self._birth
        parts = {place: tuple(part.body for part in self._found if part.place is place) for place in Place}
        self._found.clear()
        self.standing = Standing()
        self.core = NodeCore(
            birth.spec, self._keys, head.peer, head.roles, self._archive, self._source, birth.checkpoint
        )
        snapshot = parts[Place.SNAPSHOT][0] if parts[Place.SNAPSHOT] else None
        return Started(parts[Place.JOURNAL], snapshot, parts[Place.BLOCK])

    def _compare(self, noted: Noted) -> Moment | None:
        """Check a state hash against where the core stands; a moment only where they differ."""
        if self.core is None:
            raise InvalidInput("the recording tells of a state before any event")
        here = self.standing.note(self.core)
        if here == noted:
            self.checked += 1
            return None
        return replace(
            self._last, departure=f"the state hash is {here.state.hex()}, recorded was {noted.state.hex()}"
        )


def number_of(reading: Reading, name: MessageName) -> int:
    """Return the number of the event by which a core was given a message, or after which it published one.

    Args:
      reading: a recording that holds both gossip and inbox; it is read.
      name: of the message.

    Raises:
      InvalidInput: there is no such message.
    """
    number = 0
    for entry in reading:
        match entry.what:
            case Happened():
                number += 1
            case Arrived(_, message, outcome) if outcome in JUDGED and name.means(message.id):
                return number
            case Published(message) if name.means(message.id):
                return number
    raise InvalidInput("the node was given no such message")


def _birth(head: Recording) -> Birth:
    if Holds.INBOX not in head.holds or head.birth is None:
        raise InvalidInput(
            "this recording holds gossip only; for time travel run the node with p2pai start --record FILE"
        )
    check_spec(head.birth.spec)
    return head.birth


def _check_keys(head: Recording, source: KeySource) -> Keys:
    keys = source.account(0)
    if head.public_key != ecdsa.public_key(keys.spending):
        raise InvalidInput(
            "these are not the keys of the node that was recorded, so its core can't sign with them"
        )
    return keys


def _difference(
    effects: Sequence[Effect], here: Reacted, recorded: Reacted | None
) -> tuple[str, Effect | None]:
    """Say what is different from what was recorded, and name the effect where it begins."""
    if recorded is None or here == recorded:
        return "", None
    if here.effects != recorded.effects:
        return f"the core answers with {_names(here)}, recorded was {_names(recorded)}", None
    pairs = zip(effects, here.digests, recorded.digests, strict=False)
    at, different = next((i, effect) for i, (effect, ours, theirs) in enumerate(pairs, 1) if ours != theirs)
    name = f"{type(different).__name__}, {at} of {len(effects)} effects"
    return f"{name}, is another than the one that was recorded", different


def _names(reacted: Reacted) -> str:
    return ", ".join(reacted.effects) or "nothing"


def _failure(error: Exception, recorded: Reacted | None) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    place = f" in {code.co_filename.rpartition('/p2pai/')[2]}, {code.co_qualname}" if code else ""
    before = "the recording ends here too" if recorded is None else "which it did not when it was recorded"
    return f"the core fails{place}, {before}: {error!r}"
