"""Frames on a pipe: a u32 length, little-endian, then that many bytes."""

from typing import BinaryIO, Final

from p2pai.primitives.errors import InvalidMessage

LENGTH_SIZE: Final = 4

FRAME_BYTES_MAX: Final = 256 << 20
"""A step's job may carry the message maps of 256 peers of up to 256 KiB each (64 MiB); twice that and to
spare."""


def encode(body: bytes) -> bytes:
    """Return `body` as one frame."""
    assert len(body) <= FRAME_BYTES_MAX, "frame is too long"
    return len(body).to_bytes(LENGTH_SIZE, "little") + body


def decode_length(header: bytes) -> int:
    """Return the length of the body behind a frame's first four bytes.

    Raises:
      InvalidMessage: it is beyond `FRAME_BYTES_MAX`.
    """
    length = int.from_bytes(header, "little")
    if len(header) != LENGTH_SIZE or length > FRAME_BYTES_MAX:
        raise InvalidMessage("frame is malformed or too long")
    return length


def read(stream: BinaryIO) -> bytes | None:
    """Read one frame from a blocking stream; None at its end.

    Raises:
      InvalidMessage: the stream ends inside a frame, or the frame is too long.
    """
    header = stream.read(LENGTH_SIZE)
    if not header:
        return None
    length = decode_length(header)
    body = stream.read(length)
    if len(body) != length:
        raise InvalidMessage("stream ended inside a frame")
    return body


def write(stream: BinaryIO, body: bytes) -> None:
    """Write one frame to a blocking stream and flush it."""
    stream.write(encode(body))
    stream.flush()
