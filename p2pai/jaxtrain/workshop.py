"""What every trainer has in common: jobs handed out by their kinds, data, and sessions within a bound.

A job that cannot be done, for whatever fault of its sender, gives `Failed` with one sentence; nothing that a
job contains can raise. No JAX is needed here.

Source: PROTOCOL section 7.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from p2pai import jobs
from p2pai.jaxtrain.fragments import Blobs, Fragments
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import BlobId

SESSION_COUNT_MAX: Final = 16
"""Sessions held at once, each with a model, its residual and its data; the longest unused makes room."""

S = TypeVar("S")


class Workshop(ABC, Generic[S]):
    """Runs jobs one after another; keeps the sessions."""

    def __init__(self, blobs: Blobs) -> None:
        """Work on one store."""
        self._blobs = blobs
        self._data = data = Fragments(blobs)
        self._sessions: dict[str, S] = {}
        self._handlers: dict[type, Callable[[Any], jobs.Result]] = {
            jobs.Prepare: data.prepare,
            jobs.Restore: data.restore,
            jobs.Inspect: data.inspect,
            jobs.Open: self._open,
            jobs.Begin: self._begin,
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

    @abstractmethod
    def _open(self, job: jobs.Open) -> jobs.Opened: ...

    @abstractmethod
    def _begin(self, job: jobs.Begin) -> jobs.Begun: ...

    @abstractmethod
    def _step(self, job: jobs.Step) -> jobs.Stepped: ...

    @abstractmethod
    def _keep(self, job: jobs.Keep) -> jobs.Kept: ...

    @abstractmethod
    def _keep_capsule(self, job: jobs.KeepCapsule) -> jobs.CapsuleKept: ...

    @abstractmethod
    def _validate(self, job: jobs.Validate) -> jobs.Validated: ...

    @abstractmethod
    def _replay(self, job: jobs.Replay) -> jobs.Replayed: ...

    @abstractmethod
    def _evaluate(self, job: jobs.Evaluate) -> jobs.Evaluated: ...

    @abstractmethod
    def _export(self, job: jobs.Export) -> jobs.Exported: ...

    def _session(self, name: str) -> S:
        if name not in self._sessions:
            raise InvalidInput(f"there is no training session {name!r}")
        self._remember(name, self._sessions[name])
        return self._sessions[name]

    def _remember(self, name: str, session: S) -> None:
        """Put a session last in the order of use, and drop the first if there are too many."""
        self._sessions.pop(name, None)
        self._sessions[name] = session
        if len(self._sessions) > SESSION_COUNT_MAX:
            del self._sessions[next(iter(self._sessions))]

    def _bytes(self, blob_id: BlobId) -> bytes:
        return b"".join(self._blobs.get(blob_id))
