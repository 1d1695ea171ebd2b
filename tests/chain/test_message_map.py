"""The integer check of message maps agrees with the trainer's reader on every input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import message_map
from p2pai.jaxtrain import message_map as trainers
from p2pai.primitives.errors import InvalidMessage

COUNTS = st.integers(1, 200)


def verdict(function, *arguments):
    try:
        function(*arguments)
    except InvalidMessage as error:
        return str(error)
    return ""


@st.composite
def maps(draw):
    signs = draw(st.lists(st.sampled_from([-1, 0, 0, 0, 1]), min_size=1, max_size=200))
    return trainers.encode(np.array(signs, np.int8)), len(signs)


@given(maps())
def test_every_map_that_a_trainer_writes_passes(made):
    message_map.check(*made)


@given(maps(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_map_passes_exactly_when_a_trainer_reads_it(made, at, change):
    data, count = made
    at %= len(data)
    changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
    assert bool(verdict(message_map.check, changed, count)) == bool(verdict(trainers.decode, changed, count))


@given(st.binary(max_size=60), COUNTS)
def test_any_bytes_pass_exactly_when_a_trainer_reads_them(data, count):
    for form in (data, b"\0" + data, b"\1" + data):
        assert bool(verdict(message_map.check, form, count)) == bool(verdict(trainers.decode, form, count))


LIST = b"\0\2" + (3).to_bytes(4, "big") + (1 << 31 | 9).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("data", "count", "reason"),
    [
        (b"", 64, "unknown form"),
        (b"\2\0", 64, "unknown form"),
        (b"\0", 64, "malformed number of elements"),
        (b"\0\x80\0", 64, "malformed number of elements"),
        (b"\0" + b"\xff" * 6, 64, "malformed number of elements"),
        (LIST, 31, "too dense for a list"),
        (LIST[:-1], 64, "payload and number of elements differ"),
        (LIST[:2] + LIST[6:] + LIST[2:6], 64, "not ascending or out of range"),
        (LIST[:2] + LIST[2:6] * 2, 64, "not ascending or out of range"),
        (LIST[:6] + (1 << 31 | 64).to_bytes(4, "big"), 64, "not ascending or out of range"),
        (b"\1\1" + bytes([1]) + bytes(15), 64, "too sparse for a bitmap"),
        (b"\1\5" + bytes([0x55, 1]) + bytes(13), 64, "bitmap of a wrong size"),
        (b"\1\1\2", 4, "unused bits are set"),
        (b"\1\1\x41", 3, "unused bits are set"),
        (b"\1\2\1", 4, "bitmap and number of elements differ"),
    ],
)
def test_each_rule_refuses_with_its_reason(data, count, reason):
    assert reason in verdict(message_map.check, data, count)


def test_the_smallest_maps_pass():
    message_map.check(b"\0\0", 1)
    message_map.check(b"\1\1\3", 4)
    message_map.check(LIST, 64)
