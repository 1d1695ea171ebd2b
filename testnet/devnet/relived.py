"""A run of real processes told by its nodes' recordings, by whoever tells a simulated history too.

Each node recorded every event that its core was given (docs/RECORDING.md). Here the cores live through them
once more, all in one process and in the order of their times, and the simulator's own watchers look on: what
they count, and which invariants they hold the nodes to, is the same code for both. Times are those of the
real run.

What a node did right before a kill may have been lost with it; the recording goes on with its next life.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2pai.chain.spec import ChainSpec, dev_account_seed
from p2pai.effects import Halt
from p2pai.events import Event
from p2pai.gossip.recording import Reading
from p2pai.node.core import NodeCore
from p2pai.node.reenactment import Moment, Reenactment
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, PeerId
from p2pai.primitives.keys import PublishedKeys
from p2pai.shell.blobs import BlobStore
from p2pai.shell.record_file import pieces
from testnet.simulator.world import Watcher

_US_PER_MS: Final = 1000


class Shelf:
    """What is left of a node's blobs."""

    def __init__(self, directory: Path) -> None:
        self._store = BlobStore(directory)

    def get(self, name: BlobId, /) -> tuple[bytes, ...]:
        """Return a blob's chunks; none of one that is not here any more."""
        try:
            return tuple(self._store.get(name))
        except Unavailable:
            return ()


@dataclass(frozen=True)
class Host:
    """What is left of a node."""

    blobs: Shelf
    up_ms: int = 0


@dataclass(frozen=True)
class Witness:
    """Where one node's life can be read."""

    recording: Path
    directory: Path
    """The node's own."""
    account: int
    """Whose keys it has."""


@dataclass
class Past:
    """A network that is lived through again."""

    spec: ChainSpec
    witnesses: Mapping[str, Witness]
    """By the name of a node."""
    fired: dict[str, int] = field(default_factory=dict)
    """How often each fault has happened."""
    now_ms: int = 0
    """Unix time."""
    hosts: dict[PeerId, Host] = field(default_factory=dict)
    digest: str = ""
    """Of nothing: a real history happens once."""
    cores: dict[PeerId, NodeCore] = field(default_factory=dict)
    watchers: list[Watcher] = field(default_factory=list)
    current: tuple[PeerId, Event] | None = None
    halted: dict[PeerId, str] = field(default_factory=dict)
    departed: dict[PeerId, str] = field(default_factory=dict)
    """Nodes that did not do the same again, and what was different."""
    steps: int = 0

    def live(self, end_us: int) -> None:
        """Live through everything up to a time; what a watcher raises goes through."""
        lives = (self._life(PeerId(name), witness) for name, witness in self.witnesses.items())
        for time_us, name, moment, again in heapq.merge(*lives, key=lambda entry: entry[:2]):
            if time_us > end_us:
                break
            self._pass(name, moment, again)
        self.now_ms = end_us // _US_PER_MS

    def _life(self, name: PeerId, witness: Witness) -> Iterator[tuple[int, PeerId, Moment, Reenactment]]:
        if not witness.recording.exists():
            return  # it never started
        keys = PublishedKeys(dev_account_seed(self.spec.name, witness.account))
        self.hosts[name] = Host(Shelf(witness.directory / "blobs"))
        with witness.recording.open("rb", buffering=0) as file:
            again = Reenactment(Reading(pieces(file)), keys)
            for moment in again.moments():
                yield moment.time_us, name, moment, again

    def _pass(self, name: PeerId, moment: Moment, again: Reenactment) -> None:
        assert again.core is not None, "a moment without a core"
        self.now_ms, self.current = moment.time_us // _US_PER_MS, (name, moment.event)
        self.cores[name] = again.core
        self.steps += 1
        if moment.departure and not moment.is_last:
            self.departed[name] = f"at its event {moment.number}: {moment.departure}"
            return
        for effect in moment.effects:
            if isinstance(effect, Halt):
                self.halted[name] = effect.reason
        for watcher in self.watchers:
            watcher(name, moment.event, moment.effects)
