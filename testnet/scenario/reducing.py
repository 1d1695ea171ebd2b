"""Ideas of how a scenario could be smaller: each gives candidates, the boldest first.

A candidate need not make sense: whoever tries it checks it first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from testnet.scenario.cast import players, select
from testnet.scenario.model import NetworkPlan, Scenario

Candidates = Iterator[tuple[str, Scenario]]
"""What is left out, in words, and what remains."""

T = TypeVar("T", Scenario, NetworkPlan)

Reduction = Callable[[Scenario], Candidates]

_LISTS: Final = ("faults", "adversaries", "tasks")


def without_parts(scenario: Scenario) -> Candidates:
    """Leave out faults, adversaries and tasks: all of a list, then halves, then each."""
    for name in _LISTS:
        parts = getattr(scenario, name)
        for first, last in _spans(len(parts)):
            left = (*parts[:first], *parts[last:])
            yield _words(name, first, last, parts), _changed(scenario, name, left)


def without_groups(scenario: Scenario) -> Candidates:
    """Leave out groups of nodes."""
    for i, group in enumerate(scenario.nodes):
        nodes = (*scenario.nodes[:i], *scenario.nodes[i + 1 :])
        yield f"all {group.name}s", _tidy(replace(scenario, nodes=nodes))


def fewer_nodes(scenario: Scenario) -> Candidates:
    """Make groups smaller: one node, half of them, one less."""
    for i, group in enumerate(scenario.nodes):
        for count in dict.fromkeys((1, group.count // 2, group.count - 1)):
            if 0 < count < group.count:
                nodes = (*scenario.nodes[:i], replace(group, count=count), *scenario.nodes[i + 1 :])
                what = f"{group.count - count} of {group.count} {group.name}s"
                yield what, _tidy(replace(scenario, nodes=nodes))


def fewer_victims(scenario: Scenario) -> Candidates:
    """Let a fault hit one node only."""
    for i, fault in enumerate(scenario.faults):
        names = select(scenario, fault.nodes)
        for name in names if len(names) > 1 else ():
            hit = replace(fault, nodes=(name,))
            yield f"faults[{i + 1}] for all but {name}", _with(scenario, "faults", i, hit)


def plainer_network(scenario: Scenario) -> Candidates:
    """Give the network its defaults, all or one by one, and the groups no regions and no late start."""
    plain = tuple(replace(group, region="", starts_s=0) for group in scenario.nodes)
    yield from _if_new("the network", scenario, replace(scenario, network=NetworkPlan(), nodes=plain))
    for f in fields(NetworkPlan):
        default = _changed(scenario.network, f.name, getattr(NetworkPlan(), f.name))
        yield from _if_new(f"network.{f.name}", scenario, replace(scenario, network=default))
    for key in scenario.chain:
        left = {name: value for name, value in scenario.chain.items() if name != key}
        yield f"chain.{key}", replace(scenario, chain=left)


def shorter(scenario: Scenario) -> Candidates:
    """Halve times: to healing, to the limit, of faults and tasks."""
    for key in ("heal_s", "limit_s"):
        yield from _halved(scenario, key, key)
    yield from _halved_parts(scenario, "tasks", ("epochs", "at_s"))
    yield from _halved_parts(scenario, "faults", ("until_s", "from_s"))


def milder(scenario: Scenario) -> Candidates:
    """Halve what remains of faults: rates and counts."""
    keys = {f.name: None for fault in scenario.faults for f in fields(fault)}
    yield from _halved_parts(scenario, "faults", [k for k in keys if k not in ("nodes", "from_s", "until_s")])


REDUCTIONS: Final[tuple[Reduction, ...]] = (
    without_parts,
    without_groups,
    fewer_nodes,
    fewer_victims,
    plainer_network,
    shorter,
    milder,
)
"""In the order in which they are worth trying."""


def _spans(count: int) -> Iterator[tuple[int, int]]:
    """Yield what to leave out of so many parts: all, halves, quarters, and so on to single ones."""
    size = count
    while size:
        yield from ((first, min(first + size, count)) for first in range(0, count, size))
        size //= 2


def _halved_parts(scenario: Scenario, name: str, keys: Sequence[str]) -> Candidates:
    for i, part in enumerate(getattr(scenario, name)):
        for key in keys:
            for what, made in _halved(part, key, f"{name}[{i + 1}].{key}"):
                yield what, _with(scenario, name, i, made)


def _halved(part: Any, key: str, what: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    value = getattr(part, key, None)
    if type(value) is int and value > 1:
        yield f"{what} beyond {value // 2}", replace(part, **{key: value // 2})


def _with(scenario: Scenario, name: str, index: int, part: object) -> Scenario:
    parts = getattr(scenario, name)
    return _changed(scenario, name, (*parts[:index], part, *parts[index + 1 :]))


def _changed(record: T, name: str, value: Any) -> T:  # noqa: ANN401
    changes: dict[str, Any] = {name: value}
    return replace(record, **changes)


def _if_new(what: str, before: Scenario, after: Scenario) -> Candidates:
    if after != before:
        yield what, after


def _words(name: str, first: int, last: int, parts: Sequence[object]) -> str:
    if last - first == len(parts):
        return f"all {name}"
    return f"{name}[{first + 1}]" if last - first == 1 else f"{name}[{first + 1}] to [{last}]"


def _tidy(scenario: Scenario) -> Scenario:
    """Take nodes that are no more out of every list of names; whoever meant them alone goes, too."""
    known = {"any", *(g.name for g in scenario.nodes), *(p.name for p in players(scenario))}

    def left(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in known)

    expect = replace(
        scenario.expect,
        slashed=left(scenario.expect.slashed),
        may_be_slashed=left(scenario.expect.may_be_slashed),
    )
    return replace(
        scenario,
        faults=tuple(replace(f, nodes=left(f.nodes)) for f in scenario.faults if left(f.nodes)),
        adversaries=tuple(replace(a, nodes=left(a.nodes)) for a in scenario.adversaries if left(a.nodes)),
        tasks=tuple(task for task in scenario.tasks if not task.client or task.client in known),
        expect=expect,
    )
