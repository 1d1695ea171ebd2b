"""One property for every door that takes foreign bytes: a value, or a refusal of one line, in bounded time.

A `Door` names what reads the bytes, sound examples to start from, and the form in which they are damaged.
What a door raises besides its refusals goes through `knock` as it is: that is a bug. Bounds grow with the
input, so that a large message may take its time and a small one that claims to be large may not.

Source: RELIABILITY (3); h11's invariant.
"""

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from time import process_time

from p2pai.primitives.errors import InvalidInput, Unavailable

TIME_S_MAX = 2.0
"""Of processor time, on a busy machine; what is quadratic, or counts to a declared length, takes more."""

TIME_US_PER_BYTE = 50
MEMORY_BYTES_MAX = 16 << 20
MEMORY_PER_BYTE = 64
REFUSAL_LENGTH_MAX = 600


class Form(Enum):
    """How a door's input is built, hence how it is damaged."""

    CBOR = "cbor"
    FRAMES = "frames"
    """Several CBOR values, each behind its length as u32 big-endian."""
    JSON = "json"
    LINES = "lines"
    BYTES = "bytes"


@dataclass(frozen=True)
class Door:
    """One way in."""

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    """Sound examples."""
    form: Form = Form.CBOR
    refusals: tuple[type[Exception], ...] = (InvalidInput, Unavailable)


def knock(door: Door, data: bytes) -> bool:
    """Give a door some bytes; return whether it took them."""
    started = process_time()
    try:
        door.read(data)
        taken = True
    except door.refusals as refusal:
        said = str(refusal)
        assert said, "refused without a word"
        assert "\n" not in said, f"refused in more than a sentence: {said!r}"
        assert len(said) <= REFUSAL_LENGTH_MAX, f"refused in {len(said)} letters"
        taken = False
    spent = process_time() - started
    limit = TIME_S_MAX + len(data) * TIME_US_PER_BYTE / 1e6
    assert spent <= limit, f"{door.name} took {spent:.1f} s for {len(data)} bytes"
    return taken


def memory_of(door: Door, data: bytes) -> int:
    """Return the most bytes that a door holds at a time while it reads."""
    tracemalloc.start()
    try:
        knock(door, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def memory_max(data: bytes) -> int:
    """Return what an input of this size may take, bytes."""
    return MEMORY_BYTES_MAX + MEMORY_PER_BYTE * len(data)
