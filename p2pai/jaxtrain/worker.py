"""The trainer's side of the contract in `jobs`: one job in, one result out.

A job that cannot be done, for whatever fault of its sender, gives `Failed` with one sentence; nothing that a
job contains can raise. Broken rules of our own still do.

Source: PROTOCOL section 7.
"""

from typing import Any

from p2pai import jobs
from p2pai.chain.it_res import witness
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import initialiser, replay, weights
from p2pai.jaxtrain.dataset import Batch, read_batch
from p2pai.jaxtrain.fragments import decode_task
from p2pai.jaxtrain.metrics import NOTHING, Score
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.platform import fingerprint
from p2pai.jaxtrain.session import Session, State
from p2pai.jaxtrain.step import Trainer, Values, trainer_of
from p2pai.jaxtrain.workshop import Workshop
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32
from p2pai.primitives.merkle import leaf_hash


class Worker(Workshop[Session]):
    """Trains exactly, by JAX."""

    def _open(self, job: jobs.Open) -> jobs.Opened:
        task = decode_task(job.task)
        chunks = [chunk for fragment in job.fragments for chunk in self._data.read(task, fragment)]
        values = initial_values(task, job.seed) if job.state is None else self._load(job.state, task)
        session = Session(task, job.seed, State(values), chunks)
        self._remember(job.session, session)
        ids = self._store(session.state)
        if job.state not in (None, ids):
            raise InvalidMessage("a stored state is not what its content ids say")
        platform = fingerprint() if task.numerics is Numerics.NATIVE else ZERO_HASH
        return jobs.Opened(ids, session.weight_count, session.batch_count, platform)

    def _begin(self, job: jobs.Begin) -> jobs.Begun:
        step = job.step
        self._session(step.session).start(step.position, step.batch, step.peers)
        return jobs.Begun()

    def _step(self, job: jobs.Step) -> jobs.Stepped:
        session = self._session(job.session)
        start, outcome, end = session.step(job.position, job.batch, job.peers)
        return jobs.Stepped(
            before=start.before.ids,
            after=end,
            batch=leaf_hash(start.chunk),
            batch_kib=len(start.chunk) // 1024,
            message_map=outcome.message_map,
            metrics=outcome.score.bits(session.task.metrics),
        )

    def _keep(self, job: jobs.Keep) -> jobs.Kept:
        state = self._session(job.session).settled
        return jobs.Kept(self._store(state), state.end.witness)

    def _keep_capsule(self, job: jobs.KeepCapsule) -> jobs.CapsuleKept:
        capsule = self._session(job.session).capsule(job.before, job.batch)
        batch = self._blobs.put((capsule.chunk,), shared=True)
        return jobs.CapsuleKept(self._store(capsule.before), batch)

    def _validate(self, job: jobs.Validate) -> jobs.Validated:
        session = self._session(job.session)
        if not job.batches:
            return jobs.Validated(())
        return jobs.Validated(session.validate(job.batches).bits(session.task.metrics))

    def _replay(self, job: jobs.Replay) -> jobs.Replayed:
        before = job.before
        residual = self._bytes(before.residual)
        capsule = replay.Capsule(
            self._bytes(before.weights),
            residual,
            self._bytes(before.optimiser),
            self._bytes(BlobId(job.batch)),
        )
        after, difference = replay.replay(decode_task(job.task), capsule, job)
        return jobs.Replayed(after, witness(blob.cut(residual)[0]), difference)

    def _evaluate(self, job: jobs.Evaluate) -> jobs.Evaluated:
        task = decode_task(job.task)
        chunks = (chunk for fragment in job.fragments for chunk in self._data.read(task, fragment))
        batches = [read_batch(task, chunk) for chunk in chunks]
        scores = tuple(self._score(model, task, batches) for model in job.models)
        return jobs.Evaluated(scores, sum(len(batch.y) for batch in batches))

    def _score(self, model: BlobId, task: TaskDefinition, batches: list[Batch]) -> int:
        trainer = trainer_of(task)
        try:
            theta, statistics = weights.unpack_model(self._bytes(model), trainer.architecture)
        except InvalidMessage:
            return 0
        return max(1, score_model(trainer, theta, statistics, batches).quality(task.metrics[0]))

    def _export(self, job: jobs.Export) -> jobs.Exported:
        architecture = Architecture.of(decode_task(job.task))
        theta, statistics = weights.unpack_model(self._bytes(job.weights), architecture)
        file = weights.export_safetensors(theta, statistics, architecture)
        return jobs.Exported(self._blobs.put(blob.cut(file), shared=True))

    def _load(self, ids: jobs.ModelState, task: TaskDefinition) -> Values:
        parts = (ids.weights, ids.residual, ids.optimiser)
        return replay.read_values(task, *(self._bytes(part) for part in parts))

    def _store(self, state: State) -> jobs.ModelState:
        for part in state.blobs:
            self._blobs.put(blob.cut(part), shared=True)
        return state.ids


def initial_values(task: TaskDefinition, seed: Hash32) -> Values:
    """Return what a task's training begins with; the seed is the task id."""
    architecture = Architecture.of(task)
    return Values(
        initialiser.initial_weights(architecture, task.initialiser, seed),
        initialiser.initial_statistics(architecture),
        initialiser.initial_residual(architecture),
        initialiser.initial_optimiser(architecture, task.optimiser),
    )


def score_model(trainer: Trainer, theta: Any, statistics: Any, batches: list[Batch]) -> Score:  # noqa: ANN401
    """Score a model on mini-batches together."""
    return sum((trainer.score(theta, statistics, batch) for batch in batches), start=NOTHING)
