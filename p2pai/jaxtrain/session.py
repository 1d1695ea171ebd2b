"""A training session: a miner's model, its state and mini-batches between one step and the next.

A step has two halves. `begin` starts the iteration on the device; `finish` brings its message map and metrics
to the host. Content ids are hashed in threads from the moment the arrays exist, so hashing, the message map
and the next iteration's arithmetic go on side by side (the right pane of PoUW figure F.1).

Source: PoUW Algorithm 1, Appendix F; PROTOCOL section 7.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from p2pai.chain.it_res import EndState, witness
from p2pai.chain.task import TaskDefinition
from p2pai.jaxtrain import hashing, optimiser, weights
from p2pai.jaxtrain.dataset import Batch, read_batch
from p2pai.jaxtrain.metrics import NOTHING, Score
from p2pai.jaxtrain.step import Computed, Outcome, Values, dropout_keys, trainer_of
from p2pai.jobs import ModelState, PeerUpdate, Position
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32
from p2pai.primitives.merkle import leaf_hash

CAPSULES_KEPT: Final = 16
"""Steps whose capsule can still be stored: a nonce is tried when the slot of its commitment is certified."""


class State:
    """All arrays of a model in training; their content ids are in the making from the beginning."""

    def __init__(self, values: Values, *, is_recorded: bool = True) -> None:
        """Begin to hash; what nobody records is hashed when it is asked for."""
        self.values = values
        self._ids: Future[ModelState] | None = None
        self._witness: Future[Hash32] | None = None
        if is_recorded:
            self._ids = hashing.submit(_ids_of, values)
            self._witness = hashing.submit(witness_of, values)

    @property
    def ids(self) -> ModelState:
        """Content ids; waits until they are computed."""
        return _ids_of(self.values) if self._ids is None else self._ids.result()

    @property
    def end(self) -> EndState:
        """What an iteration that ended here has to show."""
        ids = self.ids
        shown = witness_of(self.values) if self._witness is None else self._witness.result()
        return EndState(ids.weights, ids.residual, ids.optimiser, shown)

    @property
    def blobs(self) -> tuple[bytes, bytes, bytes]:
        """Canonical bytes of model, residual and optimiser state."""
        model, residual, slots = _parts(self.values)
        return weights.pack(model), weights.pack(residual), weights.pack(slots)


@dataclass(frozen=True, slots=True)
class Capsule:
    """What a step started from."""

    before: State
    chunk: bytes


StepKey = tuple[Position, int, tuple[PeerUpdate, ...]]


class Pending:
    """A step that has begun."""

    def __init__(self, session: "Session", capsule: Capsule, computed: Computed, batch: Batch) -> None:
        """Remember what belongs together."""
        self._session, self._computed, self._batch = session, computed, batch
        self.capsule = capsule
        self.after = State(computed.values, is_recorded=session.is_recorded)

    def outcome(self) -> Outcome:
        """Wait for the step; return what it gave. Steps are brought to their end in the order they began."""
        self._session.settled = self.after
        return self._session.trainer.finish(self._computed, self._batch)

    def finish(self) -> tuple[Capsule, Outcome, EndState]:
        """Wait for the step; return what it started from, gave, and ended with."""
        return self.capsule, self.outcome(), self.after.end


class Session:
    """One model in training.

    `state` is what the next step starts from, in the making perhaps; `settled` what the last step ended with
    that was brought to its end.
    """

    def __init__(
        self,
        task: TaskDefinition,
        seed: Hash32,
        state: State,
        chunks: Sequence[bytes],
        *,
        is_recorded: bool = True,
    ) -> None:
        """Begin with a state and the chunks of the revealed fragments, in order.

        Args:
          task: the definition.
          seed: the task id.
          state: to begin with.
          chunks: mini-batches.
          is_recorded: whether others will check the steps: states are hashed, and capsules kept.

        Raises:
          InvalidInput: there is no mini-batch, or a malformed one.
        """
        self.task, self._seed = task, seed
        self.trainer = trainer_of(task)
        self.state = self.settled = state
        self.is_recorded = is_recorded
        self._ahead: deque[tuple[StepKey, Pending]] = deque()
        self._capsules: deque[Capsule] = deque(maxlen=CAPSULES_KEPT if is_recorded else 0)
        self._chunks = tuple(chunks)
        if not chunks:
            raise InvalidInput("the revealed fragments hold no mini-batch to train on")
        for chunk in chunks:
            self._parse(chunk)

    @property
    def weight_count(self) -> int:
        """Weights of the model."""
        return self.trainer.architecture.weight_count

    @property
    def batch_count(self) -> int:
        """Mini-batches of the revealed fragments."""
        return len(self._chunks)

    def begin(self, position: Position, batch: int, peers: Sequence[PeerUpdate]) -> Pending:
        """Start one iteration on the batch of that index; the session's state is at once the one after it.

        Raises:
          InvalidInput: no such batch, or a malformed peer's map; the state is as it was.
        """
        chunk = self._chunk(batch)
        parsed, before = self._parse(chunk), self.state
        keys = dropout_keys(self.trainer.architecture, self._seed, position, leaf_hash(chunk))
        constants = optimiser.constants(self.task, position.epoch, position.iteration)
        computed = self.trainer.begin(before.values, parsed, peers, position.tau_bits, keys, constants)
        pending = Pending(self, Capsule(before, chunk), computed, parsed)
        self._capsules.append(pending.capsule)
        self.state = pending.after
        return pending

    def start(self, position: Position, batch: int, peers: Sequence[PeerUpdate]) -> None:
        """Begin a step that `step` will ask for.

        Raises:
          InvalidInput: as `begin`.
        """
        key = (position, batch, tuple(peers))
        self._ahead.append((key, self.begin(position, batch, peers)))

    def step(
        self, position: Position, batch: int, peers: Sequence[PeerUpdate]
    ) -> tuple[Capsule, Outcome, EndState]:
        """Run one iteration, or bring the one that was started to its end.

        Raises:
          InvalidInput: as `begin`, or another step was started before.
        """
        if not self._ahead:
            return self.begin(position, batch, peers).finish()
        key, pending = self._ahead.popleft()
        if key != (position, batch, tuple(peers)):
            raise InvalidInput("another step was begun")
        return pending.finish()

    def capsule(self, before: ModelState, batch: Hash32) -> Capsule:
        """Return what the recent step that began with this state, on this mini-batch, started from.

        Raises:
          InvalidInput: no recent step did.
        """
        for capsule in reversed(self._capsules):
            if capsule.before.ids == before and leaf_hash(capsule.chunk) == batch:
                return capsule
        raise InvalidInput("no recent step of the session began so")

    def validate(self, batches: Sequence[int]) -> Score:
        """Score the settled model on mini-batches, as evaluation does.

        Raises:
          InvalidInput: no such batch.
        """
        values = self.settled.values
        parsed = (self._parse(self._chunk(index)) for index in batches)
        scores = (self.trainer.score(values.weights, values.statistics, batch) for batch in parsed)
        return sum(scores, start=NOTHING)

    def _chunk(self, index: int) -> bytes:
        if not 0 <= index < len(self._chunks):
            raise InvalidInput(f"batch {index} does not exist, there are {len(self._chunks)}")
        return self._chunks[index]

    def _parse(self, chunk: bytes) -> Batch:
        return read_batch(self.task, chunk)


def witness_of(values: Values) -> Hash32:
    """Return the witness of a residual: of the first chunk of its canonical bytes."""
    first, size = [], 0
    for leaf in values.residual:
        first.append(hashing.view(leaf)[: blob.CHUNK_SIZE_MAX - size])
        size += len(first[-1])
    return witness(b"".join(first))


def _parts(values: Values) -> tuple[hashing.Arrays, hashing.Arrays, hashing.Arrays]:
    """Return the arrays of model, residual and optimiser state in canonical order."""
    slots = [leaf for slot in values.optimiser for leaf in slot]
    return [*values.weights, *values.statistics], values.residual, slots


def _ids_of(values: Values) -> ModelState:
    return ModelState(*(hashing.content_id(part) for part in _parts(values)))
