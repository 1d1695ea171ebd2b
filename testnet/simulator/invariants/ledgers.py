"""All checkers of the ledger at work, over one chain or in a simulated world.

Every block that an honest node connects is checked once, with the state after it; that every other node comes
to the same state is checked where the block could have changed it. All rows of a state are looked at now and
then, and each stretch of the best chain is replayed from its bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pai import events
from p2pai.chain.fork_choice import Branch
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import Hash32, PeerId
from testnet.simulator.invariants.chain import Checkpoints, check_time, check_tip, links
from testnet.simulator.invariants.drawn import admissions, public_draws
from testnet.simulator.invariants.earned import Beacons, Earnings, draws, nonce
from testnet.simulator.invariants.hidden import reveals
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.money import audit_money, no_debt, splits, supply
from testnet.simulator.invariants.quorums import conclusions, votes
from testnet.simulator.invariants.replays import STRETCH_BLOCKS, check_same, check_stretch
from testnet.simulator.invariants.standing import Standing
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
    "public draws": public_draws,
    "admissions": admissions,
    "reveals": reveals,
    "votes": votes,
    "conclusions": conclusions,
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
class Ledgers:
    """The chains of all honest nodes of a world."""

    spec: ChainSpec
    cores: Mapping[PeerId, NodeCore]
    honesty: Honesty = field(default_factory=Honesty)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    earnings: Earnings = field(default_factory=Earnings)
    states: dict[Hash32, State] = field(default_factory=dict)
    """After every block that any honest node has connected."""
    steps: dict[Hash32, Step] = field(default_factory=dict)
    """Of those whose parent's state was seen, too."""
    checked: int = 0
    """Blocks."""
    _tips: dict[PeerId, tuple[int, Hash32]] = field(default_factory=dict)
    """Blocks in memory and the tip, when a node was looked at last."""
    _known: dict[PeerId, dict[Hash32, None]] = field(default_factory=dict)
    _stretches: dict[int, None] = field(default_factory=dict)
    """Heights up to which the best chain was replayed."""

    def __post_init__(self) -> None:
        """Prepare what needs to know the nodes."""
        self.standing = Standing(self.cores, self.honesty)
        self.beacons = Beacons(self.cores, self.honesty)

    def look(self, name: PeerId, core: NodeCore, event: events.Event) -> None:
        """Look at a node after an event."""
        if isinstance(event, events.Started):
            self._known.pop(name, None)
            self.checkpoints.start(name)
        tree = core.ledger.tree
        tip = tree.state.tip
        if self._tips.get(name) == (len(tree), tip):
            return
        self._tips[name] = len(tree), tip
        branches = tree.branches()
        if not isinstance(event, events.Started):  # what is on the disk was checked by another clock
            self._check_clock(name, core, branches)
        self._take(name, branches)
        check_tip(tip, (branch.state for branch in branches))
        self.checkpoints.see(name, tree.state, tree.hash_at)
        if tree.state.height % AUDIT_BLOCKS == 0:
            audit(tree.state)
        self._replay(core)

    def _check_clock(self, name: PeerId, core: NodeCore, branches: Sequence[Branch]) -> None:
        known, root = self._known.get(name, {}), core.ledger.tree.root.state.tip
        for branch in branches:
            if branch.state.tip not in known and branch.state.tip != root:
                check_time(branch.block.header.time, core.now_ms, self.spec.params)

    def _take(self, name: PeerId, branches: Sequence[Branch]) -> None:
        known = self._known.get(name, {})
        for branch in branches:
            tip = branch.state.tip
            if tip in known:
                continue
            if tip not in self.states:
                self._check_block(branch)
            elif tip in self.steps:
                check_same(name, self.steps[tip], branch.state)
        self._known[name] = dict.fromkeys(branch.state.tip for branch in branches)

    def _check_block(self, branch: Branch) -> None:
        before = self.states.get(branch.block.header.prev)
        if before is not None:  # else it is where a node's history begins
            step = Step(before, branch.block, branch.state, self.spec.params_at(branch.state.height))
            check_step(step)
            self.earnings.see(step)
            self.beacons.see(step)
            self.standing.see(step)
            self.steps[branch.state.tip] = step
            self.checked += 1
        self.states[branch.state.tip] = branch.state

    def _replay(self, core: NodeCore) -> None:
        """I7: replay a stretch of the best chain, once for each height."""
        height = core.state.height // STRETCH_BLOCKS * STRETCH_BLOCKS
        if height == 0 or height in self._stretches:
            return
        self._stretches[height] = None
        check_stretch(core, height, self.steps)
