r"""Blocks of one chain in a file or a stream, for `p2pai chain export` and `import`.

    "p2pai blocks\n" || u32 version || chain id, 32 bytes
    u32 length || block                       for each block, oldest first
    u32 0 || digest, 32 bytes                 after the last one

Integers are little-endian. The digest is d(n) of n blocks, with d(0) = H("p2pai/blocks", chain id) and
d(i) = H("p2pai/blocks", d(i-1) || block i); it tells a complete file from one that was cut off, and guards
against damage only: what the blocks are worth, the rules of the chain say.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from p2pai.chain.params import BLOCK_SIZE_MAX
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import HASH_SIZE, Hash32

MAGIC: Final = b"p2pai blocks\n"
VERSION: Final = 1
TAG: Final = "p2pai/blocks"


def write(stream: BinaryIO, chain: Hash32, blocks: Iterable[bytes]) -> int:
    """Write blocks of a chain; return how many."""
    stream.write(MAGIC + _u32(VERSION) + chain)
    count, digest = 0, tagged_hash(TAG, chain)
    for block in blocks:
        stream.write(_u32(len(block)) + block)
        count, digest = count + 1, tagged_hash(TAG, digest, block)
    stream.write(_u32(0) + digest)
    return count


def read(stream: BinaryIO, chain: Hash32) -> Iterator[bytes]:
    """Yield the blocks of a file; nothing about them is checked but that they are whole.

    Raises:
      InvalidInput: no such file, of another chain or version, cut off or damaged.
    """
    if stream.read(len(MAGIC)) != MAGIC:
        raise InvalidInput("this is no file of blocks; p2pai chain export makes one")
    version = int.from_bytes(_take(stream, 4), "little")
    if version != VERSION:
        raise InvalidInput(f"the file has version {version}, this p2pai reads {VERSION}")
    found = _take(stream, HASH_SIZE)
    if found != chain:
        raise InvalidInput(f"the blocks are of chain {found.hex()[:16]}, this node's is {chain.hex()[:16]}")
    digest = tagged_hash(TAG, chain)
    while length := int.from_bytes(_take(stream, 4), "little"):
        if length > BLOCK_SIZE_MAX:
            raise InvalidInput("the file is damaged: a block in it is too large")
        block = _take(stream, length)
        digest = tagged_hash(TAG, digest, block)
        yield block
    if _take(stream, HASH_SIZE) != digest:
        raise InvalidInput("the file is damaged: its digest is not of these blocks")


def _take(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise InvalidInput("the file is cut off")
    return data


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")
