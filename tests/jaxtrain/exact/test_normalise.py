"""Normalisation: mean 0 and variance 1 in integers, running statistics, and the way back."""

from functools import partial

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import CASES, check, normal, same, tensor

from p2pai.jaxtrain.exact import normalise as module
from p2pai.jaxtrain.exact.normalise import (
    STATISTIC_MAX,
    blend,
    inverse_root,
    normalise,
    normalise_with,
    scale,
)

FORMS = {
    "channels of images": ((2, 3, 2, 3), (0, 1, 2)),
    "channels": ((6, 3), (0,)),
    "rows": ((4, 5), (1,)),
    "rows of images": ((2, 2, 2, 5), (3,)),
}
VALUES = {
    name: partial(lambda x, axes: normalise(x, axes)[0], axes=axes) for name, (_, axes) in FORMS.items()
}
NORMALISE = jax.jit(normalise, static_argnums=1)
INVERSE_ROOT = jax.jit(inverse_root)
EVALUATE = jax.jit(normalise_with)


def reference(axes):
    def run(x):
        y, _, _, pull = oracle.normalise(x, axes)
        return y, pull

    return run


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_the_oracles(case, name):
    shape, axes = FORMS[name]
    check(VALUES[name], reference(axes), (tensor(case, 1, *shape),), tensor("spread", 2, *shape))


@pytest.mark.parametrize("case", CASES)
def test_awkward_gradients(case):
    shape, axes = FORMS["channels"]
    check(VALUES["channels"], reference(axes), (tensor("plain", 3, *shape),), tensor(case, 4, *shape))


@pytest.mark.parametrize("case", CASES)
def test_statistics_are_the_oracles(case):
    shape, axes = FORMS["channels"]
    x = tensor(case, 5, *shape)
    _, mean, variance, _ = oracle.normalise(oracle.exact(normal(x)), axes)
    found = NORMALISE(x, axes)[1:]
    same(found[0], mean)
    same(found[1], variance)


def test_groups_of_one_value_are_zero():
    """A batch of one sample: its mean is itself, its variance 0, and nothing passes back."""
    x, dy = np.float32([[3, -7e3, 2.0**-40]]), np.float32([[1, -5, 2]])
    check(VALUES["channels"], reference((0,)), (x,), dy)
    y, _, _, pull = oracle.normalise(oracle.exact(x), (0,))
    assert not np.any(y)
    assert not np.any(pull(oracle.exact(dy))[0])


def test_the_result_has_mean_zero_and_variance_one():
    x = np.random.default_rng(1).normal(5, 3, (4096, 2)).astype(np.float32)
    y, mean, variance = NORMALISE(x, (0,))
    assert np.allclose(np.mean(y, 0), 0, atol=1e-4)
    assert np.allclose(np.var(y, 0), 1, atol=1e-3)
    assert np.allclose(np.asarray(mean) / 2**24, x.mean(0), rtol=1e-4)
    assert np.allclose(np.asarray(variance) / 2**24, x.var(0), rtol=1e-3)


def test_statistics_stop_at_their_edge():
    x = np.float32([[2.0**40, -(2.0**40)], [2.0**40 * 1.5, -(2.0**42)]])
    _, mean, variance = NORMALISE(x, (0,))
    assert mean.tolist() == [STATISTIC_MAX, -STATISTIC_MAX]
    assert variance.tolist() == [STATISTIC_MAX] * 2


def test_gradients_do_not_pass_through_statistics():
    x = tensor("plain", 6, 6, 3)
    gradient = jax.jit(jax.grad(lambda v: sum(s.astype(np.float32).sum() for s in normalise(v, (0,))[1:])))
    assert not np.any(gradient(x))


@pytest.mark.parametrize("case", CASES)
def test_evaluation_is_the_oracles(case):
    x = tensor(case, 7, 4, 5)
    mean = np.array([0, 2**24, -(2**45), 2**45, -12345], np.int64)
    variance = np.array([0, 1, 2**24, 2**45, 99999], np.int64)
    expected = oracle.normalise_with(oracle.exact(normal(x)), oracle.whole(mean), oracle.whole(variance))
    same(EVALUATE(x, mean, variance), expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 2**51 - 1))
def test_the_inverse_root_is_the_oracles(w):
    r, t = INVERSE_ROOT(np.int64(w))
    assert (int(r), int(t)) == oracle._inverse_root(w)
    assert abs(int(r) * 2.0 ** (int(t) - 52) * w**0.5 - 1) < 1e-6


@pytest.mark.parametrize("momentum", [0, 1, 58_982, 65_535])
def test_running_statistics_blend_as_the_oracles(momentum):
    old = np.array([0, 5, -(2**45), 2**45, 2**24], np.int64)
    new = np.array([-1, 2**45, 2**45, -(2**45), 2**24], np.int64)
    found = blend(old, new, momentum)
    same(found, oracle.blend(oracle.whole(old), oracle.whole(new), momentum))
    assert np.all(np.abs(np.asarray(found)) <= STATISTIC_MAX)
    if momentum == 0:
        assert found.tolist() == new.tolist()


@pytest.mark.parametrize("case", CASES)
def test_scaling_is_the_oracles(case):
    x, gamma, dy = tensor("plain", 8, 4, 3), tensor(case, 9, 3), tensor("spread", 10, 4, 3)
    check(scale, oracle.scale, (x, gamma), dy)
    check(scale, oracle.scale, (tensor(case, 11, 4, 3), gamma), tensor(case, 12, 4, 3))


def test_the_statistics_grid_is_the_models():
    from p2pai.jaxtrain import weights

    assert module.STATISTIC_BITS == weights.STATISTIC_BITS
    assert weights.STATISTIC_UNITS_MAX == STATISTIC_MAX
