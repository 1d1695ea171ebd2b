"""Integer division and roots by way of floats: exact over their whole range."""

from math import isqrt

import exact_oracle as oracle
import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.jaxtrain.exact import integer

QUICK = settings(max_examples=200, deadline=None)
DIVIDE, FLOOR_DIVIDE, MID, ROOT = (
    jax.jit(f) for f in (integer.divide, integer.floor_divide, integer.mid, integer.isqrt)
)
QUOTIENT_MAX = 2**50


def pairs(least):
    """Numerators and denominators whose quotient is in range, many of them near a multiple."""
    near = st.tuples(st.integers(1, 2**31), st.integers(0, 2**30), st.integers(-1, 1))
    exact = near.map(lambda t: (t[0] * t[1] + t[2], t[0]))
    wide = st.tuples(st.integers(-(2**62) + 1, 2**62 - 1), st.integers(1, 2**61))
    both = (exact | wide).filter(lambda p: abs(p[0]) < 2**62 and abs(p[0]) // p[1] < QUOTIENT_MAX)
    return both.map(lambda p: (max(p[0], least), p[1]))


@QUICK
@given(pairs(-(2**62)))
def test_division_is_towards_zero(pair):
    n, d = pair
    assert int(DIVIDE(n, d)) == oracle.div(n, d)


@QUICK
@given(pairs(-(2**62)))
def test_floor_division_is_pythons(pair):
    n, d = pair
    assert int(FLOOR_DIVIDE(n, d)) == n // d


@QUICK
@given(st.integers(-(2**52), 2**52), st.integers(1, 2**18))
def test_mid_is_the_nearest_with_ties_up(n, d):
    assert int(MID(n, d)) == oracle.mid(n, d)


def test_mid_at_its_ties():
    assert [int(MID(n, 2)) for n in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


@QUICK
@given(st.integers(0, 2**62 - 1) | st.integers(0, 2**31 - 1).map(lambda r: r * r))
def test_a_root_is_rounded_down(n):
    assert int(ROOT(n)) == isqrt(n)


def test_roots_at_every_power_and_beside_every_square():
    edges = [2**k + i for k in range(62) for i in (-1, 0, 1)]
    squares = [r * r + i for r in (2**31 - 1, 2**30 + 1, 2**26 - 1, 94906265, 3037000) for i in (-1, 0, 1)]
    numbers = np.array([n for n in edges + squares if 0 <= n < 2**62], np.int64)
    assert integer.isqrt(numbers).tolist() == [isqrt(n) for n in numbers.tolist()]
