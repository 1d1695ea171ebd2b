"""The 257th stream that is open at a time waits for ever, without an error."""

import trio
from lab import connect, make_host, run, running, tell


async def main():
    host, other = make_host(), make_host()

    async def hold(stream):
        await trio.sleep_forever()

    host.set_stream_handler("/hold/1", hold)
    async with running(host, other):
        await connect(other, host)
        opened, waits = 0, False
        while opened < 300 and not waits:
            with trio.move_on_after(8) as scope:
                await other.get_network().new_stream(host.get_id())
                opened += 1
            waits = scope.cancelled_caught
        tell(waits, f"{opened} streams were opened, the next one waited")


run(main)
