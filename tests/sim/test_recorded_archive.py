"""A recorded node with a snapshot and final blocks on its disk lives again: what it read there was recorded.

An honest node with a checkpointed chain serves a newcomer that has nothing; then it is killed, starts from
its own snapshot, and serves a third one.
"""

import pytest

from p2pai.gossip.recording import BodyRead, Found, HashRead, HeightRead, Place, Reading
from p2pai.node.core import NodeCore
from p2pai.node.disk_reads import NotRecorded, RememberedArchive
from p2pai.node.reenactment import Reenactment
from p2pai.primitives import ecdsa
from p2pai.primitives.ids import PeerId
from testnet.simulator.recordings import Recordings
from testnet.simulator.world import World
from tests.chain.ledger import keys, label
from tests.chain.voters import quick
from tests.sim import test_snapshot_start as start

ACCOUNT = 8
chain = start.chain


class Published:
    def account(self, number):
        return keys(ACCOUNT)


class Network(start.Network):
    """The same nodes, the honest one recorded."""

    def __init__(self, chain, recordings):
        self.chain, self.recordings = chain, recordings
        self.world, self.cores = World(1, lambda blobs: None), {}
        recordings.watch(self.world)
        self.add(start.HONEST)
        self.world.run(lambda: False, 1)

    def start(self, name, account, checkpoint=None):
        if name == start.HONEST:
            self.world.add(name, self.recorded())
        else:
            super().start(name, account, checkpoint)

    def recorded(self):
        def make(archive):
            self.cores[start.HONEST] = NodeCore(quick(), keys(ACCOUNT), start.HONEST, ("peer",), archive)
            return self.cores[start.HONEST]

        public = ecdsa.public_key(keys(ACCOUNT).spending)
        disk = self.world.disk(start.HONEST)
        return self.recordings.core(start.HONEST, quick(), ("peer",), public, make, disk)


@pytest.fixture(scope="module")
def history(chain, tmp_path_factory):
    with Recordings(tmp_path_factory.mktemp("archive")) as recordings:
        network = Network(chain, recordings)
        network.begin(None)
        assert network.run_to_tip()
        network.world.restart(start.HONEST, network.recorded())
        network.world.run(lambda: False, 5)
        network.start(PeerId("third"), 6)
        network.world.run(lambda: network.cores["third"].state.tip == chain.state.tip, 30)
    return network, recordings.path(start.HONEST).read_bytes()


def test_it_read_from_its_disk_and_started_from_a_snapshot(history):
    entries = [entry.what for entry in Reading([history[1]])]
    assert {BodyRead, HeightRead, HashRead} <= {type(what) for what in entries}
    assert any(isinstance(what, Found) and what.place is Place.SNAPSHOT for what in entries)


def test_its_lives_come_out_the_same(history):
    network, data = history
    again = Reenactment(Reading([data]), Published())
    moments = list(again.moments())
    assert moments[-1].departure == ""
    assert {type(moment.event).__name__ for moment in moments} >= {"Started", "Asked", "Persisted"}
    assert again.core.state == network.cores[start.HONEST].state


def test_what_was_not_read_then_is_a_departure(history, monkeypatch):
    monkeypatch.setattr(RememberedArchive, "learn", lambda self, read: None)
    moments = list(Reenactment(Reading([history[1]]), Published()).moments())
    assert "from its disk, which it did not when it was recorded" in moments[-1].departure


def test_an_archive_remembers_the_newest_answer():
    archive = RememberedArchive()
    for body in (None, b"block"):
        archive.learn(BodyRead(label("a"), body))
    assert archive.body(label("a")) == b"block"
    with pytest.raises(NotRecorded, match=label("b").hex()):
        archive.body(label("b"))
