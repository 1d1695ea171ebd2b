"""What lies between the nodes of a laboratory: delay, loss, narrow links and cut ones.

A direction from one node to another is a wire of its own. Packets on a wire keep their order, whatever their
jitter; a narrow wire queues up to `QUEUE_S_MAX` and drops what comes on top.
"""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Final

QUEUE_S_MAX: Final = 0.2
"""Seconds of traffic that wait for a narrow link, as in a home router."""


@dataclass(frozen=True, slots=True)
class Link:
    """One direction between two nodes; zeros for none."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Added to or taken from the delay, evenly distributed."""
    loss: float = 0.0
    """Share of packets lost, 0 to 1."""
    rate_bps: float = 0.0
    """Bits a second; 0 for as many as come."""

    def __post_init__(self) -> None:
        """Refuse what no link can be."""
        if min(self.delay_ms, self.jitter_ms, self.loss, self.rate_bps) < 0 or self.loss > 1:
            raise ValueError(f"no link can be {self}")


Wire = tuple[int, int]
"""From which node to which."""


class Wires:
    """All wires of a laboratory."""

    def __init__(self, link: Link, seed: int = 0) -> None:
        """Begin with every wire whole.

        Args:
          link: what a wire is unless it is shaped.
          seed: of the dice that lose and jitter packets.
        """
        self._link = link
        self._shaped: dict[Wire, Link] = {}
        self._cut: set[Wire] = set()
        self._free_s: dict[Wire, float] = {}
        self._last_s: dict[Wire, float] = {}
        self._dice = random.Random(seed)
        self.counts: Counter[str] = Counter()
        """Packets (`sent`, `lost`, `cut`, `queue_full`) and `bytes` sent."""

    def shape(self, wire: Wire, link: Link) -> None:
        """Make one direction another kind of link."""
        self._shaped[wire] = link

    def cut(self, wire: Wire) -> None:
        """Let nothing through in one direction."""
        self._cut.add(wire)

    def heal(self) -> None:
        """Mend all cuts; shapes stay."""
        self._cut.clear()

    def send(self, wire: Wire, size: int, now_s: float) -> float | None:
        """Put a packet of `size` bytes on a wire; returns when it arrives (seconds), None if never."""
        link = self._shaped.get(wire, self._link)
        if wire in self._cut:
            self.counts["cut"] += 1
            return None
        if link.loss and self._dice.random() < link.loss:
            self.counts["lost"] += 1
            return None
        left_s = self._leave(wire, link, size, now_s)
        if left_s is None:
            self.counts["queue_full"] += 1
            return None
        self.counts["sent"] += 1
        self.counts["bytes"] += size
        jitter_ms = self._dice.uniform(-link.jitter_ms, link.jitter_ms) if link.jitter_ms else 0.0
        arrives_s = left_s + max(0.0, link.delay_ms + jitter_ms) / 1000
        self._last_s[wire] = max(arrives_s, self._last_s.get(wire, 0.0))
        return self._last_s[wire]

    def _leave(self, wire: Wire, link: Link, size: int, now_s: float) -> float | None:
        if not link.rate_bps:
            return now_s
        begins_s = max(now_s, self._free_s.get(wire, 0.0))
        if begins_s - now_s > QUEUE_S_MAX:
            return None
        self._free_s[wire] = begins_s + 8 * size / link.rate_bps
        return self._free_s[wire]
