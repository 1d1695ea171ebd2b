"""What lies between nodes: how long a message takes, and what becomes of it on its way.

Each way from one node to another has a latency, drawn anew for each message between two bounds. Between
regions some is added. Where a node's bandwidth is bounded, all that it sends leaves through one queue.

What goes wrong is a list of `Trouble`s, each of some directed ways and with the kind of fault that it is
counted as; what several of them do to one way adds up. There are two sorts of traffic:

* *gossip* is lost, doubled, late, or refused by a full queue (which keeps what it holds, as a node's own
  outbox does);
* a *stream* (questions, answers, blobs) loses nothing: what is lost is sent again, which takes time.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from p2pai.primitives.ids import PeerId
from testnet.scenario.model import NetworkPlan

OUTBOX_BYTES_MAX: Final = 4 << 20
"""Bytes that wait to be sent; a message that finds no room is lost. Source: gossip/libp2p/outbox.py."""

RESEND_MS: Final = 200
"""A stream sends again what was lost after this, then after twice as long, and so on. Source: RFC 6298, as
Linux has it."""

RESENDS_MAX: Final = 6
"""After so many, 12.6 s, whoever waits for an answer has given up anyway."""

_KIB: Final = 1024
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True)
class Trouble:
    """Something wrong with some ways; nothing until a field says what."""

    kind: str
    """What it is counted as."""
    touches: Callable[[PeerId, PeerId], bool]
    """Whether it is on the way from one node to another."""
    cuts: bool = False
    """Nothing passes."""
    loss_percent: int = 0
    copy_percent: int = 0
    """Share of gossip that arrives twice."""
    late_percent: int = 0
    """Share of all that comes late, by `late_ms`."""
    late_ms: tuple[int, int] = (0, 0)
    queue: int = 0
    """Messages that may be late on one way at a time; further gossip is lost. 0: any number."""


@dataclass(slots=True)
class _Way:
    """The way from one node to another, with all that is wrong with it."""

    least_ms: int
    span: int
    """Different latencies that there are."""
    troubles: tuple[Trouble, ...]
    is_plain: bool
    """Whether nothing but its latency matters."""


class Links:
    """The ways between all nodes."""

    def __init__(
        self,
        dice: random.Random,
        fired: Counter[str],
        plan: NetworkPlan,
        now_ms: Callable[[], int],
    ) -> None:
        """Begin without trouble.

        Args:
          dice: what latencies, losses and so on are drawn from.
          fired: counts, by kind, what troubles did to messages.
          plan: latencies, regions and bandwidth.
          now_ms: tells the time.
        """
        self._random = dice.random
        self._fired = fired
        self._plan = plan
        self._now_ms = now_ms
        self._homes: dict[PeerId, str] = {}
        self._bytes_per_s = plan.upload_kib_s * _KIB
        self._free_us: dict[PeerId, int] = {}
        """When each node's way out has nothing more to send."""
        self._late: dict[tuple[PeerId, PeerId], list[int]] = {}
        """When what is under way arrives, where somebody counts it."""
        self._troubles: list[Trouble] = []
        self._ways: dict[tuple[PeerId, PeerId], _Way] = {}
        self.changed: list[Callable[[], None]] = []
        """Called after something was cut or mended."""

    def place(self, name: PeerId, region: str) -> None:
        """Say where a node is."""
        self._homes[name] = region
        self._ways.clear()

    def add(self, trouble: Trouble) -> None:
        """Begin a trouble."""
        self._troubles.append(trouble)
        self._change(trouble)

    def remove(self, trouble: Trouble) -> None:
        """End a trouble."""
        self._troubles = [other for other in self._troubles if other is not trouble]
        self._change(trouble)

    def look_again(self, source: PeerId, target: PeerId) -> None:
        """Take it that a trouble touches a way that it didn't, or no longer does."""
        self._ways.pop((source, target), None)

    def are_apart(self, source: PeerId, target: PeerId) -> bool:
        """Tell whether nothing passes from one node to another."""
        return any(trouble.cuts for trouble in self._way(source, target).troubles)

    def gossip(self, source: PeerId, target: PeerId, size: int) -> Sequence[int]:
        """Return when a message of so many bytes arrives, milliseconds from now: once, twice or never."""
        way = self._ways.get((source, target)) or self._way(source, target)
        if way.is_plain:
            return (way.least_ms + int(self._random() * way.span),)
        if self._is_cut(way):
            return ()
        if self._bytes_per_s and self._queued_bytes(source) + size > OUTBOX_BYTES_MAX:
            self._fired["full-outbox"] += 1
            return ()
        delay_ms = self._leave(source, size) + self._draw(way)
        copies = 1
        for trouble in way.troubles:
            if self._happens(trouble, trouble.loss_percent):
                return ()
            if trouble.late_percent:
                if trouble.queue and self._waiting(source, target) >= trouble.queue:
                    self._fired["full-queue"] += 1
                    return ()
                delay_ms += self._lateness(trouble)
            copies += self._happens(trouble, trouble.copy_percent)
        self._note(way, source, target, delay_ms)
        return [delay_ms] + [delay_ms + self._draw(way) for _ in range(1, copies)]

    def stream(self, source: PeerId, target: PeerId, size: int) -> int | None:
        """Return when so many bytes of a stream have arrived, milliseconds from now; None if never."""
        way = self._way(source, target)
        if self._is_cut(way):
            return None
        delay_ms = self._leave(source, size) + self._draw(way)
        for trouble in way.troubles:
            delay_ms += self._lateness(trouble)
            for resent in range(RESENDS_MAX):
                if self._random() * 100 >= trouble.loss_percent:
                    break
                delay_ms += RESEND_MS << resent
            else:
                return None
        return delay_ms

    def _is_cut(self, way: _Way) -> bool:
        for trouble in way.troubles:
            if trouble.cuts:
                self._fired[trouble.kind] += 1
                return True
        return False

    def _happens(self, trouble: Trouble, percent: int) -> bool:
        if percent and self._random() * 100 < percent:
            self._fired[trouble.kind] += 1
            return True
        return False

    def _lateness(self, trouble: Trouble) -> int:
        if not self._happens(trouble, trouble.late_percent):
            return 0
        least_ms, most_ms = trouble.late_ms
        return least_ms + int(self._random() * (most_ms - least_ms + 1))

    def _note(self, way: _Way, source: PeerId, target: PeerId, delay_ms: int) -> None:
        if any(trouble.queue for trouble in way.troubles):
            heapq.heappush(self._late.setdefault((source, target), []), self._now_ms() + delay_ms)

    def _waiting(self, source: PeerId, target: PeerId) -> int:
        """Return how many messages are under way between two."""
        arrivals = self._late.get((source, target), [])
        while arrivals and arrivals[0] <= self._now_ms():
            heapq.heappop(arrivals)
        return len(arrivals)

    def _draw(self, way: _Way) -> int:
        return way.least_ms + int(self._random() * way.span)

    def _queued_bytes(self, source: PeerId) -> int:
        waiting_us = self._free_us.get(source, 0) - self._now_ms() * 1000
        return max(0, waiting_us) * self._bytes_per_s // _US_PER_S

    def _leave(self, source: PeerId, size: int) -> int:
        """Queue bytes at a node's way out; return in how many milliseconds the last of them has left."""
        if not self._bytes_per_s:
            return 0
        now_us = self._now_ms() * 1000
        free_us = max(now_us, self._free_us.get(source, 0)) + size * _US_PER_S // self._bytes_per_s
        self._free_us[source] = free_us
        return -(-(free_us - now_us) // 1000)

    def _way(self, source: PeerId, target: PeerId) -> _Way:
        way = self._ways.get((source, target))
        if way is None:
            way = self._ways[source, target] = self._survey(source, target)
        return way

    def _survey(self, source: PeerId, target: PeerId) -> _Way:
        least_ms, most_ms = self._plan.latency_ms
        troubles = tuple(trouble for trouble in self._troubles if trouble.touches(source, target))
        is_plain = not troubles and not self._bytes_per_s
        distance_ms = self._distance_ms(source, target)
        return _Way(least_ms + distance_ms, most_ms - least_ms + 1, troubles, is_plain)

    def _distance_ms(self, source: PeerId, target: PeerId) -> int:
        here, there = self._homes.get(source, ""), self._homes.get(target, "")
        regions = self._plan.regions
        found = regions.get(here, {}).get(there)
        return regions.get(there, {}).get(here, 0) if found is None else found

    def _change(self, trouble: Trouble) -> None:
        self._ways.clear()
        for tell in self.changed if trouble.cuts else ():
            tell()
