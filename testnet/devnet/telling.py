"""What a real run gave, as the same `Outcome` that a simulation gives.

The recordings tell of blocks, messages, tasks and money, and are held to the invariants; the nodes themselves
said in the end where they stood. Where the two differ, the nodes are right.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from p2pai import __version__
from p2pai.primitives import memo
from p2pai.primitives.ids import PeerId
from testnet import outcome
from testnet.devnet.performance import Course, recording_of
from testnet.devnet.relived import Past, Witness
from testnet.expectations import judge
from testnet.outcome import Expectation, Outcome
from testnet.scenario.cast import players
from testnet.scenario.chain import chain_of
from testnet.scenario.model import Scenario
from testnet.simulator.invariants import Broken, Honesty, Invariants
from testnet.simulator.observer import Observer
from testnet.simulator.recent import Recent
from testnet.simulator.staging import planned

_US_PER_MS: Final = 1000


@dataclass(frozen=True)
class Relived:
    """A run whose recordings were lived through."""

    past: Past
    observer: Observer
    recent: Recent
    invariants: Invariants
    broken: outcome.Broken | None


def relive(scenario: Scenario, course: Course, directory: Path) -> Relived:
    """Live through a run's recordings, with all invariants checked.

    Args:
      scenario: as it was run.
      course: what it was like from outside.
      directory: where its nodes lived.
    """
    spec, start_ms = chain_of(scenario), course.began_us // _US_PER_MS
    past = Past(spec, witnesses(scenario, directory))
    recent = Recent(past, spec.prefix, start_ms)
    roles = {PeerId(player.name): player.group.roles for player in players(scenario)}
    observer = Observer(past, spec, past.cores, roles, start_ms=start_ms)
    # Real disks and networks have faults that nobody counts.
    invariants = Invariants(spec, past.cores, Honesty(has_fault=lambda: True))
    past.watchers.extend((observer, invariants))
    with memo.shared(is_on=True):
        return Relived(past, observer, recent, invariants, _live(past, course))


def told(scenario: Scenario, seed: int, course: Course, relived: Relived, command: str) -> Outcome:
    """Return what a run gave.

    Args:
      scenario: as it was run.
      seed: of its faults.
      course: what it was like from outside.
      relived: what its recordings say.
      command: runs the same again.
    """
    head, broken = _head(scenario, seed, course, command), relived.broken
    checked = sorted(relived.invariants.at_work(), key=lambda name: int(name[1:]))
    made = relived.observer.outcome(head, planned=planned(scenario), invariants=checked, broken=broken)
    nodes = tuple(_as_it_said(node, course) for node in made.nodes)
    made = replace(made, nodes=nodes, fired=tuple(_fired(course)))
    expected = (*judge(scenario, made), *_ledgers(course), *_same(relived.past)) if broken is None else ()
    made = replace(made, expectations=expected)
    return made if made.is_passed else replace(made, last_events=relived.recent.lines())


def witnesses(scenario: Scenario, directory: Path) -> Mapping[str, Witness]:
    """Return where the life of each node can be read."""
    return {
        player.name: Witness(recording_of(directory, player.name), directory / player.name, player.account)
        for player in players(scenario)
    }


def _live(past: Past, course: Course) -> outcome.Broken | None:
    """Live through the run; return the first promise that was broken in it."""
    broken = None
    try:
        past.live(course.began_us + course.length_ms * _US_PER_MS)
    except Broken as error:
        broken = _broken(past, course, str(error).split()[0].rstrip(":,"), error, error.node or "")
    except AssertionError as error:
        broken = _broken(past, course, "assertion", error, "")
    return crash(broken, course)


def _broken(past: Past, course: Course, name: str, error: AssertionError, node: str) -> outcome.Broken:
    last = past.current[0] if past.current else ""
    return outcome.Broken(name, str(error), past.now_ms - course.began_us // _US_PER_MS, node or last)


def crash(broken: outcome.Broken | None, course: Course) -> outcome.Broken | None:
    """Return what broke first: an invariant, else a node that ended by itself."""
    if broken is None and course.failure:
        return outcome.Broken("crash", course.failure, course.length_ms)
    return broken


def _head(scenario: Scenario, seed: int, course: Course, command: str) -> outcome.Head:
    return outcome.Head(
        scenario=scenario.name,
        runner="processes",
        seed=seed,
        about=scenario.about,
        row=scenario.row,
        version=__version__,
        command=command,
        real_ms=course.length_ms,
        healed_ms=course.healed_ms,
        settled_ms=course.settled_ms,
    )


def _as_it_said(node: outcome.Node, course: Course) -> outcome.Node:
    said = course.statuses.get(node.name)
    starts = course.starts.get(node.name, 0)
    if said is None:
        return replace(node, is_up=False, starts=starts)
    return replace(node, height=said["height"], tip=said["tip"], starts=starts)


def _fired(course: Course) -> Iterator[outcome.Fired]:
    for kind, count in sorted(course.fired.items()):
        yield outcome.Fired(kind, count, course.times_ms.get(kind, ()))


def _ledgers(course: Course) -> Iterator[Expectation]:
    """Say what only real nodes can be asked: what they hold their ledgers to be."""
    ledgers = dict.fromkeys((said["tip"], said["state_digest"]) for said in course.statuses.values())
    tips = dict.fromkeys(said["tip"] for said in course.statuses.values())
    found = f"{len(ledgers)} ledgers on {len(tips)} tips"
    yield Expectation("nodes on one tip have one ledger", len(ledgers) == len(tips), found)
    wrong = [name for name, holds in course.supplies.items() if not holds]
    yield Expectation("every node can account for every coin", not wrong, f"{', '.join(wrong)} can't")


def _same(past: Past) -> Iterator[Expectation]:
    found = "; ".join(f"{name} did not {what}" for name, what in past.departed.items())
    yield Expectation("every node's recording, lived through again, gives the same", not found, found)
