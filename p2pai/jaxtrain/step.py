"""One iteration of Algorithm 1 as one compiled function, and the evaluation of a model as another.

    theta'  = theta - the peers' updates                        (lines 4 to 6)
    r'      = r + optimiser(gradient of the loss at theta')     (lines 7 and 8)
    delta   = signs of r' beyond +-tau;  r'' = r' - tau * delta (lines 9 to 17)
    theta'' = theta' - tau * delta                              (line 18)
    metrics of the forward pass at theta'                       (line 19, see docs/adr/0014-metrics.md)

Data and parameters are arguments, never captured: constants would be folded by another evaluator. Peers'
maps are summed on the host and applied once. Learning rate and tau are arguments too, so a task compiles once
for each shape of batch.

Source: PoUW Algorithm 1; PROTOCOL section 7; docs/EXACT.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from p2pai import jobs
from p2pai.chain.task import MAP_DENSE_WEIGHTS_MAX, MAP_ELEMENTS_MAX, TaskDefinition
from p2pai.chain.training import TAU_BITS, Loss, Numerics, Optimiser
from p2pai.jaxtrain import message_map, operations
from p2pai.jaxtrain import optimiser as optimisers
from p2pai.jaxtrain.dataset import Batch
from p2pai.jaxtrain.exact import grid
from p2pai.jaxtrain.metrics import Score
from p2pai.jaxtrain.model import (
    AnyLeaves,
    Architecture,
    Leaves,
    Network,
    evaluate_forward,
    train_forward,
)
from p2pai.jaxtrain.operations import Operations
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32

GRADIENT_MAX = 2.0**50
"""Native gradients beyond this, and those that are no number, are clipped."""


class Values(NamedTuple):
    """All arrays that an iteration starts from and leaves."""

    weights: AnyLeaves
    """float32 leaves on the grid (theta)."""
    statistics: AnyLeaves
    """int64 running statistics."""
    residual: AnyLeaves
    """int32 leaves."""
    optimiser: tuple[AnyLeaves, ...]
    """For each slot of the optimiser's state, its leaves."""


class Computed(NamedTuple):
    """What the compiled iteration returns; its arrays may still be in the making."""

    values: Values
    signs: Leaves
    """delta: int8 leaves."""
    observation: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an iteration leaves."""

    values: Values
    message_map: bytes
    score: Score
    """Of the forward pass at theta'."""


def dropout_keys(
    architecture: Architecture, seed: Hash32, position: jobs.Position, batch: Hash32
) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the keys of the dropout layers in an iteration, uint32 (layers, 2)."""
    place = (position.epoch.to_bytes(4, "little"), position.iteration.to_bytes(4, "little"), batch)
    hashes = [
        tagged_hash("p2pai/dropout", seed, *place, i.to_bytes(4, "little")) for i in architecture.dropouts
    ]
    words = np.frombuffer(b"".join(h[:8] for h in hashes), "<u4")
    return words.astype(np.uint32).reshape(-1, 2)


@dataclass(frozen=True)
class Trainer:
    """The compiled functions of one kind of task."""

    architecture: Architecture
    numerics: Numerics
    ops: Operations
    loss: Loss
    optimiser: Optimiser

    def begin(
        self,
        values: Values,
        batch: Batch,
        peers: Sequence[jobs.PeerUpdate],
        tau_bits: int,
        keys: np.ndarray[Any, Any],
        constants: np.ndarray[Any, Any],
    ) -> Computed:
        """Start one iteration; the device may still work on it when this returns.

        Args:
          values: what it starts from.
          batch: the mini-batch.
          peers: updates to apply first, in any order.
          tau_bits: of the miner's own updates.
          keys: of the dropout layers (see `dropout_keys`).
          constants: of the optimiser (see `optimisers.constants`).

        Raises:
          InvalidMessage: a peer's map is malformed, or there are too many.
        """
        values, units = jax.device_put((values, self._sum_updates(peers)))  # once, for both functions
        moved, statistics, state, observation = self._learn(values, units, batch.x, batch.y, keys, constants)
        weights, residual, signs = self._emit(values.weights, units, moved, np.int32(tau_bits))
        return Computed(Values(weights, statistics, residual, state), signs, observation)

    def finish(self, computed: Computed, batch: Batch) -> Outcome:
        """Bring what an iteration gave to the host: its message map and score."""
        encoded = message_map.encode(*(np.asarray(leaf).reshape(-1) for leaf in computed.signs))
        observation = jax.tree.map(np.asarray, computed.observation)
        return Outcome(computed.values, encoded, Score.of(self.loss, observation, batch.y))

    def score(self, weights: Sequence[Any], statistics: Sequence[Any], batch: Batch) -> Score:
        """Score a model on a batch, as evaluation does."""
        observation = self._evaluate(tuple(weights), tuple(statistics), batch.x, batch.y)
        return Score.of(self.loss, jax.tree.map(np.asarray, observation), batch.y)

    def _sum_updates(self, peers: Sequence[jobs.PeerUpdate]) -> Any:  # noqa: ANN401
        """Add up message maps: the units to subtract from each weight, flat, int16 where that is enough."""
        if not peers:
            return self._no_updates
        if len(peers) > grid.MAP_COUNT_MAX:
            raise InvalidMessage(f"more than {grid.MAP_COUNT_MAX} message maps in one iteration")
        if any(update.tau_bits not in TAU_BITS for update in peers):
            raise InvalidMessage("a peer's tau is out of range")
        steps = [1 << (grid.WEIGHT_BITS - update.tau_bits) for update in peers]
        units = np.zeros(self.architecture.weight_count, np.int16 if sum(steps) < 1 << 15 else np.int32)
        for update, step in zip(peers, steps, strict=True):
            message_map.add_to(units, update.message_map, step)
        return units

    @cached_property
    def _no_updates(self) -> Array:
        return jnp.zeros(self.architecture.weight_count, jnp.int16)

    @cached_property
    def _network(self) -> Network:
        return Network(self.architecture, self.ops)

    @cached_property
    def _learn(self) -> Any:  # noqa: ANN401
        return jax.jit(self._trace_learning)

    @cached_property
    def _emit(self) -> Any:  # noqa: ANN401
        return jax.jit(self._trace_emission, donate_argnums=2)

    @cached_property
    def _evaluate(self) -> Any:  # noqa: ANN401
        return jax.jit(self._trace_evaluation)

    def _trace_learning(
        self, values: Values, units: Array, x: Array, y: Array, keys: Array, constants: Array
    ) -> tuple[Leaves, Leaves, tuple[Leaves, ...], Any]:
        """Compute r', and what else the gradient at theta' leaves."""
        theta = self._moved_by_peers(values.weights, units)
        gradient, statistics, observation = self._differentiate(theta, values.statistics, x, y, keys)
        moved, state = self._contribute(gradient, theta, values, constants)
        return moved, statistics, state, observation

    def _trace_emission(
        self, weights: Leaves, units: Array, moved: Leaves, tau_bits: Array
    ) -> tuple[Leaves, Leaves, Leaves]:
        """Compute theta'', r'' and delta."""
        is_large = self.architecture.weight_count > MAP_DENSE_WEIGHTS_MAX
        residual, signs = grid.emit(moved, tau_bits, MAP_ELEMENTS_MAX if is_large else None)
        theta = self._moved_by_peers(weights, units)
        shifts = (grid.shift_of(s, tau_bits) for s in signs)
        final = tuple(grid.move(w, n) for w, n in zip(theta, shifts, strict=True))
        return final, residual, signs

    def _moved_by_peers(self, weights: AnyLeaves, units: Array) -> Leaves:
        shifts = self.architecture.split(units)
        return tuple(grid.move(w, n.astype(jnp.int32)) for w, n in zip(weights, shifts, strict=True))

    def _differentiate(
        self,
        theta: Leaves,
        statistics: AnyLeaves,
        x: Array,
        y: Array,
        keys: Array,
    ) -> tuple[Leaves, Leaves, Any]:
        def forward(weights: Leaves) -> tuple[Array, Leaves]:
            return train_forward(self._network, weights, statistics, keys, x)

        outputs, pull, updated = jax.vjp(forward, theta, has_aux=True)
        error, observation = self.ops.judge(self.loss)(outputs, y)
        (gradient,) = pull(error)
        if self.numerics is Numerics.NATIVE:
            gradient = tuple(jnp.clip(jnp.nan_to_num(g), -GRADIENT_MAX, GRADIENT_MAX) for g in gradient)
        return gradient, updated, observation

    def _contribute(
        self, gradient: Leaves, theta: Leaves, values: Values, constants: Array
    ) -> tuple[Leaves, tuple[Leaves, ...]]:
        """Let the optimiser's contributions enter the residual; return it and the optimiser's new state."""
        slots = tuple(zip(*values.optimiser, strict=True)) or ((),) * len(theta)
        learned = [
            optimisers.contribute(self.optimiser, g, w, state, constants)
            for g, w, state in zip(gradient, theta, slots, strict=True)
        ]
        pairs = zip(values.residual, learned, strict=True)
        residual = tuple(grid.accumulate(r, contribution) for r, (contribution, _) in pairs)
        return residual, tuple(zip(*(state for _, state in learned), strict=True))

    def _trace_evaluation(self, weights: Leaves, statistics: Leaves, x: Array, y: Array) -> Any:  # noqa: ANN401
        outputs = evaluate_forward(self._network, weights, statistics, x)
        return self.ops.judge(self.loss)(outputs, y)[1]


def trainer_of(task: TaskDefinition) -> Trainer:
    """Return the trainer of a task; tasks of the same kind share one, and what it compiled."""
    return _trainer(Architecture.of(task), task.numerics, operations.of(task), task.loss, task.optimiser)


@lru_cache(maxsize=8)
def _trainer(
    architecture: Architecture, numerics: Numerics, ops: Operations, loss: Loss, optimiser: Optimiser
) -> Trainer:
    return Trainer(architecture, numerics, ops, loss, optimiser)
