"""A history's outcome, from where its nodes ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from p2pai import __version__
from testnet import outcome
from testnet.expectations import judge
from testnet.outcome import Outcome
from testnet.simulator.staging import planned
from testnet.simulator.world import START_MS

INVARIANTS: Final = tuple(f"I{number}" for number in range(1, 21))
"""Of testnet.simulator.invariants."""

if TYPE_CHECKING:
    from testnet.simulator.simulation import Simulation


def summarize(simulation: Simulation, broken: outcome.Broken | None, real_ms: int) -> Outcome:
    """Return what a history gave, and whether that was to be expected."""
    at_work = (*simulation.network.invariants.at_work(), *simulation.ended)
    checked = tuple(name for name in INVARIANTS if name in at_work)
    made = simulation.observer.outcome(
        _head(simulation, real_ms),
        planned=planned(simulation.scenario),
        invariants=checked,
        broken=broken,
        duplicates=simulation.network.world.gossip.duplicates,
    )
    made = replace(made, bans=_bans(simulation))
    if broken is None:
        judged = judge(simulation.scenario, made, simulation.customers.refusals())
        made = replace(made, expectations=(*judged, _all_checked(checked)))
    return made if made.is_passed else replace(made, last_events=simulation.recent.lines())


def _all_checked(checked: tuple[str, ...]) -> outcome.Expectation:
    """Demand every invariant: one that nothing was held to says nothing."""
    left = [name for name in INVARIANTS if name not in checked]
    found = f"nothing was held to {', '.join(left)}" if left else ""
    return outcome.Expectation("all invariants are checked", not left, found)


def _bans(simulation: Simulation) -> tuple[outcome.Ban, ...]:
    bans = simulation.network.world.bans
    return tuple(outcome.Ban(node, remote, at_ms - START_MS) for at_ms, node, remote in bans)


def _head(simulation: Simulation, real_ms: int) -> outcome.Head:
    scenario = simulation.scenario
    return outcome.Head(
        scenario=scenario.name,
        runner="simulator",
        seed=simulation.seed,
        about=scenario.about,
        row=scenario.row,
        version=__version__,
        weakened=simulation.options.weakened,
        command=simulation.options.command,
        real_ms=real_ms,
        healed_ms=simulation.healed_ms,
        settled_ms=simulation.settled_ms,
    )
