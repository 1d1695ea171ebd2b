"""The course of one fault: it begins, may strike time after time, and ends."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from p2pai.primitives.ids import PeerId
from testnet.scenario.faults import Fault, Recurring
from testnet.simulator.world import World

MS_PER_S: Final = 1000

Restart = Callable[[PeerId, int], None]
"""Kills a node, and starts it again after so many milliseconds."""

F = TypeVar("F", bound=Fault)
R = TypeVar("R", bound=Recurring)


@dataclass(frozen=True)
class Ground:
    """What a fault has to work with."""

    world: World
    dice: random.Random
    """Its own."""
    nodes: Sequence[PeerId]
    """Those that it may hit."""
    restart: Restart

    def there(self) -> list[PeerId]:
        """Return those of the nodes that have started and did not stop for good."""
        return [name for name in self.nodes if name in self.world.hosts and name not in self.world.halted]


class Course(Generic[F]):
    """One fault at work; a kind says what `begin` and `end` do."""

    def __init__(self, kind: str, fault: F, ground: Ground) -> None:
        self.kind, self.fault, self.ground, self.world = kind, fault, ground, ground.world
        self.is_over = False

    def begin(self) -> None:
        """Do what the kind does."""

    def end(self) -> None:
        """Undo it, as far as that can be."""

    def finish(self) -> None:
        """End it, once."""
        if not self.is_over:
            self.is_over = True
            self.end()

    def again(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something after a while, if the fault is not over by then."""
        self.world.at(delay_ms, self.kind, lambda: None if self.is_over else action())

    def between(self, bounds: tuple[int, int]) -> int:
        """Draw a number between two, both included."""
        return self.ground.dice.randint(*bounds)


class Strikes(Course[R]):
    """A fault that hits one node after the other."""

    def begin(self) -> None:
        """Strike, each time after a while."""
        self.again(self.between(self.fault.every_s) * MS_PER_S, self._strike)

    def _strike(self) -> None:
        there = self.ground.there()
        if there:
            self.hit(self.ground.dice.choice(there))
        self.begin()

    def hit(self, name: PeerId) -> None:
        """Do to a node what the kind does."""
