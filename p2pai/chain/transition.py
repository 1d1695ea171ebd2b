"""The rules of the ledger: `apply_block(state, block)` gives the next state or says what is wrong.

A block is connected in five steps: its header and work are checked, its transactions applied in order, the
subsidy of the block W below is settled and the coinbase compared with what is due, deadlines pass, and the
block's own verification opens. Nothing of a failed block remains, because a state is a value.

Source: PoUW §3.2, §5; PROTOCOL sections 3, 8, 9.
"""

from collections.abc import Callable, Container
from dataclasses import replace
from typing import Any, Final

from p2pai.chain import (
    checkpoint,
    draws,
    evaluation,
    fraud,
    headers,
    it_res,
    keying,
    pausing,
    task_life,
    ticket_price,
    tickets,
    verification,
    work,
)
from p2pai.chain.block import VERSION as BLOCK_VERSION
from p2pai.chain.block import Block, Header, transactions_root
from p2pai.chain.coins import Coins
from p2pai.chain.committee import Certified
from p2pai.chain.fraud import NOTHING_JUDGED, Judgements
from p2pai.chain.params import BLOCK_SIZE_MAX, Params
from p2pai.chain.state import State, Verification
from p2pai.chain.supervision import (
    ConsiderPause,
    ConsiderResume,
    DkgComplaint,
    DkgDeal,
    DkgSuccessful,
    Equivocation,
    MessageHistory,
    NodeStatus,
    Pause,
    ReplaceLeader,
    ReportMalformed,
    Resume,
)
from p2pai.chain.tickets import Context
from p2pai.chain.transaction import VERSION as TRANSACTION_VERSION
from p2pai.chain.transaction import (
    BuyTickets,
    ChargeForTask,
    Coinbase,
    CollectVerifications,
    EvaluateCommit,
    EvaluateReveal,
    FraudProof,
    JoinTask,
    Output,
    Pay,
    PayForTask,
    RevokeTask,
    Stake,
    Transaction,
    Transfer,
    VerifyCommit,
    VerifyReveal,
    check_form,
)
from p2pai.chain.votes import CheckpointVote, VoteEquivocation
from p2pai.primitives.errors import InvalidBlock, InvalidInput, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Amount, Hash32, PublicKey, TaskId
from p2pai.primitives.memo import Same, pure

STATES_MAX: Final = 1024
"""States that may be kept for other nodes of one process (see primitives/memo.py)."""

NO_AUTHOR = PublicKey(bytes(33))
"""Stands for the author of a transaction that needs no signature."""


def _name_of_block(
    state: State, block: Block, params: Params, *, trusted: bool = False, **_: object
) -> tuple[object, ...] | None:
    """Return what the state after a block follows from, but for blocks that ask for a replay."""
    if any(isinstance(tx.data, FraudProof) for tx in block.transactions):
        return None
    return Same(state), Same(block), Same(params), trusted


def _name_of_transaction(
    state: State, tx: Transaction, params: Params, *, trusted: bool = False, **_: object
) -> tuple[object, ...] | None:
    if isinstance(tx.data, FraudProof):
        return None
    return Same(state), tx.wtxid, Same(params), trusted


@pure(_name_of_block, results_max=STATES_MAX)
def apply_block(
    state: State,
    block: Block,
    params: Params,
    *,
    trusted: bool = False,
    verified: Container[Hash32 | Certified] = (),
    judged: Judgements = NOTHING_JUDGED,
) -> State:
    """Return the state after `block`.

    Args:
      state: after the parent block.
      block: as received.
      params: of the network.
      trusted: the block was checked before (it comes from our own journal): signatures and work are not
        checked again, all other rules are.
      verified: what was checked before: wtxids of transactions that waited here, for their signatures, and
        what `work.verify_together` gave.
      judged: what our replays said about the blocks that a FRAUD_PROOF may name.

    Raises:
      InvalidBlock: the block must not be part of any chain.
      Unjudged: it holds a FRAUD_PROOF about a block that has to be replayed first.
    """
    headers.check_header(state, block.header, params)
    coinbase = _check_body(state, block)
    if not trusted:
        assert block.work_proof is not None
        work.check(block.header, block.work_proof, coinbase, state, params, verified)
    transactions = block.transactions[1:]
    after, fees = apply_transactions(
        state, transactions, params, trusted=trusted, verified=verified, judged=judged
    )
    after, due = coinbase_outputs(after, coinbase, fees, params)
    if block.transactions[0].outputs != due:
        raise InvalidBlock("the coinbase does not pay what is due")
    return _finish(after, block, coinbase, params)


def apply_transactions(
    state: State,
    transactions: tuple[Transaction, ...],
    params: Params,
    *,
    trusted: bool = False,
    verified: Container[Hash32 | Certified] = (),
    judged: Judgements = NOTHING_JUDGED,
) -> tuple[State, Amount]:
    """Apply a block's transactions after its coinbase; return the state and their fees.

    Raises:
      InvalidBlock: one of them is invalid, or too many tickets are bought.
      Unjudged: as `apply_transaction`.
    """
    fees, coins = 0, Coins(state)
    bought = sum(tickets.ticket_count(tx) for tx in transactions if isinstance(tx.data, BuyTickets))
    if bought > params.tickets_per_block_max:
        raise InvalidBlock(f"at most {params.tickets_per_block_max} tickets per block")
    for tx in transactions:
        # That a signature holds says nothing of a replay.
        signed = trusted or (tx.wtxid in verified and not isinstance(tx.data, FraudProof))
        try:
            if isinstance(tx.data, Transfer):
                fee = _apply_transfer(coins, tx, signed=signed)
            else:
                state, fee = apply_transaction(coins.state(), tx, params, trusted=signed, judged=judged)
                coins = Coins(state)
        except InvalidInput as error:
            raise InvalidBlock(f"transaction {tx.txid.hex()[:16]}: {error}") from error
        fees += fee
    return coins.state(), Amount(fees)


@pure(_name_of_transaction, results_max=STATES_MAX)
def apply_transaction(
    state: State,
    tx: Transaction,
    params: Params,
    *,
    trusted: bool = False,
    judged: Judgements = NOTHING_JUDGED,
) -> tuple[State, Amount]:
    """Apply one transaction for the block after `state`; return the new state and the fee.

    Args:
      state: after the transactions before it.
      tx: any.
      params: of the network.
      trusted: its signatures were checked before, and a block that it proves false replayed; not again.
      judged: as `apply_block`.

    Raises:
      InvalidInput: a rule is broken; which one, the message says.
      Unjudged: it is a FRAUD_PROOF about a block that has to be replayed first.
    """
    coins = Coins(state)
    if isinstance(tx.data, Transfer):
        fee = _apply_transfer(coins, tx, signed=trusted)
        return coins.state(), fee
    check_form(tx)
    context = Context(params, state.height + 1, _author(tx))
    if isinstance(tx.data, Coinbase):
        raise InvalidTransaction("a coinbase stands only at the front of a block")
    if isinstance(tx.data, ChargeForTask):
        captured = state.burned
        state = evaluation.apply_charge_for_task(state, tx, tx.data, context)
        spent, state = _spend(state, tx)
        spent += captured - state.burned
    else:
        state = _revoke_replaced(state, tx, context)
        Coins(state).check_witnesses(tx, signed=trusted)
        spent, state = _spend(state, tx)
        if isinstance(tx.data, FraudProof):
            _refuse_stakes(tx)
            known = None if trusted else judged
            state, reward = fraud.apply_fraud_proof(state, tx.data, context, known)
            spent += reward
        else:
            state = _apply_data(state, tx, context)
    fee = _fee(spent, tx)
    return _add_outputs(state, tx), fee


def _apply_transfer(coins: Coins, tx: Transaction, *, signed: bool) -> Amount:
    """Apply a TRANSFER, which changes nothing but coins; return its fee."""
    check_form(tx)
    coins.check_witnesses(tx, signed=signed)
    spent = coins.spend(tx)
    _refuse_stakes(tx)
    fee = _fee(spent, tx)
    coins.add(tx)
    return fee


def _fee(spent: int, tx: Transaction) -> Amount:
    fee = spent - sum([output.value for output in tx.outputs])
    if fee < 0:
        raise InvalidTransaction("the outputs exceed the inputs")
    return Amount(fee)


def coinbase_outputs(
    state: State, coinbase: Coinbase, fees: Amount, params: Params
) -> tuple[State, tuple[Output, ...]]:
    """Settle what is due at a block and return the outputs that its coinbase must have."""
    miner = state.tickets.get(coinbase.ticket)
    if miner is None:
        raise InvalidBlock("the coinbase names a ticket that does not exist")
    state, due = verification.settle(state, coinbase.height, params)
    own = (Pay(fees, miner.key_hash),) if fees else ()
    return state, own + due


def _author(tx: Transaction) -> PublicKey:
    return tx.witnesses[0].key if tx.witnesses else NO_AUTHOR


def _revoke_replaced(state: State, tx: Transaction, context: Context) -> State:
    """Take back the task that a PAY_FOR_TASK stands in for, so that it may spend its fee."""
    if isinstance(tx.data, PayForTask) and tx.data.replaces is not None:
        return task_life.revoke(state, tx.data.replaces, context.author_hash, context.height)
    return state


def _spend(state: State, tx: Transaction) -> tuple[int, State]:
    coins = Coins(state)
    return coins.spend(tx), coins.state()


def _add_outputs(state: State, tx: Transaction) -> State:
    coins = Coins(state)
    coins.add(tx)
    return coins.state()


def _apply_data(state: State, tx: Transaction, context: Context) -> State:
    if isinstance(tx.data, BuyTickets):
        return tickets.apply_buy_tickets(state, tx, tx.data, context)
    if isinstance(tx.data, PayForTask):
        return task_life.apply_pay_for_task(state, tx, tx.data, context)
    _refuse_stakes(tx)
    return _RULES[type(tx.data)](state, tx.data, context)


def _refuse_stakes(tx: Transaction) -> None:
    for output in tx.outputs:
        if isinstance(output, Stake):
            raise InvalidTransaction("only BUY_TICKETS and PAY_FOR_TASK stake")


_RULES: Final[dict[type, Callable[[State, Any, Context], State]]] = {
    RevokeTask: task_life.apply_revoke_task,
    JoinTask: tickets.apply_join_task,
    DkgDeal: keying.apply_deal,
    DkgComplaint: keying.apply_complaint,
    DkgSuccessful: keying.apply_successful,
    Equivocation: keying.apply_equivocation,
    ReplaceLeader: task_life.apply_replace_leader,
    ReportMalformed: task_life.apply_report_malformed,
    NodeStatus: task_life.apply_node_status,
    ConsiderPause: pausing.apply_consider_pause,
    Pause: pausing.apply_pause,
    ConsiderResume: pausing.apply_consider_resume,
    Resume: pausing.apply_resume,
    MessageHistory: task_life.apply_message_history,
    VerifyCommit: verification.apply_verify_commit,
    CollectVerifications: verification.apply_collect_verifications,
    VerifyReveal: verification.apply_verify_reveal,
    CheckpointVote: checkpoint.apply_checkpoint_vote,
    VoteEquivocation: checkpoint.apply_vote_equivocation,
    EvaluateCommit: evaluation.apply_evaluate_commit,
    EvaluateReveal: evaluation.apply_evaluate_reveal,
}
"""What the other kinds of data do to the state."""


def _check_body(state: State, block: Block) -> Coinbase:
    if block.work_proof is None or not block.transactions:
        raise InvalidBlock("a block has a work proof and a coinbase")
    if block.header.merkle_root != transactions_root(block.transactions):
        raise InvalidBlock("the Merkle root is not of these transactions")
    first = block.transactions[0]
    if first.version != TRANSACTION_VERSION:
        raise InvalidBlock(f"coinbase version {first.version}, expected {TRANSACTION_VERSION}")
    if not isinstance(first.data, Coinbase) or first.inputs or first.witnesses:
        raise InvalidBlock("the first transaction is not a coinbase")
    if first.data.height != state.height + 1:
        raise InvalidBlock("the coinbase names another height")
    if block.size > BLOCK_SIZE_MAX:
        raise InvalidBlock(f"the block is larger than {BLOCK_SIZE_MAX} bytes")
    return first.data


def _finish(state: State, block: Block, coinbase: Coinbase, params: Params) -> State:
    header, height = block.header, state.height + 1
    state = _add_outputs(state, block.transactions[0])
    state = task_life.define(
        state,
        tuple(TaskId(tx.txid) for tx in block.transactions if isinstance(tx.data, PayForTask)),
        header.hash,
        params,
    )
    state = _open_verification(state, block, coinbase, params)
    state = task_life.pass_deadlines(state, height, params)
    state = keying.pass_deadlines(state, height, params)
    state = evaluation.pass_deadlines(state, header.hash, height, params)
    state = ticket_price.pass_window(state, height, params)
    state = checkpoint.pass_deadlines(state, header.hash, height, params)
    line = headers.follow(state, header, block.hash)
    return replace(
        state, height=line.height, tip=line.tip, times=line.times, bits=header.bits, anchor=line.anchor
    )


def _open_verification(state: State, block: Block, coinbase: Coinbase, params: Params) -> State:
    assert block.work_proof is not None
    task = state.tasks[coinbase.task]
    due = [t for t in task.supervisors if t not in task.expelled] if task.is_predefined else []
    supervisors = tuple(state.tickets[t].key_hash for t in due)
    opened = Verification(
        height=coinbase.height,
        task=coinbase.task,
        ticket=coinbase.ticket,
        miner=state.tickets[coinbase.ticket].key_hash,
        nonce=it_res.decode(block.work_proof.lucky.message).nonce,
        bits=block.header.bits,
        verifiers=draws.draw_verifiers(state, block.hash, coinbase.ticket, coinbase.height, params),
        supervisors=supervisors,
    )
    return replace(
        state,
        verifications=state.verifications.set(block.hash, opened),
        pending=state.pending.set(coinbase.height, block.hash),
    )


def zero_nonce_header(
    state: State, transactions: tuple[Transaction, ...], time: int, params: Params
) -> Header:
    """Return the header that a miner commits to: complete but for nonce and message hashes."""
    return Header(
        BLOCK_VERSION,
        state.tip,
        transactions_root(transactions),
        max(time, state.median_time + 1),
        headers.next_bits(state, params),
        ZERO_HASH,
        ZERO_HASH,
        ZERO_HASH,
    )
