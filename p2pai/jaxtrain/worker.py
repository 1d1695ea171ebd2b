"""The trainer's side of the contract in `jobs`: one job in, one result out.

A job that cannot be done, for whatever fault of its sender, gives `Failed` with one sentence; nothing that a
job contains can raise. Broken rules of our own still do.

Source: PROTOCOL section 7.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from p2pai import jobs
from p2pai.chain import task as tasks
from p2pai.chain.task import TaskDefinition
from p2pai.jaxtrain import data_file, dataset, replay, weights
from p2pai.jaxtrain.initialiser import initial_residual, initial_weights
from p2pai.jaxtrain.metrics import NOTHING
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.session import Session, State, witness_of
from p2pai.jaxtrain.step import Trainer, trainer_of
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidInput, InvalidMessage, Unavailable
from p2pai.primitives.ids import BlobId
from p2pai.primitives.merkle import leaf_hash

SESSION_COUNT_MAX: Final = 16
"""Sessions held at once, each with a model, its residual and its data; the longest unused makes room."""


class Blobs(Protocol):
    """The node's blob store, as the trainer needs it."""

    def get(self, name: BlobId, /) -> tuple[bytes, ...]:
        """Return the chunks of a blob; raises Unavailable."""

    def put(self, chunks: tuple[bytes, ...], /, *, shared: bool) -> BlobId:
        """Store a blob, and let remotes fetch it if `shared`."""


class Worker:
    """Runs jobs one after another; keeps the sessions."""

    def __init__(self, blobs: Blobs) -> None:
        """Work on one store."""
        self._blobs = blobs
        self._sessions: dict[str, Session] = {}
        self._handlers: dict[type, Callable[[Any], jobs.Result]] = {
            jobs.Prepare: self._prepare,
            jobs.Open: self._open,
            jobs.Step: self._step,
            jobs.Keep: self._keep,
            jobs.KeepCapsule: self._keep_capsule,
            jobs.Validate: self._validate,
            jobs.Replay: self._replay,
            jobs.Evaluate: self._evaluate,
            jobs.Export: self._export,
        }

    def run(self, job: jobs.Job) -> jobs.Result:
        """Do one job."""
        try:
            return self._handlers[type(job)](job)
        except (InvalidInput, Unavailable) as error:
            return jobs.Failed(str(error) or "something that the job needs is not here")
        except MemoryError:
            return jobs.Failed("the job needs more memory than the trainer may use")

    def _prepare(self, job: jobs.Prepare) -> jobs.Prepared:
        if job.batch_size < 1 or job.fragment_count < 1:
            raise InvalidInput("batch size and number of fragments are at least 1")
        samples = data_file.read(job.path, job.format)
        fragments = dataset.cut(samples.x, samples.y, job.fragment_count, job.batch_size)
        ids = tuple(self._blobs.put(chunks, shared=False) for chunks in fragments)
        return jobs.Prepared(len(samples.x), samples.x.shape[1], samples.classes, ids)

    def _open(self, job: jobs.Open) -> jobs.Opened:
        task = _decode_task(job.task)
        architecture = Architecture.of(task)
        chunks = [chunk for fragment in job.fragments for chunk in self._fragment(task, fragment)]
        if job.state is None:
            state = State.of(initial_weights(architecture, job.seed), initial_residual(architecture))
        else:
            state = self._load(job.state, architecture)
        session = Session(task, state, chunks)
        self._remember(job.session, session)
        self._store(state)
        return jobs.Opened(state.ids, session.weight_count, session.batch_count)

    def _step(self, job: jobs.Step) -> jobs.Stepped:
        session = self._session(job.session)
        start, outcome = session.step(job.batch, job.peers)
        return jobs.Stepped(
            before=start.before.ids,
            after=session.state.end,
            batch=leaf_hash(start.chunk),
            batch_kib=len(start.chunk) // 1024,
            message_map=outcome.message_map,
            metrics=outcome.score.metrics,
        )

    def _keep(self, job: jobs.Keep) -> jobs.Kept:
        state = self._session(job.session).state
        return jobs.Kept(self._store(state), state.end.witness)

    def _keep_capsule(self, job: jobs.KeepCapsule) -> jobs.CapsuleKept:
        capsule = self._session(job.session).capsule(job.weights)
        batch = self._blobs.put((capsule.chunk,), shared=True)
        return jobs.CapsuleKept(self._store(capsule.before), batch)

    def _validate(self, job: jobs.Validate) -> jobs.Validated:
        return jobs.Validated(self._session(job.session).validate().metrics)

    def _replay(self, job: jobs.Replay) -> jobs.Replayed:
        before = job.before
        capsule = replay.Capsule(
            weights=self._bytes(before.weights),
            residual=self._bytes(before.residual),
            optimiser=self._bytes(before.optimiser),
            batch=self._bytes(BlobId(job.batch)),
            peers=job.peers,
            samples=job.samples,
        )
        record = replay.Record(job.message_map, job.metrics)
        after, difference = replay.replay(_decode_task(job.task), capsule, record)
        return jobs.Replayed(after, witness_of(capsule.residual), difference)

    def _evaluate(self, job: jobs.Evaluate) -> jobs.Evaluated:
        task = _decode_task(job.task)
        data = task.dataset
        batches = [
            dataset.parse(chunk, features=data.features, classes=data.classes)
            for fragment in job.fragments
            for chunk in self._fragment(task, fragment)
        ]
        correct = tuple(self._score(model, trainer_of(task), batches) for model in job.models)
        return jobs.Evaluated(correct, sum(len(batch.y) for batch in batches))

    def _fragment(self, task: TaskDefinition, fragment: BlobId) -> tuple[bytes, ...]:
        """Return a fragment's mini-batches; InvalidInput unless they are cut as the task defines."""
        data = task.dataset
        if fragment not in data.fragments:
            raise InvalidInput("a fragment is not one of the task's")
        position, chunks = data.fragments.index(fragment), self._blobs.get(fragment)
        wanted = [task.samples_in_batch(position, i) for i in range(task.batches_in_fragment(position))]
        parsed = (dataset.parse(c, features=data.features, classes=data.classes) for c in chunks)
        if [len(batch.y) for batch in parsed] != wanted:
            raise InvalidInput("a fragment is not cut into mini-batches as the task defines")
        return chunks

    def _score(self, model: BlobId, trainer: Trainer, batches: list[dataset.Batch]) -> int:
        try:
            theta = weights.unpack_weights(self._bytes(model), trainer.architecture)
        except InvalidMessage:
            return 0
        return sum((trainer.score(theta, batch) for batch in batches), start=NOTHING).correct

    def _export(self, job: jobs.Export) -> jobs.Exported:
        architecture = Architecture.of(_decode_task(job.task))
        theta = weights.unpack_weights(self._bytes(job.weights), architecture)
        file = weights.export_safetensors(theta, architecture)
        return jobs.Exported(self._blobs.put(blob.cut(file), shared=True))

    def _session(self, name: str) -> Session:
        if name not in self._sessions:
            raise InvalidInput(f"there is no training session {name!r}")
        self._remember(name, self._sessions[name])
        return self._sessions[name]

    def _remember(self, name: str, session: Session) -> None:
        """Put a session last in the order of use, and drop the first if there are too many."""
        self._sessions.pop(name, None)
        self._sessions[name] = session
        if len(self._sessions) > SESSION_COUNT_MAX:
            del self._sessions[next(iter(self._sessions))]

    def _bytes(self, blob_id: BlobId) -> bytes:
        return b"".join(self._blobs.get(blob_id))

    def _load(self, ids: jobs.ModelState, architecture: Architecture) -> State:
        if self._bytes(ids.optimiser):
            raise InvalidMessage("plain SGD has no optimiser state")
        theta = weights.unpack_weights(self._bytes(ids.weights), architecture)
        return State(theta, weights.unpack_residual(self._bytes(ids.residual), architecture), ids)

    def _store(self, state: State) -> jobs.ModelState:
        for part in state.blobs:
            self._blobs.put(blob.cut(part), shared=True)
        return state.ids


def _decode_task(data: bytes) -> TaskDefinition:
    task = TaskDefinition.decode(data)
    tasks.check(task)
    return task
