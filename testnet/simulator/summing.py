"""A history's outcome, from where its nodes ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from p2pai import __version__
from p2pai.chain.block import Block
from p2pai.chain.state import Task
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import TaskId
from testnet import outcome
from testnet.expectations import judge
from testnet.outcome import Outcome
from testnet.scenario import adversaries, faults
from testnet.scenario.adversaries import Adversary
from testnet.scenario.cast import select
from testnet.scenario.faults import Fault
from testnet.scenario.model import Scenario
from testnet.simulator.customers import score_of
from testnet.simulator.world import START_MS

if TYPE_CHECKING:
    from testnet.simulator.simulation import Simulation


def summarize(simulation: Simulation, broken: outcome.Broken | None, real_ms: int) -> Outcome:
    """Return what a history gave, and whether that was to be expected."""
    world, best = simulation.network.world, _best(simulation)
    made = Outcome(
        head=_head(simulation, real_ms),
        nodes=tuple(_node(simulation, core) for core in simulation.network.cores.values()),
        blocks=_blocks(best),
        tasks=_tasks(best),
        planned=planned(simulation.scenario),
        fired=tuple(outcome.Fired(kind, count) for kind, count in world.fired.items() if count),
        broken=broken,
    )
    made = replace(made, expectations=judge(simulation.scenario, made) if broken is None else ())
    return made if made.is_passed else replace(made, last_events=simulation.recent.lines())


def planned(scenario: Scenario) -> tuple[outcome.Planned, ...]:
    """Return the faults and adversaries of a scenario."""
    return (
        *(_planned(scenario, faults.kind_of(fault), fault, fault.until_s) for fault in scenario.faults),
        *(_planned(scenario, adversaries.kind_of(plan), plan) for plan in scenario.adversaries),
    )


def _planned(scenario: Scenario, kind: str, plan: Fault | Adversary, until_s: int = 0) -> outcome.Planned:
    names, until_ms = select(scenario, plan.nodes), until_s * 1000 or None
    return outcome.Planned(kind, names, plan.from_s * 1000, until_ms, isinstance(plan, Adversary))


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
        length_ms=simulation.now_ms,
        real_ms=real_ms,
        steps=simulation.recent.steps,
        digest=simulation.network.world.digest,
        healed_ms=simulation.healed_ms,
        settled_ms=simulation.settled_ms,
    )


def _node(simulation: Simulation, core: NodeCore) -> outcome.Node:
    name = core.identity.peer
    return outcome.Node(
        name=name,
        roles=tuple(core.roles),
        height=core.state.height,
        tip=core.state.tip.hex(),
        is_honest=name not in simulation.network.costumes,
        is_up=name not in simulation.network.world.halted,
        starts=simulation.network.world.hosts[name].life + 1,
        halted=simulation.network.world.halted.get(name, ""),
    )


def _best(simulation: Simulation) -> NodeCore | None:
    cores = simulation.honest()
    return max(cores, key=lambda core: core.state.height, default=None)


def _blocks(core: NodeCore | None) -> tuple[outcome.Block, ...]:
    if core is None:
        return ()
    tree = core.ledger.tree
    blocks = [tree.block_at(height) for height in range(1, core.state.height + 1)]
    return tuple(_block(height, block) for height, block in enumerate(blocks, 1) if block is not None)


def _block(height: int, block: Block) -> outcome.Block:
    return outcome.Block(
        hash=block.hash.hex(),
        prev=block.header.prev.hex(),
        height=height,
        miner="",
        task="",
        time_ms=block.header.time * 1000 - START_MS,
        seen_ms={},
        is_best=True,
        transactions=len(block.transactions),
    )


def _tasks(core: NodeCore | None) -> tuple[outcome.Task, ...]:
    rows = core.state.tasks.items() if core else ()
    return tuple(_task(task_id, task) for task_id, task in rows)


def _task(task_id: TaskId, task: Task) -> outcome.Task:
    is_predefined = task.stake is None and task.fee == 0
    return outcome.Task(
        id=task_id.hex(),
        name=task.definition.name,
        is_predefined=is_predefined,
        stages=tuple(outcome.Entered(stage, 0, height) for stage, height in task.history),
        fee_atoms=task.fee,
        client=task.definition.client,
        score=score_of(task),
    )
