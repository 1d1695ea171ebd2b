"""What another has and we lack is found, whatever the ids, in a bounded answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.comparing import PIECE_SIZE, PIECES_MAX, PLACES, others, pieces
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32

IDS = [tagged_hash("p2pai/test", number.to_bytes(4, "big")) for number in range(60)]


@given(st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(IDS)), st.integers(0, PLACES - 1))
def test_exactly_what_is_lacking_is_named(mine, theirs, place):
    assert set(others(theirs, place, pieces(mine, place), 100)) == theirs - mine


def test_ids_that_agree_at_one_place_differ_at_another():
    ours, theirs = Hash32(b"same" + bytes(28)), Hash32(b"same" + bytes([1]) * 28)
    assert others([theirs], 0, pieces([ours], 0), 100) == ()
    assert others([theirs], 4, pieces([ours], 4), 100) == (theirs,)


def test_what_is_too_much_comes_in_another_order_each_time():
    named = [others(IDS, place, b"", 20) for place in range(PLACES)]
    assert all(len(ids) == 20 for ids in named)
    assert {i for ids in named for i in ids} == set(IDS)


@pytest.mark.parametrize(
    ("place", "known"),
    [(-1, b""), (PLACES, b""), (0, bytes(PIECE_SIZE + 1)), (0, bytes((PIECES_MAX + 1) * PIECE_SIZE))],
)
def test_what_is_malformed_is_refused(place, known):
    with pytest.raises(InvalidMessage):
        others(IDS, place, known, 10)
