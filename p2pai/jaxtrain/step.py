"""One iteration of Algorithm 1 as one compiled function, and the forward pass as another.

    theta'  = theta - tau * sum of the peers' maps              (lines 4 to 6)
    r'      = r + optimiser(gradient of the loss at theta')     (lines 7 and 8)
    delta   = signs of r' beyond +-tau;  r'' = r' - tau * delta (lines 9 to 17)
    theta'' = theta' - tau * delta                              (line 18)
    metrics of theta'' on the mini-batch                        (line 19)

Data and parameters are arguments, never captured: constants would be folded by another evaluator. Peers'
maps are summed on the host and applied once. Compiled once per task and shape of batch.

Source: PoUW Algorithm 1; PROTOCOL section 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from p2pai.chain.task import TaskDefinition
from p2pai.jaxtrain import message_map
from p2pai.jaxtrain.dataset import Batch
from p2pai.jaxtrain.exact import grid
from p2pai.jaxtrain.exact.softmax import cross_entropy
from p2pai.jaxtrain.metrics import Score
from p2pai.jaxtrain.model import Architecture, HostLeaves, Leaves, logits
from p2pai.jaxtrain.optimiser import sgd
from p2pai.primitives.errors import InvalidMessage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an iteration leaves."""

    weights: Leaves
    """theta''."""
    residual: Leaves
    message_map: bytes
    score: Score
    """Of theta'' on the mini-batch."""


@dataclass(frozen=True)
class Trainer:
    """The compiled functions of one kind of task."""

    architecture: Architecture
    learning_rate_ppm: int
    tau_bits: int

    def iterate(
        self, weights: Sequence[Any], residual: Sequence[Any], batch: Batch, peers: Sequence[bytes]
    ) -> Outcome:
        """Run one iteration.

        Args:
          weights: float32 leaves on the grid (theta).
          residual: int32 leaves.
          batch: the mini-batch.
          peers: message maps to apply first, in any order.

        Raises:
          InvalidMessage: a peer's map is malformed, or there are too many.
        """
        counts = self.sum_maps(peers)
        theta, rest, signs, loss, correct = self._iterate(
            tuple(weights), tuple(residual), counts, batch.x, batch.y
        )
        flat = np.concatenate([np.asarray(leaf).reshape(-1) for leaf in signs])
        score = Score(int(loss), int(correct), len(batch.y))
        return Outcome(theta, rest, message_map.encode(flat), score)

    def score(self, weights: Sequence[Any], batch: Batch) -> Score:
        """Count loss and right answers of a model on a batch."""
        loss, correct = self._score(tuple(weights), batch.x, batch.y)
        return Score(int(loss), int(correct), len(batch.y))

    def sum_maps(self, peers: Sequence[bytes]) -> HostLeaves:
        """Add up message maps: int32 leaves of how often each weight is moved by +tau, less -tau.

        Raises:
          InvalidMessage: a map is malformed, or there are too many.
        """
        if len(peers) > grid.MAP_COUNT_MAX:
            raise InvalidMessage(f"more than {grid.MAP_COUNT_MAX} message maps in one iteration")
        counts = np.zeros(self.architecture.weight_count, np.int32)
        for data in peers:
            message_map.add_to(counts, data)
        return self.architecture.split(counts)

    @cached_property
    def _iterate(self) -> Any:  # noqa: ANN401
        return jax.jit(self._trace_iteration)

    @cached_property
    def _score(self) -> Any:  # noqa: ANN401
        return jax.jit(self._trace_score)

    def _trace_iteration(
        self, theta: Leaves, residual: Leaves, counts: Leaves, x: Array, y: Array
    ) -> tuple[Leaves, Leaves, Leaves, Array, Array]:
        moved = tuple(grid.move(w, c, self.tau_bits) for w, c in zip(theta, counts, strict=True))
        outputs, pull = jax.vjp(lambda leaves: logits(self.architecture, leaves, x), moved)
        (gradient,) = pull(cross_entropy(outputs, y)[1])
        pairs = [self._threshold(r, g) for r, g in zip(residual, gradient, strict=True)]
        signs = tuple(s for _, s in pairs)
        final = tuple(grid.move(w, s, self.tau_bits) for w, s in zip(moved, signs, strict=True))
        return (final, tuple(r for r, _ in pairs), signs, *self._trace_score(final, x, y))

    def _threshold(self, residual: Array, gradient: Array) -> tuple[Array, Array]:
        contribution = sgd(gradient, self.learning_rate_ppm)
        return grid.emit(grid.accumulate(residual, contribution), self.tau_bits)

    def _trace_score(self, theta: Leaves, x: Array, y: Array) -> tuple[Array, Array]:
        outputs = logits(self.architecture, theta, x)
        return cross_entropy(outputs, y)[0], jnp.sum(jnp.argmax(outputs, axis=1) == y)


def trainer_of(task: TaskDefinition) -> Trainer:
    """Return the trainer of a task; tasks of the same kind share one, and what it compiled."""
    return _trainer(Architecture.of(task), task.optimiser.learning_rate_ppm, task.tau_bits)


@lru_cache(maxsize=8)
def _trainer(architecture: Architecture, learning_rate_ppm: int, tau_bits: int) -> Trainer:
    return Trainer(architecture, learning_rate_ppm, tau_bits)
