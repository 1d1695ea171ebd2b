"""A core that hears a recording's gossip and nothing else, to see what a new node makes of it.

It begins at genesis with an empty disk. Its disk never fails, its timers fire when the recording's time has
come to them, and what it asks of others (remotes, the trainer) fails. So everything follows from the messages
and the core's code alone.

Source: docs/RECORDING.md.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from p2pai import effects, events
from p2pai.chain.spec import ChainSpec
from p2pai.effects import Effect, Judge, Verdict
from p2pai.events import Event
from p2pai.gossip.recording import Entry
from p2pai.gossip.sightings import JUDGED, Arrived, Message, Published
from p2pai.jobs import Failed
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import Hash32, PeerId
from p2pai.primitives.keys import Keys

US_PER_MS: Final = 1000
FAILS_MS: Final = 5_000
"""After this, what can't be had has failed."""

NOBODY: Final = PeerId("nobody")
"""Whom the recorded node's own messages come from."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that the core was given."""

    message: Message
    before: str
    """What the recorded node made of it; "published": it was its own."""
    verdict: Verdict
    reason: str


def messages(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Message, str, PeerId]]:
    """Give each message once, with what was made of it and whom it came from."""
    for entry in entries:
        match entry.what:
            case Arrived(remote, message, outcome) if outcome in JUDGED:
                yield entry, message, outcome.value, remote
            case Published(message):
                yield entry, message, "published", NOBODY


class Player:
    """A core and the little world around it."""

    def __init__(self, spec: ChainSpec, keys: Keys) -> None:
        self._disk = _Disk()
        self.core = NodeCore(spec, keys, PeerId("player"), ("peer",), self._disk)
        self._timers: dict[str, int] = {}
        """Which of the events to come is the timer's, as a later one of its name takes its place."""
        self._coming: list[tuple[int, int, Event]] = []
        self._numbers = count()
        self._is_started = False

    def play(self, entries: Iterable[Entry]) -> Iterator[Heard]:
        """Let the core hear all messages, each at its time."""
        for entry, message, before, remote in messages(entries):
            now_ms = entry.time_us // US_PER_MS
            if not self._is_started:
                self._is_started = True
                self._give(events.Started(()), now_ms)
            self._let_pass(now_ms)
            result = self._give(events.Received(remote, message.topic, message.data), now_ms)
            judge = next(effect for effect in result if isinstance(effect, Judge))
            yield Heard(message, before, judge.verdict, judge.reason)

    def _let_pass(self, now_ms: int) -> None:
        """Let all happen that is due until now."""
        while self._coming and self._coming[0][0] <= now_ms:
            at_ms, number, event = heapq.heappop(self._coming)
            if not isinstance(event, events.TimerFired) or self._timers.get(event.name) == number:
                self._give(event, at_ms)

    def _give(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Give the core an event, and what its disk answers at once; return the first one's effects."""
        result = self.core.handle(event, now_ms)
        waiting = deque(result)
        while waiting:
            token = self._carry_out(waiting.popleft(), now_ms)
            if token is not None:
                waiting.extend(self.core.handle(events.Persisted(token), now_ms))
        return result

    def _carry_out(self, effect: Effect, now_ms: int) -> int | None:
        """Do what an effect asks for; return the token of what was stored."""
        match effect:
            case effects.SetTimer(name, delay):
                self._timers[name] = self._expect(now_ms + delay, events.TimerFired(name))
            case effects.Persist(token):
                return token
            case effects.StoreBlock(token, block, _, body):
                self._disk.bodies[block] = body
                return token
            case effects.StoreSnapshot(token, height, _, chain):
                self._disk.finalise(height, chain)
                return token
            case effects.Ask(request, remote):
                self._expect(now_ms + FAILS_MS, events.Answered(request, remote, None))
            case effects.Train(name):
                self._expect(now_ms + FAILS_MS, events.Trained(name, Failed("a player trains nothing")))
            case effects.Fetch(blob):
                self._expect(now_ms + FAILS_MS, events.Fetched(blob, None, None))
        return None

    def _expect(self, at_ms: int, event: Event) -> int:
        number = next(self._numbers)
        heapq.heappush(self._coming, (at_ms, number, event))
        return number


class _Disk:
    """Stored blocks in memory; see `Archive`."""

    def __init__(self) -> None:
        self.bodies: dict[Hash32, bytes] = {}
        self._chain: dict[int, Hash32] = {}
        self._heights: dict[Hash32, int] = {}

    def finalise(self, height: int, chain: Sequence[Hash32]) -> None:
        """Note which blocks up to a height are final."""
        numbered = enumerate(chain, start=height - len(chain) + 1)
        self._chain.update(numbered)
        self._heights = {block: at for at, block in self._chain.items()}

    def body(self, block: Hash32) -> bytes | None:
        """See `Archive`."""
        return self.bodies.get(block)

    def height_of(self, block: Hash32) -> int | None:
        """See `Archive`."""
        return self._heights.get(block)

    def hash_at(self, height: int) -> Hash32 | None:
        """See `Archive`."""
        return self._chain.get(height)

    def between(self, first: Hash32, last: Hash32, count_max: int) -> tuple[Hash32, ...]:
        """See `Archive`."""
        return tuple(sorted(block for block in self._heights if first <= block <= last))[:count_max]
