"""Recompute one iteration from its capsule, and compare.

Source: docs/EXACT.md, "One iteration"; docs/SPEC.md, "Verification, weight and subsidy".
"""

import struct
from typing import Final

import numpy as np

from p2pai import jobs
from p2pai.chain import it_res
from p2pai.chain.it_res import EndState
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import TAU_BITS, Numerics
from p2pai.numpyreplay import capsule, message_map, metrics, model, optimiser
from p2pai.numpyreplay.capsule import Capsule
from p2pai.numpyreplay.integers import Integers
from p2pai.numpyreplay.iteration import Iterated, State, iterate
from p2pai.numpyreplay.layers import Draws
from p2pai.numpyreplay.model import WEIGHT_BITS
from p2pai.primitives.blob import blob_id_of, cut
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32

PEER_COUNT_MAX: Final = 65_536
"""Maps in one iteration, so that their sum is bounded."""

NATIVE: Final = "native numerics are one machine's own: this engine can't replay them"

NOWHERE: Final = EndState(BlobId(ZERO_HASH), BlobId(ZERO_HASH), BlobId(ZERO_HASH), ZERO_HASH)
"""Where an iteration ends that can't be replayed."""


def replay(task: TaskDefinition, given: Capsule, job: jobs.Replay) -> tuple[EndState, str]:
    """Recompute an iteration.

    Args:
      task: the definition that the job names, checked.
      given: what the iteration started from.
      job: its position, peers' maps, and what was recorded of it.

    Returns:
      What the iteration ends with, and the first difference from the record: empty, or one sentence.
    """
    if task.numerics is Numerics.NATIVE:
        return NOWHERE, NATIVE
    try:
        found = _iterate(task, given, job)
    except InvalidMessage as error:
        return NOWHERE, f"malformed capsule: {error}"
    return end_of(found.state, task), _difference(task, job, found)


def initial_state(task: TaskDefinition, seed: Hash32) -> tuple[bytes, bytes, bytes]:
    """Return the bytes of model, residual and optimiser's state that every miner of a task begins with."""
    first = model.initial(task, seed)
    nothing = np.zeros_like(first.weights)
    state = State(first, nothing, optimiser.initial(task.optimiser, len(first.weights)))
    return capsule.write(state, task)


def end_of(state: State, task: TaskDefinition) -> EndState:
    """Return the content ids and the witness of a state."""
    weights, residual, rest = capsule.write(state, task)
    return EndState(blob_id_of(weights), blob_id_of(residual), blob_id_of(rest), witness_of(residual))


def witness_of(residual: bytes) -> Hash32:
    """Return the witness of a residual's bytes."""
    return it_res.witness(cut(residual)[0])


def _iterate(task: TaskDefinition, given: Capsule, job: jobs.Replay) -> Iterated:
    before, batch = capsule.read(given, task, job.samples)
    _require_tau(job.position.tau_bits)
    _require(1 <= job.position.epoch < 1 << 32 and job.position.iteration < 1 << 32, "no such iteration")
    _require(len(job.peers) <= PEER_COUNT_MAX, "too many peers' message maps")
    shift = np.zeros_like(before.model.weights)
    for peer in job.peers:
        _require_tau(peer.tau_bits)
        shift += message_map.decode(peer.message_map, len(shift)) << (WEIGHT_BITS - peer.tau_bits)
    return iterate(task, before, batch, Draws(job.seed, job.position, blob_id_of(given.batch)), shift)


def _require_tau(bits: int) -> None:
    _require(bits in TAU_BITS, "tau is not between 2^-18 and 2^-6")


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidMessage(rule)


def _difference(task: TaskDefinition, job: jobs.Replay, found: Iterated) -> str:
    return _map_difference(task, job.message_map, found.signs) or _metric_difference(task, job, found)


def _map_difference(task: TaskDefinition, recorded: bytes, signs: Integers) -> str:
    try:
        claimed = message_map.decode(recorded, len(signs))
    except InvalidMessage as error:
        return f"the recorded {error}"
    places = np.flatnonzero(claimed != signs)
    if not len(places):
        return ""
    first = int(places[0])
    name = model.name_of(task, first)
    return f"message map: {name} moves by {int(signs[first]):+d} tau, recorded was {int(claimed[first]):+d}"


def _metric_difference(task: TaskDefinition, job: jobs.Replay, found: Iterated) -> str:
    if len(job.metrics) != len(task.metrics):
        return f"{len(job.metrics)} metrics were recorded, the task has {len(task.metrics)}"
    for name, recorded in zip(task.metrics, job.metrics, strict=True):
        bits = metrics.float32_bits(metrics.value(name, found.counts))
        if bits != recorded:
            return f"metric {name} is {_number(bits)}, recorded was {_number(recorded)}"
    return ""


def _number(bits: int) -> str:
    (number,) = struct.unpack("<f", (bits & 0xFFFFFFFF).to_bytes(4, "little"))
    return f"{number:.9g} (0x{bits:08x})"
