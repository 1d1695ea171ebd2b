"""Fetching a blob from one holder and from three, against copying the same bytes over a bare stream.

    python benchmarks/blobs.py [--size 64] [--rounds 5]

Holders and fetcher are processes of their own on this machine, so all share its cores: compare ratios, not
absolutes. `stream` is one stream of the same connection, written in 1 MiB pieces and read to its end, neither
checked nor kept. `memory` is a fetch whose chunks are checked and dropped, `disk` one into a blob store.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog
import trio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pai.effects import Verdict  # noqa: E402
from p2pai.gossip.libp2p.host import Stream, guarded  # noqa: E402
from p2pai.gossip.libp2p.network import Network  # noqa: E402
from p2pai.gossip.libp2p.own_host import OwnHost  # noqa: E402
from p2pai.gossip.libp2p.reading import BufferedReader  # noqa: E402
from p2pai.primitives import blob, merkle  # noqa: E402
from p2pai.primitives.ids import BlobId, Hash32, PeerId  # noqa: E402
from p2pai.shell.blobs import BlobStore  # noqa: E402
from p2pai.shell.fetches import Fetches  # noqa: E402

HOLDERS = 3
CHUNK = blob.CHUNK_SIZE_MAX
COPY = "/p2pai/benchmark/copy/1"


class Holder:
    """Handlers of a node that has one blob, in memory."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks
        self.leaves = tuple(map(merkle.leaf_hash, chunks))

    def received(self, remote: PeerId, topic: str, data: bytes) -> Verdict:
        """Follow nothing."""
        del remote, topic, data
        return Verdict.IGNORE

    async def asked(self, remote: PeerId, body: bytes) -> bytes:
        """Answer nothing of interest."""
        del remote
        return body

    def connected(self, remote: PeerId) -> None:
        """Ignore."""

    def disconnected(self, remote: PeerId) -> None:
        """Ignore."""

    def manifest(self, name: BlobId) -> tuple[Hash32, ...] | None:
        """Share the blob."""
        del name
        return self.leaves or None

    def chunk(self, name: BlobId, index: int) -> bytes | None:
        """Share its chunks."""
        del name
        return self.chunks[index]


class Sink:
    """A shelf that keeps nothing."""

    async def begin(self, leaves: tuple[Hash32, ...]) -> tuple[Hash32, ...]:
        """Have nothing."""
        del leaves
        return ()

    def put(self, leaf: Hash32, chunk: bytes) -> None:
        """Drop it."""

    def report(self, missing: int, sources: int) -> None:
        """Ignore."""


def make_chunks(size: int) -> list[bytes]:
    """Return so many MiB, all different."""
    return [number.to_bytes(8, "big") * (CHUNK // 8) for number in range(size)]


def quiet() -> None:
    """Log warnings only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))


async def hold(key: str, size: int) -> None:
    """Be a holder until stdin ends."""
    quiet()
    holder = Holder(make_chunks(size))
    network = Network(OwnHost(Path(key), ["/ip4/127.0.0.1/tcp/0"]), [], "00000000", holder)

    async def copy(stream: Stream) -> None:
        for chunk in holder.chunks:
            await stream.write(chunk)
        await stream.read(1)

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        network._host.set_stream_handler(COPY, guarded(copy))
        print(json.dumps(network.addresses[0]), flush=True)
        await trio.lowlevel.FdStream(os.dup(0)).receive_some(1)
        nursery.cancel_scope.cancel()


async def copy_stream(network: Network, remote: PeerId, size: int) -> None:
    """Read the bytes over a bare stream."""
    ids = {str(known): known for known in network._links.askers}
    stream = await network._host.new_stream(ids[remote], [COPY])
    reader = BufferedReader(stream)
    for _ in range(size):
        await reader.exactly(CHUNK)
    await stream.reset()


async def fetch_to_disk(network: Network, name: BlobId) -> None:
    """Fetch into an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        fetches = Fetches(BlobStore(Path(folder)))
        fetches.begin(name, network.remotes())
        fetched = await fetches.finish(network, name)
        assert fetched.chunks is not None, "the blob was not fetched"


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def fetch(addresses: list[str], size: int, rounds: int) -> dict[str, list[float]]:
    """Be the fetcher: return the seconds of each way, round by round."""
    quiet()
    name = blob.blob_id(make_chunks(size))
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for holders in (1, len(addresses)):
            mount = OwnHost(Path(folder) / f"key{holders}", ["/ip4/127.0.0.1/tcp/0"])
            network = Network(mount, addresses[:holders], "00000000", Holder(()))
            async with trio.open_nursery() as nursery:
                await nursery.start(network.run)
                while len(network.remotes()) < holders:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                for _ in range(rounds):
                    for way, work in ways(network, name, size, holders).items():
                        seconds.setdefault(way, []).append(await timed(work))
                nursery.cancel_scope.cancel()
    return seconds


def ways(
    network: Network, name: BlobId, size: int, holders: int
) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return what is compared."""
    remotes = network.remotes()[:holders]
    return {
        f"stream, beside {holders}": lambda: copy_stream(network, remotes[0], size),
        f"memory, from {holders}": lambda: network.fetch(name, remotes, Sink()),
        f"disk, from {holders}": lambda: fetch_to_disk(network, name),
    }


def launch(folder: str, number: int, size: int) -> subprocess.Popen[str]:
    """Start a holder."""
    command = [sys.executable, __file__, f"--size={size}", f"--hold={folder}/{number}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603


def show(seconds: dict[str, list[float]], size: int) -> None:
    """Print medians, and ratios to the stream of the same rounds."""
    floor: dict[str, float] = {}
    print(f"{size} MiB, medians of {len(next(iter(seconds.values())))} rounds")
    for way, taken in seconds.items():
        median, holders = statistics.median(taken), way.split()[-1]
        ratio = floor.setdefault(holders, median) / median
        print(f"  {way:18} {size * CHUNK / median / 1e6:7.1f} MB/s   {ratio:5.2f} x stream")


def measure(size: int, rounds: int) -> None:
    """Run the holders and fetch from them."""
    with tempfile.TemporaryDirectory() as folder:
        holders = [launch(folder, number, size) for number in range(HOLDERS)]
        try:
            addresses = [json.loads(h.stdout.readline()) for h in holders if h.stdout is not None]
            show(trio.run(fetch, addresses, size, rounds), size)
        finally:
            for holder in holders:
                holder.kill()
                holder.communicate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=64, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hold", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        trio.run(hold, options.hold, options.size)
    else:
        measure(options.size, options.rounds)
