"""Supervisors' common key on chain: deals, complaints, confirmations, restarts, resharing.

    every dealer deals --> every member confirms the key --> the committee signs
            |                        |
            +---- silent or proven to lie: out, and the others begin again

An attempt ends well only when everybody did their part; whoever prevents that is out. So t is always two
thirds of the members there are, and who is out is never a matter of opinion: silence shows on chain, a wrong
share is opened by its receiver with a proof, two deals are signed by their dealer.

When a member is expelled later, those who are left deal their shares to the new members: the group key stays.
Meanwhile the committee there is goes on, as long as t of it are left.

Source: PoUW §4.2.1, Appendix C; Schindler et al., "ETHDKG" (ePrint 2019/985); PROTOCOL section 6;
docs/adr/0020-key-generation.md.
"""

from dataclasses import replace
from typing import Final

from p2pai.chain import committee, dkg, task_end
from p2pai.chain.committee import Committee, Dealt
from p2pai.chain.params import SUPERVISORS_MIN, Params, quorum
from p2pai.chain.state import Keying, Stage, State, Task
from p2pai.chain.supervision import DkgComplaint, DkgDeal, DkgSuccessful, Equivocation, TwoDeals, WrongShare
from p2pai.chain.tickets import Context, capture, lock, release, require_ticket
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlsPublicKey, Hash32, Outpoint, PublicKey, TaskId, VrfPublicKey

EVERYTHING: Final = 100
"""Per cent of the stake that a liar loses."""


def dealer_context(keying: Keying, ticket: Outpoint) -> Hash32:
    """Return what one dealer's deal is made for: its part in this attempt."""
    return tagged_hash("p2pai/dealer", keying.context, ticket.encode())


def deal_digest(context: Hash32, deal: Hash32) -> Hash32:
    """Return what a dealer signs with its spending key.

    Args:
      context: the dealer's.
      deal: hash of the deal.
    """
    return tagged_hash("p2pai/deal", context, deal)


def begin(task_id: TaskId, task: Task, members: tuple[Outpoint, ...], height: int) -> Task:
    """Start an attempt: fresh, or where there is a committee, from its shares."""
    old = task.committee.members if task.committee else ()
    dealers = tuple(m for m in old if m not in task.expelled) if old else members
    context = tagged_hash(
        "p2pai/keying",
        task_id,
        task.definition_block,
        task.attempts.to_bytes(4, "little"),
        b"".join(m.encode() for m in members),
        b"".join(d.encode() for d in dealers),
        task.committee.context if task.committee else b"",
    )
    keying = Keying(task.attempts, height, members, dealers, context)
    return replace(task, keying=keying, attempts=task.attempts + 1)


def receivers(state: State, keying: Keying) -> tuple[VrfPublicKey, ...]:
    """Return the keys that shares are sealed to, in the order of the members."""
    return tuple(state.tickets[m].vrf_key for m in keying.members)


def dealer_index(task: Task, keying: Keying, ticket: Outpoint) -> int:
    """Return a dealer's index: its place, from 1, in the committee there is, else among the dealers."""
    order = task.committee.members if task.committee else keying.dealers
    return order.index(ticket) + 1


def apply_deal(state: State, data: DkgDeal, context: Context) -> State:
    """Take a deal.

    Raises:
      InvalidTransaction: not a dealer of this attempt, or it has dealt already.
      InvalidInput: the deal is malformed or unproven.
    """
    task, keying = _require_keying(state, data.task, data.attempt)
    require_ticket(state, data.ticket, context)
    if data.ticket not in keying.dealers or keying.committee is not None:
        raise InvalidTransaction("the ticket has nothing to deal")
    if any(d.ticket == data.ticket for d in keying.dealt):
        raise InvalidTransaction("the ticket has dealt already")
    index = dealer_index(task, keying, data.ticket)
    constant = task.committee.shares[index - 1] if task.committee else None
    part = dealer_context(keying, data.ticket)
    ecdsa.verify(context.author, deal_digest(part, dkg.digest(data.deal, part)), data.signature)
    threshold = quorum(len(keying.members))
    dkg.check_deal(data.deal, part, receivers(state, keying), threshold, constant)
    keying = replace(
        keying, dealt=(*keying.dealt, Dealt(data.ticket, index, part, data.deal, data.signature))
    )
    if len(keying.dealt) == len(keying.dealers):
        keying = _close(task, keying, context.height)
    return state.with_task(data.task, replace(task, keying=keying))


def _close(task: Task, keying: Keying, height: int) -> Keying:
    renewed = task.committee is not None
    dealt = tuple(sorted(keying.dealt, key=lambda d: d.index))
    key, shares = dkg.public_keys({d.index: d.deal for d in dealt}, len(keying.members), renewed=renewed)
    threshold = quorum(len(keying.members))
    made = Committee(keying.members, threshold, key, shares, dealt, keying.context, renewed)
    return replace(keying, since=height, committee=made)


def apply_successful(state: State, data: DkgSuccessful, context: Context) -> State:
    """Note that a member holds its share; with the last one the committee takes up its work.

    Raises:
      InvalidTransaction: not a member, confirmed already, or another key.
    """
    task, keying = _require_keying(state, data.task, data.attempt)
    require_ticket(state, data.ticket, context)
    if keying.committee is None:
        raise InvalidTransaction("not everybody has dealt yet")
    if data.ticket not in keying.members or data.ticket in keying.confirmed:
        raise InvalidTransaction("the ticket has nothing to confirm")
    if data.key != keying.committee.key:
        raise InvalidTransaction("the key is not the one that the deals give")
    confirmed = (*keying.confirmed, data.ticket)
    if len(confirmed) == len(keying.members):
        return _complete(state, data.task, task, keying.committee, context.height)
    return state.with_task(data.task, replace(task, keying=replace(keying, confirmed=confirmed)))


def _complete(state: State, task_id: TaskId, task: Task, made: Committee, height: int) -> State:
    task = replace(task, keying=None, committee=made, supervisors=made.members)
    if task.stage is Stage.KEYING:
        task = task.enter(Stage.TRAINING, height)
        state = lock(state, task.reserves, None)
    if task.is_predefined:
        # Such a task has no end that would; of its miners the messages are checked still.
        state = release(state, tuple(t for t in task.expelled if t not in task.miners))
    return state.with_task(task_id, task)


def apply_complaint(state: State, data: DkgComplaint, context: Context) -> State:
    """Expel whoever lied, the dealer or its accuser, and begin again without.

    Raises:
      InvalidTransaction: it concerns nobody of this attempt.
      InvalidProof: the evidence does not hold.
    """
    _, keying = _require_keying(state, data.task, data.attempt)
    require_ticket(state, data.ticket, context)
    if data.ticket not in keying.members:
        raise InvalidTransaction("the accuser is not a member")
    if isinstance(data.evidence, TwoDeals):
        liar = _judge_two_deals(state, keying, data.evidence)
    else:
        liar = _judge_share(state, keying, data.ticket, data.evidence)
    state = _expel(state, data.task, (liar,), EVERYTHING)
    return _restart(state, data.task, context.height)


def _judge_share(state: State, keying: Keying, accuser: Outpoint, evidence: WrongShare) -> Outpoint:
    dealt = {d.ticket: d for d in keying.dealt}.get(evidence.dealer)
    if dealt is None:
        raise InvalidTransaction("the accused has not dealt")
    index = keying.members.index(accuser) + 1
    key = state.tickets[accuser].vrf_key
    guilty = dkg.is_guilty(dealt.deal, dealt.context, key, index, evidence.accusation)
    return evidence.dealer if guilty else accuser


def _judge_two_deals(state: State, keying: Keying, evidence: TwoDeals) -> Outpoint:
    if evidence.dealer not in keying.dealers or evidence.first == evidence.second:
        raise InvalidTransaction("no two deals of a dealer of this attempt")
    owner, part = state.tickets[evidence.dealer].owner, dealer_context(keying, evidence.dealer)
    ecdsa.verify(owner, deal_digest(part, evidence.first), evidence.first_signature)
    ecdsa.verify(owner, deal_digest(part, evidence.second), evidence.second_signature)
    return evidence.dealer


def apply_equivocation(state: State, data: Equivocation, context: Context) -> State:
    """Expel a leader that signed two slots for one place; the others share their key anew.

    Raises:
      InvalidTransaction: no two slots for one place.
      InvalidProof: not the leader's signatures.
    """
    task = state.tasks.get(data.task)
    if task is None or task.committee is None or task.stage.is_over:
        raise InvalidTransaction("no task whose supervisors record")
    known = state.tickets.get(data.ticket) if data.ticket in state.utxos else None
    records = data.ticket in (*task.supervisors, *task.expelled)
    if not records or known is None or known.role != "supervisor":
        raise InvalidTransaction("the ticket supervises nothing here, or has lost its stake already")
    first, second = data.first, data.second
    if replace(first, root=second.root) != second or first.root >= second.root or first.task != data.task:
        raise InvalidTransaction("the statements are not two for one place")
    _verify_proposals(known.owner, task.committee.key, data)
    state = _expel(state, data.task, (data.ticket,), EVERYTHING)
    if task.stage.is_underway and data.ticket not in task.expelled:
        return _restart(state, data.task, context.height)
    return state


def _verify_proposals(owner: PublicKey, key: BlsPublicKey, data: Equivocation) -> None:
    ecdsa.verify(owner, committee.proposal_digest(data.first, key), data.first_signature)
    ecdsa.verify(owner, committee.proposal_digest(data.second, key), data.second_signature)


def pass_deadlines(state: State, height: int, params: Params) -> State:
    """Expel who has not dealt or confirmed in time, at the end of block `height`."""
    for task_id, task in state.active_tasks():
        keying = task.keying
        if keying is not None and height >= keying.since + params.keying_blocks:
            state = _pass(state, task_id, keying, height, params)
    return state


def _pass(state: State, task_id: TaskId, keying: Keying, height: int, params: Params) -> State:
    done = keying.confirmed if keying.committee else tuple(d.ticket for d in keying.dealt)
    due = keying.members if keying.committee else keying.dealers
    silent = tuple(t for t in due if t not in done)
    state = _expel(state, task_id, silent, params.offline_penalty_percent)
    return _restart(state, task_id, height)


def _expel(state: State, task_id: TaskId, tickets: tuple[Outpoint, ...], percent: int) -> State:
    for ticket in tickets:
        state = capture(state, task_id, ticket, percent)
    task = state.tasks[task_id]
    gone = (*task.expelled, *(t for t in tickets if t not in task.expelled))
    return state.with_task(task_id, replace(task, expelled=gone))


def _restart(state: State, task_id: TaskId, height: int) -> State:
    """Begin another attempt with those who are left, and reserves in the place of the others."""
    task = state.tasks[task_id]
    members = task.keying.members if task.keying else task.supervisors
    left = [m for m in members if m not in task.expelled]
    wanted = max(task.definition.group.supervisors, len(members))
    fresh = [r for r in task.reserves if _may_replace(state, task_id, r, height)][: wanted - len(left)]
    members = tuple(sorted((*left, *fresh)))
    if len(members) >= min(SUPERVISORS_MIN, wanted) and _can_deal(task):
        state = lock(state, tuple(fresh), task_id)
        task = replace(task, reserves=tuple(r for r in task.reserves if r not in fresh))
        task = begin(task_id, task, members, height)
        supervisors = members if task.stage is Stage.KEYING else task.supervisors
        return state.with_task(task_id, replace(task, supervisors=supervisors))
    return _give_up(state, task_id, task, height)


def _may_replace(state: State, task_id: TaskId, ticket: Outpoint, height: int) -> bool:
    known = state.tickets.get(ticket)
    if known is None or known.role != "supervisor" or known.is_expired(height):
        return False
    return known.task in (None, task_id)


def _can_deal(task: Task) -> bool:
    if task.committee is None:
        return True
    dealers = [m for m in task.committee.members if m not in task.expelled]
    return len(dealers) >= task.committee.threshold


def _give_up(state: State, task_id: TaskId, task: Task, height: int) -> State:
    # In training the committee that is left goes on as it is; the task's own deadline ends it if it can't.
    state = task_end.stop_keying(state, task_id)
    if task.stage is Stage.KEYING:
        return task_end.fail(state, task_id, height)
    return state


def _require_keying(state: State, task_id: TaskId, attempt: int) -> tuple[Task, Keying]:
    task = state.tasks.get(task_id)
    if task is None or task.keying is None or task.keying.attempt != attempt:
        raise InvalidTransaction("the task's supervisors are not at this attempt at a key")
    return task, task.keying
