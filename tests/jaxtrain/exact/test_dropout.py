"""Dropout that anybody can repeat."""

from functools import partial

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from tensors import CASES, check, tensor

from p2pai.chain.layers import DROPOUT_RATE_Q16_MAX
from p2pai.jaxtrain.exact.dropout import dropout, kept

KEY = np.array([0x01234567, 0x89ABCDEF], np.uint32)
OPERATIONS = {
    rate: partial(lambda x, rate: dropout(x, KEY, rate), rate=rate)
    for rate in (1, 20_000, DROPOUT_RATE_Q16_MAX)
}


@pytest.mark.parametrize("rate", OPERATIONS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_the_oracles(case, rate):
    x, dy = tensor(case, 1, 4, 3, 2), tensor("spread", 2, 4, 3, 2)
    check(OPERATIONS[rate], lambda v: oracle.dropout(v, KEY.tolist(), rate), (x,), dy)


def test_the_share_of_what_is_dropped_is_the_rate():
    keep = np.asarray(kept((100, 1000), KEY, 20_000))
    assert abs(1 - keep.mean() - 20_000 / 65_536) < 0.005
    assert not np.array_equal(keep, kept((100, 1000), KEY + np.uint32(1), 20_000))


def test_a_value_is_kept_by_its_place_alone():
    flat = np.asarray(kept((24,), KEY, 30_000))
    assert np.array_equal(np.asarray(kept((4, 3, 2), KEY, 30_000)).ravel(), flat)
    assert np.array_equal(np.asarray(kept((12,), KEY, 30_000)), flat[:12])


def test_the_mean_stays():
    x = np.ones((100, 1000), np.float32)
    assert abs(float(np.mean(jax.jit(OPERATIONS[20_000])(x))) - 1) < 0.02


def test_the_key_has_no_gradient():
    total = jax.jit(lambda x, key: dropout(x, key, 20_000).sum())
    with_key = jax.grad(total, argnums=(0, 1), allow_int=True)
    assert with_key(np.ones((4, 3, 2), np.float32), KEY)[1].dtype == jax.dtypes.float0
