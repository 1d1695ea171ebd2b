"""What a node holds and does is bounded, whatever comes.

I16: every table that others could fill stays within its limit, and so does what a node waits for. I17: one
event has so many effects at most, of such a size, and costs so many checks of signatures: the measure of work
that is the same on every machine, and the greater part of what a node does with what others send.

Source: RELIABILITY (4), I16 and I17.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pai import effects, events
from p2pai.gossip.limits import ANSWER_SIZE_MAX, GOSSIP_SIZE_MAX, QUESTION_SIZE_MAX
from p2pai.node.core import NodeCore
from p2pai.node.holdings import holdings
from p2pai.primitives.ids import PeerId
from testnet.simulator.invariants.step import Broken

LOOK_EVENTS: Final = 16
"""A node's tables are looked at after every so many of its events: one event adds few entries."""

EFFECTS_MAX: Final = 1_024
"""Effects of one event. The most that one can cause: a transaction wakes 512 orphans, each is passed on; an
answer brings 256 messages of a task, each with a timer and a vote."""

GOSSIP_CHECKS_MAX: Final = 4_096
"""Checks of signatures that a gossip message may cause: a block of 256 KiB has room for some 1,500 signed
inputs, and those of orphans that it wakes come on top."""

CHECKS_MAX: Final = 16_384
"""Checks that any event may cause: blocks of 2 MiB connected at once, 6,000 signed inputs to a MiB."""

SIZES_MAX: Final[Mapping[type, int]] = {
    effects.Publish: GOSSIP_SIZE_MAX,
    effects.Ask: QUESTION_SIZE_MAX,
    effects.Answer: ANSWER_SIZE_MAX,
}
"""Bytes of one effect that goes to others. Source: gossip/limits.py."""

ONCE: Final = (effects.Judge, effects.Answer, effects.Halt)
"""Effects that one event has once at most."""


@dataclass
class Limits:
    """The limits of all honest nodes."""

    most: dict[str, int] = field(default_factory=dict)
    """The most that was seen of everything, by name."""
    tables: int = 0
    """Looks at a node's tables."""
    _events: dict[PeerId, int] = field(default_factory=dict)

    def look(
        self, name: PeerId, core: NodeCore, event: events.Event, reaction: Sequence[effects.Effect]
    ) -> None:
        """I16, I17: look at a node after an event."""
        count = self._events[name] = self._events.get(name, 0) + 1
        if count % LOOK_EVENTS == 0:
            self.check_tables(name, core)
        if len(reaction) > 1:
            self._check_effects(name, event, reaction)
        for effect in reaction:
            limit = SIZES_MAX.get(type(effect))
            if limit is not None and size_of(effect) > limit:
                raise Broken(f"I17: {name} sends {size_of(effect)} bytes, at most {limit} may be", name)

    def check_tables(self, name: PeerId, core: NodeCore) -> None:
        """I16: look at all that a node holds and waits for."""
        self.tables += 1
        for what, held, most in holdings(core):
            if held > most:
                raise Broken(f"I16: {name} holds {held} {what}, at most {most} may be", name)
            if held > self.most.get(what, 0):
                self.most[what] = held

    def _check_effects(self, name: PeerId, event: events.Event, reaction: Sequence[effects.Effect]) -> None:
        count, what = len(reaction), type(event).__name__
        if count > EFFECTS_MAX:
            raise Broken(f"I17: {what} has {count} effects at {name}, at most {EFFECTS_MAX} may be", name)
        if count > self.most.get("effects", 0):
            self.most["effects"] = count
        for kind in ONCE:
            if sum(type(effect) is kind for effect in reaction) > 1:
                raise Broken(f"I17: {what} has more than one {kind.__name__} at {name}", name)

    def check_work(self, name: PeerId, event: events.Event, checks: int) -> None:
        """I17: look at how many signatures an event had a node check."""
        most = GOSSIP_CHECKS_MAX if isinstance(event, events.Received) else CHECKS_MAX
        if checks > most:
            what = type(event).__name__
            raise Broken(f"I17: {what} has {name} check {checks} signatures, at most {most} may be", name)
        if checks > self.most.get("signatures checked", 0):
            self.most["signatures checked"] = checks


def size_of(effect: effects.Effect) -> int:
    """Return the bytes of an effect that goes to others."""
    match effect:
        case effects.Publish(_, data):
            return len(data)
        case effects.Ask(_, _, body) | effects.Answer(_, body):
            return len(body)
    return 0
