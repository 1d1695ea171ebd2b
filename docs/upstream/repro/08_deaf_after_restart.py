"""A node that restarts before its old connection was missed is never told what its remote follows."""

import trio
from lab import LISTEN, connect, gossiping, make_host, make_router, run, tell
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

WAIT_S = 12


async def main():
    key_pair = create_new_key_pair()
    async with gossiping(1) as (hub,):
        await hub.pubsub.subscribe("t")
        first, second = await learns(hub, key_pair), await learns(hub, key_pair)
        tell(
            first and not second,
            f"the first life learnt the hub's topics, the second had not within {WAIT_S} s",
        )


async def learns(hub, key_pair):
    host, router = make_host(key_pair), make_router()
    async with host.run([LISTEN]):
        pubsub = Pubsub(host, router, strict_signing=True)
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            await connect(host, hub.host)
            with trio.move_on_after(WAIT_S):
                await pubsub.wait_for_subscription(hub.id, "t", timeout=60)
                return True
    return False


run(main)
