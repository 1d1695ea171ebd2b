"""Gossip of stock py-libp2p and of ours, side by side: N processes on loopback, each following one topic.

    python -m benchmarks.gossip [--nodes 8] [--loads 100x1024,10x102400] [--seconds 10] [--publishers 1]

For each load (messages a second of a publisher x bytes) the contenders run one after the other; the table has
messages delivered of those due, processor milliseconds per delivery (heartbeats and searches included), and
latency. All processes share this machine's cores, so compare ratios, not absolutes.

Stock is as good as its settings make it: the mesh degrees of ours, a heartbeat of 1 s, and what drops
messages switched off. With its defaults it delivers 10 % of the first load.
"""

import argparse
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from p2pai.effects import Verdict

LISTEN = "/ip4/127.0.0.1/tcp/0"
DRAIN_S = 3.0
"""Seconds for messages that are late."""

TOPIC = "/p2pai/00000000/chain/tx/1"
STAMP = struct.Struct("!QI")


@dataclass
class Meter:
    """Handlers that note when messages come."""

    latencies_ms: list[float] = field(default_factory=list)

    def received(self, remote: str, topic: str, data: bytes) -> Verdict:
        """Note one message."""
        del remote, topic
        sent_ns, _ = STAMP.unpack_from(data)
        self.latencies_ms.append((time.clock_gettime_ns(time.CLOCK_MONOTONIC) - sent_ns) / 1e6)
        return Verdict.ACCEPT

    async def asked(self, remote: str, body: bytes) -> bytes:
        """Answer nothing of interest."""
        del remote
        return body

    def connected(self, remote: str) -> None:
        """Ignore."""

    def disconnected(self, remote: str) -> None:
        """Ignore."""

    def manifest(self, blob: bytes) -> None:
        """Share nothing."""

    def chunk(self, blob: bytes, index: int) -> None:
        """Share nothing."""


def cpu_s() -> float:
    """Return the CPU seconds this process used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass
class Running:
    """A node that follows the topic."""

    address: str
    publish: Callable[[str, bytes], Awaitable[None]]
    connect: Callable[[list[str]], Awaitable[None]]
    remotes: Callable[[], int]
    mesh: Callable[[], int]


@asynccontextmanager
async def run_ours(options: argparse.Namespace, meter: Meter) -> AsyncIterator[Running]:
    """Run a node's network as `p2pai start` makes it; it finds the others by itself."""
    import logging

    import structlog

    from p2pai.gossip.libp2p.network import Network
    from p2pai.gossip.libp2p.own_host import OwnHost

    async def connect(addresses: list[str]) -> None:
        del addresses

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    host = OwnHost(Path(options.key), [LISTEN])
    network = Network(host, options.bootstrap, "00000000", meter)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        await network.join(TOPIC)
        yield Running(
            network.addresses[0],
            network.publish,
            connect,
            lambda: len(network.remotes()),
            lambda: len(network._pubsub.router.mesh[TOPIC]),
        )
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def run_stock(options: argparse.Namespace, meter: Meter) -> AsyncIterator[Running]:
    """Run py-libp2p's own gossip, connected to all who started before."""
    import logging

    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
    from libp2p.pubsub.pubsub import Pubsub
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr

    from benchmarks.libp2p_streams import make_stock
    from p2pai.gossip.libp2p.router import DEGREE, DEGREE_HIGH, DEGREE_LOW

    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    host = make_stock(LISTEN)
    settings = {"heartbeat_interval": 1, "spam_protection_enabled": False, "adaptive_gossip_enabled": False}
    router = GossipSub([PROTOCOL_ID_V11], DEGREE, DEGREE_LOW, DEGREE_HIGH, **settings)
    pubsub = Pubsub(host, router)

    async def connect(addresses: list[str]) -> None:
        for address in addresses[: options.number]:
            await host.connect(info_from_p2p_addr(Multiaddr(address)))

    async def hear(subscription: Any) -> None:  # noqa: ANN401
        async for message in subscription:
            if message.from_id != host.get_id().to_bytes():
                meter.received("", TOPIC, message.data)

    async with (
        host.run([Multiaddr(LISTEN)]),
        background_trio_service(pubsub),
        background_trio_service(router),
        trio.open_nursery() as nursery,
    ):
        await pubsub.wait_until_ready()
        nursery.start_soon(hear, await pubsub.subscribe(TOPIC))
        yield Running(
            str(host.get_addrs()[0]),
            pubsub.publish,
            connect,
            lambda: len(host.get_connected_peers()),
            lambda: len(router.mesh[TOPIC]),
        )
        nursery.cancel_scope.cancel()


async def be_node(options: argparse.Namespace) -> None:
    """Run one node: say the address, connect, publish or listen, and report, each when the parent says so."""
    meter = Meter()
    run = {"ours": run_ours, "stock": run_stock}[options.node]
    lines = trio.lowlevel.FdStream(0)
    async with run(options, meter) as node:
        print(json.dumps(node.address), flush=True)
        await node.connect(json.loads(await lines.receive_some(1 << 16)))
        await lines.receive_some(1)
        print(json.dumps(node.remotes()), flush=True)
        await lines.receive_some(1)
        began_s = cpu_s()
        if options.publishes:
            await publish(node, options)
        await lines.receive_some(1)
        report = {"cpu_s": cpu_s() - began_s, "latencies_ms": meter.latencies_ms, "mesh": node.mesh()}
        print(json.dumps(report), flush=True)
        # Ended by the parent: the stock services end with errors.
        await trio.sleep_forever()


async def publish(node: Running, options: argparse.Namespace) -> None:
    """Publish at a steady rate."""
    began = trio.current_time()
    for number in range(int(options.rate * options.seconds)):
        await trio.sleep_until(began + number / options.rate)
        stamp = STAMP.pack(time.clock_gettime_ns(time.CLOCK_MONOTONIC), number)
        await node.publish(TOPIC, stamp.ljust(options.size, b"."))


def launch(
    options: argparse.Namespace, kind: str, folder: str, number: int, bootstrap: list[str]
) -> subprocess.Popen[str]:
    """Start one node's process."""
    numbers = [f"--{name}={getattr(options, name)}" for name in ("rate", "size", "seconds")]
    publishes = int(number >= options.nodes - options.publishers)
    role = [f"--node={kind}", f"--number={number}", f"--key={folder}/{number}", f"--publishes={publishes}"]
    known = [f"--bootstrap={address}" for address in bootstrap]
    command = [sys.executable, "-m", "benchmarks.gossip", *numbers, *role, *known]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603


def tell(nodes: list[subprocess.Popen[str]], line: str = "") -> None:
    """Let all nodes go on."""
    for node in nodes:
        assert node.stdin is not None
        node.stdin.write(line + "\n")
        node.stdin.flush()


def hear(node: subprocess.Popen[str]) -> Any:  # noqa: ANN401
    """Read one line of a node."""
    assert node.stdout is not None
    return json.loads(node.stdout.readline())


def measure(options: argparse.Namespace, kind: str) -> list[dict[str, Any]]:
    """Run the nodes of one contender and return what they report."""
    nodes: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            nodes.append(launch(options, kind, folder, 0, []))
            addresses = [str(hear(nodes[0]))]
            nodes += [launch(options, kind, folder, n, addresses[:1]) for n in range(1, options.nodes)]
            addresses += [str(hear(node)) for node in nodes[1:]]
            tell(nodes, json.dumps(addresses))
            time.sleep(options.settle)
            tell(nodes)
            remotes = [hear(node) for node in nodes]
            tell(nodes)
            time.sleep(options.seconds + DRAIN_S)
            tell(nodes)
            reports = [hear(node) for node in nodes]
            print(f"{kind}: remotes {remotes}, mesh {[report['mesh'] for report in reports]}", flush=True)
            return reports
        finally:
            for node in nodes:
                node.kill()
                node.wait()


def summarise(options: argparse.Namespace, reports: list[dict[str, Any]]) -> dict[str, float]:
    """Return what one contender did, in a few figures."""
    latencies = sorted(ms for report in reports for ms in report["latencies_ms"])
    due = int(options.rate * options.seconds) * options.publishers * (options.nodes - 1)
    cpu = sum(report["cpu_s"] for report in reports)
    count = len(latencies)
    if not count:
        return {"delivered_%": 0.0}
    return {
        "delivered_%": 100 * count / due,
        "cpu_ms": 1000 * cpu / count,
        "p50_ms": latencies[count // 2],
        "p99_ms": latencies[count * 99 // 100],
        "mesh": sum(report["mesh"] for report in reports) / len(reports),
    }


def compare(options: argparse.Namespace) -> None:
    """Run all loads with both contenders, and print the table."""
    print("| load | | delivered % | CPU ms per delivery | p50 ms | p99 ms | mesh |")
    print("|---|---|---|---|---|---|---|")
    for load in options.loads.split(","):
        rate, size = load.split("x")
        options.rate, options.size = float(rate), int(size)
        found = {kind: summarise(options, measure(options, kind)) for kind in ("stock", "ours")}
        found["ours / stock"] = {
            n: found["ours"][n] / v for n, v in found["stock"].items() if v and n in found["ours"]
        }
        for kind, figures in found.items():
            print(
                f"| {load} | {kind} |",
                " | ".join(f"{value:.3g}" for value in figures.values()),
                "|",
                flush=True,
            )


def main() -> None:
    """Read the command line and run as the parent or as a node."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--publishers", type=int, default=1)
    parser.add_argument("--loads", default="100x1024,10x102400")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--settle", type=float, default=6)
    for name in ("node", "key"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    for name in ("publishes", "number", "size"):
        parser.add_argument(f"--{name}", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", action="append", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        trio.run(be_node, options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
