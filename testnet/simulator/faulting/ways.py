"""Faults of the ways between nodes."""

from collections.abc import Callable
from itertools import permutations
from typing import Final, TypeVar

from p2pai.primitives.ids import PeerId
from testnet.scenario.faults import Clog, Delay, Duplicate, Fault, Loss, Partition, Reorder, SlowRemote
from testnet.simulator.faulting.course import MS_PER_S, Course
from testnet.simulator.links import Trouble

FLAPS_S: Final = (1, 10)
"""How long each partition of a flapping one lasts that says nothing else."""

Touches = Callable[[PeerId, PeerId], bool]

F = TypeVar("F", bound=Fault)


class Troubles(Course[F]):
    """Troubles that last."""

    present: tuple[Trouble, ...] = ()

    def add(self, trouble: Trouble) -> None:
        """Begin one."""
        self.present = (*self.present, trouble)
        self.world.links.add(trouble)

    def remove(self, trouble: Trouble) -> None:
        """End one."""
        self.present = tuple(other for other in self.present if other is not trouble)
        self.world.links.remove(trouble)

    def end(self) -> None:
        """End all of them."""
        for trouble in self.present:
            self.remove(trouble)

    def of_nodes(self) -> Touches:
        """Return what is to or from any of the nodes."""
        names = dict.fromkeys(self.ground.nodes)
        return lambda source, target: source in names or target in names


class Losses(Troubles[Loss]):
    """Gossip is lost."""

    def begin(self) -> None:
        """Lose a share of all that is to or from the nodes."""
        self.add(Trouble(self.kind, self.of_nodes(), loss_percent=self.fault.percent))


class Duplicates(Troubles[Duplicate]):
    """Gossip arrives twice."""

    def begin(self) -> None:
        """Double a share of all that is to or from the nodes."""
        self.add(Trouble(self.kind, self.of_nodes(), copy_percent=self.fault.percent))


class Reorders(Troubles[Reorder]):
    """Some messages are overtaken."""

    def begin(self) -> None:
        """Hold up a share of all that is to or from the nodes."""
        late = self.fault.percent, self.fault.late_ms
        self.add(Trouble(self.kind, self.of_nodes(), late_percent=late[0], late_ms=late[1]))


class Delays(Troubles[Delay]):
    """Everything is late."""

    def begin(self) -> None:
        """Hold up all that is to or from the nodes."""
        self.add(Trouble(self.kind, self.of_nodes(), late_percent=100, late_ms=self.fault.late_ms))


class SlowRemotes(Troubles[SlowRemote]):
    """The nodes are slow to reach."""

    def begin(self) -> None:
        """Let all ways to and from the nodes be slow."""
        late_ms, queue = self.fault.late_ms, self.fault.queue
        self.add(Trouble(self.kind, self.of_nodes(), late_percent=100, late_ms=late_ms, queue=queue))


class Clogs(Troubles[Clog]):
    """Ways are clogged one after the other, then mended one after the other in another order."""

    def begin(self) -> None:
        """Draw the ways, and clog the first."""
        self._clogged: dict[tuple[PeerId, PeerId], None] = {}
        touches: Touches = lambda source, target: (source, target) in self._clogged  # noqa: E731
        late_ms, queue = self.fault.late_ms, self.fault.queue
        self.add(Trouble(self.kind, touches, late_percent=100, late_ms=late_ms, queue=queue))
        self._draw()

    def _draw(self) -> None:
        names = dict.fromkeys(self.ground.nodes)
        ways = [(a, b) for a, b in permutations(self.world.hosts, 2) if a in names or b in names]
        self._clog(self.ground.dice.sample(ways, -(-len(ways) * self.fault.percent // 100)))

    def _clog(self, ways: list[tuple[PeerId, PeerId]]) -> None:
        if ways:
            way = ways.pop()
            self._clogged[way] = None
            self.world.links.look_again(*way)
            self.again(self.between(self.fault.every_ms), lambda: self._clog(ways))
        else:
            clogged = list(self._clogged)
            self.ground.dice.shuffle(clogged)
            self._mend(clogged)

    def _mend(self, ways: list[tuple[PeerId, PeerId]]) -> None:
        if ways:
            way = ways.pop()
            del self._clogged[way]
            self.world.links.look_again(*way)
            self.again(self.between(self.fault.every_ms), lambda: self._mend(ways))
        else:
            self.again(self.between(self.fault.every_ms), self._draw)


class Partitions(Troubles[Partition]):
    """The network is in parts."""

    def begin(self) -> None:
        """Cut, and mend after a while if it does not last."""
        self.add(Trouble(self.kind, self._draw(), cuts=True))
        lasts_s = self.fault.lasts_s
        if self.fault.shape == "flapping" and not lasts_s[1]:
            lasts_s = FLAPS_S
        if lasts_s[1]:
            self.again(self.between(lasts_s) * MS_PER_S, self._mend)

    def _mend(self) -> None:
        self.end()
        self.again(self.between(self.fault.pause_s) * MS_PER_S, self.begin)

    def _draw(self) -> Touches:
        shape = self.fault.shape
        if shape in ("isolate", "one-way"):
            return self._away(is_one_way=shape == "one-way")
        names = list(self.world.hosts)
        self.ground.dice.shuffle(names)
        count = self.fault.islands if shape == "islands" else 2
        islands = {name: number % count for number, name in enumerate(names)}
        return lambda source, target: islands.get(source) != islands.get(target)

    def _away(self, *, is_one_way: bool) -> Touches:
        everybody = list(self.world.hosts)
        away = dict.fromkeys(self.ground.nodes)
        if len(away) >= len(everybody):
            away = dict.fromkeys([self.ground.dice.choice(everybody)])
        if is_one_way:
            return lambda source, target: source in away and target not in away
        return lambda source, target: (source in away) != (target in away)
