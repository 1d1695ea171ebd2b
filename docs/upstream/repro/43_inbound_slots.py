"""A slot of an inbound connection is not free again when the connection is closed."""

import trio
from lab import connect, make_host, run, running, tell
from libp2p.network.config import ConnectionConfig

SLOTS = 5


async def main():
    host = make_host(
        connection_config=ConnectionConfig(
            max_connections=SLOTS, min_connections=0, low_watermark=0, high_watermark=SLOTS
        )
    )
    async with running(host):
        for number in range(2 * SLOTS):
            other = make_host()
            async with running(other):
                try:
                    with trio.fail_after(5):
                        await connect(other, host)
                        await trio.sleep(0.2)
                    assert other.get_network().get_connections(host.get_id())
                except Exception as error:
                    still = len(host.get_network().get_connections())
                    tell(
                        number == SLOTS and still == 0,
                        f"{SLOTS} slots, {number} closed connections, {still} open ones: {error!r}",
                    )
                await other.disconnect(host.get_id())
            await trio.sleep(0.3)
        tell(False, f"{2 * SLOTS} connections, one after the other")


run(main)
