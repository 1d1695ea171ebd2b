"""Dropout: values set to zero by draws that anybody can repeat.

Source: docs/EXACT.md, "Layers": dropout; Salmon et al. 2011 (Threefry-2x32-20).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pai.jobs import Position
from p2pai.numpyreplay.quantise import BITS, Floats, quantise, to_float32
from p2pai.numpyreplay.tape import Gradients, Layered
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32

Key = tuple[int, int]
"""Two words of 32 bits."""

Words = NDArray[np.uint32]

_ROTATIONS: Final = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY: Final = 0x1BD11BDA
_ROUNDS: Final = 20


def key_of(seed: Hash32, position: Position, batch: Hash32, layer: int) -> Key:
    """Return the key of a layer's draws in one iteration."""
    epoch, iteration, index = (n.to_bytes(4, "little") for n in (position.epoch, position.iteration, layer))
    digest = tagged_hash("p2pai/dropout", seed, epoch, iteration, batch, index)
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def dropout(x: Floats, rate: int, key: Key) -> Layered:
    """Return x with each value kept with probability 1 - rate / 65536, and then scaled up by as much."""
    if rate == 0:
        return Layered(x, lambda dy: (dy, ()))
    draws = threefry(key, np.arange(x.size, dtype=np.uint32)) >> 16
    kept = (draws >= rate).reshape(x.shape)
    factor = (1 << 40) // (65536 - rate)

    def thin(values: Floats) -> Floats:
        m, e = quantise(np.where(kept, values, np.float32(0)), BITS)
        return to_float32(m * factor, e - 24)

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        return thin(dy), ()

    return Layered(thin(x), pull)


def threefry(key: Key, first: Words, second: int = 0) -> Words:
    """Return word 0 of Threefry-2x32-20 for the counters (first, second)."""
    schedule = [np.uint32(word) for word in (*key, _PARITY ^ key[0] ^ key[1])]
    a = first + schedule[0]
    b = np.full(first.shape, second, np.uint32) + schedule[1]
    for i in range(_ROUNDS):
        rotation = _ROTATIONS[i % 8]
        a = a + b
        b = a ^ (b << np.uint32(rotation) | b >> np.uint32(32 - rotation))
        if i % 4 == 3:  # noqa: PLR2004
            turn = i // 4 + 1
            a = a + schedule[turn % 3]
            b = b + schedule[(turn + 1) % 3] + np.uint32(turn)
    return a
