"""Message maps: one encoding for each, and the same ones that the chain's rules let pass."""

import numpy as np
import pytest

from p2pai.chain import message_map as rules
from p2pai.numpyreplay import message_map
from p2pai.primitives.errors import InvalidMessage

DICE = np.random.default_rng(10)


def test_a_list_and_a_bitmap_by_hand():
    signs = np.zeros(300, np.int64)
    signs[[2, 258]] = [1, -1]
    assert message_map.encode(signs) == bytes.fromhex("0002 80000002 00000102")
    assert message_map.encode(np.array([1, -1, 0, 0, 1])) == bytes.fromhex("0103 0d 01")
    assert message_map.encode(np.zeros(5, np.int64)) == bytes([0, 0])


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33, 4000])
@pytest.mark.parametrize("density", [0, 0.03, 0.0625, 0.5, 1])
def test_signs_come_back(count, density):
    signs = DICE.choice([-1, 1], count) * (DICE.random(count) < density)
    data = message_map.encode(signs)
    rules.check(data, count)
    assert message_map.decode(data, count).tolist() == signs.tolist()


def accepts(read, data, count):
    try:
        read(data, count)
    except InvalidMessage:
        return False
    return True


def test_it_refuses_what_the_rules_refuse():
    accepted = 0
    for i in range(3000):
        count = int(DICE.choice([1, 5, 16, 40, 200]))
        signs = DICE.choice([-1, 1], count) * (DICE.random(count) < DICE.choice([0.02, 0.1, 0.8]))
        data = bytearray(message_map.encode(signs))
        for _ in range(i % 3):
            data[DICE.integers(len(data))] ^= 1 << DICE.integers(8)
        if i % 7 == 0:
            data.insert(int(DICE.integers(len(data))), int(DICE.choice([0, 128, 255])))
        if i % 11 == 0:
            data = data[: DICE.integers(len(data) + 1)]
        passes = accepts(rules.check, bytes(data), count)
        assert accepts(message_map.decode, bytes(data), count) == passes, bytes(data)
        accepted += passes
    assert 500 < accepted < 2500


@pytest.mark.parametrize("data", ["", "00", "02", "0080", "0080808080808000", "008000", "ff"])
def test_a_broken_head_is_refused(data):
    with pytest.raises(InvalidMessage):
        message_map.decode(bytes.fromhex(data), 16)
