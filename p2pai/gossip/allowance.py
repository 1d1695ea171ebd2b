"""Memory for what waits to be sent: so much for each remote, and so much for all of them together.

A common bound alone would let a few remotes that never read take the room of all others, a bound for each
alone grows with their number. So each has a small share of its own that nobody can take, and what it needs
beyond comes from a common pool.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Pool:
    """Bytes that all shares together may use beyond their own."""

    size_max: int
    used: int = 0


@dataclass(slots=True)
class Share:
    """One remote's part."""

    pool: Pool
    own: int
    """Bytes that are always there for it."""
    size_max: int
    """Bytes that it may hold at most."""
    held: int = field(default=0, init=False)

    def take(self, size: int, extra: int = 0) -> bool:
        """Hold more bytes if there is room; `extra` bytes beyond the maximum for what matters most."""
        wanted = self.held + size
        borrowed = max(0, wanted - self.own) - max(0, self.held - self.own)
        if wanted > self.size_max + extra or self.pool.used + borrowed > self.pool.size_max:
            return False
        self.pool.used += borrowed
        self.held = wanted
        return True

    def give_back(self, size: int) -> None:
        """Hold fewer bytes."""
        assert size <= self.held, "gives back more than it holds"
        self.pool.used -= max(0, self.held - self.own) - max(0, self.held - size - self.own)
        self.held -= size
