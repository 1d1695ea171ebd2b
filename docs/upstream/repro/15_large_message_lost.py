"""publish() of more than 1 MiB returns as if all were well; the message is dropped at debug level."""

import trio
from lab import count_messages, gossiping, meet, run, tell


async def main():
    async with gossiping(2) as (a, b), trio.open_nursery() as nursery:
        await a.pubsub.subscribe("t")
        heard = count_messages(await b.pubsub.subscribe("t"), nursery)
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        await a.pubsub.publish("t", bytes(1_200_000))
        await a.pubsub.publish("t", b"small")
        await trio.sleep(3)
        tell(
            [len(data) for data in heard] == [5], "publish() returned, and only the message after it arrived"
        )


run(main)
