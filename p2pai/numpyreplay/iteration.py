"""One iteration of training, from the state before it to the state after it.

Source: PoUW Algorithm 1; docs/EXACT.md, "One iteration".
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from p2pai.chain.task import MAP_DENSE_WEIGHTS_MAX, MAP_ELEMENTS_MAX, TaskDefinition
from p2pai.jobs import Position
from p2pai.numpyreplay import metrics, network, optimiser
from p2pai.numpyreplay.batch import Batch
from p2pai.numpyreplay.integers import Integers, limit
from p2pai.numpyreplay.layers import Draws
from p2pai.numpyreplay.loss import lose
from p2pai.numpyreplay.metrics import Counts
from p2pai.numpyreplay.model import INT32_MAX, WEIGHT_BITS, Model, move

RESIDUAL_BITS: Final = 26
"""A residual is in units of 2^-26 of a weight."""


@dataclass(frozen=True, slots=True)
class State:
    """What training carries from one iteration to the next."""

    model: Model
    residual: Integers
    optimiser: optimiser.State


@dataclass(frozen=True, slots=True)
class Iterated:
    """What an iteration gave."""

    state: State
    signs: Integers
    """The own message map: a sign for each weight."""
    counts: Counts


def iterate(task: TaskDefinition, before: State, batch: Batch, draws: Draws, shift: Integers) -> Iterated:
    """Move the weights as peers did, learn from a mini-batch, and send on what has grown beyond tau.

    Args:
      task: the definition.
      before: the state that the iteration starts from.
      batch: its mini-batch.
      draws: where it stands.
      shift: sum of the peers' message maps, each times its tau, in units of 2^-20.
    """
    position = draws.position
    model = Model(move(before.model.weights, shift), before.model.statistics)
    passed = network.forward(task, model, batch.features, draws)
    lost = lose(task.loss, passed.output, batch.labels)
    gradient = network.backward(task, passed, lost.gradient)
    added, state = optimiser.contribute(task, position, gradient, model.weights, before.optimiser)
    residual = limit(before.residual + added, INT32_MAX)
    signs = _signs(residual, position)
    after = State(
        Model(move(model.weights, signs << (WEIGHT_BITS - position.tau_bits)), passed.statistics),
        residual - (signs << (RESIDUAL_BITS - position.tau_bits)),
        state,
    )
    return Iterated(after, signs, metrics.count(task.loss, lost.total, passed.output, batch.labels))


def _signs(residual: Integers, position: Position) -> Integers:
    """Return the sign of each residual beyond tau; beyond 2 tau, 4 tau, ... where those were too many."""
    threshold = 1 << (RESIDUAL_BITS - position.tau_bits)
    most = len(residual) if len(residual) <= MAP_DENSE_WEIGHTS_MAX else MAP_ELEMENTS_MAX
    size = np.abs(residual)
    while np.count_nonzero(size > threshold) > most:
        threshold *= 2
    return np.where(size > threshold, np.sign(residual), 0)
