"""What a role may use of its node, and what every role does alike.

A role is a state machine without I/O. It learns of the world through the methods of `Role`, and acts through
the methods of `Node`, which become effects; answers come back to the function given as `then`. Roles act on
what the ledger says *is*, not on what happened: each new tip they compare it with what should be there, and
post what is missing. So a lost message, a reorganisation or a restart needs no case of its own.

Source: docs/ARCHITECTURE.md; RELIABILITY habit 3.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from p2pai.chain.block import Block, Header
from p2pai.chain.committee import CertifiedSlot
from p2pai.chain.fraud import Judgements
from p2pai.chain.params import Params
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import Stage, State, Task, Ticket
from p2pai.chain.tickets import WORKER_ROLES, is_drawn
from p2pai.chain.transaction import BuyTickets, Data, JoinTask, Output, Stake, Transaction
from p2pai.effects import Verdict
from p2pai.events import Fetched
from p2pai.jobs import Job, Result
from p2pai.primitives import bls, ecdsa
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, KeyHash, Millis, Outpoint, PeerId, PublicKey, TaskId
from p2pai.primitives.keys import Keys
from p2pai.roles.history import TaskHistory
from p2pai.vrf import ecvrf, selection


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is; without its secret keys it can look, and sign nothing."""

    public: PublicKey
    key_hash: KeyHash
    peer: PeerId
    secret: Keys | None = field(repr=False)

    @classmethod
    def of(cls, keys: Keys | PublicKey, peer: PeerId) -> "Identity":
        """Derive the public half, or know nothing else."""
        public = ecdsa.public_key(keys.spending) if isinstance(keys, Keys) else keys
        return cls(public, ecdsa.key_hash(public), peer, keys if isinstance(keys, Keys) else None)

    @property
    def keys(self) -> Keys:
        """The secret keys."""
        assert self.secret is not None, "a core without keys was asked to sign"
        return self.secret

    def salt(self, *parts: bytes) -> Hash32:
        """Return a salt that nobody else can guess and that is the same after a restart."""
        return tagged_hash("p2pai/salt", self.keys.spending, *parts)


class Node(Protocol):
    """What a role may use."""

    spec: ChainSpec
    identity: Identity
    now_ms: int

    @property
    def params(self) -> Params:
        """Under which the block after the tip is made."""

    @property
    def state(self) -> State:
        """The ledger at the tip."""

    @property
    def pool(self) -> State:
        """The ledger with every waiting transaction applied."""

    def block(self, block: Hash32) -> Block | None:
        """Return a known block."""

    def state_before(self, block: Block) -> State | None:
        """Return the ledger that a known block was built on; None when it is too old."""

    def state_after(self, block: Hash32) -> State | None:
        """Return the ledger after a known block, unless that is too long ago."""

    @property
    def judged(self) -> Judgements:
        """What our replays said, by block."""

    def judge(self, block: Hash32) -> None:
        """Replay a block of the best chain; the tip counts as changed when that is done."""

    def accuse(self, block: Hash32) -> None:
        """Leave a block that our replay found false, and prove it to the others."""

    def is_best(self, block: Hash32) -> bool:
        """Return whether a block is on the best chain."""

    def definition_block(self, task: TaskId) -> Hash32:
        """Return the block that defines a task as far as we know: the oldest of all forks."""

    def follow(self, task: TaskId, first_slot: int | None = None) -> TaskHistory:
        """Join a task's topics; get the slots from `first_slot` on too, not only those from now on."""

    def unfollow(self, task: TaskId) -> None:
        """Leave a task's topics."""

    def take_part(self, task: TaskId, role: str) -> None:
        """Let others find us as one who does a role's part in a task."""

    def end_part(self, task: TaskId, role: str) -> None:
        """Undo it."""

    def record_slot(self, slot: CertifiedSlot) -> None:
        """Take in a certified slot as if a remote had said it."""

    def publish(self, name: str, task: TaskId, body: bytes) -> None:
        """Say something to a task's group."""

    def persist(self, record: object, then: Callable[[], None]) -> None:
        """Write a journal record; `then` runs when it is durable."""

    def set_timer(self, name: str, delay_ms: Millis, then: Callable[[], None]) -> None:
        """Run `then` after a delay; setting a name again replaces it."""

    def train(self, job: Job, then: Callable[[Result], None]) -> None:
        """Give the trainer a job."""

    def fetch(self, blob: BlobId, providers: tuple[PeerId, ...], then: Callable[[Fetched], None]) -> None:
        """Get a blob."""

    def put_blob(self, chunks: tuple[bytes, ...]) -> BlobId:
        """Store a blob that remotes may fetch; return its id."""

    def share(self, blob: BlobId) -> None:
        """Let remotes fetch a stored blob."""

    def deliver(self, blob: BlobId, name: str) -> None:
        """Hand a blob to the user as a file."""

    def post(
        self, data: Data, outputs: tuple[Output, ...] = (), note: Callable[[Hash32], object] | None = None
    ) -> Transaction | None:
        """Fund, sign and announce a transaction; None when there is no money for it.

        `note` makes a journal record of the txid, written before the transaction itself.
        """

    def has_posted(self, txid: Hash32) -> bool:
        """Return whether the journal brought back a transaction of our own."""

    def post_unsigned(self, tx: Transaction) -> None:
        """Announce a transaction that needs no signature."""

    def template(self, task: TaskId, ticket: Outpoint) -> tuple[Header, tuple[Transaction, ...]] | None:
        """Return a block to commit to: header with zero nonce, and its transactions."""

    def submit_block(self, block: Block) -> None:
        """Connect and announce a block that we mined."""


class Role:
    """Base of all roles; every method may be left as it is."""

    name: ClassVar[str]

    def __init__(self, node: Node) -> None:
        self.node = node

    def restore(self, record: object) -> None:
        """Take back a journal record, oldest first, before anything else is called."""

    def restored(self) -> None:
        """Act on all records being back."""

    def tip_changed(self) -> None:
        """Act on a new tip, or on a changed mempool."""

    def iteration_received(self, task: TaskId, message: Hash32) -> None:
        """Act on a new IT_RES in the task's history."""

    def slot_recorded(self, task: TaskId, slot: int) -> None:
        """Act on a new certified slot that is in the task's history with all its messages."""

    def said(self, name: str, task: TaskId, sender: PublicKey, body: bytes) -> Verdict:
        """Somebody said something on a task's topic that the history does not understand."""
        del name, task, sender, body
        return Verdict.IGNORE

    def stage(self, task: TaskId) -> Stage | None:
        """Return a task's stage; None where a reorganisation took the task away."""
        known = self.node.state.tasks.get(task)
        return known.stage if known else None

    def tickets(self) -> list[tuple[Outpoint, Ticket]]:
        """Return our own tickets of this role, by outpoint."""
        ours = self.node.identity.public
        found = self.node.state.tickets.items()
        return sorted((o, t) for o, t in found if t.role == self.name and t.owner == ours)


def keep_ticket(role: Role) -> None:
    """Buy a ticket when none of this role is free, so that the node can be drawn."""
    node = role.node
    ours = (t for t in node.pool.tickets.values() if (t.role, t.owner) == (role.name, node.identity.public))
    if any(t.task is None and not t.is_expired(node.state.height + 1) for t in ours):
        return
    node.post(ticket_data(node, role.name), (Stake(node.state.ticket_price, node.identity.key_hash),))


def ticket_data(node: Node, role: str, preferences: tuple[int, ...] = ()) -> BuyTickets:
    """Return what is bought with our keys; without a wish of our own, all traits count alike."""
    keys = node.identity.keys
    return BuyTickets(
        role=role,
        preferences=preferences or (1,) * node.params.trait_count,
        vrf_key=ecvrf.public_key(keys.vrf),
        bls_key=bls.public_key(keys.bls),
        possession=bls.prove_possession(keys.bls),
        peer=node.identity.peer,
    )


def apply_for_tasks(role: Role) -> None:
    """Post JOIN_TASK for each of our free tickets that a task has drawn."""
    assert role.name in WORKER_ROLES
    for task_id, task in role.node.state.active_tasks():
        if task.stage is Stage.JOINING:
            for outpoint, ticket in role.tickets():
                _apply(role.node, task_id, task, outpoint, ticket)


def _has_applied(node: Node, task_id: TaskId, role: str) -> bool:
    """Return whether a ticket of ours is in a task already: a second one would be one that keeps silent."""
    wanted = (task_id, role, node.identity.public)
    return any((t.task, t.role, t.owner) == wanted for t in node.pool.tickets.values())


def _apply(node: Node, task_id: TaskId, task: Task, outpoint: Outpoint, ticket: Ticket) -> None:
    pooled = node.pool.tickets.get(outpoint)
    live = ticket.is_live(task.since, node.params.ticket_maturity_blocks)
    if pooled is None or pooled.task is not None or not live or _has_applied(node, task_id, ticket.role):
        return
    block = node.definition_block(task_id)
    alpha = selection.alpha(block, task_id, ticket.role, outpoint)
    proof = ecvrf.prove(node.identity.keys.vrf, alpha)
    if is_drawn(task, ticket, selection.draw_of(ecvrf.output(proof))):
        node.post(JoinTask(task_id, block, outpoint, proof))
