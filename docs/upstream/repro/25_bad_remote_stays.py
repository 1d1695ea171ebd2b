"""A remote far below the graylist's threshold stays in the mesh and connected."""

import trio
from lab import gossiping, make_router, meet, run, tell
from libp2p.pubsub.score import ScoreParams, TopicScoreParams


def scored():
    invalid = TopicScoreParams(weight=10.0, cap=1000.0, decay=1.0)
    params = ScoreParams(p4_invalid_messages=invalid, publish_threshold=-50.0, graylist_threshold=-55.0)
    return make_router(score_params=params)


def validate(forwarder, message):
    return message.data != b"bad"


async def main():
    async with gossiping(2, scored) as (node, enemy):
        node.pubsub.set_topic_validator("t", validate, is_async_validator=False)
        for each in (node, enemy):
            await each.pubsub.subscribe("t")
        await meet(node, enemy)
        await node.pubsub.wait_for_mesh(enemy.id, "t", 10)
        for _ in range(20):
            await enemy.pubsub.publish("t", b"bad")
            await trio.sleep(0.05)
        await trio.sleep(5)
        score = node.router.scorer.score(enemy.id, ["t"])
        stays = enemy.id in node.router.mesh["t"] and enemy.id in node.host.get_connected_peers()
        tell(score < -55 and stays, f"five heartbeats later its score is {score:.0f}, and it is in the mesh")


run(main)
