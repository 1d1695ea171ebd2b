"""What a run of a scenario gave: plain data, the same for simulated nodes and for real processes.

Reports, comparisons and sweeps are functions of outcomes alone; whoever runs a scenario fills one in. An
outcome is written as JSON, each record an object with the fields named here, and read back strictly.

Times are milliseconds since the run began; a time that nobody knows is absent (None), never zero. Nodes go by
the names that the scenario gave them. Amounts are atoms, 10^8 to a coin.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from testnet import json_form

FORMAT: Final = 1
"""Raised when the form changes."""


@dataclass(frozen=True, slots=True)
class Head:
    """What was run."""

    scenario: str
    """Its name."""
    runner: str
    """`simulator` or `processes`."""
    seed: int
    about: str = ""
    row: str = ""
    """Of the fault matrix."""
    version: str = ""
    """Of p2pai."""
    weakened: str = ""
    """The defence that was taken out, if any."""
    command: str = ""
    """Runs the same again."""
    length_ms: int = 0
    """How long the run was by the nodes' clocks."""
    real_ms: int = 0
    """How long one had to wait for it."""
    steps: int | None = None
    """Events that the simulator handled."""
    digest: str = ""
    """Of the whole history, where the run has one."""
    healed_ms: int | None = None
    """When the last fault ended."""
    settled_ms: int | None = None
    """When all honest nodes were on one tip, after healing."""
    params: Mapping[str, int] = field(default_factory=dict)
    """Of the chain (see chain/params.py): those that matter for reading the rest."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else was set for this run, by the key that a scenario file has for it."""


@dataclass(frozen=True, slots=True)
class Mining:
    """What became of the nonces that a node earned, in iterations; each earns the same number of nonces."""

    earned: int = 0
    """Iterations ended in tasks that mine."""
    tried: int = 0
    """Hashed, against a block that could still become the next."""
    stale: int = 0
    """Not hashed: the tip had moved since the block was committed to, k iterations before."""
    uncommitted: int = 0
    """Not hashed: there was no commitment k iterations before, as at the start of a session."""
    crowded: int = 0
    """Not hashed: the record took too long to certify the commitment, or too many blocks waited."""
    found: int = 0
    """Blocks whose nonce met the target."""
    late: int = 0
    """Of them, given up: the tip had moved before the record was certified."""
    sent: int = 0
    """Of them, announced."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node, and where it ended."""

    name: str
    roles: tuple[str, ...]
    height: int
    tip: str
    """Hash of the block that it ended on."""
    is_honest: bool = True
    is_up: bool = True
    """Whether it ran in the end."""
    starts: int = 1
    """How often it was started."""
    halted: str = ""
    """Why it stopped itself, if it did."""
    slashed_atoms: int = 0
    mining: Mining | None = None


@dataclass(frozen=True, slots=True)
class Ban:
    """A node refuses a remote for how it behaved."""

    node: str
    remote: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Approval:
    """A verifier's verdict on a block, in the open."""

    verifier: str
    is_approving: bool
    at_ms: int | None
    """When it was first heard of."""
    height: int | None
    """Of the block of the best chain that holds it; None where none does."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block, of whatever branch."""

    hash: str
    prev: str
    height: int
    miner: str
    task: str
    """That it was mined with; the id."""
    time_ms: int
    """That its header says."""
    seen_ms: Mapping[str, int]
    """When each node had it first, connected to its chain; whoever never did is missing."""
    is_best: bool
    """Whether it is on the best chain in the end."""
    size_bytes: int = 0
    transactions: int = 0
    drawn: int = 0
    """Verifiers that were drawn for it."""
    approvals: tuple[Approval, ...] = ()

    @property
    def found_ms(self) -> int:
        """When the first node had it; when it says so itself, where nobody is known to have had it."""
        return min(self.seen_ms.values(), default=self.time_ms)


@dataclass(frozen=True, slots=True)
class Reorganisation:
    """A node left blocks for others."""

    node: str
    at_ms: int
    depth: int
    """Blocks left."""
    height: int
    """Of the last block that stayed."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A task came into a stage."""

    stage: str
    at_ms: int
    height: int


@dataclass(frozen=True, slots=True)
class Iteration:
    """One message of training, as it was published."""

    at_ms: int
    miner: str
    iteration: int
    epoch: int
    map_bytes: int
    """Sum over all message maps of the task up to this one."""
    metrics: tuple[float | None, ...]
    """Of its mini-batch, in the order of the task's metrics; None for what is no number."""
    validation: tuple[float | None, ...] = ()
    """Over the mini-batches set apart, at the end of an epoch."""


@dataclass(frozen=True, slots=True)
class Payout:
    """What a worker of a task was paid."""

    node: str
    role: str
    atoms: int


@dataclass(frozen=True, slots=True)
class Task:
    """One task's life."""

    id: str
    name: str
    is_predefined: bool
    stages: tuple[Entered, ...]
    fee_atoms: int = 0
    client: str = ""
    miners: tuple[str, ...] = ()
    supervisors: tuple[str, ...] = ()
    evaluators: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """Names."""
    score: float | None = None
    """Of the best model, by the evaluators, in the first metric."""
    iterations: int = 0
    """Messages of training in all."""
    map_bytes: int = 0
    """Of all their message maps."""
    points: tuple[Iteration, ...] = ()
    """Some of them, evenly thinned out where there are many; all that carry a validation."""
    payouts: tuple[Payout, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """What came to a node's money on the best chain, and what went."""

    node: str
    genesis: int = 0
    mined: int = 0
    """Its part of blocks' subsidies, and of their fees, as miner."""
    verified: int = 0
    """Its part of subsidies as verifier or, for predefined tasks, supervisor."""
    worked: int = 0
    """Pay for tasks."""
    received: int = 0
    """From others."""
    tasks: int = 0
    """Paid for tasks, less what came back."""
    fees: int = 0
    """Of its transactions."""
    sent: int = 0
    """To others."""
    slashed: int = 0
    balance: int = 0
    """In the end, with what is staked."""
    staked: int = 0
    """Of the balance, locked in tickets."""


@dataclass(frozen=True, slots=True)
class Coins:
    """Where the chain's money came from and went."""

    genesis: int = 0
    subsidies: int = 0
    burned: int = 0
    fees: int = 0
    """Of transactions, collected by miners."""
    staked: int = 0
    """Locked in tickets, in the end."""
    in_tasks: int = 0
    """Locked in fees of tasks, in the end."""
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class Fired:
    """How often a fault, or an adversary's deed, really happened."""

    kind: str
    count: int
    at_ms: tuple[int, ...] = ()
    """Some of the times, evenly thinned out where there are many."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault or an adversary of the scenario."""

    kind: str
    nodes: tuple[str, ...]
    from_ms: int
    until_ms: int | None
    is_adversary: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was said on all topics of one name, or in questions (`ask`, `answer`) or as blobs (`blob`)."""

    name: str
    published: int = 0
    published_bytes: int = 0
    received: int = 0
    """Copies that reached a node's core."""
    received_bytes: int = 0
    duplicates: int = 0
    """Copies of what the node had heard before."""
    ignored: int = 0
    refused: int = 0
    """Copies that broke a rule."""
    over_time: tuple[int, ...] = ()
    """Bytes received in each of the intervals of `Outcome.interval_ms`."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the scenario demands in the end."""

    what: str
    """One sentence."""
    is_met: bool
    found: str = ""
    """What was there instead."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first promise that was broken."""

    invariant: str
    """I1 to I20; `crash` for an error in the node itself."""
    reason: str
    at_ms: int
    node: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """See the module."""

    head: Head
    nodes: tuple[Node, ...]
    blocks: tuple[Block, ...] = ()
    """By height, then by time."""
    reorganisations: tuple[Reorganisation, ...] = ()
    tasks: tuple[Task, ...] = ()
    coins: Coins = Coins()
    planned: tuple[Planned, ...] = ()
    fired: tuple[Fired, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    interval_ms: int = 1000
    """Of Traffic.over_time."""
    bans: tuple[Ban, ...] = ()
    invariants: tuple[str, ...] = ()
    """Those that were checked."""
    expectations: tuple[Expectation, ...] = ()
    broken: Broken | None = None
    last_events: tuple[str, ...] = ()
    """What happened right before the end, oldest first, for people."""
    format: int = FORMAT

    @property
    def is_passed(self) -> bool:
        """Whether nothing was broken, and all is as expected."""
        return self.broken is None and all(expected.is_met for expected in self.expectations)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.broken is not None:
            return f"Failed: {self.broken.invariant} was broken: {self.broken.reason}"
        missed = [expected for expected in self.expectations if not expected.is_met]
        if missed:
            more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
            return f"Failed: {missed[0].what}; {missed[0].found or 'it did not come'}{more}"
        return "Passed: no invariant was broken, and all is as the scenario expects"

    def to_json(self) -> str:
        """Return the outcome as text, with the same bytes for equal outcomes."""
        return json_form.write(self)

    @classmethod
    def from_json(cls, text: str, name: str = "the outcome") -> "Outcome":
        """Read what `to_json` wrote; `name` is what an error calls the file.

        Raises:
          InvalidInput: it is no such text: one sentence that says where.
        """
        return json_form.read(cls, text, name, FORMAT)
