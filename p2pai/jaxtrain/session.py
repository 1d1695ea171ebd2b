"""A training session: a miner's model, residual and mini-batches between one step and the next.

Content ids are computed once per state: the weights after one step are the weights before the next.

Source: PoUW Algorithm 1; PROTOCOL section 7.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2pai.chain.it_res import EndState, witness
from p2pai.chain.task import TaskDefinition
from p2pai.jaxtrain import dataset, weights
from p2pai.jaxtrain.metrics import NOTHING, Score
from p2pai.jaxtrain.model import HostLeaves, Leaves
from p2pai.jaxtrain.step import Outcome, trainer_of
from p2pai.jobs import ModelState
from p2pai.primitives import blob
from p2pai.primitives.blob import blob_id_of
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import BlobId, Hash32

CAPSULES_KEPT: Final = 16
"""Steps whose capsule can still be stored: a nonce is tried when the slot of its commitment is certified."""

OPTIMISER_STATE: Final = b""
"""Plain SGD remembers nothing."""


@dataclass(frozen=True, slots=True)
class State:
    """Weights and residual with their content ids."""

    weights: HostLeaves | Leaves
    residual: HostLeaves | Leaves
    ids: ModelState

    @classmethod
    def of(cls, theta: HostLeaves | Leaves, residual: HostLeaves | Leaves) -> "State":
        """Compute the ids."""
        weights_id, residual_id = blob_id_of(weights.pack(theta)), blob_id_of(weights.pack(residual))
        return cls(theta, residual, ModelState(weights_id, residual_id, blob_id_of(OPTIMISER_STATE)))

    @property
    def end(self) -> EndState:
        """What an iteration that ended here has to show."""
        ids = self.ids
        return EndState(ids.weights, ids.residual, ids.optimiser, witness_of(weights.pack(self.residual)))

    @property
    def blobs(self) -> tuple[bytes, bytes, bytes]:
        """Canonical bytes of weights, residual and optimiser state."""
        return weights.pack(self.weights), weights.pack(self.residual), OPTIMISER_STATE


@dataclass(frozen=True, slots=True)
class Capsule:
    """What a step started from."""

    before: State
    chunk: bytes


def witness_of(residual: bytes) -> Hash32:
    """Return the witness of a residual's canonical bytes."""
    return witness(blob.cut(residual)[0])


class Session:
    """One model in training."""

    def __init__(self, task: TaskDefinition, state: State, chunks: Sequence[bytes]) -> None:
        """Begin with a state and the chunks of the revealed fragments, in order."""
        self._task = task
        self._trainer = trainer_of(task)
        self.state = state
        self._capsules: deque[Capsule] = deque(maxlen=CAPSULES_KEPT)
        validation_count = len(chunks) * task.dataset.validation_percent // 100
        self.batch_count = len(chunks) - validation_count
        self._chunks = tuple(chunks)
        if self.batch_count == 0:
            raise InvalidInput("the revealed fragments hold no mini-batch to train on")
        for chunk in chunks:
            self._parse(chunk)

    @property
    def weight_count(self) -> int:
        """Weights of the model."""
        return self._trainer.architecture.weight_count

    def step(self, batch: int, peers: Sequence[bytes]) -> tuple[Capsule, Outcome]:
        """Run one iteration on the batch of that index; returns what it started from and gave.

        Raises:
          InvalidInput: no such batch, or a malformed peer's map; the state is as it was.
        """
        if not 0 <= batch < self.batch_count:
            raise InvalidInput(f"batch {batch} does not exist, there are {self.batch_count}")
        chunk = self._chunks[batch]
        outcome = self._trainer.iterate(self.state.weights, self.state.residual, self._parse(chunk), peers)
        capsule = Capsule(self.state, chunk)
        self._capsules.append(capsule)
        self.state = State.of(outcome.weights, outcome.residual)
        return capsule, outcome

    def capsule(self, start: BlobId) -> Capsule:
        """Return what the recent step that began with these weights started from.

        Raises:
          InvalidInput: no recent step did.
        """
        for capsule in reversed(self._capsules):
            if capsule.before.ids.weights == start:
                return capsule
        raise InvalidInput("no recent step of the session began with these weights")

    def validate(self) -> Score:
        """Score the model on the batches set apart."""
        batches = (self._parse(chunk) for chunk in self._chunks[self.batch_count :])
        return sum((self._trainer.score(self.state.weights, batch) for batch in batches), start=NOTHING)

    def _parse(self, chunk: bytes) -> dataset.Batch:
        data = self._task.dataset
        return dataset.parse(chunk, features=data.features, classes=data.classes)
