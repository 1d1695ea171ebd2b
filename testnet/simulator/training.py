"""A node's trainer: its jobs one after the other, and what becomes of them when it dies, hangs or is slow.

It stands where `shell/trainer.py` does, and keeps its rules: a job whose child dies or overruns the job's
deadline has failed; the next one finds a fresh child, to which the sessions of the lost one are unknown;
their jobs fail until the session is opened again.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from p2pai import jobs
from p2pai.shell.trainer import DEADLINES_S

TRAIN_MS: Final = (5, 30)
"""Least and most time of a job."""

_MS_PER_S: Final = 1000


class Worker(Protocol):
    """Who carries out a node's jobs."""

    def run(self, job: jobs.Job) -> jobs.Result: ...


@dataclass(frozen=True)
class Ailment:
    """What is wrong with a trainer."""

    kind: str
    """What it is counted as."""
    does: Literal["dies", "hangs", "slow"]
    percent: int
    """Share of jobs."""
    factor: int = 1
    """How much longer a job takes, if it is slow."""


class Trainer:
    """The trainer of one node."""

    def __init__(
        self,
        make: Callable[[], Worker],
        ailments: Sequence[Ailment],
        dice: random.Random,
        fired: Counter[str],
    ) -> None:
        """Begin without a job.

        Args:
          make: starts a fresh child.
          ailments: what is wrong, now or later.
          dice: what times and failures are drawn from.
          fired: counts, by kind, the jobs that suffered.
        """
        self._make, self._ailments, self._dice, self._fired = make, ailments, dice, fired
        self.worker = make()
        self._free_ms = 0
        self._sessions: dict[str, None] = {}
        self._lost: dict[str, None] = {}

    def take(self, job: jobs.Job, now_ms: int) -> tuple[int, Callable[[], jobs.Result]]:
        """Take a job; return how many milliseconds it takes, and what gives its result then."""
        took_ms, lost = self._dice.randint(*TRAIN_MS), ""
        for ailment in self._ailments:
            if self._dice.randrange(100) < ailment.percent:
                self._fired[ailment.kind] += 1
                took_ms, lost = _suffer(ailment, job, took_ms, lost)
        self._free_ms = max(self._free_ms, now_ms) + took_ms
        return self._free_ms - now_ms, lambda: self._lose(lost) if lost else self._run(job)

    def _run(self, job: jobs.Job) -> jobs.Result:
        session = getattr(job, "session", None)
        if session in self._lost and not isinstance(job, jobs.Open):
            return jobs.Failed(f"trainer restarted; session {session} is lost, open it again")
        result = self.worker.run(job)
        if isinstance(job, jobs.Open) and isinstance(result, jobs.Opened):
            self._sessions[job.session] = None
            self._lost.pop(job.session, None)
        return result

    def _lose(self, reason: str) -> jobs.Result:
        self._lost |= self._sessions
        self._sessions.clear()
        self.worker = self._make()
        return jobs.Failed(f"trainer restarted: {reason}")


def _suffer(ailment: Ailment, job: jobs.Job, took_ms: int, lost: str) -> tuple[int, str]:
    """Return how long a job takes, and why it fails if it does."""
    if ailment.does == "slow":
        return took_ms * ailment.factor, lost
    if ailment.does == "dies":
        return took_ms, "it died"
    deadline_s = DEADLINES_S[type(job)]
    return int(deadline_s * _MS_PER_S), f"{type(job).__name__} took more than {deadline_s:g} s"
