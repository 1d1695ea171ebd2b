"""A block too large for gossip crosses the network: announced by its header, fetched, announced on.

What: who hears the header asks the node that said it, and says it in turn once it has the block; so it
reaches a node that never speaks with the block's finder, sooner than that node would ask by itself.
How: three real cores in a line, in the simulated world.
"""

import pytest

from p2pai import effects, events
from p2pai.chain.params import BLOCK_SIZE_MAX
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import Pay
from p2pai.gossip.envelope import open_envelope
from p2pai.gossip.limits import BODY_SIZE_MAX, GOSSIP_SIZE_MAX
from p2pai.node.core import NodeCore
from p2pai.node.ledger import SYNC_MS
from p2pai.primitives.ids import Millis, PeerId
from testnet.simulator.disk import Disk
from testnet.simulator.world import World
from tests.chain.ledger import CLIENT, Chain, devnet, key_hash, keys

FINDER, BETWEEN, FAR = PeerId("finder"), PeerId("between"), PeerId("far")
FOUND_MS = Millis(SYNC_MS + 200)
"""Just after all have asked each other for blocks."""


@pytest.fixture(scope="module")
def chain():
    made = Chain()
    for _ in range(10):
        made.post(CLIENT, outputs=tuple(Pay(1_000 + i, key_hash(7)) for i in range(900)))
    made.mine()
    return made


def node(name, account):
    return NodeCore(devnet(), keys(account), name, ("peer",), Disk())


def test_a_large_block_reaches_who_never_speaks_with_its_finder(chain):
    (block,) = chain.blocks
    assert GOSSIP_SIZE_MAX < block.size < BLOCK_SIZE_MAX
    cores = {FINDER: node(FINDER, 7), BETWEEN: node(BETWEEN, 8), FAR: node(FAR, 9)}
    cores[FINDER].emit(effects.Hangup(FAR, Millis(10**9), "too far away"))
    cores[FINDER].set_timer("find", FOUND_MS, lambda: cores[FINDER].ledger.submit(block))
    world, heard = World(1, lambda blobs: None), []

    def watch(name, event, reaction):
        if isinstance(event, events.Received):
            heard.append((event.remote, name, open_envelope(event.data, event.topic).body))

    world.watchers.append(watch)
    for name, core in cores.items():
        world.add(name, core)
    start = world.now_ms
    assert world.run(lambda: all(core.state.tip == block.hash for core in cores.values()), 60)
    assert world.now_ms - start < 2 * SYNC_MS
    assert all(snapshot_id(core.state) == snapshot_id(chain.state) for core in cores.values())
    world.run(lambda: False, 10)
    header = block.header.encode()
    assert [(FINDER, BETWEEN, header), (BETWEEN, FAR, header)] == [
        h for h in heard if h[:2] != (BETWEEN, FINDER)
    ][:2]
    assert all(body == header for _, _, body in heard)
    assert len(heard) <= 4, "everyone says it once"
    assert not world.rejected
    assert world.fired["hangup"] == 1


def test_a_block_that_gossip_can_carry_travels_whole(chain):
    small = Chain()
    small.post(CLIENT, outputs=tuple(Pay(1_000 + i, key_hash(7)) for i in range(900)))
    block = small.mine()
    assert block.size < BODY_SIZE_MAX
    core = node(FINDER, 7)
    core.handle(events.Started(()), 1_790_000_000_000)
    core.ledger.submit(block)
    reaction = core.take_effects()
    (token,) = [effect.token for effect in reaction if isinstance(effect, effects.StoreBlock)]
    (said,) = [
        effect
        for effect in core.handle(events.Persisted(token), 1_790_000_000_000)
        if isinstance(effect, effects.Publish)
    ]
    assert open_envelope(said.data, said.topic).body == block.encoded
