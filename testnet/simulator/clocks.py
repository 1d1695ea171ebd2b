"""What a node's own clock says, while the world's time is the true one.

A node reads it through `p2pai.shell.clock.Clock`, as in a process: small steps back are waited out, long ones
followed. Timers don't follow it: they run on monotonic time in a process too (shell/timers.py), and so does
the gossip below the core.
"""

from collections import Counter
from collections.abc import Callable

from p2pai.shell.clock import Clock

_NS_PER_MS = 1_000_000
_PPM = 1_000_000


class NodeClock:
    """One machine's wall clock; true until something is wrong with it."""

    def __init__(self, now_ms: Callable[[], int], fired: Counter[str]) -> None:
        """Begin true; `now_ms` is the true time, `fired` counts the faults that a node came to see."""
        self._now_ms, self._fired = now_ms, fired
        self._offset_ms = 0
        self._ppm = 0
        self._since_ms = now_ms()
        """When the clock began to drift."""
        self._frozen_ms: int | None = None
        self._kind = ""
        self._clock = self._new()
        self.is_true = True
        """Whether there is nothing to read but the true time."""

    def shift(self, kind: str, offset_ms: int, ppm: int = 0) -> None:
        """Set it ahead or back, by so much against the true time, and let it drift from there on."""
        self._begin(kind)
        self._offset_ms, self._ppm, self._since_ms = offset_ms, ppm, self._now_ms()

    def freeze(self, kind: str) -> None:
        """Let it stand still."""
        self._begin(kind)
        self._frozen_ms = self._wall_ms()

    def mend(self) -> None:
        """Set it right."""
        self._kind = ""
        self._offset_ms, self._ppm, self._frozen_ms = 0, 0, None

    def restart(self) -> None:
        """Forget what the process remembered of it."""
        self._clock = self._new()

    def read(self) -> int:
        """Return what a node sees."""
        true_ms, seen_ms = self._now_ms(), self._clock.now_ms()
        if seen_ms != true_ms and self._kind:
            self._fired[self._kind] += 1
            self._kind = ""
        is_wrong = self._offset_ms or self._ppm or self._frozen_ms is not None
        self.is_true = not is_wrong and seen_ms == true_ms
        return seen_ms

    def _begin(self, kind: str) -> None:
        self._clock.now_ms()
        self.is_true = False
        self._kind = kind

    def _new(self) -> Clock:
        return Clock(lambda: self._wall_ms() * _NS_PER_MS)

    def _wall_ms(self) -> int:
        if self._frozen_ms is not None:
            return self._frozen_ms
        true_ms = self._now_ms()
        return true_ms + self._offset_ms + (true_ms - self._since_ms) * self._ppm // _PPM
