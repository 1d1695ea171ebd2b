"""A writer gives up after 5 s of a full window, and the reader that comes late waits for ever."""

import trio
from lab import connect, make_host, run, running, tell

SIZE = 40 << 20


async def main():
    host, other = make_host(), make_host()
    read, ended = 0, trio.Event()

    async def read_late(stream):
        nonlocal read
        await trio.sleep(12)
        try:
            while read < SIZE:
                read += len(await stream.read(1 << 20))
        finally:
            ended.set()

    host.set_stream_handler("/late/1", read_late)
    async with running(host, other):
        await connect(other, host)
        stream = await other.new_stream(host.get_id(), ["/late/1"])
        failure = None
        try:
            await stream.write(bytes(SIZE))
        except Exception as error:
            failure = error
        with trio.move_on_after(15):
            await ended.wait()
        tell(
            failure is not None and not ended.is_set(),
            f"the writer failed ({failure!r}), and the reader got {read >> 10} KiB and waits",
        )


run(main)
