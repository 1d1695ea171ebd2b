"""The course of one fault: it begins, may strike time after time, and ends."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pai.primitives.ids import PeerId
from testnet.simulator.world import World

Restart = Callable[[PeerId, int], None]
"""Kills a node, and starts it again after so many milliseconds."""


@dataclass(frozen=True)
class Ground:
    """What a fault has to work with."""

    world: World
    dice: random.Random
    """Its own."""
    nodes: Sequence[PeerId]
    """Those that it may hit."""
    restart: Restart

    def running(self) -> list[PeerId]:
        """Return those of the nodes that did not stop for good."""
        return [name for name in self.nodes if name not in self.world.halted]


class Course:
    """One fault at work; a kind says what `begin` and `end` do."""

    def __init__(self, kind: str, ground: Ground) -> None:
        self.kind, self.ground = kind, ground
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
        self.ground.world.at(delay_ms, self.kind, lambda: None if self.is_over else action())

    def between(self, bounds: tuple[int, int]) -> int:
        """Draw a number between two, both included."""
        return self.ground.dice.randint(*bounds)
