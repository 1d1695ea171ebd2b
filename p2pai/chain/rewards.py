"""Money divided without losing an atom.

Source: PoUW §3.4 (reward scheme R), §4.4, §5.2; PROTOCOL sections 5, 9, 10.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

from p2pai.chain.params import Params, subsidy
from p2pai.chain.state import State, Task, Verification
from p2pai.chain.transaction import Conclusion, Pay
from p2pai.primitives.ids import Amount, KeyHash, Outpoint

K = TypeVar("K", bound=Hashable)


def split(total: int, shares: Mapping[K, int]) -> dict[K, Amount]:
    """Divide `total` atoms in proportion to integer shares.

    The remainder of the division goes to the largest share, ties to the lowest key, so that every node agrees
    on the last atom.

    Args:
      total: atoms to divide.
      shares: weight of each receiver, none negative; all equal when every weight is zero.

    Returns:
      Atoms per receiver, in key order; they sum to `total` exactly.
    """
    assert shares, "nobody to divide among"
    assert total >= 0
    assert all(weight >= 0 for weight in shares.values())
    keys = sorted(shares)  # type: ignore[type-var]
    weights = [shares[key] for key in keys]
    if not any(weights):
        weights = [1] * len(keys)
    parts = [total * w // sum(weights) for w in weights]
    parts[weights.index(max(weights))] += total - sum(parts)
    return {key: Amount(part) for key, part in zip(keys, parts, strict=True)}


def task_payouts(state: State, task: Task, conclusion: Conclusion) -> tuple[Pay, ...]:
    """Return the outputs of a task's CHARGE_FOR_TASK: its shares, paid to the tickets' owners."""
    return tuple(_pay(state, ticket, value) for _, ticket, value in task_shares(task, conclusion))


def task_shares(task: Task, conclusion: Conclusion) -> tuple[tuple[str, Outpoint, Amount], ...]:
    """Divide a task's fee, and what was captured of stakes, by reward scheme R.

    Miners share their part by the scores of their models; supervisors and the evaluators who found the
    agreed conclusion share theirs equally. Where the data were malformed, the miners do so too.

    Returns:
      Role, ticket and atoms of everyone who gets any; whoever was expelled gets none.
    """
    scheme = task.definition.reward
    total = task.fee + task.captured
    pools = split(
        total, {"miner": scheme.miners, "supervisor": scheme.supervisors, "evaluator": scheme.evaluators}
    )
    scores = conclusion.scores or (1,) * len(task.miners)
    weights = {
        "miner": dict(zip(task.miners, scores, strict=True)),
        "supervisor": dict.fromkeys(task.supervisors, 1),
        "evaluator": dict.fromkeys(_agreeing(task, conclusion), 1),
    }
    parts = {role: split(pools[role], _honest(task, shares)) for role, shares in weights.items()}
    return tuple(
        (role, ticket, value) for role, part in parts.items() for ticket, value in part.items() if value
    )


def _agreeing(task: Task, conclusion: Conclusion) -> list[Outpoint]:
    """Return the evaluators who found the agreed conclusion; all of them where nobody did."""
    return [f.ticket for f in task.findings if f.conclusion == conclusion] or list(task.evaluators)


def _honest(task: Task, shares: dict[Outpoint, int]) -> dict[Outpoint, int]:
    return {t: w for t, w in shares.items() if t not in task.expelled} or shares


def block_payouts(state: State, verification: Verification, params: Params) -> tuple[Pay, ...]:
    """Return the outputs that pay a block's subsidy.

    It goes to the miner, the approving verifiers and, for a predefined task, the supervisors.

    Source: PROTOCOL section 9.
    """
    total = earned_subsidy(verification.height, verification.approvals, len(verification.verifiers), params)
    if total == 0:
        return ()
    approvers = [r.ticket for r in verification.reveals if r.approved]
    verifiers = total * params.verifier_share_percent // 100
    supervisors = total * params.supervisor_share_percent // 100 if verification.supervisors else 0
    pays = [Pay(Amount(total - verifiers - supervisors), verification.miner)]
    pays += [_pay(state, t, v) for t, v in split(verifiers, dict.fromkeys(approvers, 1)).items()]
    if supervisors:
        shares = dict.fromkeys(range(len(verification.supervisors)), 1)
        pays += [Pay(v, verification.supervisors[i]) for i, v in split(supervisors, shares).items()]
    return tuple(pay for pay in pays if pay.value)


def earned_subsidy(height: int, approvals: int, verifiers: int, params: Params) -> Amount:
    """Return what of a block's subsidy is paid: in proportion to the approvals."""
    return Amount(subsidy(params, height) * approvals // verifiers if verifiers else 0)


def _pay(state: State, ticket: Outpoint, value: Amount) -> Pay:
    return Pay(value, owner_of(state, ticket))


def owner_of(state: State, ticket: Outpoint) -> KeyHash:
    """Return who is paid for a ticket; its stake output outlives the ticket's work."""
    return state.tickets[ticket].key_hash
