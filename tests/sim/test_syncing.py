"""Sync among hostile remotes: eight of them, each with a vice of its own, and one honest node.

What: the newcomer reaches the honest tip, and no remote ever makes it hold more than 16 MiB. How: a real core
in the simulated world; the hostile ones answer as their vice says, and count how often they did.
"""

from dataclasses import dataclass, field, replace

import pytest

from p2pai import effects, events
from p2pai.chain import headers
from p2pai.chain.block import Header
from p2pai.chain.snapshot import snapshot_id
from p2pai.gossip import sync
from p2pai.node.core import NodeCore
from p2pai.node.syncing import Syncing
from p2pai.primitives import record
from p2pai.primitives.ids import Millis, PeerId
from testnet.simulator.disk import Disk
from testnet.simulator.world import World
from tests.chain.ledger import MINERS, Chain, devnet, keys, label, with_proof
from tests.node.parts import grown

HELD_MAX = 16 << 20
"""Bytes held because of one remote. Source: RELIABILITY (2), "long-range, deep fork"."""

BLOCKS = 80
NEWCOMER, HONEST = PeerId("newcomer"), PeerId("honest")


@pytest.fixture(scope="module")
def chain():
    return grown(BLOCKS)


@dataclass
class Remote:
    """A remote that answers with honest headers; what else it does, its kind says."""

    chain: Chain
    counts: dict[str, int] = field(default_factory=dict)
    """How often it did what it is here for."""
    vice = ""

    def handle(self, event, now_ms):
        if not isinstance(event, events.Asked):
            return self.happen(event)
        question = sync.read_question(event.body)
        reply = self.headers(question) if isinstance(question, sync.AskHeaders) else self.bodies(question)
        return self.give(event.request, reply)

    def happen(self, event):
        return ()

    def give(self, request, reply):
        if reply is None:
            return ()
        return (effects.Answer(request, reply if isinstance(reply, bytes) else record.encode_tagged(reply)),)

    def headers(self, question):
        hashes = [Chain().state.tip] + [block.hash for block in self.chain.blocks]
        start = next((hashes.index(h) for h in question.locator if h in hashes), len(hashes))
        return sync.Headers(b"".join(block.header.encode() for block in self.chain.blocks[start:]))

    def bodies(self, question):
        known = {block.hash: block.encoded for block in self.chain.blocks}
        return sync.Blocks(sync.fitting(known[h] for h in question.blocks if h in known))

    def sinned(self):
        self.counts[self.vice] = self.counts.get(self.vice, 0) + 1


class Silent(Remote):
    vice = "never answers"

    def handle(self, event, now_ms):
        if isinstance(event, events.Asked):
            self.sinned()
        return ()


class Bodiless(Remote):
    vice = "headers without bodies"

    def bodies(self, question):
        self.sinned()


class Substituting(Remote):
    vice = "bodies of other blocks"

    def bodies(self, question):
        self.sinned()
        other = next(b for b in self.chain.blocks if b.hash not in question.blocks)
        return sync.Blocks((other.encoded,))


class Spoiling(Remote):
    vice = "bodies that break a rule"

    def bodies(self, question):
        self.sinned()
        known = {block.hash: block for block in self.chain.blocks}
        return sync.Blocks(tuple(with_proof(known[h], batch_path=()).encoded for h in question.blocks))


class Garbling(Remote):
    vice = "garbage"

    def handle(self, event, now_ms):
        if not isinstance(event, events.Asked):
            return ()
        self.sinned()
        return self.give(event.request, b"\xff" * 1000)


class Floating(Remote):
    vice = "headers from below what we share"

    def headers(self, question):
        self.sinned()
        stray = replace(self.chain.blocks[0].header, prev=label("long before"))
        return sync.Headers(stray.encode())


class Slow(Remote):
    """Every answer is right, and takes nearly as long as we wait."""

    vice = "slow"

    def __init__(self, chain):
        super().__init__(chain)
        self.late = {}

    def give(self, request, reply):
        self.sinned()
        self.late[f"late {request}"] = super().give(request, reply)
        return (effects.SetTimer(f"late {request}", Millis(9_000)),)

    def happen(self, event):
        return self.late.pop(event.name) if isinstance(event, events.TimerFired) else ()


class Endless(Remote):
    """Headers that hold, as many as one likes: hashing is cheap. Bodies there are none."""

    vice = "endless headers"
    made, lines = {}, {}
    """Headers by the hash they follow, and lineages by their end; one chain for all, since it takes time."""

    def headers(self, question):
        self.sinned()
        line = headers.lineage(Chain().state)
        if question.locator[0] in self.lines:
            line = self.lines[question.locator[0]]
        if line.tip not in self.made:
            self.made[line.tip] = self.make(line)
        return sync.Headers(self.made[line.tip])

    def make(self, line):
        made = []
        for _ in range(sync.HEADERS_MAX):
            header = self.mine(line)
            line = headers.follow(line, header, header.hash)
            made.append(header.encode())
        self.lines[line.tip] = line
        return b"".join(made)

    def mine(self, line):
        bits = headers.next_bits(line, self.chain.params)
        time = line.times[-1] + self.chain.params.spacing_s
        draft = Header(1, line.tip, label("root"), time, bits, label("nonce"), label("m"), label("h"))
        tries = (replace(draft, nonce=label("nonce", i)) for i in range(1_000))
        return next(header for header in tries if headers.meets_target(header))

    def bodies(self, question):
        return None


VICES = (Silent, Bodiless, Substituting, Spoiling, Garbling, Floating, Slow, Endless)


def honest(chain):
    core = NodeCore(devnet(), keys(8), HONEST, ("peer",), Disk())
    for block in chain.blocks:
        core.ledger.tree.add(block, trusted=True)
    return core


class Network:
    """A newcomer among remotes; its bounds are checked at each of its events."""

    def __init__(self, seed, remotes):
        self.world = World(seed, lambda blobs: None)
        self.newcomer = NodeCore(devnet(), keys(7), NEWCOMER, ("peer",), self.world.disk(NEWCOMER))
        self.remotes = remotes
        self.held_max = 0
        self.world.watchers.append(self.watch)
        for name, core in remotes.items():
            self.world.add(name, core)
        self.world.add(NEWCOMER, self.newcomer)

    @property
    def syncing(self) -> Syncing:
        return self.newcomer.ledger.syncing

    def watch(self, name, event, reaction):
        if name == NEWCOMER:
            held = max((self.syncing.held_bytes(remote) for remote in self.remotes), default=0)
            self.held_max = max(self.held_max, held)
            assert held <= HELD_MAX

    def run_to(self, tip, limit_s):
        start = self.world.now_ms
        assert self.world.run(lambda: self.newcomer.state.tip == tip, limit_s)
        return (self.world.now_ms - start) / 1000


def hostile(chain, vices=VICES):
    return {PeerId(f"hostile {i} {vice.__name__}"): vice(chain) for i, vice in enumerate(vices)}


def test_among_eight_hostile_remotes_the_honest_tip_is_reached(chain):
    reached = honest(chain)
    net = Network(1, {**hostile(chain), HONEST: reached})
    net.run_to(chain.state.tip, limit_s=120)
    net.world.run(lambda: False, 60)
    assert snapshot_id(net.newcomer.state) == snapshot_id(chain.state)
    sins = {core.vice: core.counts.get(core.vice) for core in net.remotes.values() if core is not reached}
    assert len(sins) == len(VICES)
    assert all(sins.values()), sins
    assert net.syncing.counts.keys() == {
        "headers not answered",
        "bodies not answered",
        "headers without bodies",
        "invalid headers",
        "invalid bodies",
        "invalid block",
        "stalled",
    }
    assert net.world.fired["hangup"] >= 5


@pytest.mark.parametrize("vice", VICES, ids=lambda vice: vice.__name__)
def test_eight_of_one_kind_do_not_stop_it_either(chain, vice):
    net = Network(2, {**hostile(chain, (vice,) * 8), HONEST: honest(chain)})
    net.run_to(chain.state.tip, limit_s=300)
    assert sum(bool(core.counts.get(vice.vice)) for name, core in net.remotes.items() if name != HONEST) >= 3


def test_endless_headers_are_held_within_bounds_and_ended(chain):
    net = Network(3, hostile(chain, (Endless,)))
    assert net.world.run(lambda: net.syncing.counts.get("headers without bodies"), 120)
    assert net.held_max > 1 << 20
    assert net.syncing.held_bytes(PeerId("hostile 0 Endless")) == 0


def test_one_seed_one_history(chain):
    digests = []
    for _ in range(2):
        net = Network(4, {**hostile(chain, (Silent, Bodiless, Slow)), HONEST: honest(chain)})
        net.run_to(chain.state.tip, limit_s=120)
        digests.append(net.world.digest)
    assert digests[0] == digests[1]


def test_two_forks_of_honest_nodes_end_on_the_better_one(chain):
    other = grown(40, miner=MINERS[1])
    names = [PeerId("honest a"), PeerId("honest b")]
    net = Network(5, {names[0]: honest(other), names[1]: honest(chain)})
    net.run_to(chain.state.tip, limit_s=60)
    assert net.world.run(lambda: all(net.remotes[n].state.tip == chain.state.tip for n in names), 60)
    assert net.world.fired["hangup"] == 0
