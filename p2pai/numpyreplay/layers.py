"""Each kind of layer: its output over a batch, and the way back.

Source: docs/EXACT.md, "Layers".
"""

from dataclasses import dataclass

from p2pai.chain.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    Placed,
)
from p2pai.jobs import Position
from p2pai.numpyreplay.activation import activate, leaky_relu
from p2pai.numpyreplay.dropout import dropout, key_of
from p2pai.numpyreplay.integers import Integers
from p2pai.numpyreplay.normalisation import batch_norm, batch_norm_evaluated, layer_norm
from p2pai.numpyreplay.pooling import average_pool, max_pool
from p2pai.numpyreplay.product import convolution, dense
from p2pai.numpyreplay.quantise import Floats
from p2pai.numpyreplay.tape import Gradients, Layered, Pull, Tensors
from p2pai.numpyreplay.windows import Window
from p2pai.primitives.ids import Hash32


@dataclass(frozen=True, slots=True)
class Draws:
    """What the draws of an iteration's dropouts depend on."""

    seed: Hash32
    position: Position
    batch: Hash32


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a layer computes with, besides its input."""

    weights: Tensors
    statistics: tuple[Integers, ...]
    """Running mean and variance, of a batch normalisation."""
    mantissa_bits: int
    draws: Draws | None
    """None when a model is evaluated."""


def apply(placed: Placed, x: Floats, given: Parameters) -> Layered:
    """Return a layer's output; of every kind but `Add`."""
    layer = placed.layer
    if isinstance(layer, Dense):
        return dense(x, given.weights, given.mantissa_bits)
    if isinstance(layer, Conv):
        return convolution(x, given.weights, layer, given.mantissa_bits)
    if isinstance(layer, LayerNorm):
        return layer_norm(x, given.weights)
    if isinstance(layer, BatchNorm):
        return _batch_norm(layer, x, given)
    return _without_weights(placed, x, given.draws)


def unchanged(dy: Floats) -> tuple[Floats, Gradients]:
    """Send a gradient on as it is."""
    return dy, ()


def _batch_norm(layer: BatchNorm, x: Floats, given: Parameters) -> Layered:
    if given.draws is not None:
        return batch_norm(x, given.weights, given.statistics, layer.momentum_q16)
    return Layered(batch_norm_evaluated(x, given.weights, given.statistics), unchanged, given.statistics)


def _without_weights(placed: Placed, x: Floats, draws: Draws | None) -> Layered:
    layer = placed.layer
    if isinstance(layer, MaxPool):
        return max_pool(x, Window(layer.size, layer.size, layer.stride))
    if isinstance(layer, AveragePool):
        return average_pool(x, Window(layer.size, layer.size, layer.stride))
    if isinstance(layer, Activation):
        return activate(layer.function, x)
    if isinstance(layer, LeakyRelu):
        return leaky_relu(x, layer.slope_q16)
    if isinstance(layer, Flatten):
        return Layered(x.reshape(len(x), -1), _to_shape(x.shape))
    assert isinstance(layer, Dropout), "a layer of no known kind"
    if draws is None:
        return Layered(x, unchanged)
    return dropout(x, layer.rate_q16, key_of(draws.seed, draws.position, draws.batch, placed.index))


def _to_shape(shape: tuple[int, ...]) -> Pull:
    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        return dy.reshape(shape), ()

    return pull
