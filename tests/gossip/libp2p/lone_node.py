"""A node in a process of its own, for tests that put it into a network namespace.

python lone_node.py KEY LISTEN CACHE [--mdns] [BOOTSTRAP ...]

It says what it is, `serves ID MULTIADDR ...`, and at each change with whom it is linked, `remotes ID ...`.
"""

import sys
from pathlib import Path

import trio
from gossip_lab import CHAIN, Recorder

from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost


async def main(key: str, listen: str, cache: str, *more: str) -> None:
    bootstrap = [word for word in more if word != "--mdns"]
    host = OwnHost(Path(key), [listen])
    network = Network(host, bootstrap, CHAIN, Recorder(), cache=Path(cache), mdns="--mdns" in more)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        print("serves", network.peer_id, *network.addresses, flush=True)
        said: tuple[str, ...] = ()
        while True:
            remotes = tuple(sorted(network.remotes()))
            if remotes != said:
                said = remotes
                print("remotes", *remotes, flush=True)
            await trio.sleep(0.1)


trio.run(main, *sys.argv[1:])
