"""With the default options a heartbeat of one second becomes one of half a minute or more."""

import trio
from lab import gossiping, make_router, run, tell


async def main():
    stock = lambda: make_router(adaptive_gossip_enabled=True)  # noqa: E731  # the default
    async with gossiping(1, stock) as (node,):
        await node.pubsub.subscribe("t")
        interval_s, began = node.router.heartbeat_interval, trio.current_time()
        while node.router.heartbeat_interval == interval_s and trio.current_time() - began < 50:
            await trio.sleep(0.2)
        now_s = node.router.heartbeat_interval
        tell(now_s >= 30, f"the heartbeat went from {interval_s} s to {now_s} s for a node that is alone")


run(main)
