"""Exact operations are close to what floats give, forward and backward, so no formula is wrong."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from kinds import DENSE

from p2pai.chain.layers import Function, Padding
from p2pai.chain.training import Loss, Numerics
from p2pai.jaxtrain import operations

EXACT, COARSE, NATIVE = operations.exact(13), operations.exact(7), operations.platform()
KEY = np.array([1, 2], np.uint32)
IMAGES = (4, 6, 6, 3)
ROWS = (8, 12)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# For each: its arguments, what to do with them, and how far off it may be, relative to the largest value.
CASES = {
    "dot": ((normal(1, *ROWS), normal(2, 12, 5)), lambda ops, x, w: ops.dot(x, w), 1e-3),
    "conv": (
        (normal(3, *IMAGES), normal(4, 3, 2, 3, 4)),
        lambda ops, x, w: ops.conv(x, w, 1, Padding.VALID),
        1e-3,
    ),
    "conv, same, strided": (
        (normal(5, *IMAGES), normal(6, 3, 3, 3, 4)),
        lambda ops, x, w: ops.conv(x, w, 2, Padding.SAME),
        1e-3,
    ),
    "conv, same, even kernel": (
        (normal(7, *IMAGES), normal(8, 4, 2, 3, 2)),
        lambda ops, x, w: ops.conv(x, w, 1, Padding.SAME),
        1e-3,
    ),
    "max_pool": ((normal(9, *IMAGES),), lambda ops, x: ops.max_pool(x, 3, 2), 1e-6),
    "average_pool": ((normal(10, *IMAGES),), lambda ops, x: ops.average_pool(x, 3, 2), 1e-6),
    "add_bias": ((normal(11, *ROWS), normal(12, 12)), lambda ops, x, b: ops.add_bias(x, b), 1e-6),
    "add": ((normal(13, *ROWS), normal(14, *ROWS)), lambda ops, x, y: ops.add(x, y), 1e-6),
    "fork": ((normal(15, *ROWS),), lambda ops, x: ops.add(*ops.fork(x)), 1e-6),
    "batch norm": ((normal(16, *IMAGES) * 3 + 1,), lambda ops, x: ops.normalise(x, (0, 1, 2))[0], 1e-4),
    "layer norm": ((normal(17, *ROWS) * 9 - 2,), lambda ops, x: ops.normalise(x, (1,))[0], 1e-4),
    "layer norm of little": ((normal(18, *ROWS) / 200,), lambda ops, x: ops.normalise(x, (1,))[0], 1e-4),
    "scale": ((normal(19, *ROWS), normal(20, 12)), lambda ops, x, g: ops.scale(x, g), 1e-4),
    "dropout": ((normal(21, *ROWS),), lambda ops, x: ops.dropout(x, KEY, 20_000), 1e-6),
    "leaky relu": ((normal(22, *ROWS),), lambda ops, x: ops.leaky_relu(x, 6_554), 1e-6),
    **{
        function.value: (
            (normal(23, *ROWS) * 3,),
            partial(lambda ops, x, function: ops.activate(x, function), function=function),
            1e-5,
        )
        for function in Function
    },
}


def run(ops, operation, arguments):
    @jax.jit
    def forth_and_back(arguments):
        y, pull = jax.vjp(partial(operation, ops), *arguments)
        return y, pull(normal(99, *y.shape))

    return forth_and_back(arguments)


def assert_close(found, wanted, tolerance):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert np.max(np.abs(found - wanted)) <= tolerance * max(1e-3, np.max(np.abs(wanted)))


@pytest.mark.parametrize("name", CASES)
def test_an_operation_and_its_gradients_are_close_to_floats(name):
    arguments, operation, tolerance = CASES[name]
    found, wanted = (run(ops, operation, arguments) for ops in (EXACT, NATIVE))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert_close(a, b, tolerance)


@pytest.mark.parametrize("name", ["dot", "conv"])
def test_seven_bits_are_close_enough_to_learn(name):
    arguments, operation, _ = CASES[name]
    found, wanted = (run(ops, operation, arguments) for ops in (COARSE, NATIVE))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert_close(a, b, 0.03)


@pytest.mark.parametrize("kind", Loss)
def test_a_losss_gradient_and_observation_are_close_to_floats(kind):
    if kind.is_classification:
        labels = np.arange(8, dtype=np.int32) % (2 if kind is Loss.BINARY_CROSS_ENTROPY else 5)
    else:
        labels = normal(30, 8, 5)
    z = normal(31, 8, 1 if kind is Loss.BINARY_CROSS_ENTROPY else 5) * 4
    (found, seen), (wanted, floats) = (jax.jit(ops.judge(kind))(z, labels) for ops in (EXACT, NATIVE))
    assert_close(found, wanted, 1e-4)
    for name in seen._fields:
        assert_close(getattr(seen, name), getattr(floats, name), 1e-4)


def test_evaluation_with_running_statistics_is_close_to_floats():
    x, mean = normal(32, *ROWS), (normal(33, 12) * 2**24).astype(np.int64)
    variance = np.abs(mean) + 2**20
    found, wanted = (jax.jit(ops.normalise_with)(x, mean, variance) for ops in (EXACT, NATIVE))
    assert_close(found, wanted, 1e-5)


def test_statistics_are_close_to_floats():
    x = normal(34, *IMAGES) * 3 + 1
    exact, native = (
        jax.jit(lambda v, ops=ops: ops.normalise(v, (0, 1, 2))[1:])(x) for ops in (EXACT, NATIVE)
    )
    for found, wanted in zip(exact, native, strict=True):
        assert_close(found, wanted, 1e-4)


@pytest.mark.parametrize("function", Function)
def test_floats_derivatives_are_those_of_the_curve(function):
    """The native arithmetic that the exact one is compared with, against differences in float64."""
    x = normal(35, *ROWS).astype(np.float64)
    with jax.enable_x64():
        f = jax.jit(lambda v: NATIVE.activate(v, function))
        _, pull = jax.vjp(f, x)
        step = normal(36, *ROWS).astype(np.float64)
        difference = (f(x + 1e-6 * step) - f(x - 1e-6 * step)) / 2e-6
        weights = normal(37, *ROWS).astype(np.float64)
        assert np.allclose(
            np.sum(pull(weights)[0] * step), np.sum(weights * difference), rtol=1e-4, atol=1e-4
        )


def test_a_task_gets_what_it_asks_for():
    assert operations.of(DENSE) is EXACT
    assert operations.of(replace(DENSE, mantissa_bits=7)) is COARSE
    assert operations.of(replace(DENSE, numerics=Numerics.NATIVE)) is NATIVE
    assert operations.of(replace(DENSE, numerics=Numerics.NATIVE, mantissa_bits=7)) is NATIVE
