"""Reads from a libp2p stream through a buffer: a frame costs no more reads than bursts of bytes arrived."""

from typing import Any, Final

from p2pai.primitives.errors import InvalidMessage

READ_SIZE: Final = 256 << 10
"""Bytes asked from a stream at once."""

VARINT_SIZE_MAX: Final = 5
"""Bytes of the longest length prefix: 35 bits."""


class BufferedReader:
    """The one reader of a stream; the stream's own exceptions pass through."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401
        self._stream = stream
        self._buffer = bytearray()

    async def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        while len(self._buffer) < size:
            self._buffer += await self._stream.read(READ_SIZE)
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return data

    async def prefixed(self, size_max: int) -> bytes:
        """Return the next frame that has its length in front as a varint.

        Raises:
          InvalidMessage: longer than `size_max`, or the length is malformed.
        """
        while (prefix := self._prefix()) is None:
            self._buffer += await self._stream.read(READ_SIZE)
        place, size = prefix
        if size > size_max:
            raise InvalidMessage(f"frame of {size} bytes, at most {size_max}")
        del self._buffer[:place]
        return await self.exactly(size)

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
