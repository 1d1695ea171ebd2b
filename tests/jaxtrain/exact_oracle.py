"""The exact arithmetic again in Python integers and fractions: slow, plain, no code of the product.

Written from docs/EXACT.md. Tensors are numpy arrays of Python objects, numpy being no more than their
container: fractions where the document says float32, integers where it says integer. Each differentiable
operation returns its result and a function from the result's gradient to the gradients of its arguments.
"""

from fractions import Fraction
from itertools import product
from math import isqrt, prod

import numpy as np

EXP2 = [1073741824, -744261114, 257941163, -59596395, 10324651, -1425731, 158139, -11624]
LOG2_E, LN_2, ONE = 1549082005, 744261118, 2**30
INT32_MAX = 2**31 - 1


def each(function, *arrays):
    """Apply a function to each value, with broadcasting."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), object)


def exact(array):
    """A numpy array of floats or integers as one of fractions."""
    array = np.asarray(array)
    return np.array([Fraction(v) for v in array.ravel().tolist()], object).reshape(array.shape)


def whole(array):
    """A numpy array of integers as one of Python's."""
    return np.asarray(array).astype(object)


def to_numpy(values):
    """Fractions that float32 holds exactly, as a numpy array."""
    wide = np.asarray(values).astype(np.float64)
    narrow = wide.astype(np.float32)
    assert np.array_equal(narrow, wide)
    assert exact(narrow).tolist() == np.asarray(values).tolist()
    return narrow


def clip(value, limit):
    return max(-limit, min(limit, value))


def rint(numerator, denominator=1):
    """The nearest integer, ties to even."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2))


def shifted(value, bits):
    """The nearest integer to value * 2^bits."""
    value = Fraction(value)
    return rint(value.numerator << max(bits, 0), value.denominator << max(-bits, 0))


def div(a, b):
    """a / b rounded towards zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


def mid(a, b):
    return (2 * a + b) // (2 * b)


def nearest_float32(value):
    """Round a fraction to 24 significant bits, ties to even."""
    value = Fraction(value)
    if value == 0:
        return value
    exponent = 24 - exponent_of(value, clamp=10**6)
    return Fraction(shifted(value, exponent)) / Fraction(2) ** exponent


def exponent_of(largest, clamp=60):
    """1 + floor(log2 M), clamped; what float32's exponent field says."""
    largest = abs(Fraction(largest))
    if largest == 0:
        return -clamp
    exponent = largest.numerator.bit_length() - largest.denominator.bit_length()
    while largest >= Fraction(2) ** exponent:
        exponent += 1
    while largest < Fraction(2) ** (exponent - 1):
        exponent -= 1
    return clip(exponent, clamp)


# Conversions


def quantise(x, n, axes=None):
    """Integers and an exponent; with `axes`, an exponent for each group along them, in an array."""
    largest = np.max(each(abs, x), axis=axes, keepdims=axes is not None)
    e = each(exponent_of, largest)
    m = each(lambda v, k: shifted(v, n - k), x, e)
    if n == 7:
        m = each(lambda v: clip(v, 127), m)
    return m, (e - n if axes is not None else int(e) - n)


def to_float32(integers, exponents):
    def rounded(i, e):
        assert abs(i) <= 2**53
        value = Fraction(i) * Fraction(2) ** e
        return Fraction(0) if abs(value) < Fraction(1, 2**100) else nearest_float32(clip(value, 2**50))

    return each(rounded, integers, exponents)


def fixed(x, n, a):
    return each(lambda v: shifted(clip(v, a), n), x)


def mul(x, y):
    (m, e), (k, f) = quantise(x, 24), quantise(y, 24)
    return to_float32(m * k, e + f)


def add(x, y):
    e = max(exponent_of(np.max(each(abs, v))) for v in (x, y))
    total = each(lambda a, b: shifted(a, 24 - e) + shifted(b, 24 - e), x, y)
    return to_float32(total, e - 24)


# Layers


def dot(x, w, n):
    (m_x, e_x), (m_w, e_w) = quantise(x, n), quantise(w, n)

    def pull(dy):
        m_d, e_d = quantise(dy, n)
        return to_float32(m_d @ m_w.T, e_d + e_w), to_float32(m_x.T @ m_d, e_x + e_d)

    return to_float32(m_x @ m_w, e_x + e_w), pull


def sum_channels(dy):
    m, e = quantise(dy, 24)
    return to_float32(m.reshape(-1, m.shape[-1]).sum(axis=0), e)


def add_bias(y, b):
    return each(lambda u, v: nearest_float32(u + v), y, b), lambda dy: (dy, sum_channels(dy))


def conv(x, w, stride, padding, n):
    """`padding` is "valid" or "same"."""
    (m_x, e_x), (m_w, e_w) = quantise(x, n), quantise(w, n)
    (batch, height, width, _), (rows, columns, _, filters) = x.shape, w.shape
    out, before = [], []
    for length, side in ((height, rows), (width, columns)):
        out.append(-(-length // stride) if padding == "same" else (length - side) // stride + 1)
        spare = max((out[-1] - 1) * stride + side - length, 0) if padding == "same" else 0
        before.append(spare // 2)

    def uses():
        """Every product: of which output, which value of x, and which place in the kernel."""
        for b, oy, ox, ky, kx in product(*map(range, (batch, *out, rows, columns))):
            iy, ix = oy * stride + ky - before[0], ox * stride + kx - before[1]
            if 0 <= iy < height and 0 <= ix < width:
                yield (b, oy, ox), (b, iy, ix), (ky, kx)

    def zeros(*shape):
        return np.array([0] * prod(shape), object).reshape(shape)

    y = zeros(batch, *out, filters)
    for o, i, k in uses():
        y[o] += m_x[i] @ m_w[k]

    def pull(dy):
        m_d, e_d = quantise(dy, n)
        dx, dw = zeros(*x.shape), zeros(*w.shape)
        for o, i, k in uses():
            dx[i] += m_w[k] @ m_d[o]
            dw[k] += m_x[i][:, None] * m_d[o][None, :]
        return to_float32(dx, e_d + e_w), to_float32(dw, e_x + e_d)

    return to_float32(y, e_x + e_w), pull


def windows(shape, size, stride):
    """For each output of a pool (batch, row, column, channel), the places of its values, in order."""
    batch, height, width, channels = shape
    down, across = (height - size) // stride + 1, (width - size) // stride + 1
    for b, oy, ox, c in product(*map(range, (batch, down, across, channels))):
        offsets = product(range(size), range(size))
        yield (b, oy, ox, c), [(b, oy * stride + i, ox * stride + j, c) for i, j in offsets]


def _pool(x, size, stride):
    batch, height, width, channels = x.shape
    shape = (batch, (height - size) // stride + 1, (width - size) // stride + 1, channels)
    return np.empty(shape, object)


def max_pool(x, size, stride):
    y, source = _pool(x, size, stride), {}
    for o, places in windows(x.shape, size, stride):
        source[o] = max(places, key=lambda i: x[i])  # the first on ties
        y[o] = x[source[o]]

    def pull(dy):
        m, e = quantise(dy, 24)
        dx = np.full(x.shape, 0, object)
        for o, i in source.items():
            dx[i] += m[o]
        return (to_float32(dx, e),)

    return y, pull


def average_pool(x, size, stride):
    m, e = quantise(x, 24)
    y = _pool(x, size, stride)
    for o, places in windows(x.shape, size, stride):
        y[o] = mid(sum(m[i] for i in places) << 14, size * size)

    def pull(dy):
        m, e = quantise(dy, 24)
        dx = np.full(x.shape, 0, object)
        for o, places in windows(x.shape, size, stride):
            for i in places:
                dx[i] += mid(m[o] << 14, size * size)
        return (to_float32(dx, e - 14),)

    return to_float32(y, e - 14), pull


def _inverse_root(w):
    t = (51 - (w.bit_length() - 1)) // 2
    return 2**52 // isqrt(w << 2 * t), t


def _clip_to(a, low, high):
    return max(low, min(high, a))


def _statistic(value, exponent):
    return shifted(clip(Fraction(value) * Fraction(2) ** (exponent + 24), 2**45), 0)


def normalise(x, axes):
    """y, mean and variance (Q24), and the way back."""
    count = prod(x.shape[a] for a in axes)
    m, e = quantise(x, 18, axes)
    total = np.sum(m, axis=axes, keepdims=True)
    u = each(lambda s: mid(s << 3, count), total)
    c = m * 8 - u
    variance = np.sum(c * c, axis=axes, keepdims=True) // count
    w = each(lambda v, k: v + 2 ** _clip_to(-11 - 2 * k, 0, 50), variance, e)
    r, t = (each(lambda v, i=i: _inverse_root(v)[i], w) for i in range(2))
    y = to_float32(c * r, t - 52)

    def pull(g):
        (p, f), (h, k) = quantise(g, 17, axes), quantise(y, 17, axes)
        a = each(lambda s: mid(s, count), np.sum(p * h, axis=axes, keepdims=True))
        along = each(lambda v, j: v >> _clip_to(-(2 * j + 8), 0, 62), h * a, k)
        level = each(lambda s: mid(s << 8, count), np.sum(p, axis=axes, keepdims=True))
        big_t = p * 256 - level - along
        return (to_float32(big_t * (r // 512), f - 8 + 9 + t - 52 - (e - 3)),)

    mean = np.squeeze(each(lambda v, k: _statistic(v, k - 3), u, e), axes)
    spread = np.squeeze(each(lambda v, k: _statistic(v, 2 * (k - 3)), variance, e), axes)
    return y, mean, spread, pull


def normalise_with(x, mean, variance):
    m, e = quantise(x, 24)
    q = each(lambda v: _statistic(v, e), m)
    d = to_float32(q - mean, -24)
    r, t = (each(lambda v, i=i: _inverse_root(v + 2**7)[i], variance) for i in range(2))
    m, e = quantise(d, 24)
    return to_float32(m * r, e + t - 40)


def scale(x, gamma):
    def pull(dy):
        (a, e), (b, f) = quantise(dy, 17), quantise(x, 17)
        products = (a * b).reshape(-1, x.shape[-1])
        return mul(dy, gamma), to_float32(products.sum(axis=0), e + f)

    return mul(x, gamma), pull


def blend(running, value, momentum):
    return running + each(lambda v: v >> 16, (value - running) * (65536 - momentum))


def threefry(key, counter):
    """Threefry-2x32-20 on Python integers."""
    mask = 2**32 - 1
    keys = [key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1]]
    x = [(counter[0] + keys[0]) & mask, (counter[1] + keys[1]) & mask]
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    for i in range(20):
        x[0] = (x[0] + x[1]) & mask
        x[1] = ((x[1] << rotations[i % 8] | x[1] >> (32 - rotations[i % 8])) & mask) ^ x[0]
        if i % 4 == 3:
            n = i // 4 + 1
            x[0] = (x[0] + keys[n % 3]) & mask
            x[1] = (x[1] + keys[(n + 1) % 3] + n) & mask
    return x


def dropout(x, key, rate):
    kept = np.array([threefry(key, (i, 0))[0] >> 16 >= rate for i in range(x.size)], bool).reshape(x.shape)

    def thinned(v):
        m, e = quantise(np.where(kept, v, Fraction(0)), 24)
        return to_float32(m * (2**40 // (65536 - rate)), e - 24)

    return thinned(x), lambda dy: (thinned(dy),)


# Activations


def relu(x):
    return each(lambda v: max(v, Fraction(0)), x), lambda dy: (
        each(lambda v, d: d if v > 0 else v * 0, x, dy),
    )


def leaky_relu(x, slope):
    def lean(v):
        m, e = quantise(v, 24)
        return np.where(x > 0, v, to_float32(m * slope, e - 16))

    return lean(x), lambda dy: (lean(dy),)


def _curve(function, x, n, a, bits):
    """An activation from `function`, which maps q to value and derivative."""
    pairs = each(function, fixed(x, n, a))
    derivative = each(lambda pair: pair[1], pairs)

    def pull(dy):
        m, e = quantise(dy, 24)
        return (to_float32(m * derivative, e - bits),)

    return each(lambda pair: pair[0], pairs), pull


def sigmoid_q30(q, b):
    """S of q in Qb."""
    upper = 2**60 // (ONE + exp(abs(q), b))
    return upper if q >= 0 else ONE - upper


def sigmoid(x):
    def function(q):
        s = sigmoid_q30(q, 24)
        return s, (s * (ONE - s)) >> 32

    s, pull = _curve(function, x, 24, 32, 28)
    return to_float32(s, -30), pull


def tanh(x):
    def function(q):
        a = exp(2 * abs(q), 24)
        s = ((ONE - a) << 30) // (ONE + a) * (1 if q >= 0 else -1)
        return s, (ONE - ((s * s) >> 30)) >> 2

    s, pull = _curve(function, x, 24, 32, 28)
    return to_float32(s, -30), pull


def gelu(x):
    def function(q):
        a = (q * q) >> 24
        c = (a * 48012366) >> 24
        z = clip((((q * (ONE + c)) >> 30) * 1713444047) >> 30, 2**29)
        s = sigmoid_q30(z, 24)
        w = (((ONE + 3 * c) >> 2) * 1713444047) >> 28
        return s >> 1, (s >> 6) + ((((q * w) >> 30) * ((s * (ONE - s)) >> 30)) >> 30)

    half, pull = _curve(function, x, 24, 8, 24)
    m, e = quantise(x, 24)
    return to_float32(m * half, e - 29), pull


def exponentials(x):
    """Distances (Q16), exponentials and their sum (Q30) of each row of the last axis."""
    f = fixed(x, 16, 16384)
    d = np.max(f, axis=-1, keepdims=True) - f
    e = each(lambda v: exp(v, 16), d)
    return d, e, np.sum(e, axis=-1, keepdims=True)


def softmax(x):
    _, e, s = exponentials(x)
    p = (e << 30) // s

    def pull(dy):
        m, f = quantise(dy, 20)
        t = (m << 4) - (np.sum(m * p, axis=-1, keepdims=True) >> 26)
        return (to_float32(t * (p >> 4), f - 30),)

    return to_float32(p, -30), pull


def exp(d, b):
    """exp(-d) in Q30 of d in Qb."""
    assert 0 <= d <= 2**31
    p = (d * LOG2_E) >> b
    f = p % ONE
    v = EXP2[7]
    for c in EXP2[6::-1]:
        v = c + ((v * f) >> 30)
    return v >> min(p >> 30, 62)


def log2(n):
    w = n.bit_length() - 1
    m = n >> (w - 30) if w > 30 else n << (30 - w)
    r = w << 30
    for i in range(30):
        q = (m * m) >> 30
        b = q >> 31
        m, r = q >> b, r + (b << (29 - i))
    return r


# Losses: the gradient, and the loss of the batch as an exact sum


def softmax_cross_entropy(z, labels):
    d, e, s = exponentials(z)
    loss, gradient = 0, []
    for i, label in enumerate(labels):
        loss += max(0, (((log2(s[i, 0]) - 30 * ONE) * LN_2) >> 30) + (d[i, label] << 14))
        row = [(v << 30) // s[i, 0] - (ONE if j == label else 0) for j, v in enumerate(e[i])]
        gradient.append([(g << 10) // len(labels) for g in row])
    return to_float32(np.array(gradient, object), -40), Fraction(loss, 2**30)


def binary_cross_entropy(z, labels):
    loss, gradient = 0, []
    for f, y in zip(fixed(z, 16, 16384)[:, 0], labels, strict=True):
        loss += (((log2(ONE + exp(abs(f), 16)) - 30 * ONE) * LN_2) >> 30) + (max(f * (1 - 2 * y), 0) << 14)
        gradient.append([((sigmoid_q30(f, 16) - y * ONE) << 10) // len(labels)])
    return to_float32(np.array(gradient, object), -40), Fraction(loss, 2**30)


def errors(z, targets):
    return fixed(z, 16, 16384) - fixed(targets, 16, 16384)


def mse(z, targets):
    err = errors(z, targets)
    return to_float32((err << 20) // z.size, -35), Fraction(int(np.sum(err * err)), z.shape[1] * 2**32)


def mae(z, targets):
    err = errors(z, targets)
    signs = each(lambda v: (v > 0) - (v < 0), err)
    gradient = to_float32(signs * (2**40 // z.size), -40)
    return gradient, Fraction(int(np.sum(each(abs, err))), z.shape[1] * 2**16)


# Optimisers: the contribution of one gradient, and the state after it


def sgd(g, rate, bits=2):
    return clip(shifted(clip(g, 8192) * rate, bits), INT32_MAX)


def momentum(g, rate, velocity, kept, nesterov):
    v = sgd(g, rate, 8)
    after = clip(div(velocity * kept, 2**16) + v, INT32_MAX)
    u = clip(div(after * kept, 2**16) + v, INT32_MAX) if nesterov else after
    return (u + 32) >> 6, after


def mean_square(g, square, decay):
    k = (65536 - decay) << 8
    d = g * g - square
    return square + (d >> 24) * k + (((d & (2**24 - 1)) * k) >> 24)


def epsilon_of(ppb):
    return max(1, ppb * 2**28 // 10**9)


def ratio_step(n, root, rate):
    return (div(clip(n, 64 * root) << 30, root) * rate + 2**27) >> 28


def rmsprop(g, rate, square, decay, ppb):
    units = shifted(clip(g, 4), 28)
    after = mean_square(units, square, decay)
    return clip(ratio_step(units, isqrt(after) + epsilon_of(ppb), rate), INT32_MAX), after


def adam(g, weight, constants, mean, square, beta1, beta2, ppb):
    """`constants` are R, c1, c2, K."""
    rate, c1, c2, decay = constants
    units = shifted(clip(g, 4), 28)
    mean = div(mean * beta1 + units * (65536 - beta1), 2**16)
    square = mean_square(units, square, beta2)
    n = clip(div(mean * c1, 2**16), INT32_MAX)
    step = ratio_step(n, ((isqrt(square) * c2) >> 16) + epsilon_of(ppb), rate)
    step += (shifted(weight, 20) * decay + 2**29) >> 30
    return clip(step, INT32_MAX), mean, square


def power(b, t):
    x = 2**62
    for digit in bin(t)[2:]:
        x = (x * x) >> 62
        if digit == "1":
            x = (x * b) >> 16
    return x


def corrections(beta1, beta2, iteration):
    t = iteration + 1
    return 2**78 // (2**62 - power(beta1, t)), isqrt(2**94 // (2**62 - power(beta2, t)))


# The grids


def move(weight, units):
    return Fraction(clip(weight * 2**20 - units, 2**24 - 1)) / 2**20


def accumulate(residual, contribution):
    return clip(residual + contribution, INT32_MAX)


def emit(residuals, tau_bits, elements_max=None):
    """What is left of each residual, and the signs, of a flat list."""
    i = 0
    while True:
        threshold = 2 ** (26 - tau_bits) << i
        signs = [(r > threshold) - (r < -threshold) for r in residuals]
        if elements_max is None or sum(map(abs, signs)) <= elements_max:
            break
        i += 1
    return [r - s * 2 ** (26 - tau_bits) for r, s in zip(residuals, signs, strict=True)], signs
