"""A smaller scenario that fails in the same way: what can be left out, is.

Delta debugging over the value of a scenario: whole faults, adversaries, tasks and groups of nodes first, then
single nodes, the network's peculiarities, times and rates. A candidate is kept if one of a few seeds makes it
fail as the original did; with something left out no history stays the same, so each has to be played.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from p2pai.primitives.errors import InvalidInput
from testnet.outcome import Outcome
from testnet.scenario.checking import check
from testnet.scenario.model import Scenario
from testnet.scenario.reducing import REDUCTIONS, Reduction
from testnet.simulator.simulation import Options, simulate

RUNS_MAX: Final = 200
SEEDS_TRIED: Final = 2
"""For each candidate: the failing seed and those after it."""


def shrink(
    scenario: Scenario,
    seed: int,
    options: Options,
    runs_max: int = RUNS_MAX,
    listen: Callable[[str], None] = lambda _: None,
) -> "Shrinking":
    """Search for a smaller scenario that fails as this one does with this seed.

    Args:
      scenario: that fails.
      seed: with which it fails.
      options: how it is run.
      runs_max: histories to play at most.
      listen: told what was left out, step by step.

    Raises:
      InvalidInput: it does not fail.
    """
    first = simulate(scenario, seed, options)
    if not (wanted := symptom(first)):
        raise InvalidInput(f"{scenario.name} does not fail with seed {seed}, so there is nothing to shrink")
    search = Shrinking(scenario, seed, wanted, options, runs_max, listen, runs=1)
    search.is_guarded = first.broken is None and not search.fails_without_faults(scenario, seed)
    search.run()
    return search


def symptom(outcome: Outcome) -> str:
    """Return how a history failed, without what is of this history alone; empty when it did not."""
    if outcome.broken is not None:
        reason = outcome.broken.reason if outcome.broken.invariant in ("assertion", "crash") else ""
        return f"{outcome.broken.invariant} {_without_names(reason)}".strip()
    missed = [expected for expected in outcome.expectations if not expected.is_met]
    return _without_names(missed[0].what) if missed else ""


def _without_names(text: str) -> str:
    return re.sub(r"\b[a-z-]*[0-9][0-9a-f]*\b|b'[^']*'", "#", text)


@dataclass
class Shrinking:
    """The search for a smaller failure."""

    scenario: Scenario
    """The smallest so far."""
    seed: int
    """That makes it fail."""
    wanted: str
    """How it fails (see `symptom`)."""
    options: Options
    runs_max: int
    listen: Callable[[str], None]
    runs: int = 0
    left_out: list[str] = field(default_factory=list)
    is_guarded: bool = False
    """Whether a candidate must live up to its expectations once nothing is wrong; else it fails trivially."""

    def run(self) -> None:
        """Leave out what can be, until nothing can or there were enough runs."""
        helped = True
        while helped:
            helped = sum(self._reduce(reduction) for reduction in REDUCTIONS) > 0

    def fails_without_faults(self, scenario: Scenario, seed: int) -> bool:
        """Play a scenario with nothing wrong in it."""
        self.runs += 1
        calm = replace(scenario, faults=(), adversaries=(), expect=replace(scenario.expect, slashed=()))
        return symptom(simulate(calm, seed, replace(self.options, weakened=""))) == self.wanted

    def _reduce(self, reduction: Reduction) -> bool:
        """Apply one idea as often as it helps; whether it ever did."""
        helped = False
        while self._step(reduction):
            helped = True
        return helped

    def _step(self, reduction: Reduction) -> bool:
        for what, candidate in reduction(self.scenario):
            if self.runs >= self.runs_max:
                return False
            if self._fails(candidate):
                self.scenario = candidate
                self.left_out.append(what)
                self.listen(what)
                return True
        return False

    def _fails(self, candidate: Scenario) -> bool:
        try:
            check(candidate, candidate.name)
        except InvalidInput:
            return False
        for seed in range(self.seed, self.seed + SEEDS_TRIED):
            self.runs += 1
            if symptom(simulate(candidate, seed, self.options)) != self.wanted:
                continue
            if self.is_guarded and self.fails_without_faults(candidate, seed):
                return False
            self.seed = seed
            return True
        return False
