"""The ledger's state: an immutable value, so that undoing a block is keeping the state before it.

Tables are persistent maps that share structure between states: a block's new state costs what the block
changed, and hundreds of states of a fork fit in memory. Their iteration order is not agreed between nodes;
anything that walks a table sorts first.

Source: PROTOCOL sections 3 to 5, 9.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from immutables import Map

from p2pai.chain.committee import Committee, Dealt
from p2pai.chain.roster import Roster, Shift
from p2pai.chain.task import TaskDefinition
from p2pai.chain.transaction import Conclusion, Output
from p2pai.primitives.ids import (
    Amount,
    BlobId,
    BlsPublicKey,
    Hash32,
    KeyHash,
    Outpoint,
    PeerId,
    PublicKey,
    TaskId,
    VrfPublicKey,
)

NOTHING: Final = Amount(0)


class Stage(Enum):
    """Where a task stands; it moves forward, except that a pause ends. Source: PROTOCOL section 5."""

    JOINING = "joining"
    KEYING = "keying"
    TRAINING = "training"
    PAUSED = "paused"
    """Its workers wait for an attack to end."""
    EVALUATING = "evaluating"
    PAID = "paid"
    REVOKED = "revoked"
    """The client took it back before it started."""
    EXPIRED = "expired"
    """Too few applied."""
    FAILED = "failed"
    """It could not be brought to its end; the fee returned."""
    MALFORMED = "malformed"
    """Its data were not what it says; the fee was confiscated."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of the task is locked any more."""
        return self in _OVER

    @property
    def is_underway(self) -> bool:
        """Whether its group stands: it trains, or pauses."""
        return self in (Stage.TRAINING, Stage.PAUSED)


_OVER: Final = (Stage.PAID, Stage.REVOKED, Stage.EXPIRED, Stage.FAILED, Stage.MALFORMED)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A bought right to work; its stake lies in the output of the same outpoint until it is released."""

    role: str
    owner: PublicKey
    key_hash: KeyHash
    preferences: tuple[int, ...]
    vrf_key: VrfPublicKey
    bls_key: BlsPublicKey
    peer: PeerId
    height: int
    """Of the block that bought it."""
    expires: int
    """First height at which it may be drawn no more, if it is free then; 0: never."""
    task: TaskId | None = None
    """The task it works on, or has applied for."""

    def is_live(self, at_height: int, maturity_blocks: int) -> bool:
        """Return whether it may be drawn at a height: mature (bootstrap tickets are at once), not expired."""
        mature = self.height == 0 or self.height + maturity_blocks <= at_height
        return mature and not self.is_expired(at_height)

    def is_expired(self, at_height: int) -> bool:
        """Return whether it waited for so long that its stake is its owner's again."""
        return self.task is None and 0 < self.expires <= at_height


@dataclass(frozen=True, slots=True)
class Join:
    """An accepted JOIN_TASK."""

    ticket: Outpoint
    role: str
    beta: bytes
    """The ticket's proven draw, 64 bytes."""
    definition_block: Hash32
    """That it was drawn by."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A commitment of a verifier or evaluator."""

    ticket: Outpoint
    commitment: Hash32


@dataclass(frozen=True, slots=True)
class Finding:
    """An evaluator's revealed conclusion."""

    ticket: Outpoint
    conclusion: Conclusion


@dataclass(frozen=True, slots=True)
class Considered:
    """A worker that considers a pause; during one, its end."""

    ticket: Outpoint
    height: int


@dataclass(frozen=True, slots=True)
class Keying:
    """One attempt of supervisors at a common key, or at sharing theirs anew. Source: PoUW Appendix C."""

    attempt: int
    """Counts over the task's life."""
    since: int
    """Height at which the deals, or the confirmations, began."""
    members: tuple[Outpoint, ...]
    """Who will hold shares; share i is of members[i - 1]."""
    dealers: tuple[Outpoint, ...]
    """Who deals: the members, or those of the committee that is shared anew."""
    context: Hash32
    """What the deals are made for."""
    dealt: tuple[Dealt, ...] = ()
    committee: Committee | None = None
    """What the deals give, once they are closed."""
    confirmed: tuple[Outpoint, ...] = ()
    """Members that hold their share."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task's life on chain."""

    definition: TaskDefinition
    client: KeyHash
    fee: Amount
    stake: Outpoint | None
    """The fee's output; None for a predefined task."""
    definition_block: Hash32
    stage: Stage
    since: int
    """Height at which the stage, or its round, began."""
    history: tuple[tuple[str, int], ...]
    omegas: tuple[tuple[int, int], ...] = ()
    """For miners, supervisors, evaluators: how rare a draw is (see vrf/selection.py), a fraction."""
    joins: tuple[Join, ...] = ()
    miners: tuple[Outpoint, ...] = ()
    """Who began to train."""
    supervisors: tuple[Outpoint, ...] = ()
    evaluators: tuple[Outpoint, ...] = ()
    reserves: tuple[Outpoint, ...] = ()
    """Drawn tickets that were not needed, best first."""
    expelled: tuple[Outpoint, ...] = ()
    """Workers that lied or stayed away: they are paid nothing; what is left of their stakes returns."""
    shifts: tuple[Shift, ...] = ()
    """How the work was divided anew when miners left."""
    considering: tuple[Considered, ...] = ()
    """Who considers a pause, or the end of this one."""
    pauses: int = 0
    trained_blocks: int = 0
    """Blocks that it had trained for when it paused last."""
    captured: Amount = NOTHING
    """What workers lost of their stakes, to be divided with the fee."""
    attempts: int = 0
    """Attempts at a common key so far."""
    keying: Keying | None = None
    committee: Committee | None = None
    """The supervisors' common key."""
    view: tuple[int, int] = (0, 0)
    """Epoch and view of the last leader that was installed in another's place."""
    slots: int = 0
    """Slots registered on chain."""
    models: BlobId | None = None
    round: int = 0
    commits: tuple[Sealed, ...] = ()
    findings: tuple[Finding, ...] = ()
    conclusion: Conclusion | None = None

    @property
    def is_predefined(self) -> bool:
        """Whether the chain spec brought it, so that it keeps the chain going."""
        return self.stake is None

    @property
    def roster(self) -> Roster:
        """Who of the miners works in which epoch."""
        return Roster(self.miners, self.shifts)

    def enter(self, stage: Stage, height: int) -> "Task":
        """Return the task in a later stage."""
        return replace(self, stage=stage, since=height, history=(*self.history, (stage.value, height)))

    def workers(self) -> tuple[tuple[str, tuple[Outpoint, ...]], ...]:
        """Return the tickets by role."""
        return (
            ("miner", self.miners),
            ("supervisor", self.supervisors),
            ("evaluator", self.evaluators),
        )


@dataclass(frozen=True, slots=True)
class Revealed:
    """A verifier's opened verdict."""

    ticket: Outpoint
    approved: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """The verifiers' work on one block, until its subsidy is paid."""

    height: int
    task: TaskId
    ticket: Outpoint
    miner: KeyHash
    nonce: Hash32
    """The first nonce of the lucky iteration: a revealed precursor must hash to it."""
    bits: int
    """Compact target of the block, hence its work."""
    verifiers: tuple[Outpoint, ...]
    supervisors: tuple[KeyHash, ...]
    """Who shares in the subsidy besides: the supervisors of a predefined task."""
    commits: tuple[Sealed, ...] = ()
    collected: bool = False
    reveals: tuple[Revealed, ...] = ()

    @property
    def approvals(self) -> int:
        """Revealed verdicts that approve."""
        return sum(r.approved for r in self.reveals)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A block that is final."""

    height: int
    block: Hash32
    snapshot: BlobId
    """Of the state after it, as its validators say; of genesis: zero."""

    def __str__(self) -> str:
        return f"{self.height}:{self.block.hex()}:{self.snapshot.hex()}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """The last block of this chain that may become a checkpoint."""

    height: int
    block: Hash32


@dataclass(frozen=True, slots=True)
class Vote:
    """A drawn validator's vote that counts."""

    ticket: Outpoint
    snapshot: BlobId


@dataclass(frozen=True, slots=True)
class Voting:
    """The last draw of validators, and what they said of the candidate."""

    height: int
    block: Hash32
    validators: tuple[Outpoint, ...] = ()
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """Everything that decides whether the next block is valid."""

    chain: Hash32
    """Hash of the chain spec."""
    height: int
    tip: Hash32
    times: tuple[int, ...]
    """Times of the last blocks, oldest first, for the median."""
    bits: int
    anchor: tuple[int, int, int] | None
    """Height, time and bits of the first block: where ASERT counts from."""
    weight: int
    """Approved work of the chain."""
    issued: Amount
    burned: Amount
    """Destroyed, or captured of stakes and not paid out yet."""
    checkpoint: Checkpoint
    """The last block that enough validators voted for; nothing up to it ever changes."""
    candidate: Candidate
    approvals: tuple[int, int]
    """Approvals, and verifiers drawn, of the blocks settled since the candidate before was."""
    voting: Voting | None
    """On a candidate that lies deep enough; stays after its end until the next one lies as deep."""
    ticket_price: Amount
    """Stake of each ticket that the next block sells."""
    ticket_pool: int
    """Tickets that waited, immature ones included, when the last window of the price ended; 0: none has."""
    utxos: Map[Outpoint, Output] = field(default_factory=Map)
    tickets: Map[Outpoint, Ticket] = field(default_factory=Map)
    tasks: Map[TaskId, Task] = field(default_factory=Map)
    verifications: Map[Hash32, Verification] = field(default_factory=Map)
    pending: Map[int, Hash32] = field(default_factory=Map)
    """Height -> hash of the blocks whose subsidy is not paid yet."""

    def active_tasks(self) -> list[tuple[TaskId, Task]]:
        """Return the tasks that are not over, by id."""
        active = ((i, t) for i, t in self.tasks.items() if not t.stage.is_over)
        return sorted(active, key=lambda item: item[0])

    def live_tickets(self, role: str, at_height: int, maturity_blocks: int) -> list[Outpoint]:
        """Return the free tickets of a role, with a stake, that are live at a height, in order."""
        return sorted(
            outpoint
            for outpoint, t in self.tickets.items()
            if t.role == role
            and t.task is None
            and t.is_live(at_height, maturity_blocks)
            and outpoint in self.utxos
        )

    @property
    def median_time(self) -> int:
        """Median of the last block times, Unix seconds."""
        return sorted(self.times)[len(self.times) // 2]

    def with_task(self, task_id: TaskId, task: Task) -> "State":
        """Return the state with a task as it is now."""
        return replace(self, tasks=self.tasks.set(task_id, task))

    def unspent_total(self) -> int:
        """Return the sum of all unspent outputs, atoms."""
        return sum(output.value for output in self.utxos.values())
