"""After one failed dial a remote can't be dialled for a minute, whatever address is given."""

import trio
from lab import LISTEN, listen_address, make_host, run, running, tell
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

CLOSED = Multiaddr("/ip4/127.0.0.1/tcp/1")


async def main():
    late = make_host(create_new_key_pair())
    other = make_host()
    async with running(other):
        try:
            await other.connect(PeerInfo(late.get_id(), [CLOSED]))
        except Exception:
            pass
        async with late.run([LISTEN]):
            other.get_peerstore().clear_addrs(late.get_id())
            began_s = trio.current_time()
            try:
                await other.connect(PeerInfo(late.get_id(), [listen_address(late)]))
            except Exception as error:
                tell(
                    True,
                    f"the right address is refused, {trio.current_time() - began_s:.1f} s later: {error}",
                )
            tell(False, "connected at the second try")


run(main)
