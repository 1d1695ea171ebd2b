"""All faults of a run, each when its time has come."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from testnet.devnet.crew import Crew
from testnet.devnet.deeds import DEEDS, Deed, Scene
from testnet.devnet.ground import Ground
from testnet.scenario import faults
from testnet.scenario.cast import select
from testnet.scenario.faults import Fault
from testnet.scenario.model import Scenario

NEVER_S: Final = float("inf")


class Havoc:
    """The faults of one scenario; times are seconds since the run began."""

    def __init__(
        self, scenario: Scenario, seed: int, crew: Crew, ground: Ground, tell: Callable[[str], None]
    ) -> None:
        """Plan them; nothing happens before `tick`."""
        self.fired: Counter[str] = Counter()
        """How often each kind struck nodes; what links do is counted by the ground."""
        self.times_s: dict[str, list[float]] = {}
        """When, for those."""
        self._now_s = 0.0
        self._due: list[tuple[float, int, Deed]] = []
        self._ends: list[tuple[float, Deed]] = []
        numbers: Counter[str] = Counter()
        for order, fault in enumerate(scenario.faults):
            kind = faults.kind_of(fault)
            dice = random.Random(f"{seed}/{kind} {numbers[kind]}")
            numbers[kind] += 1
            names = select(scenario, fault.nodes)
            deed = self._deed(fault, Scene(kind, crew, ground, dice, names, self.fired, tell))
            heapq.heappush(self._due, (fault.from_s, order, deed))
            self._ends.append((fault.until_s or NEVER_S, deed))

    def _deed(self, fault: Fault, scene: Scene) -> Deed:
        return DEEDS[type(fault)](fault, scene)

    def tick(self, now_s: float) -> None:
        """Let happen what is due."""
        for end_s, deed in self._ends:
            if end_s <= now_s:
                deed.close()
        while self._due and self._due[0][0] <= now_s:
            due_s, order, deed = heapq.heappop(self._due)
            before = Counter(self.fired)
            pause_s = next(deed, None)
            for kind in self.fired - before:
                self.times_s.setdefault(kind, []).append(now_s)
            if pause_s is not None:
                # Real time can be late; what comes next counts from now, so that blows keep their distance.
                heapq.heappush(self._due, (max(due_s, now_s) + pause_s, order, deed))

    def heal(self) -> None:
        """End all of them, also those that have not begun."""
        for _, _, deed in self._due:
            deed.close()
        self._due.clear()
