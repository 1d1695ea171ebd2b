"""The last things that happened in a world, in words."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Final, Protocol

from p2pai import events
from p2pai.effects import Effect, Judge, Publish
from p2pai.events import Event
from p2pai.node.decoding import decode
from p2pai.node.fields import fields_of
from p2pai.primitives.ids import PeerId
from testnet.simulator.world import START_MS, Watcher

KEPT: Final = 30
FIELDS_SHOWN: Final = 4
VALUE_LENGTH_MAX: Final = 24

Moment = tuple[int, PeerId, Event, Sequence[Effect]]


class Watched(Protocol):
    """What is watched: a simulated world, or a real network's recordings that are lived through again."""

    watchers: list[Watcher]

    @property
    def now_ms(self) -> int: ...

    @property
    def current(self) -> tuple[PeerId, Event] | None: ...


class Recent:
    """A watcher that remembers little; it must be the first one, to see the event that another refuses."""

    def __init__(self, world: Watched, prefix: str, start_ms: int = START_MS) -> None:
        self._world, self._prefix, self._start_ms = world, prefix, start_ms
        self._moments: deque[Moment] = deque(maxlen=KEPT)
        self.steps = 0
        """Events so far."""
        world.watchers.insert(0, self._see)

    @property
    def node(self) -> str:
        """Who the last event happened to."""
        return self._world.current[0] if self._world.current else ""

    def lines(self) -> tuple[str, ...]:
        """Return them, the last one last; one that its node could not handle has no effects."""
        moments = list(self._moments)
        if self._world.current is not None and not (moments and moments[-1][2] is self._world.current[1]):
            moments.append((self._world.now_ms, *self._world.current, ()))
        return tuple(self._line(*moment) for moment in moments[-KEPT:])

    def _see(self, name: PeerId, event: Event, reaction: Sequence[Effect]) -> None:
        self.steps += 1
        self._moments.append((self._world.now_ms, name, event, reaction))

    def _line(self, now_ms: int, name: PeerId, event: Event, reaction: Sequence[Effect]) -> str:
        seconds = (now_ms - self._start_ms) / 1000
        does = ", ".join(self._doing(effect) for effect in reaction if not isinstance(effect, Judge))
        verdicts = "".join(f" ({e.verdict.value})" for e in reaction if isinstance(e, Judge))
        return f"{seconds:.3f} {name} {self._happening(event)}{verdicts}{f' -> {does}' if does else ''}"

    def _happening(self, event: Event) -> str:
        match event:
            case events.Received(remote, topic, data):
                return f"hears from {remote}: {self._message(topic, data)}"
            case events.Started(journal, _, blocks):
                return f"starts with {len(journal)} records and {len(blocks)} blocks"
            case events.Trained(_, result):
                return f"has trained: {type(result).__name__}"
            case _:
                return f"{type(event).__name__} {self._plain(event)}".strip()

    def _doing(self, effect: Effect) -> str:
        if isinstance(effect, Publish):
            return f"says {self._message(effect.topic, effect.data)}"
        return f"{type(effect).__name__} {self._plain(effect)}".strip()

    def _message(self, topic: str, data: bytes) -> str:
        read = decode(topic, data, self._prefix)
        task = f" of task {read.task[:6]}" if read.task else ""
        return f"{read.kind}{task} {_short(read.body or {})}{f' ({read.fault})' if read.fault else ''}"

    def _plain(self, record: object) -> str:
        return _short(fields_of(record, self._prefix)) if is_dataclass(record) else ""


def _short(fields: Mapping[str, Any]) -> str:
    """Return the first few plain fields."""
    plain = [(key, value) for key, value in fields.items() if isinstance(value, str | int | None)]
    return " ".join(f"{key}={str(value)[:VALUE_LENGTH_MAX]}" for key, value in plain[:FIELDS_SHOWN])
