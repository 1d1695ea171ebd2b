"""What gradients add to the residual: the oracle's integers, and close to the textbook's formulas."""

from dataclasses import replace
from functools import cache, partial

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import DENSE
from tensors import same

from p2pai.chain.training import (
    ADAPTIVE_RATE_PPM_MAX,
    PPM,
    SGD_RATE_PPM_MAX,
    Adam,
    CosineRate,
    Momentum,
    RmsProp,
    Sgd,
    StepRate,
    learning_rate,
)
from p2pai.jaxtrain import optimiser as optimisers

QUICK = settings(max_examples=50, deadline=None)
COUNT = 8
RATE_MAX = (SGD_RATE_PPM_MAX << 24) // PPM
INT32_MAX = 2**31 - 1

MOMENTUMS = [Momentum(1, 58_982, nesterov=False), Momentum(1, 65_535, nesterov=True)]
RMSPROPS = [RmsProp(1, 58_982, 100), RmsProp(1, 0, 1), RmsProp(1, 65_535, 1_000_000_000)]
ADAMS = [Adam(1, 58_982, 65_470, 10, 0), Adam(1, 0, 0, 1, 0), Adam(1, 65_535, 65_535, 1_000, 1_000_000)]

GRADIENTS = (
    st.floats(width=32, min_value=-(2.0**50), max_value=2.0**50)
    | st.floats(width=32, min_value=-2, max_value=2)
    | st.sampled_from(
        [0.0, 8192.0, -8192.0, 8191.9995, 4.0, -4.0, 2.0**50, -(2.0**50), 2.0**-100, -(2.0**-27)]
    )
).map(lambda g: 0.0 if abs(g) < 2.0**-100 else float(np.float32(g)))
RATES = st.integers(1, RATE_MAX) | st.sampled_from([1, 1 << 24, RATE_MAX])
ADAPTIVE_RATES = st.integers(1, 1 << 24)
SIGNED = st.integers(-INT32_MAX, INT32_MAX) | st.sampled_from([INT32_MAX, -INT32_MAX, 0, 1, -1])
MEANS = st.integers(-(2**30), 2**30) | st.sampled_from([2**30, -(2**30), 0, -1])
SQUARES = st.integers(0, 2**60) | st.sampled_from([0, 1, 2**60, 2**30])
WEIGHTS = st.integers(-(2**24) + 1, 2**24 - 1)


def many(numbers):
    return st.lists(numbers, min_size=COUNT, max_size=COUNT)


@cache
def compiled(optimiser):
    return jax.jit(partial(optimisers.contribute, optimiser))


def contribute(optimiser, gradient, weights, state, constants):
    """Return contribution and new state as lists."""
    constants = np.array([*constants, 0, 0, 0, 0][:4], np.int64)
    found, after = compiled(optimiser)(
        np.array(gradient, np.float32), np.array(weights, np.float32) * np.float32(2.0**-20), state, constants
    )
    assert found.dtype == np.int32
    for slot, dtype in zip(after, optimisers.slots(optimiser), strict=True):
        assert slot.dtype == dtype
    return found.tolist(), *(slot.tolist() for slot in after)


@QUICK
@given(many(GRADIENTS), RATES)
def test_sgd_is_the_oracles(gradient, rate):
    found, *_ = contribute(Sgd(1), gradient, [0] * COUNT, (), [rate])
    assert found == [oracle.sgd(oracle.Fraction(g), rate) for g in gradient]


@pytest.mark.parametrize("rate", [1, 5_033_164, 1 << 24, RATE_MAX])
def test_every_magnitude_and_both_signs(rate):
    sizes = np.exp2(np.arange(-100, 51)).astype(np.float32) * np.float32(1.7)
    gradient = np.concatenate([sizes, -sizes, np.zeros(1, np.float32)])
    constants = np.array([rate, 0, 0, 0], np.int64)
    found, _ = compiled(Sgd(1))(gradient, gradient * 0, (), constants)
    same(found, oracle.each(lambda g: oracle.sgd(g, rate), oracle.exact(gradient)))


def test_ties_go_to_even():
    """One unit of the residual is 2^-26, so half a unit is 2^-27 at a rate of 1."""
    halves = [2.0**-27, -(2.0**-27), 3 * 2.0**-27, -3 * 2.0**-27, 5 * 2.0**-27, 0, 1, -1]
    found, *_ = contribute(Sgd(1), halves, [0] * COUNT, (), [1 << 24])
    assert found == [0, 0, 2, -2, 2, 0, 2**26, -(2**26)]


@pytest.mark.parametrize("optimiser", MOMENTUMS, ids=str)
@QUICK
@given(gradient=many(GRADIENTS), rate=RATES, velocity=many(SIGNED))
def test_momentum_is_the_oracles(optimiser, gradient, rate, velocity):
    found = contribute(optimiser, gradient, [0] * COUNT, (np.array(velocity, np.int32),), [rate])
    rule = partial(oracle.momentum, rate=rate, kept=optimiser.momentum_q16, nesterov=optimiser.nesterov)
    pairs = [rule(oracle.Fraction(g), velocity=v) for g, v in zip(gradient, velocity, strict=True)]
    assert found == tuple(map(list, zip(*pairs, strict=True)))


@pytest.mark.parametrize("optimiser", RMSPROPS, ids=str)
@QUICK
@given(gradient=many(GRADIENTS), rate=ADAPTIVE_RATES, square=many(SQUARES))
def test_rmsprop_is_the_oracles(optimiser, gradient, rate, square):
    found = contribute(optimiser, gradient, [0] * COUNT, (np.array(square, np.int64),), [rate])
    rule = partial(oracle.rmsprop, rate=rate, decay=optimiser.decay_q16, ppb=optimiser.epsilon_ppb)
    pairs = [rule(oracle.Fraction(g), square=s) for g, s in zip(gradient, square, strict=True)]
    assert found == tuple(map(list, zip(*pairs, strict=True)))
    assert all(0 <= s <= 2**60 for s in found[1])


@pytest.mark.parametrize("optimiser", ADAMS, ids=str)
@QUICK
@given(
    gradient=many(GRADIENTS),
    rate=ADAPTIVE_RATES,
    mean=many(MEANS),
    square=many(SQUARES),
    weights=many(WEIGHTS),
    iteration=st.integers(0, 2**32 - 1) | st.integers(0, 10),
)
def test_adam_is_the_oracles(optimiser, gradient, rate, mean, square, weights, iteration):
    beta1, beta2 = optimiser.beta1_q16, optimiser.beta2_q16
    decay = (rate * optimiser.weight_decay_ppm << 12) // PPM
    constants = (rate, *oracle.corrections(beta1, beta2, iteration), decay)
    state = (np.array(mean, np.int32), np.array(square, np.int64))
    found = contribute(optimiser, gradient, weights, state, constants)
    rule = partial(oracle.adam, constants=constants, beta1=beta1, beta2=beta2, ppb=optimiser.epsilon_ppb)
    rows = zip(gradient, weights, mean, square, strict=True)
    triples = [rule(oracle.Fraction(g), oracle.Fraction(w, 2**20), mean=m, square=s) for g, w, m, s in rows]
    assert found == tuple(map(list, zip(*triples, strict=True)))
    assert all(abs(m) <= 2**30 for m in found[1])
    assert all(0 <= s <= 2**60 for s in found[2])


# Constants


@pytest.mark.parametrize("optimiser", ADAMS, ids=str)
@pytest.mark.parametrize("iteration", [0, 1, 2, 1000, 2**32 - 2])
def test_bias_corrections_are_the_oracles(optimiser, iteration):
    task = replace(DENSE, optimiser=replace(optimiser, learning_rate_ppm=ADAPTIVE_RATE_PPM_MAX))
    found = optimisers.constants(task, 1, iteration)
    first, second = oracle.corrections(optimiser.beta1_q16, optimiser.beta2_q16, iteration)
    decay = (2**24 * optimiser.weight_decay_ppm * 2**12) // 10**6
    assert found.tolist() == [2**24, first, second, decay]


@pytest.mark.parametrize("t", [1, 2, 10, 1000])
def test_bias_corrections_are_close_to_the_textbooks(t):
    task = replace(DENSE, optimiser=Adam(1_000, 58_982, 65_470, 10, 0))
    _, first, second, _ = optimisers.constants(task, 1, t - 1).tolist()
    assert first / 65_536 == pytest.approx(1 / (1 - (58_982 / 65_536) ** t), rel=1e-4)
    assert second / 65_536 == pytest.approx((1 - (65_470 / 65_536) ** t) ** -0.5, rel=1e-4)


@pytest.mark.parametrize("schedule", [StepRate(2, 500_000), CosineRate(), DENSE.schedule], ids=str)
@pytest.mark.parametrize("optimiser", [Sgd(300_000), MOMENTUMS[0], RMSPROPS[0], ADAMS[2]], ids=str)
def test_the_rate_follows_the_schedule_by_epoch(optimiser, schedule):
    task = replace(DENSE, optimiser=replace(optimiser, learning_rate_ppm=300_000), schedule=schedule)
    for epoch in (1, 2, 3, 5):
        constants = optimisers.constants(task, epoch, 7)
        assert constants[0] == learning_rate(task.optimiser, schedule, epoch, task.epochs)
    assert constants.dtype == np.int64


# Against the textbook, over several iterations


def run(optimiser, gradients, weights, rate):
    task = replace(DENSE, optimiser=replace(optimiser, learning_rate_ppm=rate))
    state, steps = tuple(np.zeros(COUNT, d) for d in optimisers.slots(optimiser)), []
    for i, gradient in enumerate(gradients):
        constants = optimisers.constants(task, 1, i)
        step, state = compiled(optimiser)(gradient, weights, state, constants)
        steps.append(np.asarray(step) / 2**26)
    return np.array(steps)


def textbook(optimiser, gradients, weights, rate):
    """Yield the steps of float64 formulas."""
    v, m, s = (np.zeros(COUNT) for _ in range(3))
    for t, g in enumerate(gradients.astype(np.float64), start=1):
        match optimiser:
            case Sgd():
                yield rate * g
            case Momentum(_, q, nesterov):
                v = q / 65_536 * v + rate * g
                yield q / 65_536 * v + rate * g if nesterov else v
            case RmsProp(_, q, ppb):
                s = q / 65_536 * s + (1 - q / 65_536) * g * g
                yield rate * g / (np.sqrt(s) + ppb * 1e-9)
            case Adam(_, q1, q2, ppb, decay):
                b1, b2 = q1 / 65_536, q2 / 65_536
                m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g * g
                ratio = m / (1 - b1**t) / (np.sqrt(s / (1 - b2**t)) + ppb * 1e-9)
                yield rate * ratio + rate * decay * 1e-6 * weights


@pytest.mark.parametrize(
    "optimiser",
    [
        Sgd(1), Momentum(1, 58_982, nesterov=False), Momentum(1, 58_982, nesterov=True),
        RmsProp(1, 58_982, 100_000), Adam(1, 58_982, 65_470, 1_000, 0),
        Adam(1, 58_982, 65_470, 1_000, 10_000),
    ],
    ids=str,
)  # fmt: skip
def test_steps_are_close_to_the_textbooks(optimiser):
    dice = np.random.default_rng(5)
    gradients = (dice.normal(size=(20, COUNT)) * 0.05).astype(np.float32)
    weights = dice.integers(-(2**20), 2**20, COUNT).astype(np.float32) / np.float32(2**20)
    found = run(optimiser, gradients, weights, 10_000)
    wanted = np.array(list(textbook(optimiser, gradients, weights, 0.01)))
    assert np.max(np.abs(found - wanted)) < 2e-3 * np.max(np.abs(wanted))
