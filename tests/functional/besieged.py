"""A node process under attack, and two honest nodes whose only way to each other leads through it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median

import trio
from gossip_lab import Recorder, until

from p2pai.chain.spec import ChainSpec
from p2pai.chain.transaction import Outpoint, Pay, Transaction, Transfer, sign
from p2pai.gossip.envelope import seal
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import PeerId
from p2pai.shell.specs import load_spec, published_keys
from testnet.devnet.launch import Devnet, Node, Plan

ACCOUNT = 9
COINS = 3_000
PRESET = Path(__file__).parents[2] / "p2pai/chain/presets/devnet.toml"
PAUSE_S = 0.05
DELIVERY_S = 10.0


def write_chain(path: Path) -> Path:
    """Write a chain like the devnet on which one account has many coins, each good for one honest message."""
    row = f"{{account = {ACCOUNT}, coins = 1}}"
    rows = ", ".join([row] * COINS)
    text, found = re.subn(r"allocation = \[", f"allocation = [{rows}, ", PRESET.read_text())
    assert found == 1
    path.write_text(text)
    return path


@dataclass
class Messages:
    """Transactions, each valid whatever became of the others, sealed for gossip."""

    spec: ChainSpec
    numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.keys = published_keys(self.chain, ACCOUNT).account(0)
        self.topic = f"/p2pai/{self.spec.short_id}/chain/tx/1"

    chain: str = ""

    def new(self) -> bytes:
        number = next(self.numbers)
        assert number < COINS
        coin = self.spec.allocations[number]
        output = Pay(coin.value - 10_000_000, coin.key_hash)
        tx = Transaction(1, (Outpoint(self.spec.id, number),), (output,), Transfer())
        body = sign(tx, self.spec.id, self.keys.spending).encoded
        return seal(self.keys.spending, self.topic, number, body)


@dataclass
class Siege:
    """The attacked node, the attackers' process, and messages to send through the former."""

    node: Node
    attackers: subprocess.Popen[str]
    messages: Messages

    async def attack(self, name: str, **how: object) -> dict[str, object]:
        """Have an attack carried out; return what came of it."""
        assert self.attackers.stdin is not None
        assert self.attackers.stdout is not None
        self.attackers.stdin.write(json.dumps({"attack": name, **how}) + "\n")
        self.attackers.stdin.flush()
        line = await trio.to_thread.run_sync(self.attackers.stdout.readline, abandon_on_cancel=True)
        return json.loads(line)

    def stop(self) -> None:
        """End the attackers."""
        self.attackers.kill()
        self.attackers.communicate(timeout=10)

    def rss_mib(self) -> int:
        status = Path(f"/proc/{self.node.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) >> 10

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.node.pid}/fd").iterdir()))


def besiege(directory: Path, alteration: str) -> tuple[Devnet, Siege]:
    """Start a node with something altered, and attackers that wait for orders."""
    chain = write_chain(directory / "chain.toml")
    altered = Path(__file__).with_name("altered.py")
    devnet = Devnet(directory, str(chain), (sys.executable, str(altered), alteration))
    node = devnet.start(Plan("besieged", 8, ("peer",)))
    devnet.wait_ready(node)
    spec = load_spec(str(chain))
    _, _, ip, _, port, _, peer_id = node.multiaddr.split("/")
    attackers = subprocess.Popen(
        [sys.executable, "-m", "testnet.devnet.hostile", ip, port, peer_id, spec.short_id],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PRESET.parents[3],
    )  # fmt: skip
    return devnet, Siege(node, attackers, Messages(spec, chain=str(chain)))


@dataclass
class Pair:
    """Two honest nodes; what one says reaches the other through the besieged one alone."""

    left: Network
    right: Network
    seen: Recorder
    times: dict[bytes, float]
    siege: Siege
    undisturbed: list[float] = field(default_factory=list)
    """Delays without an attack, seconds."""

    async def talk(self, stop: trio.Event, count_min: int) -> list[float]:
        """Send messages until told to stop, and at least so many; return their delays, seconds.

        All must arrive.
        """
        sent: dict[bytes, float] = {}
        while len(sent) < count_min or not stop.is_set():
            data = self.siege.messages.new()
            sent[data] = trio.current_time()
            await self.left.publish(self.siege.messages.topic, data)
            await trio.sleep(PAUSE_S)
        await until(lambda: sent.keys() <= self.times.keys(), DELIVERY_S)
        return [self.times[data] - at for data, at in sent.items()]


@dataclass
class Clocked(Recorder):
    """Handlers that note when each message came."""

    times: dict[bytes, float] = field(default_factory=dict)

    def received(self, remote: PeerId, topic: str, data: bytes):
        self.times[data] = trio.current_time()
        return super().received(remote, topic, data)

    async def asked(self, remote: PeerId, body: bytes) -> bytes:
        raise Unavailable("no chain here")


@asynccontextmanager
async def honest_pair(siege: Siege, directory: Path) -> AsyncIterator[Pair]:
    """Join a besieged node from both sides."""
    networks, records = [], []
    async with trio.open_nursery() as nursery:
        for name in ("left", "right"):
            records.append(Clocked())
            host = OwnHost(directory / f"{name}-{os.urandom(4).hex()}.key", ["/ip4/127.0.0.1/tcp/0"])
            bootstrap = [siege.node.multiaddr]
            networks.append(Network(host, bootstrap, siege.messages.spec.short_id, records[-1]))
            with trio.fail_after(10):
                await nursery.start(networks[-1].run)
        left, right = networks
        await left.hangup(right.peer_id, 3600)
        await right.hangup(left.peer_id, 3600)
        for network in networks:
            await network.join(siege.messages.topic)
        through = PeerId(siege.node.peer_id)
        await until(
            lambda: all(
                network.remotes() == (through,) and network._pubsub.router.mesh[siege.messages.topic]
                for network in networks
            ),
            20,
        )
        pair = Pair(left, right, records[1], records[1].times, siege)
        # Both have the besieged node in their mesh; whether it has them in its own shows when one is heard.
        with trio.fail_after(DELIVERY_S):
            while not pair.times:
                await left.publish(siege.messages.topic, siege.messages.new())
                await trio.sleep(0.2)
        quiet = trio.Event()
        quiet.set()
        pair.undisturbed.extend(await pair.talk(quiet, 20))
        yield pair
        nursery.cancel_scope.cancel()


def middle(delays: list[float]) -> float:
    """Return the median in milliseconds."""
    return 1000 * median(delays)
