"""A message that comes on two paths while an async validator works is delivered twice."""

import trio
from lab import count_messages, gossiping, meet, run, tell

COUNT = 10


async def validate(forwarder, message):
    await trio.sleep(0.3)
    return True


async def main():
    async with gossiping(3) as (a, b, c), trio.open_nursery() as nursery:
        c.pubsub.set_topic_validator("t", validate, is_async_validator=True)
        await a.pubsub.subscribe("t")
        await b.pubsub.subscribe("t")
        heard = count_messages(await c.pubsub.subscribe("t"), nursery)
        for one, other in ((a, b), (b, c), (a, c)):
            await meet(one, other)
            await one.pubsub.wait_for_mesh(other.id, "t", 10)
        for number in range(COUNT):
            await a.pubsub.publish("t", b"%d" % number)
            await trio.sleep(0.05)
        await trio.sleep(2)
        tell(len(heard) > len(set(heard)), f"{COUNT} messages were delivered {len(heard)} times")


run(main)
