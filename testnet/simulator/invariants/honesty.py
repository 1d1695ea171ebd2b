"""Who is held to the rules, and who must not be thought ill of: one answer for all checkers.

Nodes are of three kinds:

    sound       runs its core, and what its trainer and its disk tell it is true: every promise holds for it
    misled      runs its core, but its trainer, its disk or the chain spec it was given lies to it
    dishonest   in other hands: it is held to nothing, and anything may be thought of it

A misled node is still held to what it says and to its limits, but others may well take its stake or hang up,
and it may blame others wrongly. One whose disk lost what it had promised may say something else than before.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from p2pai.primitives.ids import PeerId


def _nothing() -> bool:
    return False


@dataclass
class Honesty:
    """The nodes of a world by kind; who is not named is sound."""

    dishonest: dict[PeerId, None] = field(default_factory=dict)
    misled: dict[PeerId, str] = field(default_factory=dict)
    """What lies to them: `trainer`, `disk` or `spec`."""
    has_fault: Callable[[], bool] = _nothing
    """Whether anything went wrong so far: a message lost, somebody cut off or killed."""

    def distrust(self, *names: PeerId) -> None:
        """Hold these nodes to nothing from now on."""
        self.dishonest |= dict.fromkeys(names)

    def mislead(self, by: str, *names: PeerId) -> None:
        """Tell that something lies to these nodes from now on, which run their cores as they are."""
        for name in names:
            self.dishonest.pop(name, None)
            self.misled[name] = by

    def is_honest(self, name: PeerId) -> bool:
        """Return whether a node runs its core as it is."""
        return name not in self.dishonest

    def is_sound(self, name: PeerId) -> bool:
        """Return whether it does, and nothing lies to it."""
        return name not in self.dishonest and name not in self.misled

    def remembers(self, name: PeerId) -> bool:
        """Return whether an honest node has everything that it wrote to its disk."""
        return name not in self.dishonest and self.misled.get(name) != "disk"

    @property
    def is_calm(self) -> bool:
        """Whether nothing went wrong so far, and everybody is sound."""
        return not self.dishonest and not self.misled and not self.has_fault()
