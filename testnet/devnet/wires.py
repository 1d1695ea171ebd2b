"""What lies between the nodes of a laboratory: delay, loss, copies, disorder, narrow links and cut ones.

A direction from one node to another is a wire of its own. Packets on a wire keep their order, whatever their
jitter, unless the link disorders them. A narrow wire, or a node's narrow way out, queues up to `QUEUE_S_MAX`
and drops what comes on top.
"""

import random
from collections import Counter, deque
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
    copies: float = 0.0
    """Share of packets that arrive twice, 0 to 1."""
    disorder: float = 0.0
    """Share of packets that arrive behind those that left after them, 0 to 1."""
    disorder_ms: float = 50.0
    """How much later than they would, at most; evenly distributed."""
    late_ms: float = 0.0
    """On top of the delay, where something is wrong; such packets are counted."""
    room: int = 0
    """Packets on their way at once, further ones are lost; 0 for as many as come."""

    def __post_init__(self) -> None:
        """Refuse what no link can be."""
        shares = (self.loss, self.copies, self.disorder)
        times_ms = (self.delay_ms, self.jitter_ms, self.disorder_ms, self.late_ms)
        if min(*times_ms, self.rate_bps, self.room, *shares) < 0 or max(shares) > 1:
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
        self._outlets_bps: dict[int, float] = {}
        self._free_s: dict[Wire | int, float] = {}
        """When a narrow wire, or the way out of a node, has sent what it was given."""
        self._last_s: dict[Wire, float] = {}
        self._flying_s: dict[Wire, deque[float]] = {}
        """When what is on a wire with little room arrives."""
        self._dice = random.Random(seed)
        self.counts: Counter[str] = Counter()
        """Packets by what became of them (see NetLab.counts), and `bytes` sent."""

    def shape(self, wire: Wire, link: Link) -> None:
        """Make one direction another kind of link."""
        self._shaped[wire] = link

    def narrow(self, node: int, rate_bps: float) -> None:
        """Let all wires out of a node share so many bits a second; 0 for as many as come."""
        self._outlets_bps[node] = rate_bps

    def cut(self, wire: Wire) -> None:
        """Let nothing through in one direction."""
        self._cut.add(wire)

    def mend(self, wire: Wire) -> None:
        """Undo a cut."""
        self._cut.discard(wire)

    def heal(self) -> None:
        """Mend all cuts; shapes stay."""
        self._cut.clear()

    def send(self, wire: Wire, size: int, now_s: float) -> tuple[float, ...]:
        """Put a packet of `size` bytes on a wire; returns when it arrives (seconds): never, once or twice."""
        link = self._shaped.get(wire, self._link)
        if wire in self._cut:
            self.counts["cut"] += 1
            return ()
        if self._falls(link.loss):
            self.counts["lost"] += 1
            return ()
        if link.room and not self._has_room(wire, link.room, now_s):
            self.counts["no_room"] += 1
            return ()
        left_s = self._leave(wire, link, size, now_s)
        if left_s is None:
            self.counts["queue_full"] += 1
            return ()
        self.counts["sent"] += 1
        self.counts["bytes"] += size
        self.counts["late"] += link.late_ms > 0
        is_copied = self._falls(link.copies)
        self.counts["copied"] += is_copied
        arrives_s = tuple(self._arrive(wire, link, left_s) for _ in range(1 + is_copied))
        if link.room:
            self._flying_s.setdefault(wire, deque()).extend(arrives_s)
        return arrives_s

    def _has_room(self, wire: Wire, room: int, now_s: float) -> bool:
        flying_s = self._flying_s.setdefault(wire, deque())
        while flying_s and flying_s[0] <= now_s:
            flying_s.popleft()
        return len(flying_s) < room

    def _falls(self, share: float) -> bool:
        return share > 0 and self._dice.random() < share

    def _arrive(self, wire: Wire, link: Link, left_s: float) -> float:
        jitter_ms = self._dice.uniform(-link.jitter_ms, link.jitter_ms) if link.jitter_ms else 0.0
        arrives_s = left_s + (max(0.0, link.delay_ms + jitter_ms) + link.late_ms) / 1000
        if self._falls(link.disorder):
            self.counts["disordered"] += 1
            return arrives_s + self._dice.uniform(0.0, link.disorder_ms) / 1000
        self._last_s[wire] = max(arrives_s, self._last_s.get(wire, 0.0))
        return self._last_s[wire]

    def _leave(self, wire: Wire, link: Link, size: int, now_s: float) -> float | None:
        """Return when the packet has passed what is narrow; None when no queue holds it."""
        outlet_s = self._pass(wire[0], self._outlets_bps.get(wire[0], 0.0), size, now_s)
        return None if outlet_s is None else self._pass(wire, link.rate_bps, size, outlet_s)

    def _pass(self, way: Wire | int, rate_bps: float, size: int, now_s: float) -> float | None:
        if not rate_bps:
            return now_s
        begins_s = max(now_s, self._free_s.get(way, 0.0))
        if begins_s - now_s > QUEUE_S_MAX:
            return None
        self._free_s[way] = begins_s + 8 * size / rate_bps
        return self._free_s[way]
