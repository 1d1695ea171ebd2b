"""CPU and latency of gossip: N real processes on loopback, each following one topic.

    python benchmarks/gossip.py [--nodes 6] [--rate 30] [--size 1024] [--seconds 10] [--publishers 1]

Prints messages delivered of those due, CPU milliseconds per delivered message and node, and latency. All
processes share this machine's cores, so compare ratios, not absolutes.
"""

import argparse
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from p2pai.effects import Verdict  # noqa: E402

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


async def be_node(options: argparse.Namespace) -> None:
    """Run one node: connect, wait for the start, publish or listen, report."""
    import logging

    import structlog

    from p2pai.gossip.libp2p.network import Network
    from p2pai.gossip.libp2p.own_host import OwnHost

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    meter = Meter()
    host = OwnHost(Path(options.key), ["/ip4/127.0.0.1/tcp/0"])
    network = Network(host, options.bootstrap, "00000000", meter)
    lines = trio.lowlevel.FdStream(0)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        await network.join(TOPIC)
        print(json.dumps(network.addresses[0]), flush=True)
        await lines.receive_some(1)
        print(json.dumps(len(network.remotes())), flush=True)
        await lines.receive_some(1)
        began_s = cpu_s()
        if options.publishes:
            await publish(network, options)
        await lines.receive_some(1)
        report = {
            "cpu_s": cpu_s() - began_s,
            "latencies_ms": meter.latencies_ms,
            "mesh": len(network._pubsub.router.mesh[TOPIC]),
        }
        print(json.dumps(report), flush=True)
        nursery.cancel_scope.cancel()


async def publish(network: Any, options: argparse.Namespace) -> None:  # noqa: ANN401
    """Publish at a steady rate."""
    began = trio.current_time()
    for number in range(int(options.rate * options.seconds)):
        await trio.sleep_until(began + number / options.rate)
        stamp = STAMP.pack(time.clock_gettime_ns(time.CLOCK_MONOTONIC), number)
        await network.publish(TOPIC, stamp.ljust(options.size, b"."))


def launch(
    options: argparse.Namespace, folder: str, number: int, bootstrap: list[str]
) -> subprocess.Popen[str]:
    """Start one node's process."""
    numbers = [f"--{name}={getattr(options, name)}" for name in ("rate", "size", "seconds")]
    publishes = int(number >= options.nodes - options.publishers)
    role = ["--node", f"--key={folder}/{number}", f"--publishes={publishes}"]
    command = [sys.executable, __file__, *numbers, *role, *(f"--bootstrap={a}" for a in bootstrap)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603


def tell(nodes: list[subprocess.Popen[str]]) -> None:
    """Let all nodes go on."""
    for node in nodes:
        assert node.stdin is not None
        node.stdin.write("\n")
        node.stdin.flush()


def hear(node: subprocess.Popen[str]) -> Any:  # noqa: ANN401
    """Read one line of a node."""
    assert node.stdout is not None
    return json.loads(node.stdout.readline())


def measure(options: argparse.Namespace) -> None:
    """Run the nodes and print what they report."""
    nodes: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            nodes.append(launch(options, folder, 0, []))
            hub = str(hear(nodes[0]))
            nodes += [launch(options, folder, number, [hub]) for number in range(1, options.nodes)]
            for node in nodes[1:]:
                hear(node)
            time.sleep(options.settle)
            tell(nodes)
            print("remotes of each node:", [hear(node) for node in nodes])
            tell(nodes)
            time.sleep(options.seconds + 3)
            tell(nodes)
            summarise(options, [hear(node) for node in nodes])
        finally:
            for node in nodes:
                node.terminate()
                node.wait()


def summarise(options: argparse.Namespace, reports: list[dict[str, Any]]) -> None:
    """Print the result in one paragraph."""
    latencies = sorted(ms for report in reports for ms in report["latencies_ms"])
    due = int(options.rate * options.seconds) * options.publishers * (options.nodes - 1)
    cpu = sum(report["cpu_s"] for report in reports)
    print(f"mesh: {[report['mesh'] for report in reports]}")
    print(f"delivered {len(latencies)} of {due}")
    print(f"cpu of all nodes: {cpu:.2f} s in {options.seconds + 3:.0f} s")
    if latencies:
        quantiles = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        places = {
            n: latencies[min(len(latencies) - 1, int(len(latencies) * q))] for n, q in quantiles.items()
        }
        print(f"cpu per delivery: {1000 * cpu / len(latencies):.2f} ms, heartbeats and searches included")
        print("latency ms:", {name: round(value, 1) for name, value in places.items()})


def main() -> None:
    """Read the command line and run as the parent or as a node."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--publishers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--settle", type=float, default=5)
    parser.add_argument("--node", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--key", help=argparse.SUPPRESS)
    parser.add_argument("--publishes", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", action="append", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        trio.run(be_node, options)
    else:
        measure(options)


if __name__ == "__main__":
    main()
