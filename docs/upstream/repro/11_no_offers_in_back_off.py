"""IHAVE skips remotes in back-off, who are just those that the mesh does not serve."""

import trio
from lab import count_messages, gossiping, meet, run, tell


async def main():
    async with gossiping(2) as (a, b), trio.open_nursery() as nursery:
        await a.pubsub.subscribe("t")
        heard = count_messages(await b.pubsub.subscribe("t"), nursery)
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        # B's mesh is full, say, and it prunes A, as it may.
        b.router.mesh["t"].discard(a.id)
        b.router._add_back_off(a.id, "t", False)
        await b.router.emit_prune("t", a.id, False, False)
        await trio.sleep(1)
        for number in range(5):
            await a.pubsub.publish("t", b"%d" % number)
        await trio.sleep(5)
        tell(
            not heard, f"{len(heard)} of 5 messages reached a subscriber outside the mesh within 5 heartbeats"
        )


run(main)
