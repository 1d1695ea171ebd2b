"""Recompute one iteration from its capsule and say where the record differs, if it does.

Everything in a capsule is bound by content ids, so parts that are malformed are the recorder's fault and
count as a difference, not as a failure of the replay.

Source: PoUW section 5.2; PROTOCOL section 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from p2pai import jobs
from p2pai.chain.it_res import EndState
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import TAU_BITS, Numerics
from p2pai.jaxtrain import message_map, optimiser, weights
from p2pai.jaxtrain.dataset import read_batch
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.platform import fingerprint
from p2pai.jaxtrain.session import State
from p2pai.jaxtrain.step import Values, dropout_keys, trainer_of
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import ZERO_HASH, BlobId
from p2pai.primitives.merkle import leaf_hash


@dataclass(frozen=True, slots=True)
class Capsule:
    """What an iteration started from, as bytes."""

    weights: bytes
    """Of the model: weights, then running statistics."""
    residual: bytes
    optimiser: bytes
    batch: bytes


NOTHING: Final = EndState(BlobId(ZERO_HASH), BlobId(ZERO_HASH), BlobId(ZERO_HASH), ZERO_HASH)
"""Where nothing could be computed."""


def replay(task: TaskDefinition, capsule: Capsule, job: jobs.Replay) -> tuple[EndState, str]:
    """Recompute an iteration.

    Args:
      task: the definition in `job`.
      capsule: what the iteration started from, by the content ids of `job`.
      job: where the miner stood, the peers' updates, and what it said the iteration gave.

    Returns:
      What the iteration ended with (NOTHING where it could not be computed), and the first difference: ""
      when every recorded value came out again.
    """
    if task.numerics is Numerics.NATIVE and job.platform != fingerprint():
        return NOTHING, "native numerics can only be replayed on the platform that recorded them"
    try:
        return _replay(task, capsule, job)
    except InvalidMessage as error:
        return NOTHING, f"malformed capsule: {error}"


def _replay(task: TaskDefinition, capsule: Capsule, job: jobs.Replay) -> tuple[EndState, str]:
    trainer = trainer_of(task)
    values = read_values(task, capsule.weights, capsule.residual, capsule.optimiser)
    batch = read_batch(task, capsule.batch)
    if len(batch.y) != job.samples:
        raise InvalidMessage(f"the batch has {len(batch.y)} samples, the task wants {job.samples}")
    position = job.position
    _check_position(position)
    keys = dropout_keys(trainer.architecture, job.seed, position, leaf_hash(capsule.batch))
    constants = optimiser.constants(task, position.epoch, position.iteration)
    computed = trainer.begin(values, batch, job.peers, position.tau_bits, keys, constants)
    after, outcome = State(computed.values), trainer.finish(computed, batch)
    difference = compare_maps(job.message_map, outcome.message_map, trainer.architecture)
    difference = difference or compare_metrics(job.metrics, outcome.score.bits(task.metrics), task.metrics)
    return after.end, difference


def _check_position(position: jobs.Position) -> None:
    if position.tau_bits not in TAU_BITS:
        raise InvalidMessage("tau is out of range")
    if not 1 <= position.epoch < 1 << 32 or not 0 <= position.iteration < 1 << 32:
        raise InvalidMessage("there is no such epoch or iteration")


def read_values(task: TaskDefinition, model: bytes, residual: bytes, state: bytes) -> Values:
    """Read a model, a residual and an optimiser's state.

    Raises:
      InvalidMessage: one of them is malformed.
    """
    architecture = Architecture.of(task)
    theta, statistics = weights.unpack_model(model, architecture)
    return Values(
        theta,
        statistics,
        weights.unpack_residual(residual, architecture),
        weights.unpack_optimiser(state, architecture, task.optimiser),
    )


def compare_maps(recorded: bytes, replayed: bytes, architecture: Architecture) -> str:
    """Name the first weight whose element differs; "" for equal maps."""
    if recorded == replayed:
        return ""
    try:
        theirs = message_map.decode(recorded, architecture.weight_count)
    except InvalidMessage as error:
        return f"recorded {error}"
    ours = message_map.decode(replayed, architecture.weight_count)
    index = int(np.flatnonzero(theirs != ours)[0])
    said, found = (f"{int(signs[index]):+d}" if signs[index] else "nothing" for signs in (theirs, ours))
    return f"message map at {architecture.locate(index)}: recorded {said}, replayed {found}"


def compare_metrics(recorded: Sequence[int], replayed: Sequence[int], names: Sequence[str]) -> str:
    """Name the first metric that differs; "" for equal ones."""
    if len(recorded) != len(replayed):
        return f"{len(recorded)} metrics recorded, {len(replayed)} replayed"
    for name, said, found in zip(names, recorded, replayed, strict=True):
        if said != found:
            return f"metric {name}: recorded {said:#010x}, replayed {found:#010x}"
    return ""
