"""A process that fetches one blob into a store and ends: `fetcher.py DIRECTORY ADDRESS BLOB`.

The last line that it prints is how many bytes its memory grew by, at most, from before the fetch.
"""

import sys
from pathlib import Path

import trio
from gossip_lab import CHAIN, Recorder

from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.primitives.ids import BlobId, Hash32
from p2pai.shell.blobs import BlobStore
from p2pai.shell.fetches import Fetches


def memory(name: str) -> int:
    """Return a figure of this process's memory, bytes: "VmRSS" for now, "VmHWM" for the most it ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) << 10


async def fetch(directory: Path, address: str, blob: BlobId) -> bool:
    """Fetch from whoever is at an address."""
    mount = OwnHost(directory / "key", ["/ip4/127.0.0.1/tcp/0"])
    network = Network(mount, [address], CHAIN, Recorder())
    store = BlobStore(directory / "blobs")
    fetches = Fetches(store)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        with trio.fail_after(30):
            while not network.remotes():  # noqa: ASYNC110
                await trio.sleep(0.01)
        before = memory("VmRSS")
        assert fetches.begin(blob, network.remotes())
        with trio.fail_after(120):
            fetched = await fetches.finish(network, blob)
        grown = memory("VmHWM") - before
        nursery.cancel_scope.cancel()
    print(grown, flush=True)
    return fetched.chunks is not None


if __name__ == "__main__":
    name = BlobId(Hash32(bytes.fromhex(sys.argv[3])))
    sys.exit(0 if trio.run(fetch, Path(sys.argv[1]), sys.argv[2], name) else 1)
