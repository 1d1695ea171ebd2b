"""A node that unsubscribes and subscribes again stays in one side's mesh only."""

import trio
from lab import gossiping, meet, run, tell

WAIT_S = 20


async def main():
    async with gossiping(2) as (a, b):
        for node in (a, b):
            await node.pubsub.subscribe("t")
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        await b.pubsub.wait_for_mesh(a.id, "t", 10)
        await b.pubsub.unsubscribe("t")
        await trio.sleep(0.5)
        await b.pubsub.subscribe("t")
        began = trio.current_time()
        while trio.current_time() - began < WAIT_S:
            if b.id in a.router.mesh["t"] and a.id in b.router.mesh["t"]:
                break
            await trio.sleep(0.1)
        took_s = trio.current_time() - began
        tell(
            took_s > 5,
            f"both were in each other's mesh again after {took_s:.0f} s (at most {WAIT_S} were waited)",
        )


run(main)
