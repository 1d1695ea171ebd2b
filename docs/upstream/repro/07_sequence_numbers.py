"""A node that restarts repeats its sequence numbers, and is not heard."""

import trio
from lab import LISTEN, connect, count_messages, gossiping, make_host, make_router, run, tell
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

COUNT = 60


async def main():
    key_pair = create_new_key_pair()
    async with gossiping(1) as (hub,), trio.open_nursery() as nursery:
        heard = count_messages(await hub.pubsub.subscribe("t"), nursery)
        await live(hub, key_pair, b"first")
        first = len(heard)
        await live(hub, key_pair, b"second")
        second = len(heard) - first
        tell(
            first == COUNT and second < COUNT,
            f"of {COUNT} messages {first} arrived, and {second} after a restart",
        )


async def live(hub, key_pair, name):
    host, router = make_host(key_pair), make_router()
    async with host.run([LISTEN]):
        pubsub = Pubsub(host, router, strict_signing=True)
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            await connect(host, hub.host)
            await pubsub.wait_for_subscription(hub.id, "t")
            for number in range(COUNT):
                await pubsub.publish("t", name + b"%d" % number)
                await trio.sleep(0.01)
            await trio.sleep(0.5)
            await host.disconnect(hub.id)
    with trio.fail_after(20):
        while hub.pubsub.peers:
            await trio.sleep(0.1)


run(main)
