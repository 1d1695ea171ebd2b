"""Nonces are earned by iterations that are recorded, and no draw was known when it was prepared.

I9: a block's nonce lies in the interval that its lucky iteration gives, the iteration stands in the slots
that the header names, k before it committed to this very block, and no iteration earns two blocks of a
chain. I10: a proven draw verifies and is of the task's own beacon; a ticket was bought before the beacon
that draws it could be known; public draws are those that the beacon gives.

Source: RELIABILITY (4), I9 and I10; PROTOCOL sections 4, 8.
"""

from dataclasses import dataclass, field
from typing import Final

from p2pai.chain import it_res, work
from p2pai.chain.committee import history_root
from p2pai.chain.state import State, Task, Verification
from p2pai.chain.transaction import Coinbase, JoinTask
from p2pai.chain.work_proof import Recorded, WorkProof
from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint
from p2pai.vrf import ecvrf, selection
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
            _check_verifiers(step, block, verification)
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


def _check_verifiers(step: Step, block: Hash32, verification: Verification) -> None:
    require(block == step.block.hash, "I10: a verification opens that is not the block's")
    height, miner = step.after.height, step.before.tickets[verification.ticket].owner
    free = [t for t in _candidates(step.after, "verifier", height) if step.after.tickets[t].owner != miner]
    eligible = [t for t in free if _was_there(step, t, height)]
    require(
        verification.verifiers == _lowest(block, eligible, step.params.verifiers_per_block_max),
        "I10: verifiers",
    )


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


def _candidates(state: State, role: str, height: int) -> list[Outpoint]:
    rows = state.tickets.items()
    return [o for o, t in rows if t.role == role and t.task is None and not t.is_expired(height)]


def _was_there(step: Step, ticket: Outpoint, height: int) -> bool:
    """Whether a ticket was bought so long before a height that nobody could know what is drawn there."""
    bought = step.after.tickets[ticket].height
    return bought == 0 or bought + step.params.ticket_maturity_blocks <= height


def _lowest(seed: Hash32, tickets: list[Outpoint], count: int) -> tuple[Outpoint, ...]:
    """Return the tickets of the smallest hashes, in their own order."""
    by_hash = sorted(tickets, key=lambda t: tagged_hash("p2pai/sortition", seed, t.encode()))
    return tuple(sorted(by_hash[:count]))
