"""Targets: what was written is read; a file that is cut off, damaged, of another chain or version says so,
after the blocks that are whole.
"""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.params import BLOCK_SIZE_MAX
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import ZERO_HASH
from p2pai.shell import chain_file

CHAIN = bytes(range(32))
BLOCKS = [b"first", b"second" * 100, b"x"]


def written(blocks=BLOCKS, chain=CHAIN):
    stream = BytesIO()
    assert chain_file.write(stream, chain, iter(blocks)) == len(blocks)
    return stream.getvalue()


def read(data, chain=CHAIN):
    return list(chain_file.read(BytesIO(data), chain))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5))
def test_what_was_written_is_read(blocks):
    assert read(written(blocks)) == blocks


def test_the_layout():
    data = written([b"ab"])
    head = b"p2pai blocks\n" + b"\1\0\0\0" + CHAIN
    assert data[: len(head) + 6] == head + b"\2\0\0\0ab"
    assert data[len(head) + 6 : len(head) + 10] == bytes(4)
    assert len(data) == len(head) + 10 + 32


def test_cut_off_anywhere():
    data = written()
    for length in range(len(chain_file.MAGIC), len(data)):
        with pytest.raises(InvalidInput, match="cut off"):
            read(data[:length])


def test_the_whole_blocks_of_a_file_that_is_cut_off_come_first():
    blocks = chain_file.read(BytesIO(written()[:-33]), CHAIN)
    assert [next(blocks) for _ in BLOCKS] == BLOCKS
    with pytest.raises(InvalidInput, match="cut off"):
        next(blocks)


@pytest.mark.parametrize("data", [b"", b"p2pai", b"SQLite format 3\0", bytes(100)])
def test_what_is_no_such_file(data):
    with pytest.raises(InvalidInput, match="no file of blocks"):
        read(data)


def test_another_chain():
    with pytest.raises(InvalidInput, match="of chain 0001020304050607, this node's is 0000000000000000"):
        read(written(), ZERO_HASH)


def test_another_version():
    data = bytearray(written())
    data[len(chain_file.MAGIC)] = 2
    with pytest.raises(InvalidInput, match="version 2, this p2pai reads 1"):
        read(bytes(data))


def test_a_changed_block():
    data = written()
    with pytest.raises(InvalidInput, match="damaged: its digest"):
        read(data.replace(b"first", b"thirf"))


def test_a_block_that_is_too_large():
    stream = BytesIO()
    chain_file.write(stream, CHAIN, [bytes(BLOCK_SIZE_MAX + 1)])
    with pytest.raises(InvalidInput, match="too large"):
        read(stream.getvalue())
