"""A host that listens on 0.0.0.0 tells by mDNS that it is found at 0.0.0.0, which is whoever hears it."""

from lab import make_host, run, tell
from libp2p.discovery.mdns.mdns import create_mdns_discovery
from multiaddr import Multiaddr


async def main():
    host = make_host()
    async with host.run([Multiaddr("/ip4/0.0.0.0/tcp/0")]):
        service = create_mdns_discovery(host.get_network(), host=host)
        service.start()
        told = service.broadcaster.service_info.properties[b"dnsaddr"].decode()
        service.stop()
        tell(told.startswith("/ip4/0.0.0.0/"), f"it told {told.partition('/p2p/')[0]}")


run(main)
