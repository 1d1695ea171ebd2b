"""A host announces its relay's address as its own."""

import trio
from lab import make_host, run, running, tell
from multiaddr import Multiaddr

RELAY = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"


async def main():
    circuit = Multiaddr(f"/ip4/203.0.113.7/tcp/4001/p2p/{RELAY}/p2p-circuit")
    host = make_host(announce_addrs=[circuit])
    async with running(host):
        await trio.sleep(0)
        (told,) = map(str, host.get_addrs())
        tell("p2p-circuit" not in told, f"told {circuit} to announce, it announces {told}")


run(main)
