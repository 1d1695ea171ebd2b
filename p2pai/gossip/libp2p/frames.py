"""The frames of the ask protocol: `u32 length | u32 request | u8 kind | payload`, little-endian.

Questions and answers of one stream are told apart by the request number, so a slow answer holds up nobody.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import trio

from p2pai.gossip.libp2p.host import Stream, reset, write_in_time
from p2pai.gossip.libp2p.reading import BufferedReader
from p2pai.gossip.limits import ANSWER_SIZE_MAX
from p2pai.primitives.errors import InvalidMessage

WRITE_SIZE: Final = 1 << 20
"""Bytes written at once: larger writes hold up other streams, smaller ones are slow (16 KiB: 68 MB/s)."""

WAITING_MAX: Final = 2
"""Frames that wait for the writer of one stream; whoever adds one more waits too."""

CLOCK_SIZE: Final = 8
"""Bytes of the answer to CLOCK."""

_LENGTH_SIZE: Final = 4
_HEAD_SIZE: Final = 5


class Kind(IntEnum):
    """What a frame says."""

    ASK = 0
    """u32 milliseconds the asker will wait, then the question."""
    MANIFEST = 1
    """A blob's id: which chunks has it?"""
    CHUNK = 2
    """A blob's id, then u32 index."""
    CLOCK = 3
    """What time is it? The answer is u64 Unix milliseconds."""
    KNOWN = 4
    """Empty: whom do you know? Answered as gossip/exchange.py has it."""
    ANSWER = 16
    ABSENT = 17
    """Nothing to give, now or ever."""
    BUSY = 18
    """Too many of your questions are unanswered."""


QUESTIONS: Final = (Kind.ASK, Kind.MANIFEST, Kind.CHUNK, Kind.CLOCK, Kind.KNOWN)


@dataclass(frozen=True, slots=True)
class Frame:
    """One question or one answer."""

    request: int
    kind: Kind
    payload: bytes = b""


class FrameStream:
    """A stream as a sequence of frames, with one writer.

    Only the writer task touches the stream's sending side: a task that is cancelled in the middle of a write
    would tear a frame, and with it the whole connection.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = BufferedReader(stream)
        self._put, self._take = trio.open_memory_channel[Frame](WAITING_MAX)

    async def read(self) -> Frame:
        """Return the next frame.

        Raises:
          InvalidMessage: too long, too short, or of unknown kind.
        """
        length = int.from_bytes(await self._reader.first(_LENGTH_SIZE), "little")
        if not _HEAD_SIZE <= length <= _HEAD_SIZE + ANSWER_SIZE_MAX:
            raise InvalidMessage(f"frame of {length} bytes")
        head = await self._reader.exactly(_HEAD_SIZE)
        payload = await self._reader.exactly(length - _HEAD_SIZE)
        return Frame(int.from_bytes(head[:4], "little"), _kind(head[4]), payload)

    async def write(self, frame: Frame) -> None:
        """Hand a frame to the writer; waits while the remote doesn't read.

        Raises:
          trio.BrokenResourceError: the stream is over.
        """
        assert len(frame.payload) <= ANSWER_SIZE_MAX, "frame is too long"
        await self._put.send(frame)

    async def run_writer(self) -> None:
        """Write frames until cancelled or the stream fails; then whoever calls `write` learns of it."""
        async with self._take:
            async for frame in self._take:
                await self._write_now(frame)

    async def _write_now(self, frame: Frame) -> None:
        head = frame.request.to_bytes(4, "little") + bytes([frame.kind])
        length = _HEAD_SIZE + len(frame.payload)
        data = length.to_bytes(_LENGTH_SIZE, "little") + head + frame.payload
        for start in range(0, len(data), WRITE_SIZE):
            await write_in_time(self._stream, data[start : start + WRITE_SIZE])

    async def reset(self) -> None:
        """End the stream in both directions."""
        await reset(self._stream)


def remote_of(stream: Stream) -> Any:  # noqa: ANN401
    """Return the libp2p id of the other end."""
    return stream.muxed_conn.peer_id


def _kind(byte: int) -> Kind:
    try:
        return Kind(byte)
    except ValueError as error:
        raise InvalidMessage(f"unknown kind of frame: {byte}") from error
