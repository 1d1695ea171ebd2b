"""The exact arithmetic again in Python integers and fractions: slow, plain, no code of the product."""

from fractions import Fraction

import numpy as np

EXP2 = [1073741824, -744261114, 257941163, -59596395, 10324651, -1425731, 158139, -11624]


def exact(array):
    """A numpy array as nested lists of fractions."""
    return [exact(row) for row in array] if np.ndim(array) else Fraction(float(array))


def to_numpy(values):
    """Nested lists of fractions that float32 holds exactly, as a numpy array."""
    array = np.array([[float(v) for v in row] if isinstance(row, list) else float(row) for row in values])
    assert np.all(array.astype(np.float32) == array)
    return array.astype(np.float32)


def nearest_float32(value):
    """Round a fraction to 24 significant bits, ties to even."""
    if value == 0:
        return Fraction(0)
    exponent = 0
    while abs(value) * Fraction(2) ** exponent < 2**23:
        exponent += 1
    while abs(value) * Fraction(2) ** exponent >= 2**24:
        exponent -= 1
    return round(value * Fraction(2) ** exponent) / Fraction(2) ** exponent


def rounded(value):
    if abs(value) < Fraction(1, 2**100):
        return Fraction(0)
    return nearest_float32(max(min(value, Fraction(2**50)), Fraction(-(2**50))))


def quantised(matrix, bits):
    largest = max((abs(v) for row in matrix for v in row), default=0)
    exponent = -60
    while largest >= Fraction(2) ** exponent and exponent < 60:
        exponent += 1
    scale = Fraction(2) ** (bits - exponent)
    return [[round(v * scale) for v in row] for row in matrix], 1 / scale


def transposed(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


def dot(a, b):
    (m, p), (n, q) = quantised(a, 13), quantised(b, 13)
    return [
        [rounded(sum(x * y for x, y in zip(r, c, strict=True)) * p * q) for c in transposed(n)] for r in m
    ]


def column_sums(matrix):
    integers, unit = quantised(matrix, 24)
    return [rounded(sum(column) * unit) for column in transposed(integers)]


def exp_negative(distance_q16):
    power = (distance_q16 * 1549082005) >> 16
    fraction, shift = power % 2**30, power // 2**30
    value = EXP2[-1]
    for coefficient in reversed(EXP2[:-1]):
        value = coefficient + value * fraction // 2**30
    return value // 2 ** min(shift, 62)


def log2(n):
    whole = n.bit_length() - 1
    mantissa = n * 2**30 // 2**whole
    result = whole * 2**30
    for i in range(29, -1, -1):
        mantissa = mantissa * mantissa // 2**30
        if mantissa >= 2**31:
            mantissa //= 2
            result += 2**i
    return result


def cross_entropy(logits, labels):
    """Return the summed loss in Q30 and the gradient of the mean."""
    loss, gradient = 0, []
    for row, label in zip(logits, labels, strict=True):
        fixed = [round(max(min(v, 16384), -16384) * 65536) for v in row]
        distance = [max(fixed) - v for v in fixed]
        powers = [exp_negative(d) for d in distance]
        total = sum(powers)
        loss += max(((log2(total) - 30 * 2**30) * 744261118 // 2**30) + distance[label] * 2**14, 0)
        errors = [p * 2**30 // total - (2**30 if i == label else 0) for i, p in enumerate(powers)]
        gradient.append([rounded(Fraction(e * 2**10 // len(labels), 2**40)) for e in errors])
    return loss, gradient


def forward(leaves, x):
    """Return every layer's input and the logits."""
    inputs = []
    for i in range(0, len(leaves), 2):
        inputs.append(x)
        products = dot(x, leaves[i])
        x = [[nearest_float32(v + b) for v, b in zip(row, leaves[i + 1], strict=True)] for row in products]
        if i + 2 < len(leaves):
            x = [[max(v, Fraction(0)) for v in row] for row in x]
    return inputs, x


def gradients(leaves, x, labels):
    inputs, logits = forward(leaves, x)
    _, d = cross_entropy(logits, labels)
    result = [None] * len(leaves)
    for i in range(len(leaves) - 2, -1, -2):
        result[i], result[i + 1] = dot(transposed(inputs[i // 2]), d), column_sums(d)
        d = dot(d, transposed(leaves[i]))
        if i:
            d = [
                [v if a > 0 else Fraction(0) for v, a in zip(r, s, strict=True)]
                for r, s in zip(d, inputs[i // 2], strict=True)
            ]
    return result


def contribution(gradient, learning_rate_ppm):
    """Return gradient * learning rate in units of 2^-26, ties away from zero."""
    value = abs(max(min(gradient, Fraction(8192)), Fraction(-8192))) * learning_rate_ppm * 2**26 / 10**6
    units = min(int(value + Fraction(1, 2)), 2**31 - 1)
    return -units if gradient < 0 else units


def moved(weight, count, tau_bits):
    units = weight * 2**20 - count * 2 ** (20 - tau_bits)
    assert units.denominator == 1
    return max(min(units, 2**24 - 1), -(2**24) + 1) / Fraction(2**20)


def iterate(theta, residual, counts, x, labels, learning_rate_ppm, tau_bits):
    """One iteration; every argument but the last two is nested lists, one per leaf."""
    theta = [_map(lambda w, c: moved(w, c, tau_bits), w, c) for w, c in zip(theta, counts, strict=True)]
    tau = 2 ** (26 - tau_bits)
    rest, signs = [], []
    for r, g in zip(residual, gradients(theta, x, labels), strict=True):
        full = _map(lambda a, b: max(min(a + contribution(b, learning_rate_ppm), 2**31 - 1), 1 - 2**31), r, g)
        sign = _map(lambda v, _: (v > tau) - (v < -tau), full, full)
        rest.append(_map(lambda v, s: v - s * tau, full, sign))
        signs.append(sign)
    theta = [_map(lambda w, s: moved(w, s, tau_bits), w, s) for w, s in zip(theta, signs, strict=True)]
    _, logits = forward(theta, x)
    correct = sum(row.index(max(row)) == label for row, label in zip(logits, labels, strict=True))
    return theta, rest, signs, cross_entropy(logits, labels)[0], correct


def _map(function, a, b):
    if isinstance(a, list):
        return [_map(function, v, w) for v, w in zip(a, b, strict=True)]
    return function(a, b)
