"""Nonces are earned by iterations that are recorded, and no draw was known when it was prepared.

I9: a block's nonce lies in the interval that its lucky iteration gives, the iteration stands in the slots
that the header names, k before it committed to this very block, and no iteration earns two blocks of a
chain. I10: a proven draw verifies and is of the task's own beacon, a block that holds the task; a ticket was
bought before the beacon that draws it could be known. That public draws are those that the beacon gives is
part of I14 (drawn.py).

Source: RELIABILITY (4), I9 and I10; PROTOCOL sections 4, 8.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pai.chain import it_res, work
from p2pai.chain.committee import history_root
from p2pai.chain.state import Stage, Task
from p2pai.chain.transaction import Coinbase, JoinTask, PayForTask
from p2pai.chain.work_proof import Recorded, WorkProof
from p2pai.node.core import NodeCore
from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint, PeerId, PublicKey, TaskId
from p2pai.vrf import ecvrf, selection
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.step import Broken, Step, require

HASHES: Final = 1 << 256


def nonce(step: Step) -> None:
    """I9: the block's nonce was earned by its lucky iteration, within its interval."""
    header, proof = step.block.header, step.block.work_proof
    require(proof is not None, "I9: a block without a work proof")
    assert proof is not None
    committed, lucky = it_res.decode(proof.committed.message), it_res.decode(proof.lucky.message)
    require(
        committed.zero_nonce_block == header.zero_nonce_hash, "I9: the iteration committed to another block"
    )
    distance = lucky.iteration - committed.iteration
    require(distance == step.params.commitment_distance, "I9: the commitment is not k iterations before")
    require(
        (committed.ticket, lucky.ticket) == (proof.ticket, proof.ticket), "I9: the iterations are another's"
    )
    for recorded in (proof.committed, proof.lucky):
        _require_recorded(recorded, proof)
    roots = [slot.root for slot in proof.slots]
    require(header.hash_msg_hist == history_root(roots), "I9: the header names other slots")
    first = tagged_hash("p2pai/first-nonce", lucky.nonce, roots[0])
    offset = (int.from_bytes(header.nonce, "big") - int.from_bytes(first, "big")) % HASHES
    count = work.nonce_count(step.before.tasks[_coinbase(step).task].definition, step.params)
    require(offset < count, f"I9: nonce {offset} of {count} that the iteration earns")


def _require_recorded(recorded: Recorded, proof: WorkProof) -> None:
    root = proof.slots[recorded.slot].root
    leaf = merkle.leaf_hash(recorded.message)
    try:
        merkle.verify_inclusion(leaf, recorded.index, recorded.size, recorded.path, root)
    except InvalidInput as error:
        raise Broken("I9: an iteration is not in the slot that is certified") from error


def _coinbase(step: Step) -> Coinbase:
    data = step.block.transactions[0].data
    assert isinstance(data, Coinbase)
    return data


@dataclass
class Earnings:
    """I9, over all blocks of a tree: which iterations have earned a block of the chain up to each block.

    The ledger knows an iteration by the message that committed to the block. That a miner has but one message
    for each number is what supervisors see to, so it holds where enough of them are honest.
    """

    is_supervised: bool = True
    """Whether they are."""
    _earned: dict[Hash32, tuple[Hash32, object]] = field(default_factory=dict)
    """Block -> its parent, and the iteration that it used."""

    def see(self, step: Step) -> None:
        """Look at a block whose parent was seen, or is where the histories begin."""
        proof = step.block.work_proof
        assert proof is not None
        used: object = it_res.message_id(proof.committed.message)
        if self.is_supervised:
            used = (proof.ticket, it_res.decode(proof.lucky.message).iteration)
        self._earned[step.block.hash] = (step.block.header.prev, used)
        parent = step.block.header.prev
        while parent in self._earned:
            parent, earlier = self._earned[parent]
            require(earlier != used, "I9: an iteration earned two blocks of one chain")


def draws(step: Step) -> None:
    """I10: all draws of a block, private and public."""
    for tx in step.transactions:
        if isinstance(tx.data, JoinTask):
            _check_join(step, tx.data)
    for block, verification in step.after.verifications.items():
        if block not in step.before.verifications:
            require(block == step.block.hash, "I10: a verification opens that is not the block's")
            young = [t for t in verification.verifiers if not _was_there(step, t, step.after.height)]
            require(not young, "I10: a verifier's ticket is younger than its draw")
    last, drawn = (state.voting.validators if state.voting else () for state in (step.before, step.after))
    if drawn != last:
        _check_validators(step, drawn)
    for old, new in step.tasks.values():
        if old is not None and new.round > old.round and new.evaluators != old.evaluators:
            _check_evaluators(step, new)


def _check_join(step: Step, data: JoinTask) -> None:
    ticket, task = step.before.tickets[data.ticket], step.before.tasks[data.task]
    alpha = selection.alpha(data.definition_block, data.task, ticket.role, data.ticket)
    try:
        beta = ecvrf.verify(ticket.vrf_key, alpha, data.proof)
    except InvalidInput as error:
        raise Broken("I10: the draw of an application does not verify") from error
    noted = [join.beta for join in step.after.tasks[data.task].joins if join.ticket == data.ticket]
    moved_on = step.after.tasks[data.task].stage is not task.stage
    confiscated = data.ticket not in step.after.utxos
    require(noted == [beta] or moved_on or confiscated, "I10: the draw of an application is not noted")
    require(_was_there(step, data.ticket, task.since), "I10: a ticket applies that is younger than the task")


def _check_validators(step: Step, validators: tuple[Outpoint, ...]) -> None:
    rows = [step.after.tickets[ticket] for ticket in validators]
    require(len({row.owner for row in rows}) == len(rows), "I10: two validators are of one owner")
    require(len(rows) <= step.params.validators, "I10: too many validators are drawn")
    young = [ticket for ticket in validators if not _was_there(step, ticket, step.after.height)]
    require(not young, "I10: a validator's ticket is younger than its draw")


def _check_evaluators(step: Step, task: Task) -> None:
    for ticket in task.evaluators:
        require(
            _was_there(step, ticket, step.after.height), "I10: an evaluator's ticket is younger than its draw"
        )
        require(
            step.after.tickets[ticket].role == "evaluator", "I10: an evaluator's ticket is of another role"
        )


def _was_there(step: Step, ticket: Outpoint, height: int) -> bool:
    """Whether a ticket was bought so long before a height that nobody could know what is drawn there."""
    bought = step.after.tickets[ticket].height
    return bought == 0 or bought + step.params.ticket_maturity_blocks <= height


@dataclass
class Beacons:
    """I10, over all blocks that honest nodes connect: which block drew the workers of a task.

    A task may stand in several forks, and the ledger can't tell whether a block of another fork exists; two
    thirds of the applicants decide. So an honest applicant names a block that holds the task, and so does
    what comes of it, unless two thirds are dishonest.
    """

    cores: Mapping[PeerId, NodeCore]
    honesty: Honesty
    _blocks: dict[TaskId, dict[Hash32, None]] = field(default_factory=dict)
    """Which blocks hold a task's submission."""

    def see(self, step: Step) -> None:
        """Look at a block."""
        for tx in step.transactions:
            if isinstance(tx.data, PayForTask):
                self._blocks.setdefault(TaskId(tx.txid), {})[step.block.hash] = None
        for tx in step.transactions:
            if isinstance(tx.data, JoinTask) and self._is_honest(step, tx.data.ticket):
                there = tx.data.definition_block in self._of(tx.data.task, tx.data.definition_block)
                require(there, "I10: an honest ticket is drawn by a block that does not hold its task")
        for task_id, (old, new) in step.tasks.items():
            if old is not None and old.stage is Stage.JOINING and new.stage is Stage.KEYING:
                workers = [ticket for _, tickets in new.workers() for ticket in tickets]
                honest = sum(self._is_honest(step, ticket) for ticket in workers)
                there = new.definition_block in self._of(task_id, new.definition_block)
                require(
                    there or 3 * honest <= len(workers),
                    "I10: a task's workers are drawn by a block that does not hold it",
                )

    def _of(self, task: TaskId, unknown: Hash32) -> Mapping[Hash32, None]:
        """Return the blocks with a task; of one from before the history began nothing is known."""
        return self._blocks.get(task, {unknown: None})

    def _is_honest(self, step: Step, ticket: Outpoint) -> bool:
        owner: PublicKey = step.before.tickets[ticket].owner
        names = (name for name, core in self.cores.items() if core.identity.public == owner)
        return any(self.honesty.is_sound(name) for name in names)
