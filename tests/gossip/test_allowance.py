"""Everybody has a little, and all together no more than the pool and their own."""

from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.allowance import Pool, Share


def test_a_greedy_one_takes_nobodys_own() -> None:
    pool = Pool(100)
    greedy, modest = Share(pool, own=10, size_max=1000), Share(pool, own=10, size_max=1000)
    assert greedy.take(110)
    assert not greedy.take(1)
    assert modest.take(10)
    assert not modest.take(1)
    greedy.give_back(1)
    assert modest.take(1)


def test_what_matters_most_has_extra_room() -> None:
    share = Share(Pool(100), own=10, size_max=20)
    assert share.take(20)
    assert not share.take(1)
    assert share.take(5, extra=5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-60, 60)), max_size=80))
def test_the_pool_is_what_is_borrowed(steps: list[tuple[int, int]]) -> None:
    pool = Pool(100)
    shares = [Share(pool, own=20, size_max=80) for _ in range(4)]
    for index, size in steps:
        share = shares[index]
        if size >= 0:
            share.take(size)
        else:
            share.give_back(min(-size, share.held))
        assert pool.used == sum(max(0, share.held - share.own) for share in shares) <= pool.size_max
        assert all(0 <= share.held <= share.size_max for share in shares)
    for share in shares:
        share.give_back(share.held)
    assert pool.used == 0
