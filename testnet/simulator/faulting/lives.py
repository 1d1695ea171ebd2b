"""Faults that end a node's life."""

from typing import Final

from testnet.scenario import faults
from testnet.simulator.faulting.course import Course, Ground

_MS_PER_S: Final = 1000


class Kills(Course):
    """One node after the other is killed and started again."""

    def __init__(self, kind: str, fault: faults.Kill, ground: Ground) -> None:
        super().__init__(kind, ground)
        self._fault = fault
        self._count = 0

    def begin(self) -> None:
        """Strike, each time after a while."""
        self.again(self.between(self._fault.every_s) * _MS_PER_S, self._strike)

    def _strike(self) -> None:
        running = self.ground.running()
        if running:
            self.ground.restart(self.ground.dice.choice(running), self.between(self._fault.down_ms))
            self._count += 1
        if self._count != self._fault.count_max or not self._fault.count_max:
            self.begin()
