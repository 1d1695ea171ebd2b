"""Exponential, logarithm and sigmoid in fixed point: the oracle's integers, and close to the truth."""

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import same

from p2pai.jaxtrain.exact import fixed_point

QUICK = settings(max_examples=100, deadline=None)
EXP = jax.jit(fixed_point.exp_negative, static_argnums=1)
LOG2 = jax.jit(fixed_point.log2)


def test_constants_are_those_of_the_specification():
    assert list(fixed_point.EXP2_COEFFICIENTS) == oracle.EXP2
    assert (fixed_point.LOG2_E, fixed_point.LN_2) == (oracle.LOG2_E, oracle.LN_2)


@QUICK
@given(st.integers(0, 2**31), st.sampled_from([16, 24]))
def test_exponential_is_the_oracles(distance, bits):
    assert int(EXP(distance, bits)) == oracle.exp(distance, bits)


@pytest.mark.parametrize("bits", [16, 24])
def test_exponential_at_its_edges(bits):
    edges = np.array([0, 1, 2**bits, 2**31 - 1, 2**31], np.int64)
    same(fixed_point.exp_negative(edges, bits), [oracle.exp(int(d), bits) for d in edges])
    assert int(EXP(0, bits)) == 2**30


def test_exponential_is_close_to_the_truth_and_never_negative():
    q = np.arange(0, 1 << 21, 997, dtype=np.int64)
    found = np.asarray(fixed_point.exp_negative(q, 16))
    assert np.max(np.abs(found / 2**30 - np.exp(-q / 65536))) < 1e-8
    assert found.min() >= 0


@QUICK
@given(st.integers(1, 2**62))
def test_logarithm_is_the_oracles(n):
    assert int(LOG2(n)) == oracle.log2(n)


def test_logarithm_at_every_power_and_close_to_the_truth():
    n = np.array([2**k + i for k in range(63) for i in (-1, 0, 1) if 1 <= 2**k + i <= 2**62], np.int64)
    found = np.asarray(fixed_point.log2(n))
    assert found.tolist() == [oracle.log2(v) for v in n.tolist()]
    assert np.max(np.abs(found / 2**30 - np.log2(n.astype(np.float64)))) < 1e-7


def test_sigmoid_is_the_oracles_and_symmetric():
    q = np.array([-(2**29), -(2**24), -1, 0, 1, 2**24, 2**29], np.int64)
    found = fixed_point.sigmoid_q30(q, fixed_point.exp_negative(abs(q), 24))
    same(found, [oracle.sigmoid_q30(v, 24) for v in q.tolist()])
    assert (np.asarray(found) + np.asarray(found)[::-1]).tolist()[:3] == [2**30] * 3
    assert np.allclose(np.asarray(found) / 2**30, 1 / (1 + np.exp(-q / 2**24)), atol=1e-8)
