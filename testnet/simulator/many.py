"""Many histories, in several processes: what came of each, in short."""

from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from testnet.outcome import Outcome
from testnet.scenario.model import Scenario
from testnet.simulator.crew import crew
from testnet.simulator.shrinking import symptom
from testnet.simulator.simulation import Options, simulate

BATCH: Final = 50
"""Histories for each process that are handed over at a time."""


@dataclass(frozen=True)
class Job:
    """One history to play."""

    scenario: Scenario
    seed: int
    options: Options


@dataclass(frozen=True)
class Brief:
    """What came of it."""

    scenario: str
    seed: int
    is_passed: bool
    verdict: str
    symptom: str
    """How it failed, in words that other histories can share."""
    command: str
    length_ms: int
    """Virtual."""
    real_ms: int
    steps: int
    digest: str
    fired: dict[str, int]


def play(jobs: Iterable[Job], processes: int) -> Generator[Brief, None, None]:
    """Play histories, and yield what came of each, in their order.

    Args:
      jobs: the histories; their options must not have recordings, nor a listener to their progress.
      processes: that share them.

    Raises:
      Unavailable: a process ended before its work was done.
    """
    if processes <= 1:
        yield from map(_play, jobs)
        return
    with crew(processes) as pool:
        waiting = iter(jobs)
        while batch := tuple(islice(waiting, BATCH * processes)):
            yield from pool.map(_play, batch)


def _play(job: Job) -> Brief:
    return brief(simulate(job.scenario, job.seed, job.options))


def brief(outcome: Outcome) -> Brief:
    """Return an outcome in short."""
    head = outcome.head
    return Brief(
        head.scenario,
        head.seed,
        outcome.is_passed,
        outcome.verdict,
        symptom(outcome),
        head.command,
        head.length_ms,
        head.real_ms,
        head.steps or 0,
        head.digest,
        {fired.kind: fired.count for fired in outcome.fired},
    )


def fired(briefs: Iterable[Brief]) -> dict[str, int]:
    """Return how often each fault happened in all of them, by kind."""
    total: Counter[str] = Counter()
    for one in briefs:
        total.update(one.fired)
    return dict(sorted(total.items()))
