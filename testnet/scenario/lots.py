"""How one fault of each kind is drawn by lot, within the budget of the fault matrix.

Source: RELIABILITY (2).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from testnet.scenario import faults
from testnet.scenario.faults import Fault
from testnet.scenario.model import NodeGroup

Shape = Literal["halves", "islands", "isolate", "one-way", "flapping"]

SHAPES: Final[tuple[Shape, ...]] = ("halves", "islands", "isolate", "one-way", "flapping")


@dataclass(frozen=True)
class Urn:
    """What lots are drawn from."""

    dice: random.Random
    groups: Sequence[NodeGroup]

    def up_to(self, most: int, least: int = 1) -> int:
        """Draw a number."""
        return self.dice.randint(least, most)

    def pair(self, least: int, most: int) -> tuple[int, int]:
        """Draw two numbers, the smaller one first."""
        first = self.up_to(most, least)
        return first, self.up_to(most, first)

    def few(self) -> tuple[str, ...]:
        """Draw at most a third of the nodes; of the supervisors fewer than a third."""
        drawn: list[str] = []
        for group in self.groups:
            most = (group.count - 1) // 3 if "supervisor" in group.roles else group.count // 3
            count = self.up_to(most, 0)
            drawn += [f"{group.name}{i}" for i in sorted(self.dice.sample(range(1, group.count + 1), count))]
        return tuple(drawn) or (f"{self.groups[0].name}1",)

    def few_with_data(self) -> tuple[str, ...]:
        """Draw the same, a miner among them: it has data on its disk from the start."""
        miner = next((f"{group.name}1" for group in self.groups if "miner" in group.roles), None)
        return tuple(dict.fromkeys((*((miner,) if miner else ()), *self.few())))


Lot = Callable[[Urn], Fault]


def _partition(urn: Urn) -> Fault:
    return faults.Partition(
        shape=urn.dice.choice(SHAPES),
        islands=urn.up_to(4, 2),
        lasts_s=urn.pair(2, 10),
        pause_s=urn.pair(1, 8),
    )


LOTS: Final[dict[str, Lot]] = {
    "kill": lambda urn: faults.Kill(every_s=urn.pair(1, 9), down_ms=urn.pair(300, 4_000)),
    "torn-write": lambda urn: faults.TornWrite(every_s=urn.pair(1, 9), down_ms=urn.pair(300, 4_000)),
    "crash-in-recovery": lambda urn: faults.CrashInRecovery(
        every_s=urn.pair(1, 5), percent=urn.up_to(80, 40)
    ),
    "pause": lambda urn: faults.Pause(every_s=urn.pair(3, 12), lasts_ms=urn.pair(500, 15_000)),
    "loss": lambda urn: faults.Loss(percent=urn.up_to(30)),
    "duplicate": lambda urn: faults.Duplicate(percent=urn.up_to(50)),
    "reorder": lambda urn: faults.Reorder(percent=urn.up_to(50), late_ms=(0, urn.up_to(3_000, 100))),
    "delay": lambda urn: faults.Delay(late_ms=urn.pair(50, 5_000)),
    "partition": _partition,
    "clog": lambda urn: faults.Clog(
        percent=urn.up_to(33), late_ms=urn.pair(100, 5_000), queue=urn.up_to(20, 2)
    ),
    "slow-remote": lambda urn: faults.SlowRemote(nodes=urn.few(), late_ms=urn.pair(100, 5_000)),
    "skew": lambda urn: faults.Skew(nodes=urn.few(), skew_ms=urn.up_to(30_000, 1_000)),
    "clock-jump": lambda urn: faults.ClockJump(
        nodes=urn.few(), every_s=urn.pair(3, 12), jump_ms=urn.up_to(7_200_000, 1_000), lasts_s=urn.pair(1, 8)
    ),
    "frozen-clock": lambda urn: faults.FrozenClock(
        nodes=urn.few(), every_s=urn.pair(3, 12), lasts_s=urn.pair(1, 8)
    ),
    "bit-rot": lambda urn: faults.BitRot(nodes=urn.few_with_data(), every_s=urn.pair(1, 8)),
    "disk-full": lambda urn: faults.DiskFull(every_s=urn.pair(3, 12), down_ms=urn.pair(500, 5_000)),
    "fsync-error": lambda urn: faults.FsyncError(every_s=urn.pair(3, 12), within=urn.up_to(30)),
    "slow-disk": lambda urn: faults.SlowDisk(late_ms=urn.pair(10, 1_500)),
    "trainer-dies": lambda urn: faults.TrainerDies(percent=urn.up_to(10)),
    "trainer-hangs": lambda urn: faults.TrainerHangs(percent=urn.up_to(2)),
    "trainer-slow": lambda urn: faults.TrainerSlow(percent=urn.up_to(50), factor=urn.up_to(20, 2)),
}
"""By kind; what is not here is never drawn: blocks are read from the disk only in long histories."""
