"""Message maps on the wire: one encoding each, everything else refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.jaxtrain import message_map
from p2pai.primitives.errors import InvalidMessage

MAPS = st.tuples(st.integers(1, 200), st.floats(0, 1), st.integers(0, 2**32 - 1))


def draw(weight_count, density, seed):
    dice = np.random.default_rng(seed)
    signs = dice.integers(0, 2, weight_count) * 2 - 1
    return np.where(dice.random(weight_count) < density, signs, 0).astype(np.int8)


@settings(deadline=None)
@given(MAPS)
def test_what_is_written_is_read(drawn):
    signs = draw(*drawn)
    data = message_map.encode(signs)
    assert np.array_equal(message_map.decode(data, len(signs)), signs)
    assert message_map.element_count(data) == np.count_nonzero(signs)
    assert len(data) <= 3 + min(4 * np.count_nonzero(signs), -(-len(signs) // 4))


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(1, 100))
def test_any_bytes_are_refused_or_canonical(data, weight_count):
    try:
        signs = message_map.decode(data, weight_count)
    except InvalidMessage:
        return
    assert message_map.encode(signs) == data


@settings(max_examples=200, deadline=None)
@given(MAPS, st.data())
def test_a_changed_byte_is_another_map_or_refused(drawn, data):
    signs = draw(*drawn)
    changed = bytearray(message_map.encode(signs))
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    try:
        read = message_map.decode(bytes(changed), len(signs))
    except InvalidMessage:
        return
    assert not np.array_equal(read, signs)
    assert message_map.encode(read) == bytes(changed)


def test_the_form_follows_the_density():
    signs = np.zeros(160, np.int8)
    signs[:10] = 1
    assert message_map.encode(signs)[0] == message_map.LIST
    signs[10] = -1
    assert message_map.encode(signs)[0] == message_map.BITMAP


def test_elements_are_those_of_the_paper():
    signs = np.zeros(40, np.int8)
    signs[3], signs[7] = 1, -1
    assert message_map.encode(signs) == bytes.fromhex("00 02 80000003 00000007")
    assert message_map.encode(np.array([1, 0, -1, 0, 1], np.int8)) == bytes.fromhex("01 03 31 01")


@pytest.mark.parametrize(
    ("data", "weight_count"),
    [
        ("", 40),
        ("02 00", 40),
        ("00", 40),
        ("00 8000", 40),
        ("00 ffffffffff01", 40),
        ("00 02 80000003 80000003", 40),
        ("00 02 80000007 80000003", 40),
        ("00 01 80000028", 40),
        ("00 01 80000003 00", 40),
        ("00 01 800000", 40),
        ("00 03 80000003 80000004 80000005", 40),
        ("00 01 80000000", 5),
        ("01 02 04000000000000000000", 40),
        ("01 03 31 02", 5),
        ("01 03 31 05", 5),
        ("01 02 31 01", 5),
        ("01 03 31", 5),
        ("01 03 31 01 00", 5),
    ],
)
def test_other_encodings_are_refused(data, weight_count):
    with pytest.raises(InvalidMessage):
        message_map.decode(bytes.fromhex(data), weight_count)


def test_a_refused_map_adds_nothing():
    units = np.zeros(40, np.int32)
    with pytest.raises(InvalidMessage):
        message_map.add_to(units, bytes.fromhex("00 02 80000003 80000003"), 5)
    assert not units.any()


@settings(deadline=None)
@given(st.lists(MAPS, min_size=1, max_size=4), st.integers(1, 2**14))
def test_maps_add_up_in_any_order(drawn, unit):
    maps = [draw(200, density, seed) for _, density, seed in drawn]
    forth, back = np.zeros(200, np.int32), np.zeros(200, np.int32)
    for signs in maps:
        message_map.add_to(forth, message_map.encode(signs), unit)
    for signs in reversed(maps):
        message_map.add_to(back, message_map.encode(signs), unit)
    assert np.array_equal(forth, back)
    assert np.array_equal(forth, sum(signs.astype(np.int32) * unit for signs in maps))


@settings(deadline=None)
@given(MAPS, st.lists(st.integers(0, 200), max_size=4))
def test_a_map_may_come_in_parts(drawn, cuts):
    signs = draw(*drawn)
    parts = np.split(signs, sorted(min(cut, len(signs)) for cut in cuts))
    assert message_map.encode(*parts) == message_map.encode(signs)


def test_an_empty_map_is_two_bytes():
    assert message_map.encode(np.zeros(1000, np.int8)) == b"\0\0"
    assert not message_map.decode(b"\0\0", 1000).any()
