"""A training session: a miner's model, residual and mini-batches between one step and the next.

Content ids are computed once per state: the weights after one step are the weights before the next.

Source: PoUW Algorithm 1; PROTOCOL section 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2pai.chain.task import TaskDefinition
from p2pai.jaxtrain import dataset, weights
from p2pai.jaxtrain.metrics import NOTHING, Score
from p2pai.jaxtrain.model import HostLeaves, Leaves
from p2pai.jaxtrain.step import Outcome, trainer_of
from p2pai.jobs import ModelState
from p2pai.primitives.blob import blob_id_of
from p2pai.primitives.errors import InvalidInput

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
    def blobs(self) -> tuple[bytes, bytes, bytes]:
        """Canonical bytes of weights, residual and optimiser state."""
        return weights.pack(self.weights), weights.pack(self.residual), OPTIMISER_STATE


@dataclass(frozen=True, slots=True)
class Capsule:
    """What the last step started from."""

    before: State
    chunk: bytes


class Session:
    """One model in training."""

    def __init__(self, task: TaskDefinition, state: State, chunks: Sequence[bytes]) -> None:
        """Begin with a state and the chunks of the revealed fragments, in order."""
        self._task = task
        self._trainer = trainer_of(task)
        self.state = state
        self.last: Capsule | None = None
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
        self.last = Capsule(self.state, chunk)
        self.state = State.of(outcome.weights, outcome.residual)
        return self.last, outcome

    def validate(self) -> Score:
        """Score the model on the batches set apart."""
        batches = (self._parse(chunk) for chunk in self._chunks[self.batch_count :])
        return sum((self._trainer.score(self.state.weights, batch) for batch in batches), start=NOTHING)

    def _parse(self, chunk: bytes) -> dataset.Batch:
        data = self._task.dataset
        return dataset.parse(chunk, features=data.features, classes=data.classes)
