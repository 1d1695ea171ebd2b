"""Faults of disks."""

from p2pai.primitives.ids import PeerId
from testnet.scenario.faults import BitRot, DiskFull, FsyncError, SlowDisk, SwappedRead
from testnet.simulator.disk import NEVER, Disk
from testnet.simulator.faulting.course import Course, Strikes

LOOK_MS = 200
"""How often somebody looks whether a node has stopped for its disk, and a read has gone wrong."""


class BitRots(Strikes[BitRot]):
    """Rows are damaged."""

    def hit(self, name: PeerId) -> None:
        """Damage some rows of a node."""
        for _ in range(self.fault.rows):
            self.world.fired[self.kind] += self._damage(name)

    def _damage(self, name: PeerId) -> bool:
        host, table = self.world.hosts[name], self.ground.dice.choice(self.fault.tables)
        if table == "blob":
            blobs = host.blobs.names()
            if blobs:
                host.blobs.damage(self.ground.dice.choice(blobs))
            return bool(blobs)
        rows = host.disk.rows(table)
        if rows:
            host.disk.damage(self.ground.dice.choice(rows))
        return bool(rows)


class SwappedReads(Strikes[SwappedRead]):
    """Reads give other rows."""

    def hit(self, name: PeerId) -> None:
        """Let a node's next read of a block go wrong."""
        self.world.hosts[name].disk.misdirect(self._count)

    def _count(self) -> None:
        self.world.fired[self.kind] += 1

    def end(self) -> None:
        """Let all reads be right."""
        for host in self.world.hosts.values():
            host.disk.misdirected.clear()


class DisksFull(Strikes[DiskFull]):
    """Disks are full until their nodes have stopped."""

    def hit(self, name: PeerId) -> None:
        """Fill a disk."""
        disk = self.world.hosts[name].disk
        if not disk.is_full:
            disk.is_full = True
            self._watch(name, disk)

    def _watch(self, name: PeerId, disk: Disk) -> None:
        if name in self.world.halted or self.is_over:
            disk.is_full = False
        if name in self.world.halted:
            self.ground.restart(name, self.between(self.fault.down_ms))
        elif disk.is_full:
            self.world.at(LOOK_MS, self.kind, lambda: self._watch(name, disk))


class FsyncErrors(Strikes[FsyncError]):
    """Writes fail."""

    def hit(self, name: PeerId) -> None:
        """Let one of a node's next writes fail."""
        disk = self.world.hosts[name].disk
        if disk.fails_in == NEVER:
            disk.fails_in = self.between((1, self.fault.within))
            self._watch(name, disk)

    def _watch(self, name: PeerId, disk: Disk) -> None:
        if name in self.world.halted:
            self.ground.restart(name, self.between(self.fault.down_ms))
        elif self.is_over:
            disk.fails_in = NEVER
        else:
            self.world.at(LOOK_MS, self.kind, lambda: self._watch(name, disk))


class SlowDisks(Course[SlowDisk]):
    """Writes take long."""

    def begin(self) -> None:
        """Slow down the disks of all the nodes."""
        for name in self.ground.nodes:
            self.world.disk(name).slow_ms = self.fault.late_ms

    def end(self) -> None:
        """Let them be quick."""
        for name in self.ground.nodes:
            self.world.disk(name).slow_ms = (0, 0)
