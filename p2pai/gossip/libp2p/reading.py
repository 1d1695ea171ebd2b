"""Reads from a libp2p stream through a buffer: a frame costs no more reads than bursts of bytes arrived."""

from typing import Any, Final

import trio

from p2pai.primitives.errors import InvalidMessage

READ_SIZE: Final = 256 << 10
"""Bytes asked from a stream at once."""

VARINT_SIZE_MAX: Final = 5
"""Bytes of the longest length prefix: 35 bits."""


FRAME_S_MIN: Final = 5.0
"""Seconds in which a frame that was begun is there; longer ones have longer."""

FRAME_RATE_MIN: Final = 32 << 10
"""Bytes in a second that a remote must send of a frame that it began."""


class BufferedReader:
    """The one reader of a stream; the stream's own exceptions pass through.

    Whoever begins a frame must end it (`FRAME_S_MIN`), otherwise `trio.TooSlowError` is raised; between two
    frames there may be any time.
    """

    def __init__(self, stream: Any) -> None:  # noqa: ANN401
        self._stream = stream
        self._buffer = bytearray()

    async def first(self, size: int) -> bytes:
        """Return the first `size` bytes of a frame, whenever they come."""
        if not self._buffer:
            await self._fill()
        return await self.exactly(size)

    async def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes, which are of a frame that was begun."""
        if len(self._buffer) < size:
            with trio.fail_after(FRAME_S_MIN + size / FRAME_RATE_MIN):
                while len(self._buffer) < size:
                    await self._fill()
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return data

    async def prefixed(self, size_max: int) -> bytes:
        """Return the next frame that has its length in front as a varint.

        Raises:
          InvalidMessage: longer than `size_max`, or the length is malformed.
        """
        if not self._buffer:
            await self._fill()
        while (prefix := self._prefix()) is None:
            with trio.fail_after(FRAME_S_MIN):
                await self._fill()
        place, size = prefix
        if size > size_max:
            raise InvalidMessage(f"frame of {size} bytes, at most {size_max}")
        del self._buffer[:place]
        return await self.exactly(size)

    async def _fill(self) -> None:
        self._buffer += await self._stream.read(READ_SIZE)

    def _prefix(self) -> tuple[int, int] | None:
        # Length of the prefix and the length that it says, once it is all there.
        value = 0
        for place, byte in enumerate(self._buffer[:VARINT_SIZE_MAX]):
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:  # noqa: PLR2004
                return place + 1, value
        if len(self._buffer) >= VARINT_SIZE_MAX:
            raise InvalidMessage("length prefix is too long")
        return None


def with_prefix(data: bytes) -> bytes:
    """Put a frame's length in front of it as a varint."""
    size, prefix = len(data), bytearray()
    while size >= 0x80:  # noqa: PLR2004
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + data
