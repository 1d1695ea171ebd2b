"""The stage set: a scenario's world and chain, its nodes ready to start, the dishonest ones in costume."""

from collections.abc import Callable

from p2pai.primitives.ids import PeerId
from testnet import outcome
from testnet.scenario import adversaries, faults
from testnet.scenario.cast import ANY, players, select
from testnet.scenario.chain import chain_of
from testnet.scenario.faults import Fault
from testnet.scenario.model import Scenario
from testnet.simulator.costumes import costumes
from testnet.simulator.faulting import Faulting
from testnet.simulator.host import Blobs
from testnet.simulator.network import Network
from testnet.simulator.training import Worker
from testnet.simulator.world import World


def build(scenario: Scenario, seed: int, make_worker: Callable[[Blobs], Worker]) -> Network:
    """Return a scenario's world, in which no node has started yet.

    Args:
      scenario: whose nodes and chain it has.
      seed: of everything that is drawn.
      make_worker: makes the honest nodes' trainers.
    """
    cast, spec = players(scenario), chain_of(scenario)
    world = World(seed, make_worker, plan=scenario.network)
    for player in cast:
        world.links.place(
            PeerId(player.name), player.group.region or next(iter(scenario.network.regions), "")
        )
    plans = ((p, tuple(map(PeerId, select(scenario, p.nodes)))) for p in scenario.adversaries)
    dressed = costumes(plans, world)
    names = {player.account: PeerId(player.name) for player in cast}
    roles = {player.account: player.group.roles for player in cast}
    return Network(world, spec, roles, names, costumes=dressed, outdated=_outdated(scenario))


def _outdated(scenario: Scenario) -> dict[PeerId, None]:
    plans = (plan for plan in scenario.adversaries if isinstance(plan, adversaries.Outdated))
    return {PeerId(name): None for plan in plans for name in select(scenario, plan.nodes)}


def start_due(scenario: Scenario, network: Network, now_ms: int) -> None:
    """Start the nodes whose time has come."""
    for player in players(scenario):
        if player.name not in network.cores and player.group.starts_s * 1000 <= now_ms:
            network.start(player.account)


def plan_faults(scenario: Scenario, network: Network) -> Faulting:
    """Put a scenario's faults on its world's agenda."""
    cast = players(scenario)
    words = (ANY, *(group.name for group in scenario.nodes), *(player.name for player in cast))
    nodes = {word: tuple(PeerId(name) for name in select(scenario, (word,))) for word in words}
    accounts = {name: account for account, name in network.names.items()}

    def restart(name: PeerId, down_ms: int) -> None:
        if name in network.cores:  # else it has not started yet
            network.restart(accounts[name], down_ms)

    return Faulting(network.world, scenario.faults, nodes, restart)


def planned(scenario: Scenario) -> tuple[outcome.Planned, ...]:
    """Return the faults and adversaries of a scenario."""
    return (
        *(_planned(scenario, faults.kind_of(fault), fault, fault.until_s) for fault in scenario.faults),
        *(_planned(scenario, adversaries.kind_of(plan), plan) for plan in scenario.adversaries),
    )


def _planned(
    scenario: Scenario, kind: str, plan: Fault | adversaries.Adversary, until_s: int = 0
) -> outcome.Planned:
    names, until_ms = select(scenario, plan.nodes), until_s * 1000 or None
    return outcome.Planned(kind, names, plan.from_s * 1000, until_ms, isinstance(plan, adversaries.Adversary))
