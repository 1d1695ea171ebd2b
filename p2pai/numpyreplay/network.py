"""A network over one batch, there and back.

A layer's output goes to the next layer and, where an `Add` names it, to that one as well; on the way back
the two gradients are added.

Source: docs/EXACT.md, "Layers".
"""

from dataclasses import dataclass

import numpy as np

from p2pai.chain.layers import Add, Placed, statistics_of
from p2pai.chain.task import TaskDefinition
from p2pai.numpyreplay import layers, model
from p2pai.numpyreplay.integers import Integers
from p2pai.numpyreplay.layers import Draws, Parameters, unchanged
from p2pai.numpyreplay.model import Model
from p2pai.numpyreplay.quantise import Floats, add
from p2pai.numpyreplay.tape import Layered, Pull


@dataclass(frozen=True, slots=True)
class Passed:
    """A forward pass."""

    output: Floats
    pulls: tuple[Pull, ...]
    """The way back through each layer."""
    statistics: Integers
    """Running statistics after it, flat."""


def forward(task: TaskDefinition, given: Model, features: Floats, draws: Draws | None) -> Passed:
    """Send a batch through the network.

    Args:
      task: whose network it is.
      given: its weights and running statistics.
      features: (batch, features).
      draws: what dropout depends on while training; None to evaluate.
    """
    x = features.reshape(-1, *task.input_shape)
    passed: list[Layered] = []
    for placed, parameters in zip(task.placed, _parameters(task, given, draws), strict=True):
        if isinstance(placed.layer, Add):
            other = passed[placed.layer.layer].output
            passed.append(Layered(add(x, other), unchanged))
        else:
            passed.append(layers.apply(placed, x, parameters))
        x = passed[-1].output
    statistics = [tensor for layered in passed for tensor in layered.statistics]
    flat = np.concatenate([np.zeros(0, np.int64), *statistics])
    return Passed(x, tuple(layered.pull for layered in passed), flat)


def backward(task: TaskDefinition, passed: Passed, gradient: Floats) -> Floats:
    """Return the gradients of all weights, flat, from that of the output."""
    found: list[Floats] = []
    beside: dict[int, Floats] = {}
    dy = gradient
    for placed, pull in zip(reversed(task.placed), reversed(passed.pulls), strict=True):
        if placed.index in beside:
            dy = add(dy, beside.pop(placed.index))
        if isinstance(placed.layer, Add):
            beside[placed.layer.layer] = dy
        dy, gradients = pull(dy)
        found.extend(reversed(gradients))
    return np.concatenate([np.zeros(0, np.float32), *(tensor.reshape(-1) for tensor in reversed(found))])


def _parameters(task: TaskDefinition, given: Model, draws: Draws | None) -> list[Parameters]:
    weights = iter(model.split(given.weights, model.shapes_of(task)))
    statistics = iter(model.split(given.statistics, statistics_of(task.placed)))
    return [
        Parameters(
            tuple(model.to_floats(next(weights)) for _ in placed.weights),
            tuple(next(statistics) for _ in _statistics(placed)),
            task.mantissa_bits,
            draws,
        )
        for placed in task.placed
    ]


def _statistics(placed: Placed) -> tuple[tuple[int, ...], ...]:
    return statistics_of((placed,))
