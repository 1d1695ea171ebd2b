"""A node begins at a checkpoint that its operator trusts, works at once, and is checked from genesis on.

What: a true snapshot is found true, also when the node is killed in between; a made-up one stops the node.
How: real cores in the simulated world; the honest one has a chain with a certified checkpoint on its disk.
"""

from dataclasses import replace

import pytest

from p2pai import effects, events
from p2pai.chain.snapshot import encode, snapshot_id
from p2pai.chain.state import Checkpoint
from p2pai.chain.transaction import Pay
from p2pai.gossip import sync
from p2pai.node import trust
from p2pai.node.archive import Kept
from p2pai.node.core import NodeCore
from p2pai.primitives import blob, record
from p2pai.primitives.ids import Amount, BlobId, Outpoint, PeerId
from testnet.simulator.world import World
from tests.chain.ledger import MINERS, Chain, key_hash, keys, label
from tests.chain.voters import EVERY, opened, quick

HONEST, OTHER, NEWCOMER = PeerId("honest"), PeerId("other"), PeerId("newcomer")


@pytest.fixture(scope="module")
def chain():
    """A chain whose block EVERY is a checkpoint, and which goes on for a while."""
    made = opened().fork()
    for ticket in made.voting.validators[:3]:
        made.cast(ticket, snapshot=snapshot_id(made.state_at(EVERY)))
    made.grow(made.height + 6)
    assert made.state.checkpoint.height == EVERY
    return made


class Network:
    """The honest node, and one that begins at a checkpoint."""

    def __init__(self, chain, *honest, seed=1):
        self.chain = chain
        self.world = World(seed, lambda blobs: None)
        self.cores = {}
        for name in honest or (HONEST,):
            self.add(name)
        self.world.run(lambda: False, 1)

    def add(self, name):
        disk = self.world.disk(name)
        for height, block in enumerate(self.chain.blocks, 1):
            disk.blocks[block.hash] = (height, record.encode(Kept(block.encoded, key_hash(0), 0)))
        self.start(name, 8)

    def start(self, name, account, checkpoint=None):
        disk = self.world.disk(name)
        known = keys(account)
        self.cores[name] = NodeCore(quick(), known, name, ("peer",), disk, checkpoint=checkpoint)
        self.world.add(name, self.cores[name])

    def begin(self, checkpoint):
        self.start(NEWCOMER, 7, checkpoint)

    @property
    def newcomer(self):
        return self.cores[NEWCOMER]

    def checkpoint(self):
        """Return what a status of the honest node says, as an operator passes it on."""
        said = self.cores[HONEST].query("node.status", {})["checkpoint"]
        return trust.parse(said)

    def run_to_tip(self, limit_s=30):
        return self.world.run(lambda: self.newcomer.state.tip == self.chain.state.tip, limit_s)

    def run_to_verified(self, limit_s=120):
        done = f"snapshot at height {EVERY}: verified"
        return self.world.run(lambda: self.newcomer.query("node.status", {})["origin"] == done, limit_s)


def test_it_follows_the_chain_at_once_and_verifies_it_afterwards(chain):
    net = Network(chain)
    assert net.checkpoint() == Checkpoint(
        EVERY, chain.blocks[EVERY - 1].hash, chain.state.checkpoint.snapshot
    )
    net.begin(net.checkpoint())
    assert net.run_to_tip()
    assert snapshot_id(net.newcomer.state) == snapshot_id(chain.state)
    assert net.newcomer.origin.said.startswith(f"snapshot at height {EVERY}: being verified, ")
    assert net.newcomer.ledger.tree.root.state.height == EVERY
    assert chain.blocks[0].hash not in net.newcomer.ledger.tree
    assert net.run_to_verified()
    assert not net.world.halted
    assert net.world.fired["hangup"] == 0


def test_a_restart_in_between_begins_the_check_anew(chain):
    net = Network(chain)
    net.begin(net.checkpoint())
    assert net.run_to_tip()
    net.world.run(lambda: False, 1)
    for checkpoint in (net.checkpoint(), None):
        net.cores[NEWCOMER] = NodeCore(
            quick(), keys(7), NEWCOMER, ("peer",), net.world.disk(NEWCOMER), checkpoint=checkpoint
        )
        net.world.restart(NEWCOMER, net.newcomer)
        net.world.run(lambda: net.newcomer.state.height > 0, 5)
    assert net.newcomer.state.height == chain.height
    assert net.run_to_verified()
    net.world.restart(NEWCOMER, NodeCore(quick(), keys(7), NEWCOMER, ("peer",), net.world.disk(NEWCOMER)))
    net.cores[NEWCOMER] = net.world.hosts[NEWCOMER].core
    assert net.run_to_verified(5)
    other = replace(net.checkpoint(), snapshot=BlobId(label("another")))
    core = NodeCore(quick(), keys(7), NEWCOMER, ("peer",), net.world.disk(NEWCOMER), checkpoint=other)
    net.world.restart(NEWCOMER, core)
    assert net.world.run(lambda: net.world.halted, 5)
    assert "is for an empty data directory" in net.world.halted[NEWCOMER]


def test_a_made_up_snapshot_stops_the_node_with_a_sentence(chain):
    """Whoever made it up gave itself coins; everything else in it is true."""
    net = Network(chain)
    state = chain.state_at(EVERY)
    coins = Pay(Amount(10**12), key_hash(9))
    false = replace(state, utxos=state.utxos.set(Outpoint(label("from nothing"), 0), coins))
    net.world.hosts[HONEST].blobs.put(blob.cut(encode(false)), shared=True)
    net.begin(Checkpoint(EVERY, false.tip, snapshot_id(false)))
    assert net.run_to_tip()
    assert net.world.run(lambda: net.world.halted, 120)
    assert f"is false: its blocks give the ledger {snapshot_id(state).hex()}" in net.world.halted[NEWCOMER]


def test_what_no_remote_offers_is_asked_for_until_one_does(chain):
    net = Network(chain)
    checkpoint = net.checkpoint()
    shared = net.world.hosts[HONEST].blobs
    chunks = shared.get(checkpoint.snapshot)
    shared.discard(checkpoint.snapshot)
    net.begin(checkpoint)
    net.world.run(lambda: False, 20)
    assert net.newcomer.origin.said.startswith(f"no remote offers the snapshot at height {EVERY} yet")
    assert net.newcomer.state.height == 0
    shared.put(chunks, shared=True)
    assert net.run_to_tip()
    assert net.run_to_verified()


def test_a_checkpoint_is_for_an_empty_data_directory(chain):
    net = Network(chain, HONEST, OTHER)
    checkpoint = replace(net.checkpoint(), height=2 * EVERY)
    core = NodeCore(quick(), keys(8), OTHER, ("peer",), net.world.disk(OTHER), checkpoint=checkpoint)
    net.world.restart(OTHER, core)
    assert net.world.run(lambda: net.world.halted, 10)
    assert "is for an empty data directory" in net.world.halted[OTHER]


def test_no_more_than_the_last_two_snapshots_are_shared(chain):
    """Each checkpoint adds one; the older ones leave the disk."""
    keeping = Network(chain).cores[HONEST].ledger.keeping
    services = keeping._services
    services.take_effects()
    for i in range(4):
        keeping._share(b"snapshot %d" % i)
    reaction = services.take_effects()
    gone = [e.blob for e in reaction if isinstance(e, effects.Discard)]
    assert gone == [chain.state.checkpoint.snapshot, *(blob.blob_id_of(b"snapshot %d" % i) for i in range(2))]


class Below:
    """A remote with a chain of its own from genesis on, longer than the honest one."""

    def __init__(self, chain):
        self.chain, self.asked = chain, 0

    def handle(self, event, now_ms):
        if not isinstance(event, events.Asked):
            return ()
        self.asked += 1
        headers = b"".join(block.header.encode() for block in self.chain.blocks)
        return (effects.Answer(event.request, record.encode_tagged(sync.Headers(headers))),)


def test_a_chain_from_below_the_checkpoint_is_refused_at_its_headers(chain):
    net = Network(chain)
    other = Chain(quick())
    other.mine_until(chain.height + 5, miner=MINERS[1])
    below = Below(other)
    net.world.add(OTHER, below)
    refused = {HONEST: 0}

    def watch(name, event, reaction):
        for hangup in (e for e in reaction if isinstance(e, effects.Hangup) and e.remote == OTHER):
            refused[name] = refused.get(name, 0) + hangup.reason.startswith("invalid headers")
        if name != OTHER:
            assert net.cores[name].ledger.syncing.held_bytes(OTHER) == 0

    net.world.watchers.append(watch)
    net.begin(net.checkpoint())
    assert net.run_to_tip()
    net.world.run(lambda: False, 10)
    assert below.asked
    assert refused[HONEST] + refused[NEWCOMER] >= 2
    assert {core.state.tip for core in net.cores.values()} == {chain.state.tip}
