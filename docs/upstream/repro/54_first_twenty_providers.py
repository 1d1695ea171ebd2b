"""The first 20 providers of a key keep all others out for two days, the gone ones among them too."""

from lab import make_host, run, running, tell
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

KEY = b"\x12\x20" + bytes(32)
PLACE = Multiaddr("/ip4/192.0.2.1/tcp/4001")


async def main():
    host = make_host()
    async with running(host):
        store = KadDHT(host, DHTMode.SERVER, enable_random_walk=False).provider_store
        ids = [ID.from_pubkey(create_new_key_pair().public_key) for _ in range(21)]
        for remote in ids:
            store.add_provider(KEY, PeerInfo(remote, [PLACE]))
        kept = {info.peer_id for info in store.get_providers(KEY)}
        tell(ids[-1] not in kept, f"of 21 providers {len(kept)} are kept, and the newest is not among them")


run(main)
