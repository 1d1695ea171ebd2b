"""Each kind of fault on toy nodes: it fires, one seed is one history, and it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys import Toy, names, pass_s, restart, toy_world

from p2pai import events
from testnet.scenario import faults
from testnet.scenario.faults import FAULTS
from testnet.scenario.model import NetworkPlan
from testnet.simulator.faulting import Faulting

COUNT = 6

ROOT = Path(__file__).parents[2]

QUICK = {
    "kill": faults.Kill(),
    "torn-write": faults.TornWrite(),
    "crash-in-recovery": faults.CrashInRecovery(),
    "pause": faults.Pause(every_s=(2, 5), lasts_ms=(500, 5_000)),
    "loss": faults.Loss(percent=30),
    "duplicate": faults.Duplicate(),
    "reorder": faults.Reorder(),
    "delay": faults.Delay(),
    "partition": faults.Partition(),
    "clog": faults.Clog(),
    "slow-remote": faults.SlowRemote(nodes=("n0",)),
    "skew": faults.Skew(),
    "clock-jump": faults.ClockJump(),
    "frozen-clock": faults.FrozenClock(),
    "bit-rot": faults.BitRot(),
    "swapped-read": faults.SwappedRead(),
    "disk-full": faults.DiskFull(every_s=(2, 5)),
    "fsync-error": faults.FsyncError(every_s=(2, 5)),
    "slow-disk": faults.SlowDisk(),
    "trainer-dies": faults.TrainerDies(),
    "trainer-hangs": faults.TrainerHangs(percent=10),
    "trainer-slow": faults.TrainerSlow(),
}
"""One fault of each kind, such that it fires within half a minute."""


def history(*planned, seed=3, seconds=30):
    world = toy_world(seed, COUNT)
    groups = {"any": names(COUNT), "few": names(2), "n0": names(1)}
    faulting = Faulting(world, planned, groups, restart(world))
    pass_s(world, seconds)
    return world, faulting


def digests():
    found = {kind: history(fault, seconds=8)[0].digest for kind, fault in QUICK.items()}
    meshed = toy_world(3, COUNT, plan=NetworkPlan(gossip="mesh", degree=2), gossip_loss_percent=20)
    pass_s(meshed, 8)
    return found | {"mesh": meshed.digest}


def test_every_kind_is_tried():
    assert QUICK.keys() == FAULTS.keys()
    assert all(type(fault) is FAULTS[kind] for kind, fault in QUICK.items())


@pytest.mark.parametrize("kind", QUICK)
def test_it_fires_and_ends(kind):
    world, faulting = history(QUICK[kind])
    assert world.fired[kind] > 0
    assert faulting.unfired() == ()
    faulting.heal()
    assert faulting.is_over
    pass_s(world, 12)
    before = world.fired[kind]
    pass_s(world, 10)
    assert world.fired[kind] == before
    assert all(len(host.remotes) == COUNT - 1 for host in world.hosts.values())


def test_one_seed_is_one_history_under_every_hash_seed():
    """A digest of every kind, here and in a process of another hash seed."""
    code = "import test_faulting; print(test_faulting.digests())"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "sim")])
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": paths}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.strip() == str(digests())


def test_times_are_the_faults_own():
    fault = faults.Kill(nodes=("n0",), every_s=(2, 2), down_ms=(500, 500), from_s=10, until_s=20)
    world, faulting = history(fault, seconds=11)
    assert world.fired["kill"] == 0
    assert not faulting.is_over
    pass_s(world, 30)
    assert world.fired["kill"] == 4
    assert faulting.is_over


def test_one_fault_of_a_kind_ends_alone():
    ends, lasts = faults.TrainerSlow(until_s=2, factor=2), faults.TrainerSlow(factor=3)
    world, _ = history(ends, lasts, seconds=1)
    assert [[a.factor for a in host.ailments] for host in world.hosts.values()] == [[2, 3]] * len(world.hosts)
    pass_s(world, 2)
    assert [[a.factor for a in host.ailments] for host in world.hosts.values()] == [[3]] * len(world.hosts)


def test_what_did_not_happen_is_told():
    _, faulting = history(faults.Kill(from_s=1_000), faults.Loss(from_s=1_000))
    assert faulting.unfired() == ("kill", "loss")


def test_one_fault_more_does_not_change_when_another_strikes():
    kill = faults.Kill(nodes=("n0",))

    def starts(*planned):
        world = toy_world(3, COUNT)
        lives = []

        def note(name, event, reaction):
            if isinstance(event, events.Started):
                lives.append((world.now_ms, name))

        world.watchers.append(note)
        Faulting(world, planned, {"any": names(COUNT), "n0": names(1)}, restart(world))
        pass_s(world, 60)
        return lives

    assert starts(kill) == starts(kill, faults.Loss(percent=30))


class TestPartition:
    def heard(self, **changes):
        """Who hears whom after the partition has begun."""
        world, _ = history(faults.Partition(from_s=1, **changes), seconds=2)
        for host in world.hosts.values():
            host.core.heard.clear()
        pass_s(world, 10)
        cores = {name: host.core for name, host in world.hosts.items()}
        return {name: {remote for remote, _ in core.heard} for name, core in cores.items()}

    def test_halves_hear_themselves_alone(self):
        heard = self.heard()
        assert sorted(map(len, heard.values())) == [2] * COUNT
        assert all(a in heard[b] for a in heard for b in heard[a])

    def test_islands(self):
        assert sorted(map(len, self.heard(shape="islands", islands=3).values())) == [1] * COUNT

    def test_those_named_are_cut_off_together(self):
        heard = self.heard(shape="isolate", nodes=("few",))
        assert heard["n0"] == {"n1"}
        assert heard["n1"] == {"n0"}
        assert all(len(heard[name]) == COUNT - 3 for name in names(COUNT)[2:])

    def test_one_of_all_is_cut_off(self):
        assert sorted(map(len, self.heard(shape="isolate").values())) == [0, *[COUNT - 2] * (COUNT - 1)]

    def test_one_way_they_hear_and_are_not_heard(self):
        heard = self.heard(shape="one-way", nodes=("n0",))
        assert len(heard["n0"]) == COUNT - 1
        assert all("n0" not in heard[name] for name in names(COUNT)[1:])

    def test_a_flapping_one_comes_and_goes(self):
        world, _ = history(faults.Partition(lasts_s=(1, 2), pause_s=(1, 2), from_s=1), seconds=0)
        cuts = []

        def note():
            cuts.append(any(world.links.are_apart(a, b) for a in names(COUNT) for b in names(COUNT)))

        world.links.changed.append(note)
        pass_s(world, 60)
        assert cuts == [True, False] * (len(cuts) // 2) + [True] * (len(cuts) % 2)
        assert len(cuts) > 30

    def test_connections_on_which_nothing_passes_are_given_up_and_made_again(self):
        world, faulting = history(faults.Partition(nodes=("n0",), shape="isolate", from_s=1), seconds=20)
        core = world.hosts["n0"].core
        assert isinstance(core, Toy)
        assert core.times(events.Disconnected) == []
        pass_s(world, 5)
        assert len(core.times(events.Disconnected)) == COUNT - 1
        faulting.heal()
        pass_s(world, 3)
        assert len(core.times(events.Connected)) == 2 * (COUNT - 1)
