"""The simulator's trainer: the jobs and results of jaxtrain/worker.py on a toy model, without JAX.

Data are real: a client's file is cut into the very fragments that the real trainer makes. The models are
small (toy.py), their ids, message maps, witnesses and capsules are true hashes of true bytes, and a replay
recomputes an iteration and compares every value. Steps take microseconds.

Source: jobs.py; PROTOCOL section 7.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.chain.it_res import EndState, witness
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import Numerics
from p2pai.jaxtrain.dataset import read_batch
from p2pai.jaxtrain.fragments import Blobs, decode_task
from p2pai.jaxtrain.workshop import Workshop
from p2pai.jobs import PeerUpdate, Position
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32
from testnet.simulator.toy import Distance, Outcome, State, leaf_of, read_map, toy_of

if TYPE_CHECKING:
    from p2pai.jaxtrain.worker import Worker

CAPSULES_KEPT: Final = 16
"""As the real trainer's, see jaxtrain/session.py."""

PLATFORM: Final = tagged_hash("p2pai/toy-platform")
"""All simulated machines are alike: what one recorded in native numerics, every other can replay."""

NOTHING: Final = EndState(BlobId(ZERO_HASH), BlobId(ZERO_HASH), BlobId(ZERO_HASH), ZERO_HASH)
"""Where nothing could be computed."""

POSITION_MAX: Final = (1 << 32) - 1

StepKey = tuple[Position, int, tuple[PeerUpdate, ...]]


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was computed: where it started, its mini-batch, what it gave."""

    before: State
    chunk: bytes
    outcome: Outcome


class Session:
    """One model in training; a step is computed when it begins, and shows when it is asked for."""

    def __init__(self, task: TaskDefinition, seed: Hash32, state: State, chunks: Sequence[bytes]) -> None:
        """Begin with a state and the mini-batches of the revealed fragments, in order.

        Raises:
          InvalidInput: there is no mini-batch.
        """
        if not chunks:
            raise InvalidInput("the revealed fragments hold no mini-batch to train on")
        self.task, self.toy, self._seed = task, toy_of(task), seed
        self.state = self.settled = state
        """What the next step starts from, and what the last one ended with that was answered."""
        self.chunks = tuple(chunks)
        self._ahead: deque[tuple[StepKey, Taken]] = deque()
        self._capsules: deque[Taken] = deque(maxlen=CAPSULES_KEPT)

    def start(self, position: Position, batch: int, peers: tuple[PeerUpdate, ...]) -> None:
        """Begin a step that `step` will ask for; InvalidInput as there."""
        self._ahead.append(((position, batch, peers), self._take(position, batch, peers)))

    def step(self, position: Position, batch: int, peers: tuple[PeerUpdate, ...]) -> Taken:
        """Run one iteration, or bring the one that was started to its end.

        Raises:
          InvalidInput: no such batch, a peer's map is malformed, or another step was started before.
        """
        if not self._ahead:
            taken = self._take(position, batch, peers)
        else:
            key, taken = self._ahead.popleft()
            if key != (position, batch, peers):
                raise InvalidInput("another step was begun")
        self.settled = taken.outcome.after
        return taken

    def capsule(self, before: jobs.ModelState, batch: Hash32) -> Taken:
        """Return the recent step that began with this state, on this mini-batch; InvalidInput if none did."""
        for taken in reversed(self._capsules):
            if taken.before.ids == before and leaf_of(taken.chunk) == batch:
                return taken
        raise InvalidInput("no recent step of the session began so")

    def validate(self, batches: Sequence[int]) -> Distance:
        """Score the settled model on mini-batches; InvalidInput when one does not exist."""
        return self.toy.score(self.settled.weights, [self._chunk(index) for index in batches])

    def _take(self, position: Position, batch: int, peers: tuple[PeerUpdate, ...]) -> Taken:
        chunk = self._chunk(batch)
        outcome = self.toy.step(self.state, leaf_of(chunk), self._seed, position, peers)
        taken = Taken(self.state, chunk, outcome)
        self._capsules.append(taken)
        self.state = outcome.after
        return taken

    def _chunk(self, index: int) -> bytes:
        if not 0 <= index < len(self.chunks):
            raise InvalidInput(f"batch {index} does not exist, there are {len(self.chunks)}")
        return self.chunks[index]


class FastTrainer(Workshop[Session]):
    """Trains toys."""

    def _open(self, job: jobs.Open) -> jobs.Opened:
        task = decode_task(job.task)
        chunks = [chunk for fragment in job.fragments for chunk in self._data.read(task, fragment)]
        toy = toy_of(task)
        state = toy.initial(job.seed) if job.state is None else self._load(job.state, task)
        session = Session(task, job.seed, state, chunks)
        self._remember(job.session, session)
        ids = self._store(state)
        if job.state not in (None, ids):
            raise InvalidMessage("a stored state is not what its content ids say")
        platform = PLATFORM if task.numerics is Numerics.NATIVE else ZERO_HASH
        return jobs.Opened(ids, toy.weight_count, len(session.chunks), platform)

    def _begin(self, job: jobs.Begin) -> jobs.Begun:
        step = job.step
        self._session(step.session).start(step.position, step.batch, step.peers)
        return jobs.Begun()

    def _step(self, job: jobs.Step) -> jobs.Stepped:
        session = self._session(job.session)
        taken = session.step(job.position, job.batch, job.peers)
        return jobs.Stepped(
            before=taken.before.ids,
            after=taken.outcome.after.end,
            batch=leaf_of(taken.chunk),
            batch_kib=len(taken.chunk) // 1024,
            message_map=taken.outcome.message_map,
            metrics=taken.outcome.distance.bits(session.task.metrics),
        )

    def _keep(self, job: jobs.Keep) -> jobs.Kept:
        state = self._session(job.session).settled
        return jobs.Kept(self._store(state), state.end.witness)

    def _keep_capsule(self, job: jobs.KeepCapsule) -> jobs.CapsuleKept:
        taken = self._session(job.session).capsule(job.before, job.batch)
        batch = self._blobs.put((taken.chunk,), shared=True)
        return jobs.CapsuleKept(self._store(taken.before), batch)

    def _validate(self, job: jobs.Validate) -> jobs.Validated:
        session = self._session(job.session)
        if not job.batches:
            return jobs.Validated(())
        return jobs.Validated(session.validate(job.batches).bits(session.task.metrics))

    def _replay(self, job: jobs.Replay) -> jobs.Replayed:
        names = (job.before.weights, job.before.residual, job.before.optimiser, BlobId(job.batch))
        weights, residual, seen, batch = map(self._bytes, names)
        after, difference = _replay(decode_task(job.task), (weights, residual, seen), batch, job)
        return jobs.Replayed(after, witness(residual), difference)

    def _evaluate(self, job: jobs.Evaluate) -> jobs.Evaluated:
        task = decode_task(job.task)
        chunks = [chunk for fragment in job.fragments for chunk in self._data.read(task, fragment)]
        scores = tuple(self._score(model, task, chunks) for model in job.models)
        return jobs.Evaluated(scores, sum(len(read_batch(task, chunk).y) for chunk in chunks))

    def _score(self, model: BlobId, task: TaskDefinition, chunks: Sequence[bytes]) -> int:
        toy, weights = toy_of(task), self._bytes(model)
        try:
            toy.check_model(weights)
        except InvalidMessage:
            return 0
        return max(1, toy.score(weights, chunks).quality(task.metrics[0]))

    def _export(self, job: jobs.Export) -> jobs.Exported:
        toy, weights = toy_of(decode_task(job.task)), self._bytes(job.weights)
        toy.check_model(weights)
        return jobs.Exported(self._blobs.put((_safetensors(weights, toy.size),), shared=True))

    def _load(self, ids: jobs.ModelState, task: TaskDefinition) -> State:
        return toy_of(task).read(*map(self._bytes, (ids.weights, ids.residual, ids.optimiser)))

    def _store(self, state: State) -> jobs.ModelState:
        for part in (state.weights, state.residual, state.seen):
            self._blobs.put((part,), shared=True)
        return state.ids


def real_trainer(blobs: Blobs) -> "Worker":
    """Return the trainer of real nodes, exact arithmetic on JAX, which is loaded now."""
    from p2pai.jaxtrain.worker import Worker  # noqa: PLC0415 (it takes a second, and most histories don't train)

    return Worker(blobs)


def _replay(
    task: TaskDefinition, start: tuple[bytes, bytes, bytes], chunk: bytes, job: jobs.Replay
) -> tuple[EndState, str]:
    """Recompute an iteration; return what it ended with, and the first difference, "" for none."""
    if task.numerics is Numerics.NATIVE and job.platform != PLATFORM:
        return NOTHING, "native numerics can only be replayed on the platform that recorded them"
    toy = toy_of(task)
    try:
        before = toy.read(*start)
        _check_batch(task, chunk, job.samples)
        _check_position(job.position)
        outcome = toy.step(before, leaf_of(chunk), job.seed, job.position, job.peers)
    except InvalidMessage as error:
        return NOTHING, f"malformed capsule: {error}"
    difference = _compare_maps(job.message_map, outcome.message_map, toy.weight_count)
    difference = difference or _compare_metrics(job, outcome.distance.bits(task.metrics), task.metrics)
    return outcome.after.end, difference


def _check_batch(task: TaskDefinition, chunk: bytes, samples: int) -> None:
    count = len(read_batch(task, chunk).y)
    if count != samples:
        raise InvalidMessage(f"the batch has {count} samples, the task wants {samples}")


def _check_position(position: Position) -> None:
    if not 1 <= position.epoch <= POSITION_MAX or not 0 <= position.iteration <= POSITION_MAX:
        raise InvalidMessage("there is no such epoch or iteration")


def _compare_maps(recorded: bytes, replayed: bytes, weight_count: int) -> str:
    """Name the first weight whose element differs; "" for equal maps."""
    if recorded == replayed:
        return ""
    try:
        theirs = dict(read_map(recorded, weight_count))
    except InvalidMessage as error:
        return f"recorded {error}"
    ours = dict(read_map(replayed, weight_count))
    index = min(i for i in {**theirs, **ours} if theirs.get(i) != ours.get(i))
    said, found = (f"{signs[index]:+d}" if index in signs else "nothing" for signs in (theirs, ours))
    return f"message map at weight {index}: recorded {said}, replayed {found}"


def _compare_metrics(job: jobs.Replay, replayed: Sequence[int], names: Sequence[str]) -> str:
    """Name the first metric that differs; "" for equal ones."""
    if len(job.metrics) != len(replayed):
        return f"{len(job.metrics)} metrics recorded, {len(replayed)} replayed"
    for name, said, found in zip(names, job.metrics, replayed, strict=True):
        if said != found:
            return f"metric {name}: recorded {said:#010x}, replayed {found:#010x}"
    return ""


def _safetensors(weights: bytes, size: int) -> bytes:
    """Return a safetensors file with one tensor, "toy"."""
    tensor = {"dtype": "I32", "shape": [size], "data_offsets": [0, len(weights)]}
    head = json.dumps({"toy": tensor}, separators=(",", ":")).encode()
    return len(head).to_bytes(8, "little") + head + weights
