"""A scenario: who is there, what they are asked to do, what goes wrong, and what must come of it.

A scenario says nothing of how it is run: `testnet.simulator` runs it in one process and in virtual time,
`testnet.devnet` on real processes. Nodes have the name of their group and a number: miner1, miner2.

Source: RELIABILITY (2), the fault matrix.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from testnet.scenario.adversaries import Adversary
from testnet.scenario.faults import Fault
from testnet.scenario.ranges import Range

NODES_MAX: Final = 1_000
"""Of one scenario; as many accounts as a chain can publish."""

Some = Annotated[int, Range(1, NODES_MAX)]


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes that do the same."""

    name: str
    roles: tuple[str, ...]
    count: Some = 1
    scales: bool = False
    """Whether the group grows when a run asks for more nodes (`--nodes`), in proportion to its count."""
    region: str = ""
    """Where its nodes are (see NetworkPlan.regions); the first region when empty."""
    starts_s: int = 0
    """When its nodes start."""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """What messages go through while nothing is wrong with it."""

    gossip: Literal["direct", "mesh"] = "direct"
    """`direct`: one hop to all who follow a topic; `mesh`: hop by hop, as gossipsub does."""
    degree: Annotated[int, Range(1, 100)] = 6
    """Links of each node in a topic's mesh."""
    latency_ms: tuple[int, int] = (5, 40)
    """Least and most time that a message takes inside a region."""
    regions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Between regions: milliseconds that are added, by both names."""
    upload_kib_s: int = 0
    """Bandwidth of each node's way out; 0: without limit."""


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task that a client submits."""

    client: str = ""
    """Name of the node; the first of the first group with the role `client` when empty."""
    at_s: int = 0
    data: str = "package:digits.npz"
    epochs: Annotated[int, Range(1, 1_000)] = 3
    miners: Annotated[int, Range(2, 256)] = 3
    supervisors: Annotated[int, Range(3, 31)] = 3
    evaluators: Annotated[int, Range(3, 31)] = 3
    fee_coins: Annotated[int, Range(1, 1_000)] = 100
    batch_samples: Annotated[int, Range(1, 1_000)] = 30
    """Of a mini-batch; with the 30 of the chain's first task, the same data give the same fragments."""
    blocks: Annotated[int, Range(1, 10_000)] = 120
    """That it may train for; then it has failed."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What must be true in the end; the invariants hold at every step anyway."""

    tasks: tuple[Literal["paid", "failed", "expired", "malformed"], ...] = ("paid",)
    """Stages in which a task may end; nothing is expected when empty."""
    settle_s: Annotated[int, Range(1, 3_600)] = 60
    """Within this after healing all honest nodes are on one tip."""
    height_min: int = 1
    slashed: tuple[str, ...] = ()
    """Nodes or groups of whom somebody must have lost of a stake; nobody else may have."""
    may_be_slashed: tuple[str, ...] = ()
    """Nodes or groups of whom somebody may have."""
    unpaid: tuple[str, ...] = ()
    """Nodes or groups whom no task and no verified block pays, and of whose blocks none is approved."""
    banned: tuple[str, ...] = ()
    """Nodes or groups each of whom every honest node must ban within 10 s."""
    delivery_percent_min: int = 0
    """Of all pairs of a block and an honest node: the node has the block 6 s after it was found."""
    accuracy_percent_min: int = 0
    """Of each paid task's best model."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One file."""

    name: str
    about: str
    """One sentence."""
    nodes: tuple[NodeGroup, ...]
    row: str = ""
    """Of the fault matrix."""
    limit_s: Annotated[int, Range(1, 1_000_000)] = 600
    """Virtual seconds after which nothing is waited for any more but that the network settles."""
    heal_s: int = 0
    """When faults end, if each has happened by then; 0: when all tasks are over too, or at the limit."""
    chain: Mapping[str, int] = field(default_factory=dict)
    """Parameters other than those of the quick devnet (see chain/params.py)."""
    network: NetworkPlan = field(default_factory=NetworkPlan)
    tasks: tuple[TaskPlan, ...] = ()
    faults: tuple[Fault, ...] = ()
    adversaries: tuple[Adversary, ...] = ()
    expect: Expectations = field(default_factory=Expectations)
    weakened: str = ""
    """The defence without which this scenario must fail."""
