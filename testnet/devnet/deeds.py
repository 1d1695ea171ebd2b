"""The faults of a scenario, done to real processes and to the links between them.

Each is a generator that does something and yields how many seconds it waits then; closing it undoes what it
did. Whom it strikes and when comes from dice of its own, split off from the seed by its kind and its number
among those, and thrown in the same order as in `testnet.simulator.faulting`: one seed plans the same blows in
both. What real nodes need to start again comes on top.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from testnet.devnet.crew import Crew
from testnet.devnet.ground import Ground
from testnet.devnet.weather import Trouble
from testnet.devnet.wires import Link, Wire
from testnet.scenario import faults
from testnet.scenario.faults import Fault
from testnet.simulator.faulting.ways import FLAPS_S

Deed = Generator[float, None, None]

POLL_S: Final = 0.5
FOREVER_S: Final = float("inf")
"""Until the deed is closed."""

_MS_PER_S: Final = 1000
_WHOLE: Final = 100
"""Per cent."""


@dataclass(frozen=True)
class Scene:
    """What a deed has to work with."""

    kind: str
    crew: Crew
    ground: Ground
    dice: random.Random
    """Its own."""
    nodes: Sequence[str]
    """Those that it may strike."""
    fired: Counter[str]
    tell: Callable[[str], None]
    """Takes a sentence for people."""

    def between(self, bounds: tuple[int, int]) -> int:
        """Draw a number between two, both included."""
        return self.dice.randint(*bounds)

    @contextmanager
    def troubles(self) -> Iterator[Callable[[Trouble], Callable[[], None]]]:
        """Give a function that begins a trouble and returns how it is ended; all end in the end."""
        weather = self.ground.weather
        assert weather is not None, "faults of the network need namespaces"
        with ExitStack() as stack:

            def begin(trouble: Trouble) -> Callable[[], None]:
                weather.begin(trouble)
                stack.callback(weather.end, trouble)
                return lambda: weather.end(trouble)

            yield begin

    def did(self, what: str) -> None:
        """Count one blow, and say so."""
        self.fired[self.kind] += 1
        self.tell(what)


def kills(fault: faults.Kill, scene: Scene) -> Deed:
    """Kill one node after the other and start it again; the next not before that one answers."""
    count = 0
    while not fault.count_max or count < fault.count_max:
        yield scene.between(fault.every_s)
        victim, down_s = scene.dice.choice(scene.nodes), scene.between(fault.down_ms) / _MS_PER_S
        count += 1
        if scene.crew.is_down(victim):
            continue
        scene.crew.kill(victim)
        scene.did(f"{victim} is killed, and started again after {down_s:.1f} s")
        try:
            yield down_s
        finally:
            scene.crew.start(victim)
        while not scene.crew.answers(victim):
            yield POLL_S


def pauses(fault: faults.Pause, scene: Scene) -> Deed:
    """Stop one node after the other, and let it go on."""
    while True:
        yield scene.between(fault.every_s)
        victim, lasts_s = scene.dice.choice(scene.nodes), scene.between(fault.lasts_ms) / _MS_PER_S
        if scene.crew.is_down(victim) or scene.crew.is_paused(victim):
            continue
        scene.crew.pause(victim)
        scene.did(f"{victim} is stopped for {lasts_s:.1f} s")
        try:
            yield lasts_s
        finally:
            scene.crew.resume(victim)


def losses(fault: faults.Loss, scene: Scene) -> Deed:
    """Lose a share of the packets to and from the nodes."""
    worse = Link(loss=fault.percent / _WHOLE)
    yield from _lasting(scene, Trouble(of_nodes(scene), worse=worse), f"{fault.percent} % loss")


def duplicates(fault: faults.Duplicate, scene: Scene) -> Deed:
    """Let a share of the packets to and from the nodes arrive twice."""
    worse = Link(copies=fault.percent / _WHOLE)
    yield from _lasting(scene, Trouble(of_nodes(scene), worse=worse), f"{fault.percent} % copies")


def disorders(fault: faults.Reorder, scene: Scene) -> Deed:
    """Let a share of the packets to and from the nodes be overtaken."""
    worse = Link(disorder=fault.percent / _WHOLE, disorder_ms=fault.late_ms[1])
    yield from _lasting(scene, Trouble(of_nodes(scene), worse=worse), f"{fault.percent} % disorder")


def delays(fault: faults.Delay, scene: Scene) -> Deed:
    """Let all packets to and from the nodes be late, on each way by a time of its own."""
    yield from _slow(scene, fault.late_ms, room=0)


def slow_remotes(fault: faults.SlowRemote, scene: Scene) -> Deed:
    """Let all ways to and from the nodes be slow and hold few packets."""
    yield from _slow(scene, fault.late_ms, fault.queue)


def _slow(scene: Scene, late_ms: tuple[int, int], room: int) -> Deed:
    ways = of_nodes(scene)
    scene.tell(f"{len(ways)} ways between nodes are late by {late_ms[0]} to {late_ms[1]} ms")
    with scene.troubles() as begin:
        for way in ways:
            begin(Trouble((way,), worse=Link(late_ms=scene.between(late_ms), room=room)))
        try:
            yield FOREVER_S
        finally:
            scene.tell("nothing is late any more")


def clogs(fault: faults.Clog, scene: Scene) -> Deed:
    """Clog a share of the ways, one after the other, and mend them one after the other."""
    ways = of_nodes(scene)
    scene.tell(f"ways between nodes are clogged and mended, {fault.percent} % of {len(ways)} at most")
    with scene.troubles() as begin:
        while True:
            yield from _clog(fault, scene, ways, begin)


def _clog(
    fault: faults.Clog, scene: Scene, ways: Sequence[Wire], begin: Callable[[Trouble], Callable[[], None]]
) -> Deed:
    """Clog as many ways as there may be, then mend them all."""
    mend = []
    for way in scene.dice.sample(ways, -(-len(ways) * fault.percent // _WHOLE)):
        late_ms = scene.between(fault.late_ms)
        mend.append(begin(Trouble((way,), worse=Link(late_ms=late_ms, room=fault.queue))))
        yield scene.between(fault.every_ms) / _MS_PER_S
    while mend:
        mend.pop(scene.dice.randrange(len(mend)))()
        yield scene.between(fault.every_ms) / _MS_PER_S


def _lasting(scene: Scene, trouble: Trouble, what: str, lasts_s: float = FOREVER_S) -> Deed:
    """Let a trouble last for so long."""
    scene.tell(f"{what} on {len(trouble.wires)} ways between nodes")
    with scene.troubles() as begin:
        begin(trouble)
        try:
            yield lasts_s
        finally:
            scene.tell(f"{what} is over")


def partitions(fault: faults.Partition, scene: Scene) -> Deed:
    """Cut the network into parts; a flapping one is whole now and then."""
    while True:
        trouble = Trouble(_cuts(fault, scene), cuts=True)
        bounds = FLAPS_S if fault.shape == "flapping" and not fault.lasts_s[1] else fault.lasts_s
        lasts_s = scene.between(bounds) if bounds[1] else FOREVER_S
        yield from _lasting(scene, trouble, f"a partition ({fault.shape})", lasts_s)
        yield scene.between(fault.pause_s)


def _cuts(fault: faults.Partition, scene: Scene) -> tuple[Wire, ...]:
    """Draw which wires are cut."""
    numbers = scene.ground.numbers
    if fault.shape in ("isolate", "one-way"):
        away = scene.nodes if len(scene.nodes) < len(numbers) else [scene.dice.choice(list(numbers))]
        outside = [numbers[name] for name in away]
        return parted(
            numbers.values(), lambda number: number in outside, one_way_from=fault.shape == "one-way"
        )
    names = list(numbers)
    scene.dice.shuffle(names)
    count = fault.islands if fault.shape == "islands" else 2
    island = {numbers[name]: place % count for place, name in enumerate(names)}
    return parted(numbers.values(), island.__getitem__)


def parted(
    everybody: Collection[int], side: Callable[[int], int], *, one_way_from: bool = False
) -> tuple[Wire, ...]:
    """Return the wires between nodes of different sides; of side 1 to side 0 alone if it is one-way."""
    wires = [(a, b) for a in everybody for b in everybody if side(a) != side(b)]
    return tuple(wire for wire in wires if not one_way_from or side(wire[0]))


def of_nodes(scene: Scene) -> tuple[Wire, ...]:
    """Return the wires to and from any of the nodes."""
    struck = {scene.ground.numbers[name]: None for name in scene.nodes}
    everybody = scene.ground.numbers.values()
    return tuple((a, b) for a in everybody for b in everybody if a != b and (a in struck or b in struck))


DEEDS: Final[dict[type[Fault], Callable[[Any, Scene], Deed]]] = {
    faults.Kill: kills,
    faults.Pause: pauses,
    faults.Loss: losses,
    faults.Duplicate: duplicates,
    faults.Reorder: disorders,
    faults.Delay: delays,
    faults.SlowRemote: slow_remotes,
    faults.Clog: clogs,
    faults.Partition: partitions,
}
"""Kinds of faults that real processes can have."""

OF_NETWORK: Final[tuple[type[Fault], ...]] = (
    faults.Loss,
    faults.Duplicate,
    faults.Reorder,
    faults.Delay,
    faults.SlowRemote,
    faults.Clog,
    faults.Partition,
)
"""Those of them that need namespaces."""
