"""Flow control of what a remote sends on one connection, which the stock multiplexer only announces.

py-libp2p 0.8.1 grants each stream a window and then takes whatever comes: a remote that ignored its windows
had 65 MB of unread bytes kept for it. Nor are streams that nobody reads bounded together, nor frames without
content, which cost CPU and nothing else. Here:

* a frame beyond its stream's window ends the connection, and whoever asked for it is told (`on_overrun`);
* a connection with `UNREAD_MAX` unread bytes is not read further until its own readers have caught up; if
  they don't within `CATCH_UP_S`, it is closed;
* frames beyond `FRAME_RATE` wait; and after a burst of frames everybody else has a turn;
* a frame that was begun is finished within `BODY_S`.

The windows start at 256 KiB and double as they are read, up to `WINDOW_MAX`.
"""

from typing import Any, Final

import libp2p.stream_muxer.yamux.yamux as yamux
import trio
from libp2p.io.utils import read_exactly

from p2pai.gossip.buckets import Bucket, Rate

WINDOW_MAX: Final = 2 << 20
"""Bytes that may be under way on one stream, and of one frame: 40 MB/s at 50 ms round trip."""

UNREAD_MAX: Final = 2 * WINDOW_MAX
"""Unread bytes of one connection, more than any one stream has: 256 MiB if 64 connections do their worst."""

CATCH_UP_S: Final = 20.0
BODY_S: Final = 20.0

FRAME_RATE: Final = Rate(8_192, 32_768)
"""Frames of one connection: twice what 200 MB/s take; as empty ones a sixth of a CPU."""

TURN_COUNT: Final = 64
"""Frames read of one connection before others have a turn."""

_POLL_S: Final = 0.01


def apply() -> None:
    """Make the changes; calling it again changes nothing."""
    yamux.MAX_WINDOW_SIZE = WINDOW_MAX
    yamux.read_exactly = _read_header
    yamux.Yamux._read_data_body = _read_data_body
    yamux.YamuxStream.recv_window = property(_recv_window, _set_recv_window)


def unread(connection: Any) -> int:  # noqa: ANN401
    """Return how many bytes of a multiplexed connection wait for their readers."""
    return sum(map(len, connection.stream_buffers.values()))


async def _read_header(secured: Any, size: int) -> bytes:  # noqa: ANN401
    frames = getattr(secured, "frames", None)
    if frames is None:
        frames = secured.frames = _Frames()
    await frames.take_turn()
    header: bytes = await read_exactly(secured, size)
    return header


class _Frames:
    """Counts the frames of one connection."""

    def __init__(self) -> None:
        self._bucket = Bucket(FRAME_RATE, _now_ms())
        self._count = 0

    async def take_turn(self) -> None:
        self._count += 1
        if self._count % TURN_COUNT:
            return
        await trio.sleep(self._bucket.draw(TURN_COUNT, _now_ms()) / 1000)


async def _read_data_body(self: Any, length: int) -> bytes:  # noqa: ANN401
    # Whatever leaves from here as TooSlowError closes the connection.
    with trio.fail_after(CATCH_UP_S):
        while unread(self) >= UNREAD_MAX:  # noqa: ASYNC110
            await trio.sleep(_POLL_S)
    with trio.fail_after(BODY_S):
        body: bytes = await read_exactly(self.secured_conn, length)
    return body


def _recv_window(self: Any) -> int:  # noqa: ANN401
    window: int = self._window
    return window


def _set_recv_window(self: Any, window: int) -> None:  # noqa: ANN401
    self._window = window
    if window < 0:
        on_overrun = getattr(self.conn, "on_overrun", None)
        if on_overrun is not None:
            on_overrun()
        raise trio.TooSlowError("a frame beyond its stream's window")


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
