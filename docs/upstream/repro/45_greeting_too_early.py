"""A topic followed while the greeting is written is never told to that remote."""

import trio
from lab import connect, gossiping, run, tell


async def main():
    async with gossiping(2) as (a, b):
        open_stream = a.host.new_stream

        async def open_slowly(remote, protocols):
            stream = await open_stream(remote, protocols)
            write = stream.write

            async def write_slowly(data):
                # As on a link of 150 ms, or with a full window.
                await trio.sleep(0.3)
                await write(data)

            stream.write = write_slowly
            return stream

        a.host.new_stream = open_slowly
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, a.host, b.host)
            while not a.host.get_connected_peers():
                await trio.sleep(0.01)
            for number in range(20):
                await a.pubsub.subscribe(str(number))
                await trio.sleep(0.05)
        await trio.sleep(5)
        known = {topic for topic, remotes in b.pubsub.peer_topics.items() if a.id in remotes}
        tell(0 < len(known) < 20, f"of 20 topics the remote was told {len(known)}")


run(main)
