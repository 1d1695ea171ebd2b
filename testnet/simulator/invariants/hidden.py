"""What is committed to first and shown later: nobody sees another's answer before giving its own.

I10: a verdict on a block, or a conclusion about a task, is revealed only when nobody can commit any more, and
is the one that was committed to.

Source: RELIABILITY (4), I10; PROTOCOL sections 8, 10.
"""

from collections.abc import Iterable

from p2pai.chain.state import Stage
from p2pai.chain.transaction import (
    CollectVerifications,
    EvaluateCommit,
    EvaluateReveal,
    Transaction,
    VerifyCommit,
    VerifyReveal,
)
from p2pai.primitives import record
from testnet.simulator.invariants.drawn import hashed
from testnet.simulator.invariants.step import Step, require


def reveals(step: Step) -> None:
    """I10: all that a block reveals."""
    for number, tx in enumerate(step.transactions):
        earlier = step.transactions[:number]
        if isinstance(tx.data, VerifyReveal):
            _check_verdict(step, tx.data, earlier)
        elif isinstance(tx.data, EvaluateReveal):
            _check_conclusion(step, tx.data, earlier)


def _check_verdict(step: Step, shown: VerifyReveal, earlier: Iterable[Transaction]) -> None:
    before = step.before.verifications[shown.block]
    here = [tx.data for tx in earlier]
    is_collected = any(isinstance(d, CollectVerifications) and d.block == shown.block for d in here)
    latest = before.height + step.params.verification_window_blocks // 2
    is_closed = before.collected or is_collected or step.after.height > latest
    require(is_closed, "I10: a verdict is revealed while others may still commit")
    new = (d for d in here if isinstance(d, VerifyCommit) and d.block == shown.block)
    committed = (
        *((c.ticket, c.commitment) for c in before.commits),
        *((d.ticket, d.commitment) for d in new),
    )
    verdict = b"\x01" if shown.approved else b"\x00"
    parts = shown.ticket.encode(), shown.block, shown.precursor, verdict, shown.salt
    is_kept = (shown.ticket, hashed("p2pai/verdict", *parts)) in committed
    require(is_kept, "I10: a verdict is revealed that was not committed to")


def _check_conclusion(step: Step, shown: EvaluateReveal, earlier: Iterable[Transaction]) -> None:
    before = step.before.tasks[shown.task]
    is_new = before.stage is not Stage.EVALUATING  # it came to be evaluated in this block
    here = (tx.data for tx in earlier)
    new = (d for d in here if isinstance(d, EvaluateCommit) and d.task == shown.task)
    old = () if is_new else tuple((c.ticket, c.commitment) for c in before.commits)
    committed = (*old, *((d.ticket, d.commitment) for d in new))
    since = step.after.height if is_new else before.since
    is_closed = step.after.height > since + step.params.evaluate_commit_blocks
    require(
        is_closed or len(committed) == len(before.evaluators),
        "I10: a conclusion is revealed while others may still commit",
    )
    require(
        (shown.ticket, commitment(shown)) in committed,
        "I10: a conclusion is revealed that was not committed to",
    )


def commitment(shown: EvaluateReveal) -> bytes:
    """Return what a revealed conclusion must have been committed to by."""
    return hashed(
        "p2pai/conclusion", shown.ticket.encode(), shown.task, record.encode(shown.conclusion), shown.salt
    )
