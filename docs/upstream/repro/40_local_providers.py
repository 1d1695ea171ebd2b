"""find_providers stops at local records, so a provider never finds the other ones."""

from contextlib import AsyncExitStack

import trio
from lab import connect, make_host, run, running, tell
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.tools.anyio_service import background_trio_service

KEY = b"\x12\x20" + bytes(32)


async def main():
    hosts = [make_host() for _ in range(3)]
    async with running(*hosts), AsyncExitStack() as stack:
        tables = [KadDHT(host, DHTMode.SERVER, enable_random_walk=False) for host in hosts]
        for table in tables:
            await stack.enter_async_context(background_trio_service(table))
        # The second provider joins when the first has already told the node between.
        for one in (1, 2):
            await connect(hosts[one], hosts[0])
            await tables[one].add_peer(hosts[0].get_id())
            await tables[0].add_peer(hosts[one].get_id())
            await tables[one].provider_store.provide(KEY)
            await trio.sleep(1)
        found = {info.peer_id for info in await tables[2].provider_store.find_providers(KEY)}
        stored = {info.peer_id for info in tables[0].provider_store.get_providers(KEY)}
        tell(
            len(stored) == 2 and len(found) == 1,
            f"the node between knows {len(stored)} providers, one of them finds {len(found)}: itself",
        )


run(main)
