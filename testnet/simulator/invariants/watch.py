"""All checkers of the ledger at work: over one chain, or in a simulated world."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pai import effects, events
from p2pai.chain.fork_choice import Branch
from p2pai.chain.params import Params
from p2pai.chain.state import State
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import Hash32, PeerId
from testnet.simulator.invariants.chain import Checkpoints, check_tip, links
from testnet.simulator.invariants.earned import Earnings, draws, nonce
from testnet.simulator.invariants.money import audit_money, no_debt, splits, supply
from testnet.simulator.invariants.replays import check_equal
from testnet.simulator.invariants.step import Step
from testnet.simulator.invariants.tasks import audit_tasks, stages, tickets

AUDIT_BLOCKS: Final = 25
"""Blocks between two audits of all rows, on each node."""

STEP_CHECKS: Final[dict[str, Callable[[Step], None]]] = {
    "supply": supply,
    "no debt": no_debt,
    "splits": splits,
    "stages": stages,
    "tickets": tickets,
    "links": links,
    "nonce": nonce,
    "draws": draws,
}
"""What must hold of every block."""


def check_step(step: Step) -> None:
    """Check everything that concerns one block."""
    for check in STEP_CHECKS.values():
        check(step)


def audit(state: State) -> None:
    """Check all rows of a state."""
    audit_money(state)
    audit_tasks(state)


@dataclass
class Watch:
    """A watcher of one world: checks every block that a node connects once, every node's tip each time."""

    params: Params
    cores: Mapping[PeerId, NodeCore]
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    earnings: Earnings = field(default_factory=Earnings)
    states: dict[Hash32, State] = field(default_factory=dict)
    """After every block that any node has connected."""
    checked: int = 0
    """Blocks."""
    _tips: dict[PeerId, Hash32] = field(default_factory=dict)
    _sizes: dict[PeerId, int] = field(default_factory=dict)

    def __call__(self, name: PeerId, event: events.Event, reaction: Sequence[effects.Effect]) -> None:
        """Look at a node after an event."""
        del event, reaction
        core = self.cores[name]
        branches = core.ledger.tree.branches()
        if self._sizes.get(name) == len(branches) and self._tips.get(name) == core.state.tip:
            return
        self._sizes[name], self._tips[name] = len(branches), core.state.tip
        self._check_new(branches)
        check_tip(core.state.tip, (branch.state for branch in branches))
        self.checkpoints.see(name, core.state, core.ledger.tree.hash_at)
        if core.state.height % AUDIT_BLOCKS == 0:
            audit(core.state)
            check_equal((core.state, self.states[core.state.tip]))

    def _check_new(self, branches: Sequence[Branch]) -> None:
        for branch in branches:
            if branch.state.tip not in self.states:
                self._check_block(branch)

    def _check_block(self, branch: Branch) -> None:
        before = self.states.get(branch.block.header.prev)
        if before is not None:  # else it is where a node's history begins
            step = Step(before, branch.block, branch.state, self.params)
            check_step(step)
            self.earnings.see(step)
            self.checked += 1
        self.states[branch.state.tip] = branch.state
