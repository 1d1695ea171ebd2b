"""The receive window of yamux is not enforced: a sender that ignores it fills the receiver's memory."""

import struct

import trio
from lab import connect, make_host, run, running, tell

SIZE = 20 << 20


async def main():
    host, enemy = make_host(), make_host()

    async def hold(stream):
        await trio.sleep_forever()

    host.set_stream_handler("/hold/1", hold)
    async with running(host, enemy):
        await connect(enemy, host)
        stream = await enemy.new_stream(host.get_id(), ["/hold/1"])
        muxed = stream.muxed_stream
        body = bytes(60_000)
        head = struct.pack("!BBHII", 0, 0, 0, muxed.stream_id, len(body))
        with trio.move_on_after(20):
            for _ in range(SIZE // len(body)):
                await muxed.conn._write_frame(head + body)
        await trio.sleep(1)
        (connection,) = host.get_network().get_connections(enemy.get_id())
        size = sum(map(len, connection.muxed_conn.stream_buffers.values()))
        tell(size > 1 << 20, f"{size >> 20} MiB wait unread on one stream, whose window is 256 KiB")


run(main)
