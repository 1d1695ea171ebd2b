"""The operations that a network is made of, in one of two arithmetics: exact, or the platform's own floats.

Modules and training are written once against `Operations`; a task's `numerics` decides which it gets. Exact
operations are docs/EXACT.md; native ones are ordinary JAX, faster, and differ from machine to machine.

Source: PROTOCOL section 7; docs/adr/0015-native-numerics.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from jax import Array

from p2pai.chain.layers import Function
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import Loss, Numerics
from p2pai.jaxtrain import native
from p2pai.jaxtrain.exact import activation, arithmetic, loss, normalise, pool
from p2pai.jaxtrain.exact.conv import conv
from p2pai.jaxtrain.exact.dot import dot
from p2pai.jaxtrain.exact.dropout import dropout

Judge = Callable[[Array, Array], tuple[Array, Any]]
"""Outputs and labels to the gradient of the mean loss and an observation (see exact/loss.py)."""


@dataclass(frozen=True)
class Operations:
    """One arithmetic; arguments and results are those of the functions in `exact`."""

    dot: Callable[[Array, Array], Array]
    conv: Callable[..., Array]
    max_pool: Callable[[Array, int, int], Array]
    average_pool: Callable[[Array, int, int], Array]
    add_bias: Callable[[Array, Array], Array]
    add: Callable[[Array, Array], Array]
    fork: Callable[[Array], tuple[Array, Array]]
    normalise: Callable[[Array, tuple[int, ...]], tuple[Array, Array, Array]]
    normalise_with: Callable[[Array, Array, Array], Array]
    scale: Callable[[Array, Array], Array]
    blend: Callable[[Array, Array, int], Array]
    dropout: Callable[[Array, Array, int], Array]
    activate: Callable[[Array, Function], Array]
    leaky_relu: Callable[[Array, int], Array]
    judge: Callable[[Loss], Judge]


_EXACT_FUNCTIONS: Final[dict[Function, Callable[[Array], Array]]] = {
    Function.RELU: activation.relu,
    Function.SIGMOID: activation.sigmoid,
    Function.TANH: activation.tanh,
    Function.GELU: activation.gelu,
    Function.SOFTMAX: activation.softmax,
}


@cache
def exact(mantissa_bits: int) -> Operations:
    """Return the exact operations with operands of so many bits."""
    return Operations(
        dot=partial(_dot, bits=mantissa_bits),
        conv=partial(_conv, bits=mantissa_bits),
        max_pool=pool.max_pool,
        average_pool=pool.average_pool,
        add_bias=arithmetic.add_bias,
        add=arithmetic.add,
        fork=arithmetic.fork,
        normalise=normalise.normalise,
        normalise_with=normalise.normalise_with,
        scale=normalise.scale,
        blend=normalise.blend,
        dropout=dropout,
        activate=lambda x, function: _EXACT_FUNCTIONS[function](x),
        leaky_relu=activation.leaky_relu,
        judge=loss.judge,
    )


@cache
def platform() -> Operations:
    """Return the platform's own operations."""
    return Operations(
        dot=native.dot,
        conv=native.conv,
        max_pool=native.max_pool,
        average_pool=native.average_pool,
        add_bias=native.add,
        add=native.add,
        fork=native.fork,
        normalise=native.normalise,
        normalise_with=native.normalise_with,
        scale=native.scale,
        blend=normalise.blend,
        dropout=native.dropout,
        activate=native.activate,
        leaky_relu=native.leaky_relu,
        judge=native.judge,
    )


def of(task: TaskDefinition) -> Operations:
    """Return the operations of a task."""
    return exact(task.mantissa_bits) if task.numerics is Numerics.EXACT else platform()


def _dot(x: Array, w: Array, *, bits: int) -> Array:
    return dot(x, w, bits)


def _conv(x: Array, w: Array, stride: int, padding: Any, *, bits: int) -> Array:  # noqa: ANN401
    return conv(x, w, stride, padding, bits)
