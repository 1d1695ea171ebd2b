"""Every RPC carries the signed record of its sender, and every receiver verifies it each time."""

import libp2p.pubsub.utils as utils
import trio
from lab import count_messages, gossiping, meet, run, tell

COUNT = 50


async def main():
    verified = 0
    stock = utils.consume_envelope

    def count(*given):
        nonlocal verified
        verified += 1
        return stock(*given)

    utils.consume_envelope = count
    async with gossiping(2) as (a, b), trio.open_nursery() as nursery:
        await a.pubsub.subscribe("t")
        heard = count_messages(await b.pubsub.subscribe("t"), nursery)
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        verified = 0
        for _ in range(COUNT):
            await a.pubsub.publish("t", b"x")
            await trio.sleep(0.02)
        await trio.sleep(1)
        tell(
            verified >= len(heard) > 0,
            f"{len(heard)} messages: the same record was verified {verified} times",
        )


run(main)
