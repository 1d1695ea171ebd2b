"""Who is drawn, drawn again by the rules as they are written, with nothing of the chain's code.

I14: a block's verifiers, the validators of a checkpoint and further evaluators of a task are the tickets of
the smallest hashes; a task's workers are the applicants of the smallest draws in proportion to how close they
are to what the task wants.

Source: RELIABILITY (4), I14; PoUW §4.1; PROTOCOL sections 4, 8, 9.
"""

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from hashlib import sha256
from typing import Final

from p2pai.chain.state import Join, Stage, State, Task, Ticket
from p2pai.chain.transaction import JoinTask
from p2pai.primitives.ids import Outpoint, PublicKey, TaskId
from p2pai.vrf import ecvrf
from testnet.simulator.invariants.step import Step, require

EXACT: Final = Context(prec=400)
"""Digits that tell any two draws of 512 bits apart, square roots and all."""


def public_draws(step: Step) -> None:
    """I14: verifiers, validators and further evaluators."""
    for block, verification in step.after.verifications.items():
        if block not in step.before.verifications:
            miner = step.before.tickets[verification.ticket].owner
            free = _free(step, "verifier")
            drawn = smallest(block, [t for t in free if free[t].owner != miner])
            require(
                verification.verifiers == tuple(sorted(drawn[: step.params.verifiers_per_block_max])),
                "I14: a block's verifiers are not those drawn",
            )
    last, now = step.before.voting, step.after.voting
    if now is not None and now.validators and (last is None or last.validators != now.validators):
        require(now.validators == _validators(step), "I14: a checkpoint's validators are not those drawn")
    again = [(i, old, new) for i, (old, new) in step.tasks.items() if old and _is_redrawn(old, new)]
    if len(again) == 1:  # else one task's draw depends on the other's
        task_id, old, new = again[0]
        assert old is not None
        require(
            new.evaluators == _evaluators(step, task_id, old, new),
            "I14: a task's further evaluators are not those drawn",
        )


def _is_redrawn(old: Task, new: Task) -> bool:
    return new.round > old.round and new.evaluators != old.evaluators


def _free(step: Step, role: str, working: Iterable[Outpoint] = ()) -> dict[Outpoint, Ticket]:
    """Return tickets that could be drawn at the end of a block; those `working` work since then."""
    height, called = step.after.height, dict.fromkeys(working)
    return {
        outpoint: ticket
        for outpoint, ticket in step.after.tickets.items()
        if ticket.role == role
        and (ticket.task is None or outpoint in called)
        and _is_ripe(step, ticket)
        and not 0 < ticket.expires <= height
        and outpoint in step.after.utxos
    }


def _is_ripe(step: Step, ticket: Ticket) -> bool:
    return ticket.height == 0 or ticket.height + step.params.ticket_maturity_blocks <= step.after.height


def _validators(step: Step) -> tuple[Outpoint, ...]:
    able = [
        outpoint
        for outpoint, ticket in step.after.tickets.items()
        if _is_ripe(step, ticket)
        and (ticket.task is not None or not 0 < ticket.expires <= step.after.height)
        and outpoint in step.after.utxos
    ]
    seats: dict[PublicKey, Outpoint] = {}
    for outpoint in smallest(hashed("p2pai/validators", step.block.hash), able):
        seats.setdefault(step.after.tickets[outpoint].owner, outpoint)
    return tuple(sorted([*seats.values()][: step.params.validators]))


def _evaluators(step: Step, task_id: TaskId, old: Task, new: Task) -> tuple[Outpoint, ...]:
    seed = hashed("p2pai/evaluators", step.block.hash, task_id)
    free = _free(step, "evaluator", new.evaluators)
    others = [t for t in free if t not in old.evaluators and t not in new.expelled]
    return tuple(sorted(smallest(seed, others)[: new.definition.group.evaluators]))


def hashed(tag: str, *parts: bytes) -> bytes:
    """Hash parts, each behind its length, behind the tag's own hash twice."""
    head = sha256(tag.encode()).digest()
    body = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return sha256(head + head + body).digest()


def smallest(seed: bytes, tickets: Iterable[Outpoint]) -> list[Outpoint]:
    """Return tickets by their hashes with a seed, the smallest first."""
    return sorted(tickets, key=lambda t: (hashed("p2pai/sortition", seed, t.encode()), t.encode()))


def admissions(step: Step) -> None:
    """I14: the workers of a task are the closest of those that applied."""
    for task_id, (old, new) in step.tasks.items():
        if old is None or old.stage is not Stage.JOINING or new.stage is not Stage.KEYING:
            continue
        group = new.definition.group
        joins = _applications(step, task_id, old)
        wanted = {"miner": group.miners, "supervisor": group.supervisors, "evaluator": group.evaluators}
        for role, tickets in new.workers():
            named = [j for j in joins if j.role == role and j.definition_block == new.definition_block]
            ranked = closest(step.before, new, named)
            require(
                tickets == tuple(sorted(ranked[: wanted[role]])), f"I14: a task's {role}s are not the closest"
            )


def _applications(step: Step, task_id: TaskId, task: Task) -> list[Join]:
    """Return all applications of tickets that still have a stake."""
    joins = list(task.joins)
    for tx in step.transactions:
        if isinstance(tx.data, JoinTask) and tx.data.task == task_id:
            role = step.before.tickets[tx.data.ticket].role
            beta = ecvrf.output(tx.data.proof)
            joins.append(Join(tx.data.ticket, role, beta, tx.data.definition_block))
    return [join for join in joins if join.ticket in step.after.utxos]


def closest(state: State, task: Task, joins: Sequence[Join]) -> list[Outpoint]:
    """Return the tickets of applications by draw over cosine, smallest first; a right angle is last."""
    wanted = task.definition.preferences

    def key(join: Join) -> tuple[bool, Decimal, Outpoint]:
        cosine = cosine_of(state.tickets[join.ticket].preferences, wanted)
        draw = Decimal(int.from_bytes(join.beta, "big"))
        return not cosine, EXACT.divide(draw, cosine) if cosine else draw, join.ticket

    return [join.ticket for join in sorted(joins, key=key)]


def cosine_of(a: Sequence[int], b: Sequence[int]) -> Decimal:
    """Return the cosine between two vectors."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    length = EXACT.multiply(
        EXACT.sqrt(Decimal(sum(x * x for x in a))), EXACT.sqrt(Decimal(sum(y * y for y in b)))
    )
    return EXACT.divide(Decimal(dot), length)
