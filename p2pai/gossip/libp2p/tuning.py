"""The few changes to py-libp2p 0.8.1 that no subclass can make; all global state is touched here, once.

Each stands for a measured fault (figures: 2 cores, loopback) and goes away when upstream mends it:

* every dial waits 250 ms for a second address that need not exist (connect: 252 ms, then 11 ms);
* a yamux frame of 64 KiB doesn't fit one noise message, so each costs two (113 MB/s, then 193 MB/s);
* each read of a stream sends a window update, an extra packet per message; now one per half window;
* each frame is formatted for a log nobody reads, under two locks; the library makes its Yamux by name, so a
  subclass isn't used;
* TCP reads take two system calls per noise packet; now one per burst;
* most of what it logs as an error is a remote that went away;
* a remote that vanishes is never noticed; keepalive and a user timeout find it in about 20 s;
* what a remote sends beyond its windows is kept: see flow.py.
"""

import logging
import socket
from typing import Any, Final

import libp2p.io.trio
import libp2p.network.swarm
import libp2p.stream_muxer.yamux.yamux as yamux
import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamReset

from p2pai.gossip.libp2p import flow

YAMUX_FRAME_SIZE_MAX: Final = 65519
"""Bytes of the largest plaintext of one noise message: 65535 less the tag's 16."""

RECEIVE_SIZE: Final = 256 << 10
"""Bytes asked from the socket at once."""

DEAD_AFTER_MS: Final = 20_000
"""Milliseconds that sent bytes may stay unacknowledged before the connection counts as dead."""

_SOCKET_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS),
)

_stock_stream_init = TrioTCPStream.__init__


def apply() -> None:
    """Make the changes; calling it again changes nothing."""
    # What goes wrong between remotes is everyday life here; the library logs it as its own errors.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    libp2p.network.swarm._HAPPY_EYEBALLS_DELAY = 0.0
    yamux.MAX_MESSAGE_SIZE = YAMUX_FRAME_SIZE_MAX
    yamux.Yamux._write_frame = _write_frame
    yamux.Yamux.read_stream = _read_stream
    yamux.YamuxStream._auto_tune_and_send_window_update = _update_window_by_halves
    flow.apply()
    TrioTCPStream.__init__ = _init_stream
    TrioTCPStream.read = _read_buffered


def _init_stream(self: Any, stream: trio.SocketStream) -> None:  # noqa: ANN401
    _stock_stream_init(self, stream)
    self.received = bytearray()
    for level, name, value in _SOCKET_OPTIONS:
        stream.socket.setsockopt(level, name, value)


async def _read_buffered(self: Any, n: int | None = None) -> bytes:  # noqa: ANN401
    received: bytearray = self.received
    if not received and n != 0:
        async with self.read_lock:
            try:
                received += await self.stream.receive_some(RECEIVE_SIZE)
            except trio.BrokenResourceError as error:
                raise ConnectionClosedError(
                    f"connection reset by remote: {error}", transport="tcp"
                ) from error
            except trio.ClosedResourceError:
                return b""
    size = len(received) if n is None else n
    taken = bytes(memoryview(received)[:size])
    del received[:size]
    return taken


async def _write_frame(self: Any, data: bytes) -> None:  # noqa: ANN401
    async with self._write_lock:
        await self.secured_conn.write(data)


async def _read_stream(self: Any, stream_id: int, n: int = -1) -> bytes:  # noqa: ANN401
    while (stream := self.streams.get(stream_id)) is not None and not self.event_shutting_down.is_set():
        buffer = self.stream_buffers[stream_id]
        if buffer:
            return await _take(self, stream, buffer, n)
        if stream.reset_received:
            raise MuxedStreamReset("stream was reset")
        if stream.recv_closed or stream.closed:
            break
        # Nothing waits between looking and waiting, so no wake-up is lost.
        event = self.stream_events[stream_id] = trio.Event()
        await event.wait()
    raise MuxedStreamEOF("stream ended")


async def _take(self: Any, stream: Any, buffer: bytearray, n: int) -> bytes:  # noqa: ANN401
    size = len(buffer) if n < 0 else n
    data = bytes(memoryview(buffer)[:size])
    del buffer[:size]
    if stream.closed and not buffer:
        await self._finalize_stream(stream, fully_closed=True)
    return data


async def _update_window_by_halves(self: Any, *, bytes_read: int = 0) -> None:  # noqa: ANN401
    self._pending_recv_release += bytes_read
    if self._pending_recv_release < self.target_recv_window // 2:
        return
    increment, self._pending_recv_release = self._pending_recv_release, 0
    grown = min(2 * self.target_recv_window, yamux.MAX_WINDOW_SIZE)
    increment += grown - self.target_recv_window
    self.target_recv_window = grown
    self.recv_window += increment
    await self.send_window_update(increment)
