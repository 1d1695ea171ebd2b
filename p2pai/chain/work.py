"""The cheap check of a block's work: what every node does before anything else, cheapest rules first.

Source: PoUW §5.1, §5.2; PROTOCOL section 8.
"""

from collections.abc import Container, Iterable, Iterator

from p2pai.chain import committee, course, it_res, schedule
from p2pai.chain.block import Block, Header
from p2pai.chain.committee import Certified
from p2pai.chain.headers import check_target
from p2pai.chain.params import WORK_PROOF_SLOTS_MAX, Params
from p2pai.chain.state import Stage, State, Task
from p2pai.chain.task import TaskDefinition
from p2pai.chain.task_life import group_key
from p2pai.chain.training import Numerics
from p2pai.chain.transaction import Coinbase
from p2pai.chain.work_proof import Recorded, WorkProof
from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidBlock, InvalidInput
from p2pai.primitives.ids import Hash32

NONCE_MODULUS = 1 << 256


def nonce_count(task: TaskDefinition, params: Params) -> int:
    """Return a, how many nonces one iteration earns. Source: PoUW §5.1."""
    batch_kib = task.dataset.batch_size * (task.dataset.features + 2) // 1024
    return params.nonces_per_batch_kib * batch_kib + task.weight_count // params.weights_per_nonce + 1


def check(
    header: Header,
    proof: WorkProof,
    coinbase: Coinbase,
    state: State,
    params: Params,
    verified: Container[Hash32 | Certified] = (),
) -> None:
    """Check that a block's nonce was earned by a recorded iteration.

    Args:
      header: of the block.
      proof: its work proof.
      coinbase: says which task and ticket.
      state: the ledger after the parent block.
      params: of the network.
      verified: what `verify_together` found of this and other blocks.

    Raises:
      InvalidBlock: the first rule that it breaks, with the reason.
    """
    check_target(header)
    task = state.tasks.get(coinbase.task)
    if task is None or task.stage is not Stage.TRAINING:
        raise InvalidBlock("the block's task is not training")
    if task.definition.numerics is not Numerics.EXACT:
        raise InvalidBlock("a task in native numerics earns no nonces")
    if coinbase.ticket not in task.miners or proof.ticket != coinbase.ticket:
        raise InvalidBlock("the ticket is not a miner of the task")
    if coinbase.ticket not in state.utxos:
        raise InvalidBlock("the miner has lost its stake")
    _check_slots(header, proof, coinbase, task, verified)
    try:
        committed = _open(proof.committed, proof, coinbase, state)
        previous = _open(proof.previous, proof, coinbase, state)
        lucky = _open(proof.lucky, proof, coinbase, state)
    except InvalidInput as error:
        raise InvalidBlock(f"work proof: {error}") from error
    _check_order(proof)
    _check_iterations(header, committed, previous, lucky, params)
    _check_nonce(header, lucky, proof, task.definition, params)
    _check_turn(proof, previous, lucky, task)


def _check_slots(
    header: Header, proof: WorkProof, coinbase: Coinbase, task: Task, verified: Container[Hash32 | Certified]
) -> None:
    statements = proof.slots
    if not 1 <= len(statements) <= WORK_PROOF_SLOTS_MAX:
        raise InvalidBlock(f"a work proof spans 1 to {WORK_PROOF_SLOTS_MAX} slots")
    if proof.committed.slot != 0 or proof.lucky.slot != len(statements) - 1:
        raise InvalidBlock("the slots are not those from the commitment to the lucky message")
    if any(s.task != coinbase.task for s in statements):
        raise InvalidBlock("a slot belongs to another task")
    if not all(committee.is_in_place(s) for s in statements):
        raise InvalidBlock("a slot names an epoch or a view that is not its own")
    if [s.slot for s in statements] != list(range(statements[0].slot, statements[0].slot + len(statements))):
        raise InvalidBlock("the slots are not consecutive")
    if header.hash_msg_hist != committee.history_root([s.root for s in statements]):
        raise InvalidBlock("hash_msg_hist is not the root of the slots")
    certified = Certified(group_key(task).key, statements, proof.certificate)
    if certified in verified:
        return
    try:
        certified.verify()
    except InvalidInput as error:
        raise InvalidBlock(f"slot certificate: {error}") from error


def verify_together(blocks: Iterable[Block], state: State) -> tuple[Certified, ...]:
    """Check the slot certificates of several blocks, not connected yet, at once.

    Args:
      blocks: as received.
      state: of about where they belong: a task's group key never changes.

    Returns:
      What `check` takes as verified. Whether a block is valid does not depend on it.
    """
    return committee.verify_together(c for block in blocks for c in _certified(block, state))


def _certified(block: Block, state: State) -> Iterator[Certified]:
    proof, coinbase = block.work_proof, block.transactions[0].data if block.transactions else None
    if proof is None or not isinstance(coinbase, Coinbase):
        return
    task = state.tasks.get(coinbase.task)
    if task is not None and task.committee is not None and 1 <= len(proof.slots) <= WORK_PROOF_SLOTS_MAX:
        yield Certified(task.committee.key, proof.slots, proof.certificate)


def _open(recorded: Recorded, proof: WorkProof, coinbase: Coinbase, state: State) -> it_res.IterationResult:
    if recorded.slot >= len(proof.slots):
        raise InvalidBlock("a message names a slot outside the proof")
    root = proof.slots[recorded.slot].root
    leaf = it_res.message_id(recorded.message)
    merkle.verify_inclusion(leaf, recorded.index, recorded.size, recorded.path, root)
    message = it_res.decode(recorded.message)
    if message.ticket != coinbase.ticket:
        raise InvalidBlock("a message is of another miner")
    it_res.verify_signature(message, coinbase.task, state.tickets[coinbase.ticket].owner)
    return message


def _check_order(proof: WorkProof) -> None:
    # A slot's certificate does not cover its size, and places in trees of two sizes can't be compared: a path
    # that leads from an early place of a small tree leads from a later place of a larger one too.
    sizes = {r.slot: r.size for r in (proof.committed, proof.previous, proof.lucky)}
    if any(r.size != sizes[r.slot] for r in (proof.committed, proof.previous, proof.lucky)):
        raise InvalidBlock("two messages name different sizes of their slot")
    if (proof.committed.slot, proof.committed.index) >= (proof.lucky.slot, proof.lucky.index):
        raise InvalidBlock("the commitment is not recorded before the lucky iteration")


def _check_iterations(
    header: Header,
    committed: it_res.IterationResult,
    previous: it_res.IterationResult,
    lucky: it_res.IterationResult,
    params: Params,
) -> None:
    if lucky.iteration != committed.iteration + params.commitment_distance:
        raise InvalidBlock("the commitment is not k iterations before the lucky one")
    if lucky.iteration != previous.iteration + 1:
        raise InvalidBlock("the previous message is not of the iteration before the lucky one")
    if committed.zero_nonce_block != header.zero_nonce_hash:
        raise InvalidBlock("the block is not the one committed to")
    if previous.queued != lucky.applied:
        raise InvalidBlock("the peers' updates applied are not those announced")


def _check_nonce(
    header: Header,
    lucky: it_res.IterationResult,
    proof: WorkProof,
    task: TaskDefinition,
    params: Params,
) -> None:
    if header.hash_msg != proof.messages_root:
        raise InvalidBlock("hash_msg is not the root of the proof's messages")
    first = it_res.first_nonce(lucky.nonce, proof.slots[0].root)
    offset = int.from_bytes(header.nonce, "big") - int.from_bytes(first, "big")
    if offset % NONCE_MODULUS >= nonce_count(task, params):
        raise InvalidBlock("the nonce was not earned by the iteration")


def _check_turn(
    proof: WorkProof, previous: it_res.IterationResult, lucky: it_res.IterationResult, task: Task
) -> None:
    plan = schedule.make_schedule(task.definition, task.definition_block)
    miner = course.Place(plan, proof.ticket, task.roster)
    turn = miner.turn(lucky.iteration)
    if turn is None or turn.epoch != lucky.epoch:
        raise InvalidBlock("the miner has no such iteration")
    place = plan.place(turn.batch)
    try:
        merkle.verify_inclusion(
            lucky.batch, place.index, place.batch_count, proof.batch_path, Hash32(place.fragment)
        )
    except InvalidInput as error:
        raise InvalidBlock("the batch was not that miner's turn") from error
    try:
        course.check(task.definition, miner, previous, lucky)
    except InvalidInput as error:
        raise InvalidBlock(f"work proof: {error}") from error


def has_its_proof(block: Block) -> bool:
    """Return whether a block's work proof has the messages and the slots that its header commits to."""
    proof, header = block.work_proof, block.header
    if proof is None or not proof.slots or header.hash_msg != proof.messages_root:
        return False
    return header.hash_msg_hist == committee.history_root([s.root for s in proof.slots])


def nonce_at(first: Hash32, offset: int) -> Hash32:
    """Return the nonce `offset` after the first, modulo 2^256."""
    value = (int.from_bytes(first, "big") + offset) % NONCE_MODULUS
    return Hash32(value.to_bytes(32, "big"))
