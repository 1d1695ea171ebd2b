"""An honest core in other hands: they see what it is told, and decide what of its reaction goes out."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from p2pai import effects
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import Millis, PeerId
from testnet.scenario import adversaries
from testnet.simulator.world import START_MS


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
    shared: dict[str, Any] = field(default_factory=dict)
    """What its crew knows together; it outlives a restart of the node."""


class Adversary:
    """Honest in all: what the kinds change."""

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        self.plan, self.core, self.setting = plan, core, setting

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event, as the core would; honest before the plan's time."""
        if now_ms < START_MS + self.plan.from_s * 1000:
            return self.core.handle(event, now_ms)
        return self.act(event, now_ms)

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event when the time for evil has come."""
        return self.core.handle(event, now_ms)


def timer(name: str, delay_ms: int) -> effects.SetTimer:
    """Return a timer of the adversary's own, which its core knows nothing of."""
    return effects.SetTimer(f"evil:{name}", Millis(delay_ms))
