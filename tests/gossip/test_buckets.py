"""A bucket lets a burst through, then its rate, and never more."""

from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.buckets import Bucket, Rate


def test_a_burst_then_the_rate() -> None:
    bucket = Bucket(Rate(per_s=10, burst=5), 0)
    assert [bucket.draw(1, 0) for _ in range(7)] == [0, 0, 0, 0, 0, 100, 200]
    assert bucket.draw(1, 200) == 100
    assert bucket.draw(1, 10_000) == 0


def test_trying_takes_all_or_nothing() -> None:
    bucket = Bucket(Rate(per_s=10, burst=5), 0)
    assert bucket.try_draw(5, 0)
    assert not bucket.try_draw(1, 99)
    assert bucket.try_draw(1, 100)
    assert not bucket.is_full(100)
    assert bucket.is_full(600)


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = Bucket(Rate(per_s=1, burst=1), 5_000)
    assert bucket.try_draw(1, 5_000)
    assert not bucket.try_draw(1, 1_000)
    assert bucket.try_draw(1, 2_000)


@given(
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 50)), max_size=60),
)
def test_no_more_than_burst_and_rate_ever(per_s: int, burst: int, draws: list[tuple[int, int]]) -> None:
    bucket, now_ms, taken = Bucket(Rate(per_s, burst), 0), 0, 0
    for pause_ms, tokens in draws:
        now_ms += pause_ms
        if bucket.try_draw(tokens, now_ms):
            taken += tokens
        assert taken * 1000 <= burst * 1000 + per_s * now_ms


@given(st.integers(1, 1000), st.integers(1, 100), st.lists(st.integers(0, 500), max_size=40))
def test_whoever_waits_as_told_keeps_to_the_rate(per_s: int, burst: int, sizes: list[int]) -> None:
    bucket, now_ms, taken = Bucket(Rate(per_s, burst), 0), 0, 0
    for tokens in sizes:
        now_ms += bucket.draw(tokens, now_ms)
        taken += tokens
        assert taken * 1000 <= burst * 1000 + per_s * now_ms
