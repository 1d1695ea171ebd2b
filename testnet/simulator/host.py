"""One simulated machine: a node's core, and what the world keeps for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from p2pai import events
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.primitives import blob, merkle
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId
from testnet.simulator.clocks import NodeClock
from testnet.simulator.disk import Disk
from testnet.simulator.links import OUTBOX_BYTES_MAX
from testnet.simulator.training import Ailment, Trainer, Worker

Entry = tuple[int, int, Any, int, Any]
"""Of the world's agenda: when, in which order, to which host, in which of its lives, what."""


class Core(Protocol):
    """What the world needs of a node: NodeCore has exactly this."""

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]: ...


class Blobs:
    """A node's blob store in memory; a damaged blob is one that was never here, once it is read.

    Source: shell/blobs.py.
    """

    def __init__(self) -> None:
        self._blobs: dict[BlobId, tuple[bytes, ...]] = {}
        self.shared: dict[BlobId, None] = {}
        self._damaged: dict[BlobId, None] = {}
        self.noticed = 0
        """Reads that found a damaged blob."""

    def get(self, name: BlobId, /) -> tuple[bytes, ...]:
        """Return a blob's chunks; Unavailable when it is not here."""
        if name in self._damaged:
            self.noticed += 1
            self.discard(name)
        if name not in self._blobs:
            raise Unavailable(f"blob {name.hex()[:16]} is not here")
        return self._blobs[name]

    def leaves(self, name: BlobId) -> tuple[Hash32, ...]:
        """Return the hashes of a blob's chunks, as they were when it came."""
        return tuple(map(merkle.leaf_hash, self._blobs[name]))

    def size(self, name: BlobId) -> int:
        """Return the size of a blob that is here, in bytes."""
        return sum(map(len, self._blobs[name]))

    def names(self) -> list[BlobId]:
        """Return the blobs that are here and sound, the one that came first first."""
        return [name for name in self._blobs if name not in self._damaged]

    def damage(self, name: BlobId) -> None:
        """Flip a bit in a blob."""
        self._damaged[name] = None

    def put(self, chunks: Sequence[bytes], /, *, shared: bool) -> BlobId:
        """Store a blob."""
        name = blob.blob_id(chunks)
        self._blobs[name] = tuple(chunks)
        self._damaged.pop(name, None)
        if shared:
            self.shared[name] = None
        return name

    def discard(self, name: BlobId) -> None:
        """Remove a blob."""
        self._blobs.pop(name, None)
        self._damaged.pop(name, None)
        self.shared.pop(name, None)

    def __contains__(self, name: BlobId) -> bool:
        return name in self._blobs


@dataclass(frozen=True, slots=True)
class Work:
    """Work under way, done when its time is over; a node killed before never sees its end."""

    finish: Callable[[], Iterable[Event]]
    burden: tuple[PeerId, int] | None
    """Who sent it and its bytes, if it came from a remote."""


@dataclass
class Held:
    """What waits for a node that is paused."""

    entries: list[Entry] = field(default_factory=list)
    bytes: dict[PeerId, int] = field(default_factory=dict)
    """Of gossip, by who sent it; as much as a remote's outbox holds."""

    def take(self, entry: Entry) -> str:
        """Keep an entry if there is room; return what that counts as."""
        *_, event = entry
        burden = event.burden if isinstance(event, Work) else None
        if isinstance(event, events.Received):
            burden = event.remote, len(event.data)
        if burden is not None:
            remote, size = burden
            held = self.bytes.get(remote, 0) + size
            if held > OUTBOX_BYTES_MAX:
                return "full-outbox"
            self.bytes[remote] = held
        self.entries.append(entry)
        return "pause"


MakeWorker = Callable[[Blobs], Worker]
"""Starts a trainer on a node's blobs."""


@dataclass(eq=False)
class Host:
    """One node with its disk."""

    name: PeerId
    core: Core
    blobs: Blobs
    make_worker: MakeWorker
    disk: Disk
    clock: NodeClock
    trainer: Trainer = field(init=False)
    """Made anew with each life."""
    life: int = 0
    """What was on its way to an earlier one is lost."""
    up_ms: int = 0
    """Nothing reaches the node before."""
    topics: dict[str, None] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    delivered: dict[str, BlobId] = field(default_factory=dict)
    remotes: dict[PeerId, None] = field(default_factory=dict)
    """Those that it is connected with."""
    ailments: list[Ailment] = field(default_factory=list)
    """What is wrong with its trainer."""
    held: Held | None = None
    """While it is paused."""


Hosts = Mapping[PeerId, Host]

After = Callable[[Host, int, Callable[[], Iterable[Event]]], None]
"""Lets a host's work of so many milliseconds end with events."""
