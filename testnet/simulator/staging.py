"""The stage set: a scenario's world and chain, its nodes ready to start, the dishonest ones in costume."""

from collections.abc import Callable

from p2pai.primitives.ids import PeerId
from testnet.scenario.cast import players, select
from testnet.scenario.chain import chain_of
from testnet.scenario.model import Scenario
from testnet.simulator.costumes import costumes
from testnet.simulator.host import Blobs, Worker
from testnet.simulator.invariants import Agreement, Watch
from testnet.simulator.network import Network
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
    dressed = costumes(plans, seed, world.fired)
    names = {player.account: PeerId(player.name) for player in cast}
    agreement = Agreement(honest=[name for name in names.values() if name not in dressed])
    roles = {player.account: player.group.roles for player in cast}
    made = Network(world, spec, agreement, roles, names, costumes=dressed)
    world.watchers.extend((agreement, Watch(spec.params, made.cores)))
    return made


def start_due(scenario: Scenario, network: Network, now_ms: int) -> None:
    """Start the nodes whose time has come."""
    for player in players(scenario):
        if player.name not in network.cores and player.group.starts_s * 1000 <= now_ms:
            network.start(player.account)
