"""Who a scenario's nodes are: names and accounts, and whom a selector means."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from p2pai.primitives.errors import InvalidInput
from testnet.scenario.model import NODES_MAX, NodeGroup, Scenario

ANY: Final = "any"
"""The selector that means all nodes."""


@dataclass(frozen=True, slots=True)
class Player:
    """One node of a scenario."""

    name: str
    account: int
    """Number of the published account that it works for; counts from 0 in the order of the file."""
    group: NodeGroup


def players(scenario: Scenario) -> tuple[Player, ...]:
    """Return all nodes of a scenario, in the order of its file."""
    named = [(f"{group.name}{i}", group) for group in scenario.nodes for i in range(1, group.count + 1)]
    return tuple(Player(name, account, group) for account, (name, group) in enumerate(named))


def select(scenario: Scenario, selectors: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the nodes that selectors mean, in the order of the file.

    Args:
      scenario: whose nodes they are.
      selectors: names of nodes, of groups, or `any`.
    """
    wanted = dict.fromkeys(selectors)
    return tuple(
        player.name
        for player in players(scenario)
        if ANY in wanted or player.name in wanted or player.group.name in wanted
    )


def client_of(scenario: Scenario, client: str) -> str:
    """Return the name of the node that a task plan calls its client.

    Raises:
      InvalidInput: no node is a client.
    """
    clients = [player.name for player in players(scenario) if "client" in player.group.roles]
    if not clients:
        raise InvalidInput(f"the scenario {scenario.name} has tasks, but no node with the role client")
    return client or clients[0]


def dishonest(scenario: Scenario) -> tuple[str, ...]:
    """Return the names of all nodes that some adversary plays."""
    return select(scenario, (name for adversary in scenario.adversaries for name in adversary.nodes))


def scaled(scenario: Scenario, nodes: int) -> Scenario:
    """Return a scenario with so many nodes: groups marked `scales` share the rest by their counts.

    Raises:
      InvalidInput: no group scales, or fewer nodes than the others have, or too many.
    """
    growing = [group for group in scenario.nodes if group.scales]
    fixed = sum(group.count for group in scenario.nodes if not group.scales)
    if not growing:
        raise InvalidInput(f"no group of the scenario {scenario.name} scales, so it has {fixed} nodes")
    least = fixed + len(growing)
    if not least <= nodes <= NODES_MAX:
        raise InvalidInput(f"the scenario {scenario.name} can have {least} to {NODES_MAX} nodes, not {nodes}")
    counts = iter(shares(nodes - fixed, [group.count for group in growing]))
    groups = (replace(group, count=next(counts)) if group.scales else group for group in scenario.nodes)
    return replace(scenario, nodes=tuple(groups))


def shares(total: int, weights: list[int]) -> list[int]:
    """Divide a number by weights, at least one for each; the first ones get what rounding leaves."""
    spare = total - len(weights)
    parts = [1 + spare * weight // sum(weights) for weight in weights]
    left = total - sum(parts)
    return [part + (i < left) for i, part in enumerate(parts)]
