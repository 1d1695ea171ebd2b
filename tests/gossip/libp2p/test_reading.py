"""Frames come out whole, however the bytes arrive."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.libp2p.reading import BufferedReader, with_prefix
from p2pai.primitives.errors import InvalidMessage


class Pieces:
    """A stream that gives its bytes in given pieces."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = data, sizes

    async def read(self, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        take = min(size, self._sizes.pop() if self._sizes else 1)
        piece, self._data = self._data[:take], self._data[take:]
        if not piece:
            raise EOFError
        return piece


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), max_size=20))
def test_any_pieces(frames: list[bytes], sizes: list[int]) -> None:
    async def main() -> None:
        reader = BufferedReader(Pieces(b"".join(map(with_prefix, frames)), sizes))
        for frame in frames:
            assert await reader.prefixed(300) == frame
        with pytest.raises(EOFError):
            await reader.prefixed(300)

    trio.run(main)


@pytest.mark.trio
async def test_too_long_is_refused_before_it_is_read() -> None:
    reader = BufferedReader(Pieces(with_prefix(bytes(301)), [2]))
    with pytest.raises(InvalidMessage):
        await reader.prefixed(300)
    reader = BufferedReader(Pieces(b"\xff" * 6, [6]))
    with pytest.raises(InvalidMessage):
        await reader.prefixed(300)


@pytest.mark.trio
async def test_any_number_of_pieces_makes_a_frame() -> None:
    # Stock: a frame of more than 100 pieces is taken for a closed connection.
    reader = BufferedReader(Pieces(bytes(5000), [1] * 5000))
    assert await reader.exactly(5000) == bytes(5000)
