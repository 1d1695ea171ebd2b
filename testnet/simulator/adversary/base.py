"""An honest core in other hands: they see what it is told, and decide what of its reaction goes out.

So is its trainer: they see each job, and decide what the core is told. An adversary is made anew with each
life of its node; a node is of one kind.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from p2pai import effects, jobs
from p2pai.effects import Effect
from p2pai.events import Event, TimerFired
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import Millis, PeerId
from testnet.scenario import adversaries
from testnet.simulator.training import Worker
from testnet.simulator.world import START_MS, World

_BEAT: Final = TimerFired("evil:beat")


@dataclass(frozen=True)
class Setting:
    """What a dishonest node has besides its core."""

    name: PeerId
    """Its own."""
    crew: tuple[PeerId, ...]
    """The nodes of this entry of the scenario, itself included."""
    dice: random.Random
    """Of its own, by the seed and its name."""
    did: Callable[[], None]
    """To be called each time that it really did its evil: a run in which it never did fails."""
    world: World
    """What it is in; an attacker of the network does there what no effect of a core can."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What its crew knows together; it outlives a restart of the node."""


class Adversary:
    """Honest in all: what the kinds change."""

    is_misled: ClassVar[bool] = False
    """Whether its core is honest, and only its trainer lies: it is held to what it says."""

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        self.plan, self.core, self.setting = plan, core, setting

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event, as the core would; honest before the plan's time."""
        if not self.has_begun(now_ms):
            return self.core.handle(event, now_ms)
        return self.act(event, now_ms)

    def has_begun(self, now_ms: int) -> bool:
        """Return whether the time for evil has come."""
        return now_ms >= START_MS + self.plan.from_s * 1000

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event when the time for evil has come."""
        return self.core.handle(event, now_ms)

    def employ(self, worker: Worker) -> Worker:
        """Return the trainer that the node has in place of its honest one."""
        return _Employed(self, worker)

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        """Carry out one of the node's jobs, when the time for evil has come."""
        return worker.run(job)


class _Employed:
    """A trainer that does what an adversary says."""

    def __init__(self, owner: Adversary, worker: Worker) -> None:
        self._owner, self._worker = owner, worker

    def run(self, job: jobs.Job) -> jobs.Result:
        """Carry out a job, or tell that it was."""
        if not self._owner.has_begun(self._owner.core.now_ms):
            return self._worker.run(job)
        return self._owner.train(job, self._worker)


class Restless(Adversary):
    """Does something of its own accord, time after time."""

    EVERY_MS: ClassVar[int] = 1_000

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        self._beats = False

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event, or do one's own."""
        reaction: list[Effect] = []
        if not self._beats or event == _BEAT:
            self._beats = True
            reaction.append(timer("beat", self.EVERY_MS))
        return [*reaction, *(self.beat() if event == _BEAT else self.react(event, now_ms))]

    def beat(self) -> Sequence[Effect]:
        """Do one's own."""
        return ()

    def react(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event."""
        return self.core.handle(event, now_ms)


def timer(name: str, delay_ms: int) -> effects.SetTimer:
    """Return a timer of the adversary's own, which its core knows nothing of."""
    return effects.SetTimer(f"evil:{name}", Millis(delay_ms))
