"""The AutoNAT service calls everybody reachable: it finds the connection that the asker came by."""

import trio
from lab import connect, make_host, run, running, tell
from libp2p.host.autonat.autonat import AutoNATService
from libp2p.host.autonat.pb.autonat_pb2 import Message


async def main():
    host, asker = make_host(), make_host()
    async with running(host, asker):
        AutoNATService(host)
        await connect(asker, host)
        addresses = [address.to_bytes() for address in asker.get_transport_addrs()]
        for listener in list(asker.get_network().listeners.values()):
            await listener.close()
        await trio.sleep(0.3)
        status, _ = await AutoNATService(asker, serve=False).query_server(host.get_id(), addresses)
        tell(status == Message.OK, "a host that listens nowhere was told that it can be dialled")


run(main)
