"""The jobs that this engine can do: replays and evaluations, from a node's blobs.

Source: docs/SPEC.md, "Verification, weight and subsidy" and "Evaluation and pay".
"""

from typing import Protocol

from p2pai import jobs
from p2pai.chain import task as tasks
from p2pai.chain.task import DEFINITION_SIZE_MAX, TaskDefinition
from p2pai.chain.training import Numerics
from p2pai.numpyreplay import evaluation
from p2pai.numpyreplay.capsule import Capsule
from p2pai.numpyreplay.replay import NATIVE, replay, witness_of
from p2pai.primitives.errors import InvalidInput, InvalidMessage, Unavailable
from p2pai.primitives.ids import BlobId


class Blobs(Protocol):
    """Where capsules, fragments and models lie."""

    def get(self, name: BlobId) -> tuple[bytes, ...]:
        """Return a blob's chunks, or raise `Unavailable`."""


class Worker:
    """Runs one job after another."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def run(self, job: jobs.Job) -> jobs.Result:
        """Return the job's result, or `jobs.Failed` with one sentence."""
        try:
            if isinstance(job, jobs.Replay):
                return self._replay(job)
            if isinstance(job, jobs.Evaluate):
                return self._evaluate(job)
        except (InvalidInput, Unavailable) as error:
            return jobs.Failed(str(error))
        return jobs.Failed("this engine only replays and evaluates")

    def _replay(self, job: jobs.Replay) -> jobs.Result:
        before = job.before
        names = (before.weights, before.residual, before.optimiser, BlobId(job.batch))
        capsule = Capsule(*(b"".join(self._blobs.get(name)) for name in names))
        after, difference = replay(_read_task(job.task), capsule, job)
        return jobs.Replayed(after, witness_of(capsule.residual), difference)

    def _evaluate(self, job: jobs.Evaluate) -> jobs.Result:
        task = _read_task(job.task)
        if task.numerics is Numerics.NATIVE:
            return jobs.Failed(NATIVE)
        samples = 0
        chunks: list[bytes] = []
        for name in job.fragments:
            fragment = self._blobs.get(name)
            samples += evaluation.check_fragment(task, _position(task, name), fragment)
            chunks.extend(fragment)
        return jobs.Evaluated(tuple(self._score(task, name, chunks) for name in job.models), samples)

    def _score(self, task: TaskDefinition, name: BlobId, chunks: list[bytes]) -> int:
        weights = b"".join(self._blobs.get(name))
        try:
            return max(1, evaluation.evaluate(task, weights, chunks))
        except InvalidMessage:
            return 0


def _read_task(data: bytes) -> TaskDefinition:
    task = TaskDefinition.decode(data[: DEFINITION_SIZE_MAX + 1])
    tasks.check(task)
    return task


def _position(task: TaskDefinition, fragment: BlobId) -> int:
    if fragment not in task.dataset.fragments:
        raise InvalidMessage("fragment: not one of the task's")
    return task.dataset.fragments.index(fragment)
