"""read_exactly gives up after 100 reads, and calls that a closed connection."""

from lab import connect, make_host, run, running, tell
from libp2p.io.utils import read_exactly

SIZE = 30 << 20


async def main():
    host, other = make_host(), make_host()

    async def send(stream):
        for _ in range(SIZE >> 16):
            await stream.write(bytes(1 << 16))

    host.set_stream_handler("/send/1", send)
    async with running(host, other):
        await connect(other, host)
        stream = await other.new_stream(host.get_id(), ["/send/1"])
        try:
            data = await read_exactly(stream, SIZE)
        except Exception as error:
            tell(True, f"{error}")
        tell(False, f"{len(data)} bytes were read")


run(main)
