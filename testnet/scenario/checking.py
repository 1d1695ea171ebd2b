"""What a scenario must be beyond the types of its keys: one world in which every name means somebody."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Final

from p2pai.chain.params import SUPERVISORS_MIN
from p2pai.node.core import ROLES
from p2pai.primitives.errors import InvalidInput
from testnet.scenario import chain
from testnet.scenario.cast import ANY, client_of, players
from testnet.scenario.model import NODES_MAX, Scenario

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_GROUP: Final = re.compile(r"[a-z]([a-z0-9-]{0,22}[a-z])?")
"""No digit at the end: its nodes are numbered."""


def check(scenario: Scenario, source: str) -> None:
    """Refuse a scenario that can't be played.

    Args:
      scenario: to check.
      source: what its file is called.

    Raises:
      InvalidInput: one sentence.
    """
    for complaint in _complaints(scenario):
        raise InvalidInput(f"{source}: {complaint}")
    try:
        chain.check_parameters(dict(scenario.chain))
        chain.chain_of(scenario)
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from error


def _complaints(scenario: Scenario) -> Iterator[str]:
    """Yield what is wrong; each one may rely on there being nothing before it."""
    if not _NAME.fullmatch(scenario.name):
        yield f"name is {scenario.name!r}; a name has up to 31 small letters, digits and -, a letter first"
    if not scenario.about.strip() or "\n" in scenario.about:
        yield "about must be one sentence in one line"
    yield from _wrong_groups(scenario)
    yield from _wrong_regions(scenario)
    yield from _wrong_names(scenario)
    yield from _wrong_times(scenario)
    yield from _wrong_tasks(scenario)


def _wrong_groups(scenario: Scenario) -> Iterator[str]:
    if not scenario.nodes:
        yield "nodes is empty, but somebody has to be there"
    for name, count in Counter(group.name for group in scenario.nodes).items():
        if not _GROUP.fullmatch(name) or name == ANY:
            yield (
                f"a group of nodes is called {name!r}; its name has up to 24 small letters, digits and -,"
                f" begins and ends with a letter, and is not {ANY}"
            )
        if count > 1:
            yield f"two groups of nodes are called {name}"
    for i, group in enumerate(scenario.nodes, 1):
        for role in (role for role in group.roles if role not in ROLES):
            yield _meant(f"nodes[{i}].roles has an unknown role {role!r}", role, ROLES)
    count = sum(group.count for group in scenario.nodes)
    if count > NODES_MAX:
        yield f"the scenario has {count} nodes; at most {NODES_MAX} fit"
    supervisors = sum(group.count for group in scenario.nodes if "supervisor" in group.roles)
    if supervisors < SUPERVISORS_MIN:
        yield f"{supervisors} nodes have the role supervisor; without {SUPERVISORS_MIN} there is no chain"
    if not any("miner" in group.roles for group in scenario.nodes):
        yield "no node has the role miner; without one there is no block"


def _wrong_regions(scenario: Scenario) -> Iterator[str]:
    regions = scenario.network.regions
    for i, group in enumerate(scenario.nodes, 1):
        if group.region and group.region not in regions:
            yield _meant(f"nodes[{i}].region is {group.region!r}, which is no region", group.region, regions)
    for region, others in regions.items():
        for other in others:
            if other not in regions:
                yield _meant(f"network.regions.{region} has {other!r}, which is no region", other, regions)


def _wrong_names(scenario: Scenario) -> Iterator[str]:
    known = [ANY, *(g.name for g in scenario.nodes), *(p.name for p in players(scenario))]
    for where, names in _selectors(scenario):
        for name in names:
            if name not in known:
                yield _meant(f"{where} has {name!r}, which is no node and no group", name, known)


def _selectors(scenario: Scenario) -> Iterator[tuple[str, Iterable[str]]]:
    for i, fault in enumerate(scenario.faults, 1):
        yield f"faults[{i}].nodes", fault.nodes
    for i, adversary in enumerate(scenario.adversaries, 1):
        yield f"adversaries[{i}].nodes", adversary.nodes
    yield "expect.slashed", scenario.expect.slashed
    yield "expect.may_be_slashed", scenario.expect.may_be_slashed
    yield "expect.unpaid", scenario.expect.unpaid


def _wrong_times(scenario: Scenario) -> Iterator[str]:
    for i, fault in enumerate(scenario.faults, 1):
        if fault.until_s and fault.until_s <= fault.from_s:
            yield f"faults[{i}].until_s must be after its from_s, {fault.from_s}, or 0"
    later = [
        ("heal_s", scenario.heal_s),
        *((f"nodes[{i}].starts_s", group.starts_s) for i, group in enumerate(scenario.nodes, 1)),
        *((f"tasks[{i}].at_s", task.at_s) for i, task in enumerate(scenario.tasks, 1)),
        *((f"faults[{i}].from_s", fault.from_s) for i, fault in enumerate(scenario.faults, 1)),
    ]
    for where, time_s in later:
        if time_s >= scenario.limit_s:
            yield f"{where} is {time_s}, but the history ends at limit_s, {scenario.limit_s}"


def _wrong_tasks(scenario: Scenario) -> Iterator[str]:
    clients = [player.name for player in players(scenario) if "client" in player.group.roles]
    spent: Counter[str] = Counter()
    for i, task in enumerate(scenario.tasks, 1):
        if not clients:
            yield "the scenario has tasks, but no node with the role client"
            return
        if task.client and task.client not in clients:
            yield _meant(f"tasks[{i}].client is {task.client!r}, which is no client", task.client, clients)
        spent[client_of(scenario, task.client)] += task.fee_coins
    for client, coins in spent.items():
        if coins >= chain.CLIENT_COINS:
            yield f"the tasks of {client} cost {coins} coins, but a client has {chain.CLIENT_COINS}"


def _meant(sentence: str, word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f"{sentence}; did you mean {close[0]}?" if close else sentence
