"""Threefry-2x32-20, a counter-based generator: a word depends on key and counter alone.

Frozen by the protocol, not by a library's version.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; docs/EXACT.md, "Dropout".
"""

from typing import Final

import jax.numpy as jnp
from jax import Array

_PARITY: Final = 0x1BD11BDA
_ROTATIONS: Final = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return two words for each counter; all uint32, of shapes that broadcast."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            x = x + y
            y = ((y << rotation) | (y >> (32 - rotation))) ^ x
        x = x + keys[(i + 1) % 3]
        y = y + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return x, y
