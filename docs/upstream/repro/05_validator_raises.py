"""A topic validator that raises ends the process instead of rejecting the message."""

import trio
from lab import gossiping, meet, outcome_of, run, tell


def validate(forwarder, message):
    return int(message.data) > 0


async def main():
    async def serve():
        async with gossiping(2) as (a, b):
            for node in (a, b):
                await node.pubsub.subscribe("t")
            a.pubsub.set_topic_validator("t", validate, is_async_validator=False)
            await meet(a, b)
            await a.pubsub.wait_for_subscription(b.id, "t")
            await trio.sleep(1)
            await b.pubsub.publish("t", b"no number")
            await trio.sleep(2)

    error = await outcome_of(serve)
    tell(isinstance(error, ValueError), f"one message ended the node: {error!r}")


run(main)
