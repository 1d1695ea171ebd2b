"""Float32 tensors that are awkward to round, and how an operation is compared with the oracle's."""

from functools import cache

import exact_oracle as oracle
import jax
import numpy as np

CASES = ("plain", "spread", "ties", "equal", "zeros", "tiny", "large", "denormal")
NORMAL_CASES = CASES[:-1]
"""For what passes values on: no operation ever gives a denormal."""


def tensor(case, seed, *shape):
    """Return float32 of a shape.

    plain: normal; spread: over many magnitudes; ties: half way between two integers at some mantissa; tiny
    and large: near where results are zero or clipped; denormal: below what float32 holds normally.
    """
    dice = np.random.default_rng([seed, CASES.index(case)])
    x = dice.normal(size=shape)
    if case == "spread":
        x *= np.exp2(dice.integers(-30, 12, shape)) * (dice.random(shape) > 0.1)
    if case == "ties":
        bits = dice.choice([7, 13, 17, 18, 20, 24], shape)
        odd = 2 * dice.integers(0, 40, shape) + 1
        x = np.sign(x) * np.where(dice.random(shape) < 0.2, 1 - 2.0**-14, odd * np.exp2(-bits - 1.0))
    scales = {"equal": 0, "zeros": 0, "tiny": 2.0**-70, "large": 2.0**40, "denormal": 2.0**-130}
    x = x * scales.get(case, 1) + (1.375 if case == "equal" else 0)
    return (x + 0).astype(np.float32)  # no minus zero


def same(array, expected):
    """Assert that a float32 or integer array holds just these numbers, and no minus zero."""
    found = np.asarray(array)
    expected = np.asarray(expected, object)
    assert found.shape == expected.shape
    assert not np.any((found == 0) & np.signbit(found))
    if found.dtype == np.float32:
        assert oracle.exact(found).tolist() == expected.tolist()
    else:
        assert found.tolist() == expected.tolist()


@cache
def compiled(operation):
    """Return a function of arguments and a gradient, to the result and the arguments' gradients."""

    @jax.jit
    def forth_and_back(arguments, dy):
        y, pull = jax.vjp(operation, *arguments)
        return y, pull(dy)

    return forth_and_back


def check(operation, reference, arguments, dy):
    """Assert that an operation and its gradients are the reference's.

    Args:
      operation: of arrays; the same object each time, so that it is compiled once.
      reference: of fractions; returns the result and a function to the gradients.
      arguments: float32 arrays.
      dy: gradient of the result.
    """
    y, gradients = compiled(operation)(arguments, dy)
    expected, pull = reference(*(oracle.exact(normal(a)) for a in arguments))
    same(y, expected)
    for found, wanted in zip(gradients, pull(oracle.exact(normal(dy))), strict=True):
        same(found, wanted)


def normal(x):
    """Return x with denormals as zeros, which is what operations make of them."""
    return np.where(np.abs(x) < np.float32(2.0**-126), np.float32(0), x)
