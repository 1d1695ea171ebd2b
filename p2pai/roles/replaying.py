"""What it takes to replay a block's lucky iteration: its capsule, and the comparison.

A capsule has no container: every part's content id stands in the lucky IT_RES itself - the weights, the
residual and the optimiser's state before the iteration, the mini-batch, and the peers' messages applied.
Anybody who has the block can fetch the parts from whoever has them and recompute the iteration.

Source: PoUW §5.2; PROTOCOL section 8.
"""

from dataclasses import dataclass

from p2pai import jobs
from p2pai.chain import it_res, schedule
from p2pai.chain.block import Block
from p2pai.chain.fraud import Judgement
from p2pai.chain.it_res import EndState, IterationResult
from p2pai.chain.state import State
from p2pai.chain.transaction import Coinbase
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import BlobId, Hash32, TaskId
from p2pai.roles.history import QUEUE_BYTES_MAX, PeerMessages


@dataclass(frozen=True, slots=True)
class LuckyIteration:
    """The iteration that a block's nonce came from."""

    task: TaskId
    previous: IterationResult
    message: IterationResult

    def parts(self) -> tuple[BlobId, ...]:
        """Return the content ids of the capsule."""
        m = self.message
        return (m.weights, m.residual, m.optimiser, BlobId(m.batch), m.applied)


@dataclass(frozen=True, slots=True)
class Finding:
    """A replayer's verdict; `reason` is empty when the block is approved."""

    precursor: Hash32
    reason: str


@dataclass(frozen=True, slots=True)
class VerdictReached:
    """Journal: what a replay said about a block, so that nobody says otherwise after a restart."""

    block: Hash32
    judgement: Judgement


def lucky_iteration(block: Block) -> LuckyIteration:
    """Read a checked block's lucky iteration."""
    proof, coinbase = block.work_proof, block.transactions[0].data
    assert proof is not None
    assert isinstance(coinbase, Coinbase)
    return LuckyIteration(
        coinbase.task, it_res.decode(proof.previous.message), it_res.decode(proof.lucky.message)
    )


def replay_job(lucky: LuckyIteration, applied: bytes, state: State) -> jobs.Replay:
    """Build the trainer's job, checking what can be checked without training.

    Args:
      lucky: of the block.
      applied: the capsule's list of peers' messages.
      state: a ledger that knows the task and its miners.

    Raises:
      InvalidProof: the capsule contradicts the message; the reason says how.
    """
    messages = _peers(lucky, applied, state)
    m = lucky.message
    return jobs.Replay(
        task=state.tasks[lucky.task].definition.encode(),
        seed=lucky.task,
        position=jobs.Position(m.epoch, m.iteration, m.tau_bits),
        before=jobs.ModelState(m.weights, m.residual, m.optimiser),
        batch=m.batch,
        peers=tuple(jobs.PeerUpdate(p.tau_bits, p.message_map) for p in messages),
        message_map=m.message_map,
        metrics=m.metrics,
        samples=_samples(lucky, state),
        platform=m.platform,
    )


def judge(lucky: LuckyIteration, replayed: jobs.Replayed) -> Finding:
    """Compare what a replay gave with what the miner announced."""
    m = lucky.message
    precursor = it_res.precursor(replayed.after, m.message_map)
    if replayed.difference:
        return Finding(precursor, replayed.difference)
    start = EndState(m.weights, m.residual, m.optimiser, replayed.start_witness)
    if it_res.nonce(it_res.precursor(start, lucky.previous.message_map)) != lucky.previous.nonce:
        return Finding(precursor, "the starting state is not the one that the iteration before ended with")
    if it_res.nonce(precursor) != lucky.message.nonce:
        return Finding(precursor, "the nonce is not the one that the replayed state gives")
    return Finding(precursor, "")


def _samples(lucky: LuckyIteration, state: State) -> int:
    task = state.tasks[lucky.task]
    plan = schedule.make_schedule(task.definition, task.definition_block)
    turn = task.roster.turn(plan, lucky.message.ticket, lucky.message.iteration)
    if turn is None:
        raise InvalidProof("the miner has no such iteration")
    place = plan.place(turn.batch)
    return task.definition.samples_in_batch(
        task.definition.dataset.fragments.index(place.fragment), place.index
    )


def _peers(lucky: LuckyIteration, applied: bytes, state: State) -> list[IterationResult]:
    listed = record.decode(PeerMessages, applied, size_max=2 * QUEUE_BYTES_MAX).messages
    ids = tuple(it_res.message_id(data) for data in listed)
    if len(ids) != lucky.message.peer_count or it_res.hash_ids(ids) != lucky.message.peer_ids:
        raise InvalidProof("the peers' messages are not those that the iteration names")
    if list(ids) != sorted(dict.fromkeys(ids)):
        raise InvalidProof("a peer's message is applied twice, or out of order")
    messages = [it_res.decode(data) for data in listed]
    miners = state.tasks[lucky.task].miners
    for message in messages:
        ticket = state.tickets.get(message.ticket)
        if message.ticket not in miners or ticket is None:
            raise InvalidProof("a peer's message is not of a miner of the task")
        it_res.verify_signature(message, lucky.task, ticket.owner)
    return messages
