"""A handler that returns leaves its stream open, and the other end waits for ever."""

import trio
from lab import connect, make_host, run, running, tell


async def main():
    host, other = make_host(), make_host()

    async def return_at_once(stream):
        await trio.lowlevel.checkpoint()

    host.set_stream_handler("/short/1", return_at_once)
    async with running(host, other):
        await connect(other, host)
        stream = await other.new_stream(host.get_id(), ["/short/1"])
        with trio.move_on_after(5) as scope:
            try:
                await stream.read(1)
            except Exception as error:
                tell(False, f"the stream ended: {error!r}")
        tell(scope.cancelled_caught, "5 s after the handler returned its stream is open")


run(main)
