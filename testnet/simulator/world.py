"""One seed, one history: N real node cores, virtual time, a network whose delays come from one PRNG.

The world owns everything a node may not touch: time, the network, the disk, the trainer. Each step pops the
earliest event, hands it to its node and carries out the effects that the node returns.

Faults are the caller's: gossip is lost at a given rate, nodes are cut off (`isolate`) or killed (`restart`).
A node that hangs up on another hears nothing of it until its time is over.
A killed node loses its memory, its timers, its trainer, whatever was on its way to it, and any number of the
writes whose `Persisted` it has not seen.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from p2pai import effects, events, jobs
from p2pai.effects import Effect, Verdict
from p2pai.events import Event
from p2pai.primitives import blob, merkle
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId
from testnet.simulator.disk import Disk

DELAY_MS: Final = (5, 40)
"""Least and most time that a message takes."""

PERSIST_MS: Final = (1, 10)
TRAIN_MS: Final = (5, 30)
FETCH_MS: Final = (10, 60)
ANSWER_MS_MAX: Final = 5_000
"""After this, a question to a remote that is gone has failed."""

ASK_MS_MAX: Final = 10_000
"""After this, a question that a remote has not answered has failed. Source: shell/runtime.py, ASK_S_MAX."""

FETCHED_BYTES_MAX: Final = 256 * 1024
"""Larger blobs are not handed to the core whole (see events.Fetched)."""

START_MS: Final = 1_780_000_000_000
"""Unix time at which every history begins."""


class Core(Protocol):
    """What the world needs of a node: NodeCore has exactly this."""

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]: ...


class Worker(Protocol):
    """Who carries out a node's jobs."""

    def run(self, job: jobs.Job) -> jobs.Result: ...


Watcher = Callable[[PeerId, Event, Sequence[Effect]], None]
"""Sees every event with the effects that it had, before they are carried out."""


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


@dataclass
class Host:
    """One node with its disk."""

    core: Core
    blobs: Blobs
    worker: Worker
    disk: Disk
    life: int = 0
    up_ms: int = 0
    """Nothing reaches the node before."""
    disk_free_ms: int = 0
    topics: dict[str, None] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    trainer_free_ms: int = 0
    delivered: dict[str, BlobId] = field(default_factory=dict)


class World:
    """A network of simulated hosts."""

    def __init__(
        self, seed: int, make_worker: Callable[[Blobs], Worker], *, gossip_loss_percent: int = 0
    ) -> None:
        assert 0 <= gossip_loss_percent < 100
        self.now_ms = START_MS
        self.hosts: dict[PeerId, Host] = {}
        self._disks: dict[PeerId, Disk] = {}
        self.watchers: list[Watcher] = []
        self.rejected: list[tuple[PeerId, str]] = []
        """Who refused a message, and why."""
        self.fired = {"lost message": 0, "lost record": 0, "kill": 0, "unanswered": 0, "hangup": 0}
        """How often each fault happened."""
        self.halted: dict[PeerId, str] = {}
        """Nodes that stopped themselves, and why."""
        self.current: tuple[PeerId, Event] | None = None
        """What is happening, and to whom: where a history broke."""
        self._rng = random.Random(seed)
        self._loss_percent = gossip_loss_percent
        self._make_worker = make_worker
        self._queue: list[tuple[int, int, PeerId, int, Event | _Pending | _Deadline]] = []
        self._sequence = 0
        self._trace = hashlib.sha256()
        self._questions: dict[int, tuple[PeerId, int, int]] = {}
        self._cut: dict[PeerId, None] = {}
        self._hung_up: dict[tuple[PeerId, PeerId], int] = {}
        """Until when two nodes don't speak."""

    def disk(self, name: PeerId) -> Disk:
        """Return the disk of a node, there before the node and after it."""
        return self._disks.setdefault(name, Disk())

    def give_disk(self, name: PeerId, disk: Disk) -> None:
        """Let a node that is yet to start go on from a disk of another history."""
        assert name not in self.hosts
        self._disks[name] = disk

    def add(self, name: PeerId, core: Core) -> Host:
        """Start a node, connected with all others; it goes on from what is on its disk."""
        blobs = Blobs()
        host = Host(core, blobs, self._make_worker(blobs), self.disk(name))
        others = list(self.hosts)
        self.hosts[name] = host
        self._post(name, 0, host.disk.started())
        for other in others:
            self._post(name, 1, events.Connected(other))
            self._post(other, 1, events.Connected(name))
        return host

    def restart(self, name: PeerId, core: Core, down_ms: int = 1_000) -> None:
        """Kill a node and start it again from its disk and blobs."""
        host = self.hosts[name]
        self.fired["kill"] += 1
        self.fired["lost record"] += host.disk.crash(self._rng)
        host.life += 1
        host.up_ms = self.now_ms + down_ms
        host.disk_free_ms, host.trainer_free_ms = 0, 0
        host.core = core
        host.worker = self._make_worker(host.blobs)
        host.topics.clear()
        host.timers.clear()
        self._post(name, down_ms, host.disk.started())
        for other in self.hosts:
            if other != name:
                self._post(other, 1, events.Disconnected(name))
                self._post(other, down_ms + 1, events.Connected(name))
                self._post(name, down_ms + 1, events.Connected(other))

    def isolate(self, *names: PeerId) -> None:
        """Cut these nodes off the network, and let all others back in."""
        self._cut = dict.fromkeys(names)

    def submit(self, name: PeerId, method: str, params: bytes) -> None:
        """Give a node an order of its user."""
        self._post(name, 0, events.Submitted(method, params))

    def run(self, until: Callable[[], bool], limit_s: int) -> bool:
        """Go on until a condition holds; False when `limit_s` virtual seconds passed before."""
        end_ms = self.now_ms + limit_s * 1000
        while not until():
            if not self._queue or self._queue[0][0] > end_ms:
                self.now_ms = end_ms
                return False
            self.step()
        return True

    @property
    def digest(self) -> str:
        """A hash of the whole history so far."""
        return self._trace.hexdigest()

    def step(self) -> None:
        """Let the earliest event happen."""
        at, sequence, name, life, event = heapq.heappop(self._queue)
        self.now_ms = max(self.now_ms, at)
        host = self.hosts[name]
        if life != host.life or self.now_ms < host.up_ms:
            self._miss(name, event)
            return
        if isinstance(event, events.TimerFired) and host.timers.get(event.name) != sequence:
            return
        if isinstance(event, _Pending):
            event = event.finish()
        elif isinstance(event, _Deadline):
            if event.ticket not in self._questions:
                return
            _, _, request = self._questions.pop(event.ticket)
            self.fired["unanswered"] += 1
            event = events.Answered(request, event.remote, None)
        if isinstance(event, events.Persisted):
            host.disk.sync()
        self._trace.update(f"{at} {name} {type(event).__name__}\n".encode())
        self._give(name, host, event)

    def _miss(self, name: PeerId, event: Event | _Pending | _Deadline) -> None:
        if isinstance(event, events.Asked) and event.request in self._questions:
            self._fail(event.request, name)

    def _give(self, name: PeerId, host: Host, event: Event) -> None:
        self.current = (name, event)
        reaction = host.core.handle(event, self.now_ms)
        for watcher in self.watchers:
            watcher(name, event, reaction)
        for effect in reaction:
            self._trace.update(repr(effect).encode())
            if not isinstance(effect, effects.Judge):
                self._perform(name, host, effect)
            elif effect.verdict is Verdict.REJECT:
                self.rejected.append((name, effect.reason))

    def _perform(self, name: PeerId, host: Host, effect: Effect) -> None:
        match effect:
            case effects.Publish(topic, data):
                self._publish(name, topic, data)
            case effects.Join(topic):
                host.topics[topic] = None
            case effects.Leave(topic):
                host.topics.pop(topic, None)
            case effects.Persist() | effects.StoreBlock() | effects.StoreSnapshot():
                self._write(name, host, effect)
            case effects.SetTimer(timer, delay):
                self._post(name, delay, events.TimerFired(timer))
                host.timers[timer] = self._sequence
            case effects.Ask() | effects.Answer():
                self._converse(name, host, effect)
            case effects.Hangup(remote, duration):
                self._hang_up(name, remote, duration)
            case effects.Halt(reason):
                self.halted[name] = reason
                host.life += 1
            case effects.Train(request, job):
                self._train(name, host, request, job)
            case _:
                self._handle_blob(name, host, effect)

    def _hang_up(self, name: PeerId, remote: PeerId, duration: int) -> None:
        self.fired["hangup"] += 1
        for one, other in ((name, remote), (remote, name)):
            if other in self.hosts:
                self._hung_up[one, other] = self.now_ms + duration
                self._post(one, 1, events.Disconnected(other))
                self._post(one, duration, events.Connected(other))

    def _write(self, name: PeerId, host: Host, effect: effects.Write) -> None:
        host.disk.write(effect)
        host.disk_free_ms = max(host.disk_free_ms, self.now_ms) + self._draw(PERSIST_MS)
        self._post(name, host.disk_free_ms - self.now_ms, events.Persisted(effect.token))

    def _publish(self, source: PeerId, topic: str, data: bytes) -> None:
        for name, host in self.hosts.items():
            if name == source or topic not in host.topics or self._are_apart(source, name):
                continue
            if self._loss_percent and self._rng.randrange(100) < self._loss_percent:
                self.fired["lost message"] += 1
            else:
                self._post(name, self._draw(DELAY_MS), events.Received(source, topic, data))

    def _converse(self, name: PeerId, host: Host, effect: effects.Ask | effects.Answer) -> None:
        if isinstance(effect, effects.Ask):
            self._sequence += 1
            ticket = self._sequence
            self._questions[ticket] = (name, host.life, effect.request)
            if effect.remote not in self.hosts or self._are_apart(name, effect.remote):
                self._fail(ticket, effect.remote)
            else:
                self._post(effect.remote, self._draw(DELAY_MS), events.Asked(ticket, name, effect.body))
                self._post(name, ASK_MS_MAX, _Deadline(ticket, effect.remote))
            return
        if effect.request not in self._questions:
            return  # it comes too late
        asker, life, request = self._questions.pop(effect.request)
        if self.hosts[asker].life == life:
            self._post(asker, self._draw(DELAY_MS), events.Answered(request, name, effect.body))

    def _fail(self, ticket: int, remote: PeerId) -> None:
        asker, life, request = self._questions.pop(ticket)
        self.fired["unanswered"] += 1
        if self.hosts[asker].life == life:
            self._post(asker, ANSWER_MS_MAX, events.Answered(request, remote, None))

    def _train(self, name: PeerId, host: Host, request: Hash32, job: jobs.Job) -> None:
        start = max(host.trainer_free_ms, self.now_ms)
        host.trainer_free_ms = start + self._draw(TRAIN_MS)
        work = _Pending(lambda: events.Trained(request, host.worker.run(job)))
        self._post(name, host.trainer_free_ms - self.now_ms, work)

    def _handle_blob(self, name: PeerId, host: Host, effect: Effect) -> None:
        match effect:
            case effects.PutBlob(chunks, shared):
                host.blobs.put(chunks, shared=shared)
            case effects.Share(wanted):
                host.blobs.shared[wanted] = None
            case effects.Discard(wanted, _):
                host.blobs.discard(wanted)
            case effects.Deliver(wanted, file):
                host.delivered[file] = wanted
            case effects.Fetch(wanted, providers, whole):
                end = _Pending(lambda: self._fetched(name, host, wanted, providers, whole=whole))
                self._post(name, self._draw(FETCH_MS), end)
            case effects.TakePart() | effects.EndPart():
                pass  # everybody is linked with everybody
            case _:
                raise AssertionError(effect)

    def _fetched(
        self, name: PeerId, host: Host, wanted: BlobId, providers: tuple[PeerId, ...], *, whole: bool
    ) -> events.Fetched:
        for provider in (*providers, *self.hosts):
            other = self.hosts.get(provider)
            if other is None or wanted in host.blobs or self._are_apart(name, provider):
                continue
            if wanted in other.blobs and wanted in other.blobs.shared:
                host.blobs.put(other.blobs.get(wanted), shared=True)
        if wanted not in host.blobs:
            return events.Fetched(wanted, None, None)
        chunks = host.blobs.get(wanted)
        data = b"".join(chunks)
        leaves = tuple(merkle.leaf_hash(chunk) for chunk in chunks)
        return events.Fetched(wanted, leaves, data if whole or len(data) <= FETCHED_BYTES_MAX else None)

    def _are_apart(self, a: PeerId, b: PeerId) -> bool:
        return (a in self._cut) != (b in self._cut) or self.now_ms < self._hung_up.get((a, b), 0)

    def _draw(self, bounds: tuple[int, int]) -> int:
        return self._rng.randint(*bounds)

    def _post(self, name: PeerId, delay_ms: int, event: Event | _Pending | _Deadline) -> None:
        self._sequence += 1
        entry = (self.now_ms + delay_ms, self._sequence, name, self.hosts[name].life, event)
        heapq.heappush(self._queue, entry)


@dataclass(frozen=True)
class _Pending:
    """Work under way, done when its time is over; a node killed before never sees its end."""

    finish: Callable[[], Event]


@dataclass(frozen=True)
class _Deadline:
    """When the asker of a question stops waiting."""

    ticket: int
    remote: PeerId
