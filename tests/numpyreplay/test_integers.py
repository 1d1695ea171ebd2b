"""Divisions, roots and logarithms against Python's integers."""

from fractions import Fraction
from math import floor, isqrt

import numpy as np

from p2pai.numpyreplay import integers

DICE = np.random.default_rng(1)
WIDE = np.concatenate(
    [DICE.integers(0, 1 << bits, 200) for bits in (3, 20, 45, 52, 53, 54, 60, 62)]
    + [np.array([(1 << 62) - 1, 1 << 60, (1 << 53) + 1])]
)


def test_middle_is_the_nearest_integer_and_ties_go_up():
    for b in (1, 2, 3, 49):
        a = np.concatenate([DICE.integers(-(1 << 50), 1 << 50, 200), np.arange(-100, 100)])
        wanted = [floor(Fraction(int(n), b) + Fraction(1, 2)) for n in a]
        assert integers.middle(a, b).tolist() == wanted
    assert integers.middle(np.array([-3, -1, 1, 3]), 2).tolist() == [-1, 0, 1, 2]


def test_division_is_rounded_towards_zero():
    a = DICE.integers(-(1 << 61), 1 << 61, 500)
    assert integers.divide_towards_zero(a, 1 << 16).tolist() == [int(Fraction(int(n), 1 << 16)) for n in a]
    assert integers.divide_towards_zero(np.array([-7, 7]), np.array([2, 2])).tolist() == [-3, 3]


def test_roots_and_logarithms_are_those_of_python():
    roots = DICE.integers(1, 1 << 31, 500)
    squares = np.concatenate([WIDE, roots * roots - 1, roots * roots])
    assert integers.floor_root(squares).tolist() == [isqrt(int(n)) for n in squares]
    positive = np.concatenate([WIDE[WIDE > 0], (1 << np.arange(62)), (1 << np.arange(1, 62)) - 1])
    assert integers.floor_log2(positive).tolist() == [int(n).bit_length() - 1 for n in positive]


def test_a_sum_may_be_larger_than_its_terms_type():
    n = np.full(10, (1 << 62) - 1)
    assert integers.exact_sum(n) == 10 * ((1 << 62) - 1)
    assert integers.exact_sum(-n) == -10 * ((1 << 62) - 1)
