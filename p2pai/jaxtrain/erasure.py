"""Reed-Solomon shards of a fragment: any k of its k + h restore it. The one door to PyECLib.

    stream = for each mini-batch: its length as u32 little-endian, its bytes     then zeros, if any
    stripe = k blocks of 1 MiB of the stream; the last is shorter, its blocks padded to an even length
    shard j = of each stripe, block j; for j >= k the parity block j - k           one chunk a stripe

Parity is over GF(2^16) with x^16 + x^12 + x^3 + x + 1, on u16 little-endian. Take the Vandermonde matrix of
the points 0 .. k + h - 1 (row i: i^0 .. i^(k-1)), multiply it from the right by the inverse of its first k
rows, and divide each column of the other h rows by its first entry: parity row 0 is plain XOR.

The library writes a header in front of each block, with its own version and checksums in it. A shard holds
none of that: its bytes follow from the fragment alone, whoever makes it. To restore, the headers are taken
from a stripe of zeros.

Source: PoUW §4.2.3; Reed and Solomon 1960; Plank, "A tutorial on Reed-Solomon coding" (1997) with its 2003
correction; docs/adr/0021-assignment-and-redundancy.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from pyeclib.ec_iface import ECDriver, ECDriverError

from p2pai.chain.training import ReedSolomon
from p2pai.primitives.blob import CHUNK_SIZE_MAX
from p2pai.primitives.errors import InvalidInput, InvalidMessage

BACKEND: Final = "liberasurecode_rs_vand"
"""Part of PyECLib's wheel itself; others need libraries of the system."""

BLOCK_SIZE: Final = CHUNK_SIZE_MAX
"""Bytes of a block: a chunk of a shard."""

WORD_SIZE: Final = 2
"""Bytes of an element of the field."""

SHARDS_MAX: Final = 32
"""Shards of a fragment that the library can make."""

LENGTH_SIZE: Final = 4
SCHEMES_CACHED: Final = 16

Chunks = tuple[bytes, ...]


def split(fragment: Sequence[bytes], scheme: ReedSolomon) -> list[Chunks]:
    """Return the shards of a fragment, data shards first, each as the chunks of a blob.

    Args:
      fragment: its mini-batches, none empty.
      scheme: how many shards of either kind.

    Raises:
      InvalidInput: there are no shards of a kind, or more than `SHARDS_MAX` in all.
    """
    if scheme.data < 1 or scheme.parity < 1 or scheme.shards > SHARDS_MAX:
        raise InvalidInput(f"Reed-Solomon has data and parity shards, at most {SHARDS_MAX} together")
    stream = b"".join(len(batch).to_bytes(LENGTH_SIZE, "little") + batch for batch in fragment)
    stripes = [_encode(stripe, scheme) for stripe in _stripes(stream, scheme.data)]
    return [tuple(blocks) for blocks in zip(*stripes, strict=True)]


def restore(shards: Mapping[int, Chunks], scheme: ReedSolomon) -> Chunks:
    """Return a fragment's mini-batches from its shards.

    Args:
      shards: by index, at least `scheme.data` of them.
      scheme: they were made by.

    Raises:
      InvalidMessage: they are not shards of one fragment. That they are of the right one is for the caller to
        check: wrong shards may give mini-batches that nobody ever cut.
    """
    chosen = sorted(shards)[: scheme.data]
    assert len(chosen) == scheme.data, "too few shards"
    if len({tuple(map(len, shards[index])) for index in chosen}) != 1:
        raise InvalidMessage("the shards of a fragment differ in length")
    stripes = zip(*(shards[index] for index in chosen), strict=True)
    return tuple(_batches(b"".join(_decode(chosen, blocks, scheme) for blocks in stripes)))


def _stripes(stream: bytes, data: int) -> Iterator[bytes]:
    """Cut a stream into stripes of `data` equal blocks; the last is padded with zeros."""
    for start in range(0, len(stream), data * BLOCK_SIZE):
        stripe = stream[start : start + data * BLOCK_SIZE]
        padding = -len(stripe) % (data * WORD_SIZE)
        yield stripe + bytes(padding)


def _encode(stripe: bytes, scheme: ReedSolomon) -> list[bytes]:
    size = len(stripe) // scheme.data
    made: list[bytes] = _driver(scheme).encode(stripe)
    return [block[-size:] for block in made]


def _decode(indices: Sequence[int], blocks: Sequence[bytes], scheme: ReedSolomon) -> bytes:
    size = len(blocks[0])
    if not 0 < size <= BLOCK_SIZE or size % WORD_SIZE:
        raise InvalidMessage("a shard has a block of a length that no shard has")
    if list(indices) == list(range(scheme.data)):
        return b"".join(blocks)
    headers = _headers(scheme, size)
    try:
        stripe: bytes = _driver(scheme).decode([headers[i] + b for i, b in zip(indices, blocks, strict=True)])
    except ECDriverError as error:
        raise InvalidMessage("the shards do not restore a fragment") from error
    return stripe


def _batches(stream: bytes) -> Iterator[bytes]:
    """Cut a stream into mini-batches again."""
    position = 0
    while position + LENGTH_SIZE <= len(stream):
        length = int.from_bytes(stream[position : position + LENGTH_SIZE], "little")
        position += LENGTH_SIZE
        if length == 0:
            break
        if not length <= min(CHUNK_SIZE_MAX, len(stream) - position):
            raise InvalidMessage("the shards hold a mini-batch of an impossible length")
        yield stream[position : position + length]
        position += length
    if any(stream[position:]):
        raise InvalidMessage("the shards hold more than mini-batches")


@lru_cache(maxsize=SCHEMES_CACHED)
def _driver(scheme: ReedSolomon) -> ECDriver:
    return ECDriver(k=scheme.data, m=scheme.parity, ec_type=BACKEND)


@lru_cache(maxsize=SCHEMES_CACHED)
def _headers(scheme: ReedSolomon, size: int) -> list[bytes]:
    """Return what the library writes in front of each block of a stripe of this size."""
    return [block[:-size] for block in _driver(scheme).encode(bytes(scheme.data * size))]
