"""Kinds of faults that a scenario can ask for, as plain data: who, when, how much.

Adding a kind is adding a dataclass here, and saying in `testnet.simulator.faulting` how it is done to a
simulated world, and in `testnet.devnet` how to processes, where it can be.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from testnet.scenario.ranges import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What all kinds have in common."""

    nodes: tuple[str, ...] = ("any",)
    """Names of nodes or groups; `any` for all of them."""
    from_s: int = 0
    until_s: int = 0
    """0: until the scenario heals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurring(Fault):
    """What happens time after time, each time to one of the nodes."""

    every_s: tuple[int, int] = (5, 30)


# --- lives


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Recurring):
    """kill -9 and a start again, time after time, of one of the nodes at a time."""

    every_s: tuple[int, int] = (1, 5)
    down_ms: tuple[int, int] = (500, 4_000)
    count_max: int = 0
    """0: as often as the time allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TornWrite(Kill):
    """A kill while the disk is writing, which tears the write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashInRecovery(Kill):
    """A kill, and another one soon after the start that follows it."""

    after_ms: tuple[int, int] = (0, 200)
    """From that start to the second kill."""
    percent: int = 30
    """Share of the starts that are met so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Recurring):
    """SIGSTOP, and SIGCONT after a while: what comes waits, what is due is late."""

    every_s: tuple[int, int] = (5, 20)
    lasts_ms: tuple[int, int] = (1_000, 60_000)


# --- the ways between nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(Fault):
    """Gossip to and from the nodes is lost; streams send again what is lost."""

    percent: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Fault):
    """Gossip to and from the nodes arrives twice."""

    percent: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(Fault):
    """Some messages to and from the nodes are overtaken by those that follow."""

    percent: int = 30
    late_ms: tuple[int, int] = (0, 2_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Fault):
    """All messages to and from the nodes are late."""

    late_ms: tuple[int, int] = (500, 5_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Fault):
    """Nothing passes between parts of the network."""

    shape: Literal["halves", "islands", "isolate", "one-way", "flapping"] = "halves"
    """`halves`: two parts; `islands`: several; `isolate`: the nodes, or one of them all, against the rest;
    `one-way`: the same, but the rest is heard: what those say is lost; `flapping`: halves, drawn anew after
    each pause."""
    islands: Annotated[int, Range(2, 100)] = 3
    """How many; of the shape `islands` alone."""
    lasts_s: tuple[int, int] = (0, 0)
    """How long each lasts; 0, 0: to the end, but a flapping one 1 to 10."""
    pause_s: tuple[int, int] = (1, 10)
    """How long all is well between two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clog(Fault):
    """A share of all directed ways is slow and holds few messages: one after the other, mended at random."""

    percent: int = 33
    late_ms: tuple[int, int] = (500, 5_000)
    queue: Annotated[int, Range(1, 10_000)] = 20
    """Messages on one way at a time; further ones are lost."""
    every_ms: tuple[int, int] = (50, 1_000)
    """From one way that is clogged, or mended, to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowRemote(Fault):
    """All ways to the nodes are slow and hold few messages."""

    late_ms: tuple[int, int] = (500, 5_000)
    queue: Annotated[int, Range(1, 10_000)] = 20


# --- clocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew(Fault):
    """The nodes' clocks are wrong, each by an amount of its own, and may drift from there."""

    skew_ms: int = 30_000
    """At most, ahead or behind."""
    drift_ppm: int = 0
    """Millionths that they run too fast or too slowly, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJump(Recurring):
    """The clock of one of the nodes jumps, and is set right after a while."""

    jump_ms: int = 7_200_000
    """At most, ahead or back."""
    lasts_s: tuple[int, int] = (1, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenClock(Recurring):
    """The clock of one of the nodes stands still for a while."""

    lasts_s: tuple[int, int] = (1, 30)


# --- disks


@dataclass(frozen=True, slots=True, kw_only=True)
class BitRot(Recurring):
    """A row on the disk of one of the nodes is damaged, time after time."""

    tables: tuple[Literal["block", "chain", "snapshot", "blob", "record"], ...] = (
        "block",
        "chain",
        "snapshot",
        "blob",
    )
    """Among what; a `record` is of the journal, with which the node has lost what it promised, and refuses
    to start."""
    every_s: tuple[int, int] = (1, 5)
    rows: Annotated[int, Range(1, 1_000)] = 1
    """How many at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwappedRead(Recurring):
    """A read of a block from the disk of one of the nodes gives another row, time after time."""

    every_s: tuple[int, int] = (1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull(Recurring):
    """The disk of one of the nodes is full; once its node has stopped for that, there is room again."""

    down_ms: tuple[int, int] = (1_000, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class FsyncError(Recurring):
    """One of the next writes of one of the nodes fails, and its node stops; then the disk is well again."""

    down_ms: tuple[int, int] = (1_000, 10_000)
    within: Annotated[int, Range(1, 1_000_000)] = 10
    """The failing write is one of the next so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowDisk(Fault):
    """The disks of the nodes are slow."""

    late_ms: tuple[int, int] = (100, 2_000)
    """Of each write."""


# --- trainers


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerDies(Fault):
    """The trainers of the nodes die at some of their jobs."""

    percent: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerHangs(Fault):
    """The trainers of the nodes hang at some of their jobs, until they are killed at the job's deadline."""

    percent: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSlow(Fault):
    """The trainers of the nodes are slow at some of their jobs."""

    percent: int = 50
    factor: Annotated[int, Range(2, 1_000)] = 10
    """How much longer such a job takes."""


FAULTS: Final[dict[str, type[Fault]]] = {
    "kill": Kill,
    "torn-write": TornWrite,
    "crash-in-recovery": CrashInRecovery,
    "pause": Pause,
    "loss": Loss,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "delay": Delay,
    "partition": Partition,
    "clog": Clog,
    "slow-remote": SlowRemote,
    "skew": Skew,
    "clock-jump": ClockJump,
    "frozen-clock": FrozenClock,
    "bit-rot": BitRot,
    "swapped-read": SwappedRead,
    "disk-full": DiskFull,
    "fsync-error": FsyncError,
    "slow-disk": SlowDisk,
    "trainer-dies": TrainerDies,
    "trainer-hangs": TrainerHangs,
    "trainer-slow": TrainerSlow,
}
"""By the word that a file has for `kind`."""


def kind_of(plan: Fault) -> str:
    """Return the word that a file has for the kind of a plan."""
    return next(kind for kind, cls in FAULTS.items() if cls is type(plan))
