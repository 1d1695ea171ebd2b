"""Of a remote's TCP addresses only the first is dialled, whether it answers or not."""

from lab import listen_address, make_host, run, running, tell
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

CLOSED = Multiaddr("/ip4/127.0.0.1/tcp/1")


async def main():
    host, other = make_host(), make_host()
    async with running(host, other):
        try:
            await other.connect(PeerInfo(host.get_id(), [CLOSED, listen_address(host)]))
        except Exception as error:
            tell(True, f"the second address, which answers, was not tried: {error}")
        tell(False, "connected by the second address")


run(main)
