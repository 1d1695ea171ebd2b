"""Whole iterations of Algorithm 1 in the oracle's arithmetic, over the records of a task.

A model is a dictionary of leaves by name, statistics another. No code of p2pai/jaxtrain runs here but the
wire forms of mini-batches and message maps.
"""

import hashlib
import struct
from dataclasses import dataclass
from fractions import Fraction
from hashlib import shake_256
from math import isqrt, prod

import exact_oracle as oracle
import numpy as np
from kinds import KINDS, SEED, chunks_of, peers_of, position_of

from p2pai.chain import layers as networks
from p2pai.chain.layers import BatchNorm, Conv, Dense, Dropout, LayerNorm, Part
from p2pai.chain.training import Adam, Distribution, Fan, Loss, Momentum, RmsProp, Sgd, learning_rate
from p2pai.jaxtrain import dataset, message_map
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.merkle import leaf_hash


@dataclass
class State:
    """What an iteration carries: for each leaf by name, arrays of Python numbers."""

    weights: dict
    statistics: dict
    residual: dict
    optimiser: list
    """A dictionary for each slot."""


# Where training begins


def initial(task, seed):
    placed = networks.place(task.input_shape, task.layers)
    weights = {w.name: _initial_leaf(task, seed, w) for w in networks.weights_of(placed)}
    norms = [p for p in placed if isinstance(p.layer, BatchNorm)]
    statistics = {
        f"layer{p.index}/{part}": np.full(p.input[-1], value, object)
        for p in norms
        for part, value in (("mean", 0), ("variance", 2**24))
    }
    zeros = {name: np.full(leaf.shape, 0, object) for name, leaf in weights.items()}
    slots = {Sgd: 0, Momentum: 1, RmsProp: 1, Adam: 2}[type(task.optimiser)]
    return State(weights, statistics, zeros, [dict(zeros) for _ in range(slots)])


def _initial_leaf(task, seed, leaf):
    if leaf.part is not Part.KERNEL:
        return np.full(leaf.shape, Fraction(leaf.part is Part.SCALE), object)
    count, how = prod(leaf.shape), task.initialiser
    fan = {Fan.IN: 2 * leaf.fan_in, Fan.OUT: 2 * leaf.fan_out, Fan.AVERAGE: leaf.fan_in + leaf.fan_out}
    below = 10**6 * fan.get(how.fan, 2)
    stream = shake_256(seed + struct.pack("<I", leaf.layer) + b"kernel")
    if how.distribution is Distribution.UNIFORM:
        limit = isqrt((6 * how.variance_ppm * 2**40) // below)
        words = struct.unpack(f"<{count}I", stream.digest(4 * count))
        units = [((u * (2 * limit + 1)) >> 32) - limit for u in words]
    else:
        s = isqrt((2 * how.variance_ppm * 2**40) // below)
        words = struct.unpack(f"<{12 * count}H", stream.digest(24 * count))
        sums = [sum(words[12 * i : 12 * i + 12]) - 393210 for i in range(count)]
        units = [oracle.clip((z * s + 2**15) >> 16, 2**24 - 1) for z in sums]
    return np.array([Fraction(u, 2**20) for u in units], object).reshape(leaf.shape)


# Forward and back


class Pass:
    """One run through a network, remembering the way back."""

    def __init__(self, task, state, keys=None):
        self.task, self.state, self.keys = task, state, keys
        self.statistics, self.pulls = dict(state.statistics), []

    @property
    def training(self):
        return self.keys is not None

    def forward(self, x):
        outputs = []
        x = x.reshape(-1, *self.task.input_shape)
        for i, layer in enumerate(self.task.layers):
            if isinstance(layer, networks.Add):
                x = oracle.add(x, outputs[layer.layer])
                self.pulls.append(lambda dy: (dy,))
            else:
                x, pull = self._layer(i, layer, x)
                self.pulls.append(pull)
            outputs.append(x)
        return x

    def backward(self, dy):
        gradients, waiting = {}, {}
        for i in range(len(self.pulls) - 1, -1, -1):
            if i in waiting:
                dy = oracle.add(waiting[i], dy)
            if isinstance(self.task.layers[i], networks.Add):
                waiting[self.task.layers[i].layer] = dy
            dy, *found = self.pulls[i](dy)
            names = [name for name in self.state.weights if name.startswith(f"layer{i}/")]
            gradients.update(zip(names, found, strict=True))
        return gradients

    def _layer(self, i, layer, x):
        weights = [leaf for name, leaf in self.state.weights.items() if name.startswith(f"layer{i}/")]
        match layer:
            case Dense() | Conv():
                return self._product(layer, x, *weights)
            case BatchNorm():
                return self._batch_norm(i, layer, x, *weights)
            case LayerNorm():
                y, _, _, pull = oracle.normalise(x, (x.ndim - 1,))
                return self._rescaled(y, pull, *weights)
            case Dropout() if self.training and layer.rate_q16:
                return oracle.dropout(x, self.keys[i], layer.rate_q16)
            case networks.MaxPool():
                return oracle.max_pool(x, layer.size, layer.stride)
            case networks.AveragePool():
                return oracle.average_pool(x, layer.size, layer.stride)
            case networks.Activation():
                return getattr(oracle, layer.function.value)(x)
            case networks.LeakyRelu():
                return oracle.leaky_relu(x, layer.slope_q16)
            case networks.Flatten():
                return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape),)
        return x, lambda dy: (dy,)

    def _product(self, layer, x, kernel, bias):
        bits = self.task.mantissa_bits
        if isinstance(layer, Dense):
            y, product_pull = oracle.dot(x, kernel, bits)
        else:
            y, product_pull = oracle.conv(x, kernel, layer.stride, layer.padding.value, bits)
        y, bias_pull = oracle.add_bias(y, bias)

        def pull(dy):
            dy, db = bias_pull(dy)
            return (*product_pull(dy), db)

        return y, pull

    def _batch_norm(self, i, layer, x, gamma, beta):
        names = [f"layer{i}/{part}" for part in ("mean", "variance")]
        if not self.training:
            y = oracle.normalise_with(x, *(self.state.statistics[name] for name in names))
            return self._rescaled(y, None, gamma, beta)
        y, *found, pull = oracle.normalise(x, tuple(range(x.ndim - 1)))
        for name, value in zip(names, found, strict=True):
            self.statistics[name] = oracle.blend(self.state.statistics[name], value, layer.momentum_q16)
        return self._rescaled(y, pull, gamma, beta)

    @staticmethod
    def _rescaled(y, normalise_pull, gamma, beta):
        y, scale_pull = oracle.scale(y, gamma)
        y, bias_pull = oracle.add_bias(y, beta)

        def pull(dy):
            dy, dbeta = bias_pull(dy)
            dy, dgamma = scale_pull(dy)
            return (*normalise_pull(dy), dgamma, dbeta)

        return y, pull


LOSSES = {
    Loss.SOFTMAX_CROSS_ENTROPY: oracle.softmax_cross_entropy,
    Loss.BINARY_CROSS_ENTROPY: oracle.binary_cross_entropy,
    Loss.MSE: oracle.mse,
    Loss.MAE: oracle.mae,
}


# One iteration


def iterate(task, seed, state, batch, position, peers):
    """Return the state after an iteration, its signs (flat) and metrics.

    Args:
      task, seed: of the session.
      state: before it.
      batch: the mini-batch's content id, features and labels (fractions, or integers).
      position: epoch, iteration, tau_bits.
      peers: pairs of tau_bits and flat signs.
    """
    epoch, iteration, tau_bits = position
    batch_id, x, y = batch
    shift = [sum(int(signs[j]) << (20 - bits) for bits, signs in peers) for j in range(task.weight_count)]
    theta = _map(oracle.move, state.weights, _split(state.weights, shift))
    run = Pass(task, State(theta, state.statistics, {}, []), _keys(task, seed, epoch, iteration, batch_id))
    outputs = run.forward(x)
    error, loss = LOSSES[task.loss](outputs, y)
    gradient = run.backward(error)
    contributions, slots = _learn(task, theta, gradient, state.optimiser, epoch, iteration)
    full = _map(oracle.accumulate, state.residual, contributions)
    left, signs = oracle.emit(np.concatenate([v.ravel() for v in full.values()]), tau_bits)
    final = _map(oracle.move, theta, _split(theta, [s << (20 - tau_bits) for s in signs]))
    after = State(final, run.statistics, _split(theta, left), slots)
    return after, np.array(signs, np.int8), metrics(task, outputs, y, loss)


def validate(task, state, batches):
    """Return the metrics of a model in evaluation mode, over mini-batches (x, y) together."""
    outputs = [Pass(task, state).forward(x) for x, _ in batches]
    loss = sum(LOSSES[task.loss](z, y)[1] for z, (_, y) in zip(outputs, batches, strict=True))
    return metrics(task, np.concatenate(outputs), np.concatenate([y for _, y in batches]).tolist(), loss)


def _keys(task, seed, epoch, iteration, batch_id):
    keys = {}
    for i in range(len(task.layers)):
        place = struct.pack("<II", epoch, iteration) + batch_id + struct.pack("<I", i)
        parts = (place[:4], place[4:8], batch_id, place[-4:])
        keys[i] = struct.unpack("<2I", tagged_hash("p2pai/dropout", seed, *parts)[:8])
    return keys


def _learn(task, theta, gradient, slots, epoch, iteration):
    optimiser = task.optimiser
    rate = learning_rate(optimiser, task.schedule, epoch, task.epochs)
    match optimiser:
        case Sgd():
            return _map(lambda g: oracle.sgd(g, rate), _ordered(theta, gradient)), []
        case Momentum(_, kept, nesterov):
            rule, others = (lambda g, _, v: oracle.momentum(g, rate, v, kept, nesterov)), [theta, *slots]
        case RmsProp(_, decay, ppb):
            rule, others = (lambda g, _, s: oracle.rmsprop(g, rate, s, decay, ppb)), [theta, *slots]
        case Adam(_, beta1, beta2, ppb, wanted):
            constants = (rate, *oracle.corrections(beta1, beta2, iteration), (rate * wanted << 12) // 10**6)
            others = [theta, *slots]

            def rule(g, w, m, s):
                return oracle.adam(g, w, constants, m, s, beta1, beta2, ppb)

    found = _map(rule, _ordered(theta, gradient), *others)
    parts = [
        {n: oracle.each(lambda v, i=i: v[i], leaf) for n, leaf in found.items()}
        for i in range(1 + len(slots))
    ]
    return parts[0], parts[1:]


def _ordered(theta, gradient):
    assert theta.keys() == gradient.keys()
    return {name: gradient[name] for name in theta}


def _map(function, *dictionaries):
    return {name: oracle.each(function, *(d[name] for d in dictionaries)) for name in dictionaries[0]}


def _split(like, flat):
    leaves, start = {}, 0
    for name, leaf in like.items():
        part = np.array([*flat[start : start + leaf.size], None], object)[:-1]
        leaves[name], start = part.reshape(leaf.shape), start + leaf.size
    return leaves


def digest(name):
    """Return the digest of training a kind as `digest_program.train` does."""
    task, found = KINDS[name], hashlib.sha256()
    state, batches = initial(task, SEED), []
    for i, chunk in enumerate(chunks_of(name)):
        x, y = read(task, chunk)
        batches.append((x, y))
        batch = (leaf_hash(chunk), x, y)
        state, signs, bits = iterate(task, SEED, state, batch, position_of(i), peers_of(task, i))
        for part in (*blobs(task, state), message_map.encode(signs), np.array(bits, "<u4").tobytes()):
            found.update(part)
    found.update(np.array(validate(task, state, batches), "<u4").tobytes())
    return found.hexdigest()


def read(task, chunk):
    """Return a mini-batch's features, and labels as integers or fractions."""
    data = task.dataset
    batch = dataset.parse(chunk, features=data.features, classes=data.classes, targets=data.targets)
    return oracle.exact(batch.x), batch.y.tolist() if data.classes else oracle.exact(batch.y)


# Metrics


def metrics(task, outputs, y, loss):
    """Bit patterns of a batch's metrics."""
    return tuple(float32_bits(metric(name, task.loss, outputs, y, loss)) for name in task.metrics)


def metric(name, loss_kind, outputs, y, loss):
    if name == "loss":
        return loss / len(outputs)
    if loss_kind in (Loss.MSE, Loss.MAE):
        return _of_errors(name, outputs, y)
    if loss_kind is Loss.BINARY_CROSS_ENTROPY:
        answers = [int(z > 0) for z in outputs[:, 0]]
        ranks = [int(a != b) for a, b in zip(answers, y, strict=True)]
    else:
        answers = [row.tolist().index(max(row)) for row in outputs]
        ranks = [
            sum((v, -j) > (row[b], -b) for j, v in enumerate(row)) for row, b in zip(outputs, y, strict=True)
        ]
    if name == "accuracy" or name.startswith("top_"):
        k = 1 if name == "accuracy" else int(name[4:])
        return Fraction(sum(rank < k for rank in ranks), len(ranks))
    shares = []
    for c in sorted({*answers, *y}):
        hits = sum(a == b == c for a, b in zip(answers, y, strict=True))
        said, are = answers.count(c), list(y).count(c)
        top, below = {"precision": (hits, said), "recall": (hits, are), "f1": (2 * hits, said + are)}[name]
        shares.append(Fraction(top, below) if below else Fraction(0))
    return sum(shares) / len(shares)


def _of_errors(name, outputs, y):
    err = oracle.errors(outputs, np.asarray(y, object)).ravel()
    squares = sum(e * e for e in err)
    if name == "mae":
        return Fraction(sum(map(abs, err)), len(err) * 2**16)
    if name == "rmse":
        return Fraction(isqrt(squares * 2**28 // len(err)), 2**30)
    t = oracle.fixed(np.asarray(y, object), 16, 16384).ravel()
    mean = Fraction(sum(t), len(t))
    spread = sum((v - mean) ** 2 for v in t)
    return 1 - squares / spread if spread else Fraction(0)


def float32_bits(value):
    return int(np.float32(float(oracle.nearest_float32(value))).view(np.uint32))


# Bytes


def blobs(task, state):
    """Canonical bytes of model, residual and optimiser state."""
    model = b"".join(_bytes(v, "<f4") for v in state.weights.values())
    model += b"".join(_bytes(v, "<i8") for v in state.statistics.values())
    residual = b"".join(_bytes(v, "<i4") for v in state.residual.values())
    types = {Sgd: [], Momentum: ["<i4"], RmsProp: ["<i8"], Adam: ["<i4", "<i8"]}[type(task.optimiser)]
    slots = zip(state.optimiser, types, strict=True)
    return model, residual, b"".join(_bytes(v, kind) for slot, kind in slots for v in slot.values())


def _bytes(values, dtype):
    return np.asarray(values).astype(dtype).tobytes()
