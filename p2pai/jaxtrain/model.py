"""A task's network: stock Flax modules around the exact operations, and its parameters in canonical order.

Canonical order is layer 0 kernel, layer 0 bias, layer 1 kernel, ...; a tuple of arrays in that order is
called leaves. The flat index of a weight counts through the leaves, each in C order.

Source: PROTOCOL section 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from flax import linen
from jax import Array

from p2pai.chain.task import Dense, TaskDefinition
from p2pai.jaxtrain.exact.activation import relu
from p2pai.jaxtrain.exact.dot import dot
from p2pai.jaxtrain.exact.reduce import add_bias

Leaves = tuple[Array, ...]
"""A network's tensors in canonical order, on the device."""

HostLeaves = tuple[np.ndarray[Any, Any], ...]
"""The same in the host's memory."""


@dataclass(frozen=True)
class Architecture:
    """The shape of a network: inputs, then layers."""

    features: int
    layers: tuple[Dense, ...]

    @classmethod
    def of(cls, task: TaskDefinition) -> "Architecture":
        """Read it from a task."""
        return cls(task.dataset.features, task.layers)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each leaf."""
        widths = (self.features, *(layer.units for layer in self.layers))
        pairs = pairwise(widths)
        return tuple(shape for inputs, units in pairs for shape in ((inputs, units), (units,)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each leaf, such as "layer0/kernel"."""
        return tuple(f"layer{i}/{part}" for i in range(len(self.layers)) for part in ("kernel", "bias"))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Weights in each leaf."""
        return tuple(int(np.prod(shape)) for shape in self.shapes)

    @property
    def weight_count(self) -> int:
        """Weights in all leaves."""
        return sum(self.sizes)

    def split(self, flat: np.ndarray[Any, Any]) -> HostLeaves:
        """Cut a flat array of all weights into leaves (views)."""
        assert flat.shape == (self.weight_count,)
        cuts = np.cumsum(self.sizes)[:-1]
        parts = zip(np.split(flat, cuts), self.shapes, strict=True)
        return tuple(part.reshape(shape) for part, shape in parts)

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
        tree: dict[str, dict[str, Any]] = {}
        for name, leaf in zip(self.names, leaves, strict=True):
            layer, part = name.split("/")
            tree.setdefault(layer, {})[part] = leaf
        return tree


class ExactDense(linen.Module):  # type: ignore[misc]
    """A fully connected layer."""

    units: int

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Array) -> Array:
        """Map float32 (batch, inputs) to (batch, units)."""
        kernel = self.param("kernel", linen.initializers.zeros_init(), (x.shape[-1], self.units))
        bias = self.param("bias", linen.initializers.zeros_init(), (self.units,))
        return add_bias(dot(x, kernel), bias)


class Network(linen.Module):  # type: ignore[misc]
    """Layers one after another."""

    layers: tuple[Dense, ...]

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Array) -> Array:
        """Map float32 (batch, features) to logits (batch, classes)."""
        for i, layer in enumerate(self.layers):
            x = ExactDense(layer.units, name=f"layer{i}")(x)
            if layer.activation == "relu":
                x = relu(x)
        return x


def logits(architecture: Architecture, leaves: Leaves, x: Array) -> Array:
    """Run the network: float32 (batch, features) to (batch, classes)."""
    network = Network(architecture.layers)
    result: Array = network.apply({"params": architecture.tree(leaves)}, x)
    return result
