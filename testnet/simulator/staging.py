"""The stage set: a scenario's world and chain, its nodes ready to start, the dishonest ones in costume."""

import random
from collections.abc import Callable
from functools import partial

from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from testnet.scenario import adversaries
from testnet.scenario.cast import players, select
from testnet.scenario.chain import chain_of
from testnet.scenario.model import Scenario
from testnet.simulator.adversary import KINDS, Setting
from testnet.simulator.adversary.base import Adversary
from testnet.simulator.host import Blobs, Worker
from testnet.simulator.invariants import Agreement, Watch
from testnet.simulator.network import Network
from testnet.simulator.world import World

Costume = Callable[[NodeCore], Adversary]


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
    costumes = _costumes(scenario, seed, world)
    names = {player.account: PeerId(player.name) for player in cast}
    agreement = Agreement(honest=[name for name in names.values() if name not in costumes])
    roles = {player.account: player.group.roles for player in cast}
    made = Network(world, spec, agreement, roles, names, costumes=costumes)
    world.watchers.extend((agreement, Watch(spec.params, made.cores)))
    return made


def start_due(scenario: Scenario, network: Network, now_ms: int) -> None:
    """Start the nodes whose time has come."""
    for player in players(scenario):
        if player.name not in network.cores and player.group.starts_s * 1000 <= now_ms:
            network.start(player.account)


def _costumes(scenario: Scenario, seed: int, world: World) -> dict[PeerId, Costume]:
    made: dict[PeerId, Costume] = {}
    for plan in scenario.adversaries:
        kind = adversaries.kind_of(plan)
        if kind not in KINDS:
            raise InvalidInput(f"adversaries of the kind {kind} can't be simulated")
        crew = tuple(PeerId(name) for name in select(scenario, plan.nodes))
        did, shared = partial(_count, world.fired, kind), dict[str, object]()
        for name in crew:
            dice = random.Random(f"{seed}/{name}")
            made[name] = partial(_dress, KINDS[kind], plan, Setting(name, crew, dice, did, shared))
    return made


def _dress(kind: type[Adversary], plan: adversaries.Adversary, setting: Setting, core: NodeCore) -> Adversary:
    return kind(plan, core, setting)


def _count(fired: dict[str, int], kind: str) -> None:
    fired[kind] = fired.get(kind, 0) + 1
