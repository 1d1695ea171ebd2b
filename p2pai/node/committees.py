"""A task's committee as people read it, and its key checked once more from the public transcript.

Source: PoUW §4.2.1, Appendix C; PROTOCOL section 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from p2pai.chain import dkg, keying, transition
from p2pai.chain.committee import Committee
from p2pai.chain.params import quorum
from p2pai.chain.state import State, Task
from p2pai.chain.supervision import DkgComplaint, DkgDeal, DkgSuccessful, Equivocation, WrongShare
from p2pai.chain.transaction import Transaction
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import InvalidInput, InvalidProof
from p2pai.primitives.ids import Outpoint, TaskId
from p2pai.roles.supervisor import Supervisor

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Report = dict[str, Any]


def report(core: NodeCore, task_id: TaskId, task: Task) -> Report:
    """Return who holds the common key, how its making goes, and how fast slots are certified."""
    made, attempt = task.committee, task.keying
    supervisor = core.roles.get(Supervisor.name)
    led = sorted(supervisor.latencies_ms(task_id)) if isinstance(supervisor, Supervisor) else []
    return {
        "attempts": task.attempts,
        "group_key": made.key.hex() if made else None,
        "members": len(made.members) if made else 0,
        "threshold": made.threshold if made else 0,
        "renewed": made.renewed if made else False,
        "epoch": task.view[0],
        "view": task.view[1],
        "dealt": f"{len(attempt.dealt)} of {len(attempt.dealers)}" if attempt else None,
        "confirmed": f"{len(attempt.confirmed)} of {len(attempt.members)}" if attempt else None,
        "slots_led": len(led),
        "slot_ms_median": led[len(led) // 2] if led else None,
        "slot_ms_p95": led[len(led) * 95 // 100] if led else None,
    }


def transcript(core: NodeCore, task_id: TaskId, task: Task) -> Report:
    """Check everything that was said on chain while a task's supervisors made their key.

    Every transaction about it is applied once more with all its signatures and proofs; then key and public
    shares are computed from the deals and compared with those of the ledger.

    Raises:
      InvalidInput: the transcript does not hold, or there is none.
      Unavailable: it is of too long ago.
    """
    steps = list(_steps(core, task_id))
    last = _last_state(core, task_id)
    made = last.tasks[task_id].committee
    if made is None:
        raise InvalidInput("the task's supervisors have no common key (yet)")
    _check(made, last)
    return {
        "task": task_id.hex(),
        "steps": steps,
        "genesis": task.is_predefined and not made.renewed,
        "group_key": made.key.hex(),
        "members": len(made.members),
        "threshold": made.threshold,
        "deals": len(made.dealt),
    }


def _steps(core: NodeCore, task_id: TaskId) -> Iterator[Report]:
    first = core.state.tasks[task_id].history[0][1]
    for height in range(max(1, first), core.state.height + 1):
        block = core.ledger.tree.block_at(height)
        about = [tx for tx in block.transactions if _concerns(tx, task_id)] if block else []
        if block is None or not about:
            continue
        state = core.ledger.keeping.state_after(block.header.prev)
        for tx in block.transactions[1:]:
            rules = core.spec.params_at(height)
            after, _ = transition.apply_transaction(state, tx, rules, judged=core.judged)
            if tx in about:
                yield {"height": height, **_step(core, task_id, state, after, tx)}
            state = after


def _concerns(tx: Transaction, task_id: TaskId) -> bool:
    kinds = DkgDeal | DkgComplaint | DkgSuccessful | Equivocation
    return isinstance(tx.data, kinds) and tx.data.task == task_id


def _step(core: NodeCore, task_id: TaskId, before: State, after: State, tx: Transaction) -> Report:
    assert isinstance(tx.data, DkgDeal | DkgComplaint | DkgSuccessful | Equivocation)
    old, new = before.tasks[task_id], after.tasks[task_id]
    out = [t for t in new.expelled if t not in old.expelled]
    return {
        "attempt": old.keying.attempt if old.keying else old.attempts,
        "type": tx.kind,
        "by": _owner(core, before, tx.data.ticket),
        "found": _found(core, before, tx, out),
    }


def _found(core: NodeCore, state: State, tx: Transaction, out: list[Outpoint]) -> str:
    match tx.data:
        case DkgDeal(deal=deal):
            return f"{len(deal.commitments)} commitments, {len(deal.shares)} sealed shares, proofs hold"
        case DkgSuccessful(key=key):
            return f"holds its share of {key.hex()[:16]}"
        case DkgComplaint(evidence=evidence):
            what = "a wrong share" if isinstance(evidence, WrongShare) else "two deals"
            names = ", ".join(_owner(core, state, t) for t in out)
            return f"{what} of {_owner(core, state, evidence.dealer)}: {names} lied and is out"
        case _:
            names = ", ".join(_owner(core, state, t) for t in out)
            return f"two slots for one place: {names} is out"


def _owner(core: NodeCore, state: State, ticket: Outpoint) -> str:
    known = state.tickets.get(ticket)
    return address.encode(core.spec.prefix, known.key_hash) if known else str(ticket)


def _last_state(core: NodeCore, task_id: TaskId) -> State:
    """Return the newest ledger of the chain in which the task still had its tickets."""
    task = core.state.tasks[task_id]
    height = task.since - 1 if task.stage.is_over else core.state.height
    block = core.ledger.tree.hash_at(height)
    assert block is not None
    return core.ledger.keeping.state_after(block)


def _check(made: Committee, state: State) -> None:
    receivers = [state.tickets[m].vrf_key for m in made.members]
    for dealt in made.dealt:
        owner = state.tickets.get(dealt.ticket)
        dkg.check_deal(dealt.deal, dealt.context, receivers, quorum(len(receivers)))
        if dealt.signature and owner is not None:
            digest = keying.deal_digest(dealt.context, dkg.digest(dealt.deal, dealt.context))
            ecdsa.verify(owner.owner, digest, dealt.signature)
    deals = {d.index: d.deal for d in made.dealt}
    if dkg.public_keys(deals, len(receivers), renewed=made.renewed) != (made.key, made.shares):
        raise InvalidProof("the deals give another key than the ledger's")
