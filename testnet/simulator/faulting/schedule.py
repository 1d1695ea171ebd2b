"""When which fault begins and ends."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from p2pai.primitives.ids import PeerId
from testnet.scenario import faults
from testnet.scenario.faults import FAULTS, Fault
from testnet.simulator.faulting import disks, lives, machines, ways
from testnet.simulator.faulting.course import MS_PER_S, Course, Ground, Restart
from testnet.simulator.world import World

_COURSES: Final[dict[type[Fault], Callable[[str, Any, Ground], Course[Any]]]] = {
    faults.Kill: lives.Kills,
    faults.TornWrite: lives.TornWrites,
    faults.CrashInRecovery: lives.CrashesInRecovery,
    faults.Pause: lives.Pauses,
    faults.Loss: ways.Losses,
    faults.Duplicate: ways.Duplicates,
    faults.Reorder: ways.Reorders,
    faults.Delay: ways.Delays,
    faults.Partition: ways.Partitions,
    faults.Clog: ways.Clogs,
    faults.SlowRemote: ways.SlowRemotes,
    faults.Skew: machines.Skews,
    faults.ClockJump: machines.ClockJumps,
    faults.FrozenClock: machines.FrozenClocks,
    faults.BitRot: disks.BitRots,
    faults.SwappedRead: disks.SwappedReads,
    faults.DiskFull: disks.DisksFull,
    faults.FsyncError: disks.FsyncErrors,
    faults.SlowDisk: disks.SlowDisks,
    faults.TrainerDies: machines.Deaths,
    faults.TrainerHangs: machines.Hangs,
    faults.TrainerSlow: machines.Slowness,
}

_KINDS: Final = {fault: kind for kind, fault in FAULTS.items()}


class Faulting:
    """All faults of one history."""

    def __init__(
        self,
        world: World,
        planned: Sequence[Fault],
        nodes: Mapping[str, Sequence[PeerId]],
        restart: Restart,
    ) -> None:
        """Put the faults on the world's agenda; their times count from now.

        Args:
          world: what they happen to.
          planned: the scenario's.
          nodes: who is meant by each name that a fault may give: of a node, of a group, and `any`.
          restart: kills a node, and starts it again after so many milliseconds.
        """
        self._world = world
        self.kinds = tuple(dict.fromkeys(_KINDS[type(fault)] for fault in planned))
        self._courses: list[Course[Any]] = []
        counts: Counter[str] = Counter()
        for fault in planned:
            kind = _KINDS[type(fault)]
            dice = world.dice(f"{kind} {counts[kind]}")
            counts[kind] += 1
            named = dict.fromkeys(name for word in fault.nodes for name in nodes[word])
            course = _COURSES[type(fault)](kind, fault, Ground(world, dice, tuple(named), restart))
            self._courses.append(course)
            course.again(fault.from_s * MS_PER_S, course.begin)
            if fault.until_s:
                course.again(fault.until_s * MS_PER_S, course.finish)

    def heal(self) -> None:
        """End all faults, also those that have not begun."""
        for course in self._courses:
            course.finish()

    @property
    def is_over(self) -> bool:
        """Whether all of them have ended."""
        return all(course.is_over for course in self._courses)

    def unfired(self) -> tuple[str, ...]:
        """Return the kinds that were planned and never really happened."""
        return tuple(kind for kind in self.kinds if not self._world.fired[kind])
