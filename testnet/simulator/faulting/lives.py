"""Faults that end a node's life, or hold it up."""

from p2pai.primitives.ids import PeerId
from testnet.scenario.faults import CrashInRecovery, Kill, Pause, TornWrite
from testnet.simulator.faulting.course import Strikes


class Kills(Strikes[Kill]):
    """One node after the other is killed and started again."""

    count = 0

    def hit(self, name: PeerId) -> None:
        """Kill a node, unless that was done often enough."""
        if not self.fault.count_max or self.count < self.fault.count_max:
            self.count += 1
            self.kill(name)

    def kill(self, name: PeerId) -> int:
        """Kill a node; return how many milliseconds it is down."""
        down_ms = self.between(self.fault.down_ms)
        self.ground.restart(name, down_ms)
        return down_ms


class TornWrites(Kills):
    """A node is killed when it writes, and what it writes is torn."""

    fault: TornWrite

    def kill(self, name: PeerId) -> int:
        """Wait for the node's next write, and kill it then."""
        self.world.hosts[name].disk.on_write = lambda: self.again(0, lambda: self._tear(name))
        return 0

    def _tear(self, name: PeerId) -> None:
        self.world.fired[self.kind] += self.world.hosts[name].disk.tear(self.ground.dice)
        super().kill(name)


class CrashesInRecovery(Kills):
    """Some of those that are killed are killed again while they start."""

    fault: CrashInRecovery

    def kill(self, name: PeerId) -> int:
        """Kill a node, and perhaps once more."""
        down_ms = super().kill(name)
        if self.ground.dice.randrange(100) < self.fault.percent:
            self.again(down_ms + self.between(self.fault.after_ms), lambda: self._kill_again(name))
        return down_ms

    def _kill_again(self, name: PeerId) -> None:
        self.world.fired[self.kind] += self.world.is_up(name)
        super().kill(name)


class Pauses(Strikes[Pause]):
    """One node after the other is stopped, and goes on."""

    def hit(self, name: PeerId) -> None:
        """Stop a node for a while."""
        self.world.pause(name)
        self.again(self.between(self.fault.lasts_ms), lambda: self.world.resume(name))

    def end(self) -> None:
        """Let all go on."""
        for name in self.ground.there():
            self.world.resume(name)
