"""Recordings of simulated nodes, in the form of real ones: the same tools read both.

Time is the world's. Meshes themselves are not recorded, only what comes over them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from p2pai import __version__, effects, events
from p2pai.chain.spec import ChainSpec
from p2pai.effects import Effect, Verdict
from p2pai.events import Event
from p2pai.gossip import recording
from p2pai.gossip.recording import FORMAT, Birth, Entry, Holds, Recording, What
from p2pai.gossip.sightings import Arrived, Closed, Message, Opened, Outcome, Published, Sighting
from p2pai.node.archive import Archive
from p2pai.node.core import NodeCore
from p2pai.node.recorded import RecordedCore
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import PeerId, PublicKey
from testnet.simulator.world import START_MS, World

SUFFIX: Final = ".rec"

_NUMBER_SIZE: Final = 8
_OUTCOMES: Final = {
    Verdict.ACCEPT: Outcome.ACCEPTED,
    Verdict.IGNORE: Outcome.IGNORED,
    Verdict.REJECT: Outcome.REJECTED,
}


class Recordings:
    """One file for each node, in a directory; whole when the `with` block ends, however that is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[PeerId, BinaryIO] = {}
        self._open = ExitStack()
        self._now_ms: Callable[[], int] = lambda: START_MS
        self._author: Callable[[events.Received], PeerId] = lambda event: event.remote

    def __enter__(self) -> "Recordings":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def path(self, name: PeerId) -> Path:
        """Return the file of a node."""
        return self._directory / f"{name}{SUFFIX}"

    def watch(self, world: World) -> None:
        """Record a world, of which no node has started yet."""
        self._now_ms = lambda: world.now_ms
        self._author = world.gossip.author
        world.watchers.append(self._see)

    def core(
        self,
        name: PeerId,
        spec: ChainSpec,
        roles: tuple[str, ...],
        public: PublicKey,
        make: Callable[[Archive], NodeCore],
        archive: Archive,
    ) -> RecordedCore:
        """Make a node's core, to be recorded; its further lives go into the same file."""

        def write(what: What) -> None:
            self._write(name, what)

        if name in self._files:
            return RecordedCore(make, archive, write)
        self._files[name] = self._open.enter_context(self.path(name).open("wb"))
        holds = (Holds.GOSSIP, Holds.INBOX)
        head = Recording(
            FORMAT, __version__, spec.id, name, roles, public, START_MS * 1000, holds, Birth(spec, None)
        )
        self._files[name].write(recording.begin(head))
        return RecordedCore(make, archive, write)

    def _write(self, name: PeerId, what: What) -> None:
        self._files[name].write(recording.encode(Entry(self._now_ms() * 1000, what)))

    def _see(self, name: PeerId, event: Event, reaction: Sequence[Effect]) -> None:
        if name not in self._files:
            return  # not every node of a world need be recorded
        for sighting in (*_happened(event, reaction, self._author), *_published(name, reaction)):
            self._write(name, sighting)


def _happened(
    event: Event, reaction: Sequence[Effect], author: Callable[[events.Received], PeerId]
) -> Iterator[Sighting]:
    match event:
        case events.Received(remote, topic, data):
            verdicts = [effect.verdict for effect in reaction if isinstance(effect, effects.Judge)]
            yield Arrived(remote, _message(author(event), topic, data), _OUTCOMES[verdicts[0]])
        case events.Connected(remote):
            yield Opened(remote)
        case events.Disconnected(remote):
            yield Closed(remote)


def _published(name: PeerId, reaction: Iterable[Effect]) -> Iterator[Sighting]:
    for effect in reaction:
        if isinstance(effect, effects.Publish):
            yield Published(_message(name, effect.topic, effect.data))


def _message(author: PeerId, topic: str, data: bytes) -> Message:
    # An envelope has a number of its own, so no author says the same bytes twice.
    number = tagged_hash("p2pai/simulated-message", topic.encode(), data)[:_NUMBER_SIZE]
    return Message(author.encode() + number, author.encode(), topic, data)
