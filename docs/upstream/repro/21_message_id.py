"""The message cache ignores `msg_id_constructor`, so offers name messages that nobody can recognise."""

from hashlib import sha256

import trio
from lab import gossiping, meet, run, tell


def identify(message):
    return sha256(message.data).digest()


async def main():
    async with gossiping(2, msg_id_constructor=identify) as (a, b):
        asked = []
        stock = a.router.handle_iwant

        async def handle_iwant(iwant, remote):
            asked.extend(iwant.messageIDs)
            await stock(iwant, remote)

        a.router.handle_iwant = handle_iwant
        for node in (a, b):
            await node.pubsub.subscribe("t")
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        await a.pubsub.publish("t", b"once")
        await trio.sleep(0.5)
        has = b.pubsub.seen_messages.has(sha256(b"once").digest())
        await a.router.emit_ihave("t", a.router.mcache.window("t"), b.id)
        await trio.sleep(0.5)
        tell(has and bool(asked), f"B has the message and asked for it again, as {asked[0].hex()[:16]}...")


run(main)
