"""The detection of equivocation keeps up to a thousand whole messages, whatever their size."""

from lab import gossiping, run, tell

COUNT, SIZE = 300, 100_000


async def main():
    async with gossiping(1) as (node,):
        await node.pubsub.subscribe("t")
        for _ in range(COUNT):
            await node.pubsub.publish("t", bytes(SIZE))
        for _ in range(10):
            node.router.mcache.shift()
        node.router._periodic_security_cleanup()
        kept = sum(len(message.data) for message in node.router.equivocation_detection.values())
        tell(kept >= COUNT * SIZE, f"{kept >> 20} MiB of messages are kept after all caches forgot them")


run(main)
