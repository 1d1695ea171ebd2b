"""A capsule: all that replaying one iteration needs, as bytes.

Source: docs/EXACT.md, "Numbers that are carried from one iteration to the next"; PROTOCOL section 7.
"""

from dataclasses import dataclass

from p2pai.chain.task import TaskDefinition
from p2pai.numpyreplay import batch, model, optimiser
from p2pai.numpyreplay.batch import Batch
from p2pai.numpyreplay.iteration import State


@dataclass(frozen=True, slots=True)
class Capsule:
    """The state before an iteration, and its mini-batch."""

    weights: bytes
    residual: bytes
    optimiser: bytes
    batch: bytes


def read(capsule: Capsule, task: TaskDefinition, samples: int) -> tuple[State, Batch]:
    """Read a capsule's parts.

    Raises:
      InvalidMessage: a part is malformed, or the mini-batch has another number of samples.
    """
    state = State(
        model.decode(capsule.weights, task),
        model.decode_residual(capsule.residual, task),
        optimiser.decode(capsule.optimiser, task.optimiser, task.weight_count),
    )
    return state, batch.decode(capsule.batch, task.dataset, samples)


def write(state: State, task: TaskDefinition) -> tuple[bytes, bytes, bytes]:
    """Return the bytes of model, residual and optimiser's state."""
    residual = state.residual.astype("<i4").tobytes()
    return state.model.encode(), residual, optimiser.encode(task.optimiser, state.optimiser)
