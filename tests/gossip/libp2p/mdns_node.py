"""A node that knows nobody, on an address of its network namespace; says whom it is linked with.

python mdns_node.py KEY LISTEN CACHE
"""

import sys
from pathlib import Path

import trio
from gossip_lab import CHAIN, Recorder

from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost


class Speaker(Recorder):
    """Says on stdout who came."""

    def connected(self, remote):
        print("linked", remote, flush=True)


async def main(key: str, listen: str, cache: str) -> None:
    network = Network(OwnHost(Path(key), [listen]), [], CHAIN, Speaker(), cache=Path(cache), mdns=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        print("serves", network.peer_id, *network.addresses, flush=True)


trio.run(main, *sys.argv[1:])
