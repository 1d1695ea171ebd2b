"""Who prunes a neighbour does not back off from it, so the same one is grafted and pruned again and again."""

from contextlib import suppress

import trio
from lab import gossiping, make_router, meet, run, tell


async def main():
    async with gossiping(5, lambda: make_router(1, 1, 1)) as (hub, *others):
        pruned = []
        hub.router.emit_control_message = watch(hub.router.emit_control_message, pruned)
        for node in (hub, *others):
            await node.pubsub.subscribe("t")
        for node in others:
            await meet(node, hub)
        with suppress(trio.TooSlowError), trio.fail_after(8):
            while not pruned:
                await trio.sleep(0.1)
        backed_off = [remote for remote in pruned if hub.router._check_back_off(remote, "t")]
        tell(
            bool(pruned) and not backed_off,
            f"the hub pruned {len(pruned)} neighbours and backs off from {len(backed_off)} of them",
        )


def watch(emit, pruned):
    async def emit_watched(control, remote):
        if control.prune:
            pruned.append(remote)
        await emit(control, remote)

    return emit_watched


run(main)
