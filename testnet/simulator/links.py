"""What lies between nodes: how long a message takes, and what becomes of it on its way.

Each way from one node to another has a latency, drawn anew for each message between two bounds. Between
regions some is added. Where a node's bandwidth is bounded, all that it sends leaves through one queue.

What goes wrong is a list of `Trouble`s, each of some directed ways and with the kind of fault that it is
counted as; what several of them do to one way adds up. There are two sorts of traffic:

* *gossip* is lost, doubled, or refused by a full queue;
* a *stream* (questions, answers, blobs) loses nothing: what is lost is sent again, which takes time.
"""

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


@dataclass(slots=True)
class _Way:
    """What all troubles together do to the way from one node to another."""

    least_ms: int
    span: int
    """Different latencies that there are."""
    cut_by: str = ""
    loss_percent: int = 0
    is_plain: bool = True


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
        self._troubles: list[Trouble] = []
        self._ways: dict[tuple[PeerId, PeerId], _Way] = {}
        self.changed: list[Callable[[], None]] = []
        """Called after troubles came or went."""

    def place(self, name: PeerId, region: str) -> None:
        """Say where a node is."""
        self._homes[name] = region
        self._ways.clear()

    def add(self, trouble: Trouble) -> None:
        """Begin a trouble."""
        self._troubles.append(trouble)
        self._change()

    def remove(self, trouble: Trouble) -> None:
        """End a trouble."""
        self._troubles = [other for other in self._troubles if other is not trouble]
        self._change()

    def are_apart(self, source: PeerId, target: PeerId) -> bool:
        """Tell whether nothing passes from one node to another."""
        return self._way(source, target).cut_by != ""

    def gossip(self, source: PeerId, target: PeerId, size: int) -> Sequence[int]:
        """Return when a message of so many bytes arrives, milliseconds from now: once, or never."""
        way = self._ways.get((source, target)) or self._way(source, target)
        if way.is_plain:
            return (way.least_ms + int(self._random() * way.span),)
        if way.cut_by:
            self._fired[way.cut_by] += 1
            return ()
        if self._bytes_per_s and self._queued_bytes(source) + size > OUTBOX_BYTES_MAX:
            self._fired["full-outbox"] += 1
            return ()
        leaves_ms = self._leave(source, size)
        if self._random() * 100 < way.loss_percent:
            self._fired["loss"] += 1
            return ()
        return (leaves_ms + self._draw(way),)

    def stream(self, source: PeerId, target: PeerId, size: int) -> int | None:
        """Return when so many bytes of a stream have arrived, milliseconds from now; None if never."""
        way = self._way(source, target)
        if way.cut_by:
            self._fired[way.cut_by] += 1
            return None
        delay_ms = self._leave(source, size) + self._draw(way)
        for resent in range(RESENDS_MAX):
            if self._random() * 100 >= way.loss_percent:
                return delay_ms
            delay_ms += RESEND_MS << resent
        return None

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
        way = _Way(least_ms + self._distance_ms(source, target), most_ms - least_ms + 1)
        way.is_plain = not self._bytes_per_s
        for trouble in self._troubles:
            if trouble.touches(source, target):
                way.is_plain = False
                way.cut_by = way.cut_by or (trouble.kind if trouble.cuts else "")
                way.loss_percent += (100 - way.loss_percent) * trouble.loss_percent // 100
        return way

    def _distance_ms(self, source: PeerId, target: PeerId) -> int:
        here, there = self._homes.get(source, ""), self._homes.get(target, "")
        regions = self._plan.regions
        found = regions.get(here, {}).get(there)
        return regions.get(there, {}).get(here, 0) if found is None else found

    def _change(self) -> None:
        self._ways.clear()
        for tell in self.changed:
            tell()
