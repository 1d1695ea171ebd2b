"""Faults of clocks and trainers."""

from typing import TypeVar

from p2pai.primitives.ids import PeerId
from testnet.scenario.faults import (
    ClockJump,
    Fault,
    FrozenClock,
    Recurring,
    Skew,
    TrainerDies,
    TrainerHangs,
    TrainerSlow,
)
from testnet.simulator.faulting.course import MS_PER_S, Course, Strikes
from testnet.simulator.training import Ailment

F = TypeVar("F", bound=Fault)
R = TypeVar("R", bound=Recurring)


class Skews(Course[Skew]):
    """Clocks are wrong."""

    def begin(self) -> None:
        """Set each node's clock wrong."""
        for name in self.ground.there():
            offset_ms = self._around_zero(self.fault.skew_ms)
            ppm = self._around_zero(self.fault.drift_ppm)
            self.world.hosts[name].clock.shift(self.kind, offset_ms, ppm)

    def end(self) -> None:
        """Set all right."""
        for name in self.ground.there():
            self.world.hosts[name].clock.mend()

    def _around_zero(self, most: int) -> int:
        return self.between((-most, most))


class _ClockStrikes(Strikes[R]):
    """One clock after the other goes wrong, and right again."""

    def mend_after(self, name: PeerId, bounds_s: tuple[int, int]) -> None:
        """Set a clock right after a while."""
        self.again(self.between(bounds_s) * MS_PER_S, self.world.hosts[name].clock.mend)

    def end(self) -> None:
        """Set all right."""
        for name in self.ground.there():
            self.world.hosts[name].clock.mend()


class ClockJumps(_ClockStrikes[ClockJump]):
    """Clocks jump."""

    def hit(self, name: PeerId) -> None:
        """Let a clock jump."""
        most = self.fault.jump_ms
        self.world.hosts[name].clock.shift(self.kind, self.between((-most, most)))
        self.mend_after(name, self.fault.lasts_s)


class FrozenClocks(_ClockStrikes[FrozenClock]):
    """Clocks stand still."""

    def hit(self, name: PeerId) -> None:
        """Freeze a clock."""
        self.world.hosts[name].clock.freeze(self.kind)
        self.mend_after(name, self.fault.lasts_s)


class _Ailments(Course[F]):
    """Something is wrong with trainers."""

    ailment: Ailment

    def begin(self) -> None:
        """Let the trainers of all the nodes fall ill."""
        self.ailment = self.describe()
        for name in self.ground.there():
            self.world.hosts[name].ailments.append(self.ailment)

    def describe(self) -> Ailment:
        """Return what is wrong."""
        raise AssertionError("no kind")

    def end(self) -> None:
        """Heal all that fell ill."""
        for host in self.world.hosts.values():
            host.ailments[:] = [other for other in host.ailments if other is not self.ailment]


class Deaths(_Ailments[TrainerDies]):
    """Trainers die."""

    def describe(self) -> Ailment:
        """Return what is wrong."""
        return Ailment(self.kind, "dies", self.fault.percent)


class Hangs(_Ailments[TrainerHangs]):
    """Trainers hang."""

    def describe(self) -> Ailment:
        """Return what is wrong."""
        return Ailment(self.kind, "hangs", self.fault.percent)


class Slowness(_Ailments[TrainerSlow]):
    """Trainers are slow."""

    def describe(self) -> Ailment:
        """Return what is wrong."""
        return Ailment(self.kind, "slow", self.fault.percent, self.fault.factor)
