"""One seed, one history: N real node cores, virtual time, a network whose delays come from one PRNG.

The world owns everything a node may not touch: time, the network, the disk, the trainer. Each step pops the
earliest event, hands it to its node and carries out the effects that the node returns. What is between nodes
is in modules of its own: `links` (what a message goes through), `connections` (who is told of whom),
`gossiping`, `questions`, `fetching`; what a node has for itself in `host`, `disk` with `storing`, `clocks`,
`training`.

Faults are the caller's (`faulting` does those of a scenario): they act on these parts, or kill a node. A
killed node loses its memory, its timers, its trainer, whatever was on its way to it, and any number of the
writes whose `Persisted` it has not seen. `fired` counts what really happened.

All that is random comes from PRNGs split off from the seed by name, one for each concern, so that one more
fault changes of the rest no more than it must.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from p2pai import effects, events
from p2pai.effects import Effect, Verdict
from p2pai.events import Event
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from testnet.scenario.model import NetworkPlan
from testnet.simulator.clocks import NodeClock
from testnet.simulator.connections import Connections
from testnet.simulator.disk import Disk
from testnet.simulator.fetching import Fetching
from testnet.simulator.gossiping import Direct, Gossip
from testnet.simulator.host import Blobs, Core, Held, Host, MakeWorker, Work
from testnet.simulator.links import Links, Trouble
from testnet.simulator.mesh import Mesh
from testnet.simulator.questions import Questions
from testnet.simulator.storing import Storing
from testnet.simulator.trace import Trace
from testnet.simulator.training import Trainer

START_MS: Final = 1_780_000_000_000
"""Unix time at which every history begins."""

NEVER_MS: Final = 1 << 62

Watcher = Callable[[PeerId, Event, Sequence[Effect]], None]
"""Sees every event with the effects that it had, before they are carried out."""


_PLAN: Final = NetworkPlan()


class World:
    """A network of simulated hosts."""

    def __init__(
        self, seed: int, make_worker: MakeWorker, *, plan: NetworkPlan = _PLAN, gossip_loss_percent: int = 0
    ) -> None:
        assert 0 <= gossip_loss_percent < 100
        self.seed = seed
        self.now_ms = START_MS
        self.hosts: dict[PeerId, Host] = {}
        self.watchers: list[Watcher] = []
        self.rejected: list[tuple[PeerId, str]] = []
        """Who refused a message, and why."""
        self.bans: list[tuple[int, PeerId, PeerId]] = []
        """When which node refused which remote for its behaviour in gossip."""
        self.fired: Counter[str] = Counter()
        """How often each kind of fault happened."""
        self.halted: dict[PeerId, str] = {}
        """Nodes that stopped themselves, and why."""
        self.current: tuple[PeerId, Event] | None = None
        """What is happening, and to whom: where a history broke."""
        self.links = Links(self.dice("network"), self.fired, plan, lambda: self.now_ms)
        self.connections = Connections(self, self.hosts, self.links)
        self.gossip = self._gossip(plan)
        self.connections.ended = self.gossip.disconnected
        self._disks: dict[PeerId, Disk] = {}
        self.make_worker = make_worker
        """Makes the trainers of nodes that aren't told otherwise."""
        self._questions = Questions(self, self.hosts, self.links, self.fired)
        self._disk_dice, self._trainer_dice = self.dice("disk"), self.dice("trainer")
        self._storing = Storing(self._after, self.stop, self._disk_dice, self.fired)
        self._fetching = Fetching(self._after, self._storing, self.hosts, self.links, self.dice("fetching"))
        self._queue: list[tuple[int, int, Host | None, int, Any]] = []
        self._sequence = 0
        self._trace = Trace()
        self._isolation: Trouble | None = None
        self._carriers = self._bind()
        if gossip_loss_percent:
            self.links.add(Trouble("loss", lambda *_: True, loss_percent=gossip_loss_percent))

    def _gossip(self, plan: NetworkPlan) -> Gossip:
        if plan.gossip == "direct":
            return Direct(self, self.links)
        return Mesh(self, self.hosts, self.links, plan.degree, self.dice("mesh"), self._ban)

    def dice(self, name: str) -> random.Random:
        """Return the PRNG of a concern, the same for every world of this seed."""
        return random.Random(f"{self.seed}/{name}")  # noqa: S311

    def disk(self, name: PeerId) -> Disk:
        """Return the disk of a node, there before the node and after it."""
        return self._disks.setdefault(name, Disk())

    def give_disk(self, name: PeerId, disk: Disk) -> None:
        """Let a node that is yet to start go on from a disk of another history."""
        assert name not in self.hosts
        self._disks[name] = disk

    # --- lives

    def add(self, name: PeerId, core: Core, make_worker: MakeWorker | None = None) -> Host:
        """Start a node, connected with all others; it goes on from what is on its disk."""
        blobs, make = Blobs(), make_worker or self.make_worker
        clock = NodeClock(lambda: self.now_ms, self.fired)
        host = Host(name, core, blobs, make, self.disk(name), clock)
        host.trainer = self._trainer(host)
        self.hosts[name] = host
        self._boot(host)
        return host

    def kill(self, name: PeerId) -> None:
        """Kill a node; it stays down until it is started again."""
        host = self.hosts[name]
        self.fired["kill"] += self.is_up(name)
        self.fired["lost-record"] += host.disk.crash(self._disk_dice)
        self._end(host)

    def is_up(self, name: PeerId) -> bool:
        """Return whether a node runs, or is paused."""
        return self.hosts[name].up_ms <= self.now_ms

    def stop(self, name: PeerId, reason: str) -> None:
        """Let a node end itself; it stays down until somebody starts it again."""
        self.halted[name] = reason
        self.hosts[name].disk.crash(self._disk_dice)
        self._end(self.hosts[name])

    def pause(self, name: PeerId) -> None:
        """Stop a node as SIGSTOP does: it handles nothing, and all that comes waits for it."""
        host = self.hosts[name]
        if host.held is None and host.up_ms <= self.now_ms:
            host.held = Held()

    def resume(self, name: PeerId) -> None:
        """Let a node that was paused go on, with what has come first."""
        host = self.hosts[name]
        held, host.held = host.held, None
        for entry in held.entries if held else ():
            heapq.heappush(self._queue, entry)

    def start(
        self, name: PeerId, core: Core, delay_ms: int = 0, make_worker: MakeWorker | None = None
    ) -> None:
        """Start a node that is down from its disk and blobs, after a while."""
        host = self.hosts[name]
        host.life += 1
        life = host.life
        host.core = core
        host.make_worker = make_worker or host.make_worker
        host.trainer = self._trainer(host)
        host.clock.restart()
        self.halted.pop(name, None)
        self.at(delay_ms, f"start {name}", lambda: self._boot(host) if host.life == life else None)

    def restart(
        self, name: PeerId, core: Core, down_ms: int = 1_000, make_worker: MakeWorker | None = None
    ) -> None:
        """Kill a node and start it again from its disk and blobs; it may be down or starting already."""
        self.kill(name)
        self.start(name, core, down_ms, make_worker)

    def _boot(self, host: Host) -> None:
        host.up_ms = self.now_ms
        try:
            started = host.disk.started()
        except InvalidInput as error:
            self.stop(host.name, str(error))
            return
        self.post(host, 0, started)
        self.connections.arrive(host)

    def _end(self, host: Host) -> None:
        host.life += 1
        host.up_ms = NEVER_MS
        host.held = None
        self.gossip.depart(host)
        self.connections.depart(host)
        host.topics.clear()
        host.timers.clear()

    def _trainer(self, host: Host) -> Trainer:
        make, blobs = host.make_worker, host.blobs
        return Trainer(lambda: make(blobs), host.ailments, self._trainer_dice, self.fired)

    def isolate(self, *names: PeerId) -> None:
        """Cut these nodes off the network, and let all others back in."""
        if self._isolation is not None:
            self.links.remove(self._isolation)
        self._isolation = None
        if names:
            self._isolation = Trouble("partition", lambda a, b: (a in names) != (b in names), cuts=True)
            self.links.add(self._isolation)

    def submit(self, name: PeerId, method: str, params: bytes) -> None:
        """Give a node an order of its user."""
        self.post(self.hosts[name], 0, events.Submitted(method, params))

    # --- time

    def run(self, until: Callable[[], bool], limit_s: int) -> bool:
        """Go on until a condition holds; False when `limit_s` virtual seconds passed before."""
        end_ms = self.now_ms + limit_s * 1000
        while not until():
            if not self._queue or self._queue[0][0] > end_ms:
                self.now_ms = end_ms
                return False
            self.step()
        return True

    def post(self, host: Host, delay_ms: int, event: Event) -> None:
        """Let an event reach a host after a while, if it is still in the same life then."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._sequence, host, host.life, event))

    def deliver(
        self,
        host: Host,
        delay_ms: int,
        burden: tuple[PeerId, int] | None,
        finish: Callable[[], Iterable[Event]],
    ) -> None:
        """Let something reach a host after a while, as `post` does, of which events may come or not.

        Args:
          host: whom it reaches.
          delay_ms: when.
          burden: who sent it and its bytes, for what must not pile up without limit.
          finish: gives the events.
        """
        self._sequence += 1
        entry = (self.now_ms + delay_ms, self._sequence, host, host.life, Work(finish, burden))
        heapq.heappush(self._queue, entry)

    def at(self, delay_ms: int, what: str, action: Callable[[], None]) -> None:
        """Let something happen to the world after a while."""
        self._sequence += 1
        entry = (self.now_ms + delay_ms, self._sequence, None, 0, (what, action))
        heapq.heappush(self._queue, entry)

    @property
    def digest(self) -> str:
        """A hash of the whole history so far."""
        return self._trace.hexdigest()

    def step(self) -> None:
        """Let the earliest event happen."""
        at_ms, sequence, host, life, event = heapq.heappop(self._queue)
        self.now_ms = max(self.now_ms, at_ms)
        if host is None:
            what, action = event
            self._trace.happen(at_ms, "", what)
            action()
            return
        if life != host.life or at_ms < host.up_ms:
            self._miss(event)
            return
        if host.held is not None:
            self.fired[host.held.take((self.now_ms, sequence, host, life, event))] += 1
            return
        kind = type(event)
        if kind is events.TimerFired:
            if host.timers.get(event.name) != sequence:
                return
            del host.timers[event.name]
        elif kind is Work:
            self._finish(host, life, event)
            return
        self._give(host, event)

    def _finish(self, host: Host, life: int, work: Work) -> None:
        for event in work.finish():
            if host.life != life:
                break
            self._give(host, event)

    def _miss(self, event: Any) -> None:  # noqa: ANN401
        if isinstance(event, events.Asked):
            self._questions.fail(event.request)

    def _give(self, host: Host, event: Event) -> None:
        name = host.name
        self.current = (name, event)
        self._trace.hear(self.now_ms, name, event)
        clock = host.clock
        try:
            reaction = host.core.handle(event, self.now_ms if clock.is_true else clock.read())
        except InvalidInput as error:
            if not isinstance(event, events.Started):
                raise
            self.stop(name, str(error))  # it refuses what is on its disk, as `p2pai start` does
            return
        for watcher in self.watchers:
            watcher(name, event, reaction)
        for effect in reaction:
            self._trace.add(effect)
            if type(effect) is effects.Judge:
                self._judge(host, event, effect)
            else:
                self._carriers[type(effect)](host, effect)

    def _judge(self, host: Host, event: Event, effect: effects.Judge) -> None:
        if effect.verdict is Verdict.REJECT:
            self.rejected.append((host.name, effect.reason))
        if isinstance(event, events.Received):
            self.gossip.judged(host, event, effect.verdict)

    # --- effects

    def perform(self, name: PeerId, effect: Effect) -> None:
        """Carry out an effect of a node that no event of the world had."""
        self._carriers[type(effect)](self.hosts[name], effect)

    def _bind(self) -> dict[type, Callable[[Host, Any], object]]:
        return {
            effects.Publish: lambda host, e: self.gossip.publish(host, e.topic, e.data),
            effects.Join: self._join,
            effects.Leave: self._leave,
            effects.TakePart: _do_nothing,
            effects.EndPart: _do_nothing,
            effects.Persist: self._storing.write,
            effects.StoreBlock: self._storing.write,
            effects.StoreSnapshot: self._storing.write,
            effects.SetTimer: self._set_timer,
            effects.Ask: self._questions.ask,
            effects.Answer: self._questions.answer,
            effects.Hangup: self._hang_up,
            effects.Halt: lambda host, e: self.stop(host.name, e.reason),
            effects.Train: self._train,
            effects.PutBlob: self._storing.put_blob,
            effects.Share: lambda host, e: host.blobs.shared.setdefault(e.blob),
            effects.Discard: lambda host, e: host.blobs.discard(e.blob),
            effects.Deliver: self._storing.deliver,
            effects.Fetch: self._fetching.begin,
        }

    def _join(self, host: Host, effect: effects.Join) -> None:
        host.topics[effect.topic] = None
        self.gossip.join(host, effect.topic)

    def _leave(self, host: Host, effect: effects.Leave) -> None:
        host.topics.pop(effect.topic, None)
        self.gossip.leave(host, effect.topic)

    def _set_timer(self, host: Host, effect: effects.SetTimer) -> None:
        self.post(host, effect.delay, events.TimerFired(effect.name))
        host.timers[effect.name] = self._sequence

    def _ban(self, name: PeerId, remote: PeerId, duration_ms: int) -> None:
        self.bans.append((self.now_ms, name, remote))
        if remote in self.hosts:
            self.connections.refuse(name, remote, duration_ms)

    def _hang_up(self, host: Host, effect: effects.Hangup) -> None:
        self.fired["hangup"] += 1
        if effect.remote in self.hosts:
            self.connections.refuse(host.name, effect.remote, effect.duration)

    def _train(self, host: Host, effect: effects.Train) -> None:
        delay_ms, run = host.trainer.take(effect.job, self.now_ms)
        self._after(host, delay_ms, lambda: [events.Trained(effect.request, run())])

    def _after(self, host: Host, delay_ms: int, finish: Callable[[], Iterable[Event]]) -> None:
        self.deliver(host, delay_ms, None, finish)


def _do_nothing(host: Host, effect: Effect) -> None:
    """Do nothing: everybody is connected with everybody, so nobody need be found."""
