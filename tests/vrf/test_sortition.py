"""Sortition: the same few for everyone, each equally often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives.hashing import tagged_hash
from p2pai.vrf.sortition import choose

IDS = [bytes([i]) * 20 for i in range(20)]
seeds = st.binary(min_size=32, max_size=32)
candidates = st.lists(st.binary(max_size=36), unique=True, max_size=20)


def seed(number):
    return tagged_hash("test", number.to_bytes(4, "big"))


@given(seeds, candidates, st.integers(0, 25), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(value, ids, count, random):
    shuffled = list(ids)
    random.shuffle(shuffled)
    assert choose(value, shuffled, count) == choose(value, ids, count)


@given(seeds, candidates, st.integers(0, 25))
def test_the_chosen_are_distinct_candidates_with_the_smallest_hashes(value, ids, count):
    chosen = choose(value, ids, count)
    assert len(chosen) == min(count, len(ids)) == len(set(chosen))
    assert set(chosen) <= set(ids)
    hashes = {each: tagged_hash("p2pai/sortition", value, each) for each in ids}
    rest = [hashes[each] for each in ids if each not in chosen]
    assert all(hashes[each] < other for each in chosen for other in rest)


@given(seeds, candidates, st.integers(0, 20))
def test_fewer_places_go_to_the_first_of_more(value, ids, count):
    assert choose(value, ids, count + 1)[:count] == choose(value, ids, count)


@given(seeds, candidates.filter(bool))
def test_one_candidate_less_frees_its_own_place_alone(value, ids):
    gone = choose(value, ids, 1)[0]
    left = [each for each in ids if each != gone]
    assert choose(value, left, 20) == tuple(each for each in choose(value, ids, 20) if each != gone)


def test_everyone_is_chosen_equally_often():
    # 10 of 20 in each of 1,000 draws: 500 times each; one sigma is 15.8.
    counts = dict.fromkeys(IDS, 0)
    for number in range(1000):
        for each in choose(seed(number), IDS, 10):
            counts[each] += 1
    assert sum(counts.values()) == 10_000
    assert all(abs(count - 500) < 5 * 15.8 for count in counts.values())


def test_a_candidate_twice_and_a_negative_count_are_our_own_fault():
    with pytest.raises(AssertionError):
        choose(seed(0), [IDS[0], IDS[1], IDS[0]], 1)
    with pytest.raises(AssertionError):
        choose(seed(0), IDS, -1)


def test_a_fixed_outcome():
    # Guards the rule: another outcome here is another network.
    assert [each[0] for each in choose(bytes(32), IDS, 4)] == [0, 4, 19, 18]
