"""Faults of the ways between nodes."""

from collections.abc import Callable
from typing import Final

from p2pai.primitives.ids import PeerId
from testnet.scenario import faults
from testnet.simulator.faulting.course import Course, Ground
from testnet.simulator.links import Trouble

_MS_PER_S: Final = 1000

Touches = Callable[[PeerId, PeerId], bool]


class Troubles(Course):
    """Troubles that last."""

    def __init__(self, kind: str, ground: Ground) -> None:
        super().__init__(kind, ground)
        self._present: list[Trouble] = []

    def add(self, trouble: Trouble) -> None:
        """Begin one."""
        self._present.append(trouble)
        self.ground.world.links.add(trouble)

    def end(self) -> None:
        """End all of them."""
        for trouble in self._present:
            self.ground.world.links.remove(trouble)
        self._present.clear()

    def of_nodes(self) -> Touches:
        """Return what is to or from any of the nodes."""
        names = dict.fromkeys(self.ground.nodes)
        return lambda source, target: source in names or target in names


class Losses(Troubles):
    """Messages are lost."""

    def __init__(self, kind: str, fault: faults.Loss, ground: Ground) -> None:
        super().__init__(kind, ground)
        self._fault = fault

    def begin(self) -> None:
        """Lose a share of all that is to or from the nodes."""
        self.add(Trouble(self.kind, self.of_nodes(), loss_percent=self._fault.percent))


class Partitions(Troubles):
    """The network is in parts; a flapping one is whole now and then."""

    def __init__(self, kind: str, fault: faults.Partition, ground: Ground) -> None:
        super().__init__(kind, ground)
        self._fault = fault

    def begin(self) -> None:
        """Cut, and mend after a while if it is a flapping one."""
        self.add(Trouble(self.kind, self._draw(), cuts=True))
        lasts_s = self.between(self._fault.lasts_s)
        if lasts_s:
            self.again(lasts_s * _MS_PER_S, self._mend)

    def _mend(self) -> None:
        self.end()
        self.again(self.between(self._fault.pause_s) * _MS_PER_S, self.begin)

    def _draw(self) -> Touches:
        if self._fault.shape in ("isolate", "one-way"):
            return self._away(is_one_way=self._fault.shape == "one-way")
        names = list(self.ground.world.hosts)
        self.ground.dice.shuffle(names)
        count = self._fault.islands if self._fault.shape == "islands" else 2
        islands = {name: number % count for number, name in enumerate(names)}
        return lambda source, target: islands.get(source) != islands.get(target)

    def _away(self, *, is_one_way: bool) -> Touches:
        everybody = list(self.ground.world.hosts)
        away = dict.fromkeys(self.ground.nodes)
        if len(away) == len(everybody):
            away = dict.fromkeys([self.ground.dice.choice(everybody)])
        if is_one_way:
            return lambda source, target: source in away and target not in away
        return lambda source, target: (source in away) != (target in away)
