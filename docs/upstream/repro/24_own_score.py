"""A node scores itself: after a few messages of its own that its validator refuses it may not publish."""

import trio
from lab import count_messages, gossiping, make_router, meet, run, tell
from libp2p.pubsub.score import ScoreParams, TopicScoreParams


def scored():
    invalid = TopicScoreParams(weight=10.0, cap=100.0, decay=1.0)
    params = ScoreParams(p4_invalid_messages=invalid, publish_threshold=-50.0)
    return make_router(score_params=params)


def validate(forwarder, message):
    return message.data != b"bad"


async def main():
    async with gossiping(2, scored) as (a, b), trio.open_nursery() as nursery:
        a.pubsub.set_topic_validator("t", validate, is_async_validator=False)
        await a.pubsub.subscribe("t")
        heard = count_messages(await b.pubsub.subscribe("t"), nursery)
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        await a.pubsub.publish("t", b"good")
        for _ in range(6):
            await a.pubsub.publish("t", b"bad")
        await a.pubsub.publish("t", b"good again")
        await trio.sleep(2)
        tell(heard == [b"good"], f"heard {heard}: the node's own score forbids it to publish")


run(main)
