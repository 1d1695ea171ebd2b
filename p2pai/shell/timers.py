"""Named timers: setting a name again replaces what was set."""

import heapq
import math
from collections.abc import Callable
from itertools import count

import trio

from p2pai.primitives.ids import Millis


class Timers:
    """Fires names when they are due."""

    def __init__(self, fire: Callable[[str], object]) -> None:
        self._fire = fire
        self._order = count()
        self._current: dict[str, int] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._changed = trio.Event()

    def set(self, name: str, delay_ms: Millis) -> None:
        """Fire `name` after a delay, instead of when it was set to before."""
        number = next(self._order)
        self._current[name] = number
        heapq.heappush(self._heap, (trio.current_time() + delay_ms / 1000, number, name))
        self._changed.set()

    async def run(self) -> None:
        """Fire timers for ever."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._next_deadline()):
                await self._changed.wait()
            self._fire_due()

    def _next_deadline(self) -> float:
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def _fire_due(self) -> None:
        # Only what was due on entry: a timer of zero that sets itself again must not keep the loop to itself.
        now = trio.current_time()
        due = []
        while self._next_deadline() <= now:
            due.append(heapq.heappop(self._heap))
        for entry in due:
            # Firing one may have replaced another.
            if self._is_current(entry):
                del self._current[entry[2]]
                self._fire(entry[2])

    def _is_current(self, entry: tuple[float, int, str]) -> bool:
        return self._current.get(entry[2]) == entry[1]
