"""Recompute one iteration from its capsule and say where the record differs, if it does.

Everything in a capsule is bound by content ids, so parts that are malformed are the recorder's fault and
count as a difference, not as a failure of the replay.

Source: PoUW section 5.2; PROTOCOL section 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from p2pai.chain.it_res import EndState
from p2pai.chain.task import TaskDefinition
from p2pai.jaxtrain import dataset, message_map, weights
from p2pai.jaxtrain.metrics import NAMES
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.session import State
from p2pai.jaxtrain.step import trainer_of
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import ZERO_HASH, BlobId


@dataclass(frozen=True, slots=True)
class Capsule:
    """What an iteration started from, as bytes."""

    weights: bytes
    residual: bytes
    optimiser: bytes
    batch: bytes
    peers: tuple[bytes, ...]
    samples: int
    """Samples that the batch must have."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the miner said it gave."""

    message_map: bytes
    metrics: tuple[int, ...]


NOTHING: Final = EndState(BlobId(ZERO_HASH), BlobId(ZERO_HASH), BlobId(ZERO_HASH), ZERO_HASH)
"""Where nothing could be computed."""


def replay(task: TaskDefinition, capsule: Capsule, record: Record) -> tuple[EndState, str]:
    """Recompute an iteration.

    Returns:
      What the iteration ended with (NOTHING where it could not be computed), and the first difference: ""
      when every recorded value came out again.
    """
    try:
        return _replay(task, capsule, record)
    except InvalidMessage as error:
        return NOTHING, f"malformed capsule: {error}"


def _replay(task: TaskDefinition, capsule: Capsule, record: Record) -> tuple[EndState, str]:
    trainer = trainer_of(task)
    architecture = trainer.architecture
    theta = weights.unpack_weights(capsule.weights, architecture)
    residual = weights.unpack_residual(capsule.residual, architecture)
    if capsule.optimiser:
        raise InvalidMessage("plain SGD has no optimiser state")
    batch = dataset.parse(capsule.batch, features=task.dataset.features, classes=task.dataset.classes)
    if len(batch.y) != capsule.samples:
        raise InvalidMessage(f"the batch has {len(batch.y)} samples, the task wants {capsule.samples}")
    outcome = trainer.iterate(theta, residual, batch, capsule.peers)
    difference = compare_maps(record.message_map, outcome.message_map, architecture)
    difference = difference or compare_metrics(record.metrics, outcome.score.metrics)
    return State.of(outcome.weights, outcome.residual).end, difference


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


def compare_metrics(recorded: Sequence[int], replayed: Sequence[int]) -> str:
    """Name the first metric that differs; "" for equal ones."""
    if len(recorded) != len(replayed):
        return f"{len(recorded)} metrics recorded, {len(replayed)} replayed"
    for name, said, found in zip(NAMES, recorded, replayed, strict=True):
        if said != found:
            return f"metric {name}: recorded {said:#010x}, replayed {found:#010x}"
    return ""
