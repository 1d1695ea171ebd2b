"""Each optimiser, one weight at a time, against Python's integers."""

from dataclasses import replace
from fractions import Fraction
from math import isqrt

import kinds
import numpy as np
import pytest

from p2pai.chain.training import Adam, ConstantRate, Momentum, RmsProp, Sgd, learning_rate
from p2pai.jobs import Position
from p2pai.numpyreplay import optimiser
from p2pai.primitives.errors import InvalidMessage

DICE = np.random.default_rng(9)
EDGE = 2**31 - 1


def gradients(n=60):
    drawn = DICE.standard_normal(n) * 2.0 ** DICE.integers(-40, 20, n)
    return np.concatenate([drawn, [0, 2.0**-100, -9000, 2.0**50]]).astype(np.float32)


def div(a, b):
    return int(Fraction(a, b))


def clip(x, a):
    return min(max(x, -a), a)


def rated(g, rate, shift):
    return clip(round(Fraction(clip(float(g), 8192.0)) * rate * 2**shift), EDGE)


def mean_square(s, g, decay):
    k, d = (65536 - decay) << 8, g * g - s
    return s + (d >> 24) * k + (((d & (2**24 - 1)) * k) >> 24)


def quotient(n, d, rate):
    return (div(clip(n, 64 * d) << 30, d) * rate + 2**27) >> 28


def power(b, t):
    x = 2**62
    for digit in bin(t)[2:]:
        x = (x * x) >> 62
        x = (x * b) >> 16 if digit == "1" else x
    return x


def expected(kind, rate, g, theta, state, t):
    """Return contribution and state of one weight."""
    if isinstance(kind, Sgd):
        return rated(g, rate, 2), ()
    if isinstance(kind, Momentum):
        v = rated(g, rate, 8)
        after = clip(div(state[0] * kind.momentum_q16, 65536) + v, EDGE)
        u = clip(div(after * kind.momentum_q16, 65536) + v, EDGE) if kind.nesterov else after
        return (u + 32) >> 6, (after,)
    fixed = round(Fraction(clip(float(g), 4.0)) * 2**28)
    epsilon = max(1, kind.epsilon_ppb * 2**28 // 10**9)
    if isinstance(kind, RmsProp):
        s = mean_square(state[0], fixed, kind.decay_q16)
        return clip(quotient(fixed, isqrt(s) + epsilon, rate), EDGE), (s,)
    m = div(state[0] * kind.beta1_q16 + fixed * (65536 - kind.beta1_q16), 65536)
    s = mean_square(state[1], fixed, kind.beta2_q16)
    c1 = 2**78 // (2**62 - power(kind.beta1_q16, t))
    c2 = isqrt(2**94 // (2**62 - power(kind.beta2_q16, t)))
    n, d = clip(div(m * c1, 65536), EDGE), ((isqrt(s) * c2) >> 16) + epsilon
    decay = (theta * ((rate * kind.weight_decay_ppm * 2**12) // 10**6) + 2**29) >> 30
    return clip(quotient(n, d, rate) + decay, EDGE), (m, s)


@pytest.mark.parametrize("iteration", [0, 1, 999, 2**32 - 1])
@pytest.mark.parametrize(
    "kind",
    [
        Sgd(300_000),
        Sgd(16_000_000),
        Momentum(200_000, 58_982, nesterov=False),
        Momentum(16_000_000, 65_535, nesterov=True),
        RmsProp(2_000, 58_982, 100),
        RmsProp(1_000_000, 0, 1),
        Adam(3_000, 58_982, 65_470, 10, 10_000),
        Adam(1_000_000, 65_535, 65_535, 1, 1_000_000),
        Adam(1, 0, 0, 1_000_000_000, 0),
    ],
    ids=str,
)
def test_contributions_and_states(kind, iteration):
    task = replace(kinds.DENSE, optimiser=kind, schedule=ConstantRate())
    rate = learning_rate(kind, ConstantRate(), 1, 1)
    g = gradients()
    weights = DICE.integers(-(2**24) + 1, 2**24, len(g))
    layout = optimiser.initial(kind, 1)
    spans = {Momentum: [(-EDGE, EDGE)], RmsProp: [(0, 2**60)], Adam: [(-(2**30), 2**30), (0, 2**60)]}
    state = tuple(DICE.integers(low, high + 1, len(g)) for low, high in spans.get(type(kind), []))
    assert len(layout) == len(state)
    found, after = optimiser.contribute(task, Position(1, iteration, 10), g, weights, state)
    for i in range(len(g)):
        before = tuple(int(part[i]) for part in state)
        wanted = expected(kind, rate, g[i], int(weights[i]), before, iteration + 1)
        assert (int(found[i]), tuple(int(part[i]) for part in after)) == wanted, g[i]
    again = optimiser.decode(optimiser.encode(kind, after), kind, len(g))
    assert all(np.array_equal(a, b) for a, b in zip(after, again, strict=True))


def test_states_out_of_range_are_refused():
    momentum, adam = Momentum(1, 1, nesterov=False), Adam(1, 1, 1, 1, 0)
    cases = [
        (momentum, np.array([-(2**31)], "<i4").tobytes()),
        (momentum, b"\0" * 8),
        (adam, np.array([2**30 + 1], "<i4").tobytes() + bytes(8)),
        (adam, bytes(4) + np.array([-1], "<i8").tobytes()),
        (adam, bytes(4) + np.array([2**60 + 1], "<i8").tobytes()),
        (Sgd(1), b"\0"),
    ]
    for kind, data in cases:
        with pytest.raises(InvalidMessage):
            optimiser.decode(data, kind, 1)
    optimiser.decode(bytes(4) + np.array([2**60], "<i8").tobytes(), adam, 1)
