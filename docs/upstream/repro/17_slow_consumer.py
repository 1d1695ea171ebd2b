"""A consumer that pauses loses messages beyond 32, with a line in the log."""

import trio
from lab import gossiping, meet, run, tell

COUNT = 100


async def main():
    async with gossiping(2) as (a, b):
        await a.pubsub.subscribe("t")
        subscription = await b.pubsub.subscribe("t")
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        for _ in range(COUNT):
            await a.pubsub.publish("t", b"x")
            await trio.sleep(0.02)
        await trio.sleep(1)
        count = 0
        with trio.move_on_after(2):
            while True:
                await subscription.get()
                count += 1
        tell(count < COUNT, f"{count} of {COUNT} messages waited for a consumer that came late")


run(main)
