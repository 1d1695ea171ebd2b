"""One simulated machine: a node's core, and what the world keeps for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from p2pai import jobs
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.primitives import blob
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, PeerId
from testnet.simulator.clocks import NodeClock
from testnet.simulator.disk import Disk


class Core(Protocol):
    """What the world needs of a node: NodeCore has exactly this."""

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]: ...


class Worker(Protocol):
    """Who carries out a node's jobs."""

    def run(self, job: jobs.Job) -> jobs.Result: ...


class Blobs:
    """A node's blob store in memory."""

    def __init__(self) -> None:
        self._blobs: dict[BlobId, tuple[bytes, ...]] = {}
        self.shared: dict[BlobId, None] = {}

    def get(self, name: BlobId, /) -> tuple[bytes, ...]:
        """Return a blob's chunks; Unavailable when it is not here."""
        if name not in self._blobs:
            raise Unavailable(f"blob {name.hex()[:16]} is not here")
        return self._blobs[name]

    def put(self, chunks: Sequence[bytes], /, *, shared: bool) -> BlobId:
        """Store a blob."""
        name = blob.blob_id(chunks)
        self._blobs[name] = tuple(chunks)
        if shared:
            self.shared[name] = None
        return name

    def discard(self, name: BlobId) -> None:
        """Remove a blob."""
        self._blobs.pop(name, None)
        self.shared.pop(name, None)

    def __contains__(self, name: BlobId) -> bool:
        return name in self._blobs


MakeWorker = Callable[[Blobs], Worker]
"""Starts a trainer on a node's blobs."""


@dataclass(eq=False)
class Host:
    """One node with its disk."""

    name: PeerId
    core: Core
    blobs: Blobs
    make_worker: MakeWorker
    worker: Worker
    disk: Disk
    clock: NodeClock
    life: int = 0
    """What was on its way to an earlier one is lost."""
    up_ms: int = 0
    """Nothing reaches the node before."""
    topics: dict[str, None] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    trainer_free_ms: int = 0
    delivered: dict[str, BlobId] = field(default_factory=dict)
    remotes: dict[PeerId, None] = field(default_factory=dict)
    """Those that it is connected with."""


Hosts = Mapping[PeerId, Host]
