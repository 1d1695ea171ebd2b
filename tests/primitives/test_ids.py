"""Outpoints: their 36 bytes and their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives.ids import Outpoint

outpoints = st.builds(Outpoint, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))


def test_the_layout():
    outpoint = Outpoint(bytes(range(32)), 0x01020304)
    assert outpoint.encode() == bytes(range(32)) + bytes([4, 3, 2, 1])
    assert str(outpoint) == bytes(range(32)).hex() + ":16909060"


@given(outpoints)
def test_a_round_trip_is_the_identity(outpoint):
    assert Outpoint.decode(outpoint.encode()) == outpoint


@pytest.mark.parametrize("size", [0, 35, 37])
def test_another_size_is_our_own_fault(size):
    with pytest.raises(AssertionError):
        Outpoint.decode(bytes(size))
