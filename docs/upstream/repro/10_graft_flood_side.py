"""The protection against GRAFT floods suspects the node that pruned, not the one that was pruned."""

import trio
from lab import gossiping, meet, run, tell


async def main():
    async with gossiping(2) as (pruner, pruned):
        for node in (pruner, pruned):
            await node.pubsub.subscribe("t")
        await meet(pruner, pruned)
        await pruner.pubsub.wait_for_mesh(pruned.id, "t", 10)
        pruner.router.mesh["t"].discard(pruned.id)
        await pruner.router.emit_prune("t", pruned.id, False, False)
        await trio.sleep(0.5)
        # The pruned node may not graft at once, and would be a flood if it did.
        allows = pruner.router._check_graft_flood_protection(pruned.id, "t")
        suspects = not pruned.router._check_graft_flood_protection(pruner.id, "t")
        tell(
            allows and suspects,
            "after A pruned B, A takes a GRAFT of B for no flood, and B takes one of A for a flood",
        )


run(main)
