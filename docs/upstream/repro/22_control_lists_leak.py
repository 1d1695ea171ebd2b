"""A heartbeat's GRAFTs for one remote are sent to the next ones too."""

import trio
from lab import gossiping, meet, run, tell


async def main():
    async with gossiping(3) as (hub, b, c):
        for node in (b, c):
            await meet(hub, node)
        sent = {}

        async def note(control, remote):
            await trio.lowlevel.checkpoint()
            sent[remote] = [graft.topicID for graft in control.graft]

        hub.router.emit_control_message = note
        await hub.router._emit_control_msgs({b.id: ["one"], c.id: ["two"]}, {}, {})
        tell(sent[c.id] != ["two"], f'C was to be grafted on "two" alone, and is on {sent[c.id]}')


run(main)
