"""A task's network: Flax modules around the operations, and its tensors in canonical order.

Canonical order is layer by layer, a kernel or scale before its bias; a tuple of arrays in that order is
called leaves. The flat index of a weight counts through the leaves, each in C order. Running statistics have
an order of their own: mean and variance of each batch normalisation.

Source: PROTOCOL section 7; docs/EXACT.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import Any, Final

import numpy as np
from flax import linen
from jax import Array

from p2pai.chain import layers as networks
from p2pai.chain.layers import (
    Activation,
    Add,
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
    Shape,
    Weights,
)
from p2pai.chain.task import TaskDefinition
from p2pai.jaxtrain.operations import Operations

Leaves = tuple[Array, ...]
"""A network's tensors in canonical order, on the device."""

HostLeaves = tuple[np.ndarray[Any, Any], ...]
"""The same in the host's memory."""

AnyLeaves = tuple[Any, ...]
"""The same in either."""

STATISTICS: Final = "statistics"
"""Flax's collection of running statistics."""

KEYS: Final = "keys"
"""Flax's collection of the keys of dropout layers."""


@dataclass(frozen=True)
class Architecture:
    """The shape of a network: a sample's shape, then layers."""

    input_shape: Shape
    layers: tuple[networks.Layer, ...]

    @classmethod
    def of(cls, task: TaskDefinition) -> "Architecture":
        """Read it from a task."""
        return cls(task.input_shape, task.layers)

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """The layers in their places."""
        return networks.place(self.input_shape, self.layers)

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """What each leaf is."""
        return networks.weights_of(self.placed)

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each leaf."""
        return tuple(tensor.shape for tensor in self.weights)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each leaf, such as "layer0/kernel"."""
        return tuple(tensor.name for tensor in self.weights)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Weights in each leaf."""
        return tuple(prod(shape) for shape in self.shapes)

    @cached_property
    def weight_count(self) -> int:
        """Weights in all leaves."""
        return sum(self.sizes)

    @cached_property
    def statistics(self) -> tuple[Shape, ...]:
        """Shape of each running statistic."""
        return networks.statistics_of(self.placed)

    @cached_property
    def statistic_names(self) -> tuple[str, ...]:
        """Name of each running statistic, such as "layer1/mean"."""
        norms = (p.index for p in self.placed if isinstance(p.layer, BatchNorm))
        return tuple(f"layer{i}/{part}" for i in norms for part in ("mean", "variance"))

    @cached_property
    def dropouts(self) -> tuple[int, ...]:
        """Indices of the dropout layers."""
        return tuple(p.index for p in self.placed if isinstance(p.layer, Dropout))

    def split(self, flat: Any) -> Any:  # noqa: ANN401
        """Cut a flat array of all weights, of the host (views) or the device, into leaves."""
        assert flat.shape == (self.weight_count,)
        stops = list(accumulate(self.sizes))
        cuts = zip(stops, self.sizes, self.shapes, strict=True)
        return tuple(flat[stop - size : stop].reshape(shape) for stop, size, shape in cuts)

    def locate(self, index: int) -> str:
        """Say where a flat index lies, such as "layer0/kernel[3, 5]"."""
        for name, shape, size in zip(self.names, self.shapes, self.sizes, strict=True):
            if index < size:
                place = ", ".join(str(int(i)) for i in np.unravel_index(index, shape))
                return f"{name}[{place}]"
            index -= size
        raise AssertionError("index beyond the last weight")

    def tree(self, leaves: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """Name the leaves as Flax does."""
        return _tree(self.names, leaves)


def _tree(names: Sequence[str], arrays: Sequence[Any]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for name, array in zip(names, arrays, strict=True):
        layer, part = name.split("/")
        tree.setdefault(layer, {})[part] = array
    return tree


class LayerModule(linen.Module):  # type: ignore[misc]
    """One layer: its weights, running statistics and key are Flax variables, its arithmetic is `ops`."""

    layer: networks.Layer
    ops: Operations

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Array, training: bool) -> Array:  # noqa: FBT001
        """Map float32 (batch, *input) to (batch, *output)."""
        layer, ops = self.layer, self.ops
        match layer:
            case Dense():
                kernel = self._weight("kernel", (x.shape[-1], layer.units))
                return ops.add_bias(ops.dot(x, kernel), self._weight("bias", (layer.units,)))
            case Conv():
                shape = (layer.height, layer.width, x.shape[-1], layer.filters)
                y = ops.conv(x, self._weight("kernel", shape), layer.stride, layer.padding)
                return ops.add_bias(y, self._weight("bias", (layer.filters,)))
            case BatchNorm():
                return self._rescale(self._normalise(x, layer, training))
            case LayerNorm():
                return self._rescale(ops.normalise(x, (x.ndim - 1,))[0])
            case Dropout() if training and layer.rate_q16:
                return ops.dropout(x, self.get_variable(KEYS, "key"), layer.rate_q16)
        return self._plain(x)

    def _plain(self, x: Array) -> Array:
        layer, ops = self.layer, self.ops
        match layer:
            case MaxPool():
                return ops.max_pool(x, layer.size, layer.stride)
            case AveragePool():
                return ops.average_pool(x, layer.size, layer.stride)
            case Activation():
                return ops.activate(x, layer.function)
            case LeakyRelu():
                return ops.leaky_relu(x, layer.slope_q16)
            case Flatten():
                return x.reshape(x.shape[0], -1)
        return x  # dropout that drops nothing

    def _weight(self, name: str, shape: Shape) -> Array:
        weight: Array = self.param(name, linen.initializers.zeros_init(), shape)
        return weight

    def _rescale(self, y: Array) -> Array:
        shape = (y.shape[-1],)
        scaled = self.ops.scale(y, self._weight("scale", shape))
        return self.ops.add_bias(scaled, self._weight("bias", shape))

    def _normalise(self, x: Array, layer: BatchNorm, training: bool) -> Array:  # noqa: FBT001
        running = [self.get_variable(STATISTICS, name) for name in ("mean", "variance")]
        if not training:
            return self.ops.normalise_with(x, running[0], running[1])
        y, *found = self.ops.normalise(x, tuple(range(x.ndim - 1)))
        for name, old, new in zip(("mean", "variance"), running, found, strict=True):
            self.put_variable(STATISTICS, name, self.ops.blend(old, new, layer.momentum_q16))
        return y


class Network(linen.Module):  # type: ignore[misc]
    """Layers one after another; an output that is used twice is forked, so that its gradients add exactly."""

    architecture: Architecture
    ops: Operations

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Array, training: bool) -> Array:  # noqa: FBT001
        """Map float32 (batch, features) to the last layer's outputs."""
        layers = self.architecture.layers
        used_later = [layer.layer for layer in layers if isinstance(layer, Add)]
        kept: dict[int, Array] = {}
        x = x.reshape(-1, *self.architecture.input_shape)
        for i, layer in enumerate(layers):
            if isinstance(layer, Add):
                x = self.ops.add(x, kept.pop(layer.layer))
            else:
                x = LayerModule(layer, self.ops, name=f"layer{i}")(x, training)
            if i in used_later:
                kept[i], x = self.ops.fork(x)
        return x


def train_forward(
    network: Network, weights: Leaves, statistics: Leaves, keys: Array, x: Array
) -> tuple[Array, Leaves]:
    """Run the network as training does.

    Args:
      network: of an architecture.
      weights: leaves.
      statistics: running statistics, int64 in Q24.
      keys: uint32 (dropout layers, 2).
      x: float32 (batch, features).

    Returns:
      Outputs, and the running statistics that this batch leaves.
    """
    architecture = network.architecture
    variables = {
        "params": architecture.tree(weights),
        STATISTICS: _tree(architecture.statistic_names, statistics),
        KEYS: {f"layer{i}": {"key": keys[n]} for n, i in enumerate(architecture.dropouts)},
    }
    outputs, updated = network.apply(variables, x, True, mutable=[STATISTICS])  # noqa: FBT003
    named = (name.split("/") for name in architecture.statistic_names)
    return outputs, tuple(updated[STATISTICS][layer][part] for layer, part in named)


def evaluate_forward(network: Network, weights: Leaves, statistics: Leaves, x: Array) -> Array:
    """Run the network as evaluation does: running statistics, no dropout."""
    architecture = network.architecture
    variables = {
        "params": architecture.tree(weights),
        STATISTICS: _tree(architecture.statistic_names, statistics),
    }
    outputs: Array = network.apply(variables, x, False)  # noqa: FBT003
    return outputs
