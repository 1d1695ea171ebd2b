"""The chain in short, and its money, for people and tools.

Source: RELIABILITY (4), I1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from p2pai.chain import difficulty, headers
from p2pai.chain.genesis import genesis_state
from p2pai.chain.state import Stage, State, Task, Ticket
from p2pai.chain.transaction import ROLES
from p2pai.primitives.ids import Outpoint

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Report = dict[str, Any]

STAGES: Final = ("live", "immature", "working", "expired")
"""Of a ticket, in the next block."""


def chain_status(core: NodeCore, params: Report) -> Report:
    """Return where the chain stands, and what waits for its next blocks."""
    del params
    state, pool, tree = core.state, core.ledger.mempool, core.ledger.tree
    checkpoint = state.checkpoint
    bits = headers.next_bits(state, core.params)
    return {
        "chain": core.spec.name,
        "chain_id": core.spec.id.hex(),
        "height": state.height,
        "tip": state.tip.hex(),
        "time": state.times[-1],
        "weight": state.weight,
        "checkpoint": {
            "height": checkpoint.height,
            "block": checkpoint.block.hex(),
            "snapshot": checkpoint.snapshot.hex(),
        },
        "next_bits": f"{bits:08x}",
        "next_work": difficulty.work(difficulty.decode_bits(bits)),
        "ticket_price": state.ticket_price,
        "tickets": [_tickets(core, role) for role in ROLES],
        "side_branches": [
            {"height": branch.state.height, "tip": branch.state.tip.hex()} for branch in tree.side_tips()
        ],
        "tasks": _stages(task for _, task in state.active_tasks()),
        "mempool": {"count": len(pool), "bytes": pool.size, "fee_rate_min": pool.fee_rate_min},
    }


def ticket_stage(core: NodeCore, ticket: Ticket) -> str:
    """Return which of `STAGES` a ticket is in."""
    if ticket.task is not None:
        return "working"
    if ticket.is_expired(core.state.height + 1):
        return "expired"
    live = ticket.is_live(core.state.height + 1, core.params.ticket_maturity_blocks)
    return "live" if live else "immature"


def supply(core: NodeCore, params: Report) -> Report:
    """Return where the chain's money is, and whether every atom issued is accounted for (invariant I1)."""
    del params
    state = core.state
    unspent, genesis = state.unspent_total(), genesis_state(core.spec).issued
    tasks = [task for _, task in state.active_tasks()]
    return {
        "height": state.height,
        "genesis": genesis,
        "subsidies": state.issued - genesis,
        "issued": state.issued,
        "burned": state.burned,
        "captured": sum(task.captured for task in tasks),
        "unspent": unspent,
        "staked_by_tickets": _sum(state, state.tickets),
        "staked_by_tasks": _sum(state, (task.stake for task in tasks if task.stake is not None)),
        "holds": state.issued - state.burned == unspent,
    }


def _stages(tasks: Iterable[Task]) -> dict[str, int]:
    """Return how many tasks are in each stage that is not the end."""
    counts = {stage.value: 0 for stage in Stage if not stage.is_over}
    for task in tasks:
        counts[task.stage.value] += 1
    return counts


def _sum(state: State, outpoints: Iterable[Outpoint]) -> int:
    return sum(state.utxos[outpoint].value for outpoint in outpoints if outpoint in state.utxos)


def _tickets(core: NodeCore, role: str) -> Report:
    stages = [ticket_stage(core, ticket) for ticket in core.state.tickets.values() if ticket.role == role]
    return {
        "role": role,
        **{stage: stages.count(stage) for stage in STAGES},
    }
