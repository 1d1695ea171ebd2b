"""No atom is made, lost, owed or spent twice, and whatever is divided sums to what it was.

I1: what is unspent (balances, stakes, escrows) is what was issued without what was burned, and what was
issued is the subsidies due. No fee is pending between blocks: the coinbase of a block pays those of its
transactions. I2: every output is positive, and spent at most once. I3: a coinbase, a payment of a task and
every slash sum to their sources to the atom.

Source: RELIABILITY (4), I1 to I3; PROTOCOL sections 5, 9.
"""

from p2pai.chain.params import MONEY_MAX, subsidy
from p2pai.chain.state import State
from p2pai.chain.transaction import ChargeForTask, FraudProof, Stake, Transaction, VerifyReveal
from p2pai.primitives.ids import Outpoint
from testnet.simulator.invariants.step import Step, require


def supply(step: Step) -> None:
    """I1: what is unspent changed by what was issued and burned, and the subsidy due was issued."""
    before, after = step.before, step.after
    unspent = sum(value_of(after, o) - value_of(before, o) for o in step.touched)
    issued, burned = after.issued - before.issued, after.burned - before.burned
    require(unspent == issued - burned, f"I1: {unspent} atoms more are unspent, {issued - burned} exist")
    rows = sum((o in after.utxos) - (o in before.utxos) for o in step.touched)
    require(len(after.utxos) - len(before.utxos) == rows, "I1: an output came or went that nothing names")
    require(issued == subsidy_due(step), f"I1: {issued} atoms were issued, {subsidy_due(step)} were due")


def no_debt(step: Step) -> None:
    """I2: no output is negative or empty, and none is spent twice."""
    spent = step.spent
    require(len(set(spent)) == len(spent), "I2: an output is spent twice in a block")
    for outpoint in spent:
        known = outpoint in step.before.utxos or outpoint in step.made
        require(known, "I2: an output is spent that never was")
        require(outpoint not in step.after.utxos, "I2: a spent output is still there")
    for outpoint, made in step.made.items():
        require(outpoint not in step.before.utxos, "I2: an output is made twice")
        taken = isinstance(made, Stake)  # in the same block; `splits` counts it
        there = outpoint in step.after.utxos or outpoint in spent or taken
        require(there, "I2: an output is made and nowhere")
    require(step.after.burned >= 0, "I2: less than nothing is burned")
    for outpoint in step.touched:
        output = step.after.utxos.get(outpoint)
        require(
            output is None or 0 < output.value <= MONEY_MAX, "I2: an output without value, or of too much"
        )


def splits(step: Step) -> None:
    """I3: the coinbase, every transaction, every payment of a task and every slash sum to their sources."""
    fees = sum(fee_of(step, tx) for tx in step.transactions)
    paid = sum(output.value for output in step.block.transactions[0].outputs)
    issued = step.after.issued - step.before.issued
    rewards, lost = paid - fees - issued, slashed(step)
    if any(isinstance(tx.data, FraudProof) for tx in step.transactions):
        most = lost * step.params.prover_share_percent // 100
        require(0 <= rewards <= most, f"I3: {rewards} atoms go to who proved a fraud, at most {most} may")
    else:
        require(rewards == 0, f"I3: the coinbase pays {paid} atoms of {fees} in fees and {issued} issued")
    gone = step.after.burned - step.before.burned + step.paid_back + rewards
    require(lost == gone, f"I3: stakes lost {lost} atoms, {gone} of them were burned or paid out")


def audit_money(state: State) -> None:
    """I1 and I2 over all outputs."""
    total = sum(output.value for output in state.utxos.values())
    require(total == state.issued - state.burned, f"I1: {total} atoms, not {state.issued - state.burned}")
    require(all(output.value > 0 for output in state.utxos.values()), "I2: an output without value")
    captured = sum(task.captured for task in state.tasks.values() if not task.stage.is_over)
    require(captured <= state.burned, "I3: more is captured of stakes than left circulation")


def value_of(state: State, outpoint: Outpoint) -> int:
    """Return what an output is worth, atoms; nothing when it is not there."""
    output = state.utxos.get(outpoint)
    return output.value if output else 0


def subsidy_due(step: Step) -> int:
    """Return what must be issued in a block: the subsidy of the block W below, by its approvals."""
    due = step.before.pending.get(step.after.height - step.params.verification_window_blocks)
    if due is None:
        return 0
    verification = step.before.verifications[due]
    late = (tx.data for tx in step.transactions if isinstance(tx.data, VerifyReveal))
    approvals = verification.approvals + sum(d.approved for d in late if d.block == due)
    if not verification.verifiers:
        return 0
    return subsidy(step.params, verification.height) * approvals // len(verification.verifiers)


def fee_of(step: Step, tx: Transaction) -> int:
    """Return a transaction's fee; a payment of a task has none, and pays the fee and what was captured."""
    spent = sum(source_of(step, outpoint) for outpoint in tx.inputs)
    paid = sum(output.value for output in tx.outputs)
    if isinstance(tx.data, ChargeForTask):
        task = step.after.tasks[tx.data.task]
        require(spent == task.fee, "I3: a payment spends another amount than the task's fee")
        require(paid == task.fee + task.captured, f"I3: {paid} atoms are paid for a task")
        return 0
    rewarded = isinstance(tx.data, FraudProof)  # what it earns counts with the fees, see `splits`
    require(rewarded or spent >= paid, "I3: a transaction pays more than it spends")
    return spent - paid


def source_of(step: Step, outpoint: Outpoint) -> int:
    """Return what an input brings; it was there before, or was made in the same block."""
    return value_of(step.before, outpoint) if outpoint in step.before.utxos else step.made[outpoint].value


def slashed(step: Step) -> int:
    """Return what stakes lost other than by being spent, atoms."""
    lost = 0
    for outpoint in step.touched:
        old = step.before.utxos.get(outpoint) or step.made.get(outpoint)
        if isinstance(old, Stake) and outpoint not in step.spent:
            new = value_of(step.after, outpoint)
            require(new <= old.value, "I3: a stake grew")
            lost += old.value - new
    return lost
