"""KadDHT(protocol_prefix=...) is kept and not used: the protocol is always /ipfs/kad/1.0.0."""

from lab import make_host, run, running, tell
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT


async def main():
    host = make_host()
    async with running(host):
        KadDHT(host, DHTMode.SERVER, protocol_prefix="/mine", enable_random_walk=False)
        names = [str(name) for name in host.get_mux().get_protocols() if "kad" in str(name)]
        tell(names == ["/ipfs/kad/1.0.0"], f"the host serves {names}")


run(main)
