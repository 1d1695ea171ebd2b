"""Who is drawn in public: a block's verifiers, further evaluators of a task, validators of a checkpoint.

Unlike workers, who show a private draw, these follow from the hash of a block, the same for everyone.

Source: PoUW §4.4, §5.2, §7.3; PROTOCOL sections 4, 8, 9.
"""

from p2pai.chain.params import Params
from p2pai.chain.state import State
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint, PublicKey, TaskId
from p2pai.vrf import sortition


def draw_verifiers(
    state: State, block: Hash32, miner: Outpoint, height: int, params: Params
) -> tuple[Outpoint, ...]:
    """Choose a block's verifiers among the live tickets of other owners, seeded by its hash."""
    owner = state.tickets[miner].owner
    live = state.live_tickets("verifier", height, params.ticket_maturity_blocks)
    others = [t for t in live if state.tickets[t].owner != owner]
    return _choose(block, others, params.verifiers_per_block_max)


def draw_evaluators(
    state: State, task_id: TaskId, beacon: Hash32, height: int, params: Params
) -> tuple[Outpoint, ...]:
    """Choose evaluators for a task's next round, other tickets than those of the round before."""
    task = state.tasks[task_id]
    live = state.live_tickets("evaluator", height, params.ticket_maturity_blocks)
    others = [t for t in live if t not in task.evaluators and t not in task.expelled]
    seed = tagged_hash("p2pai/evaluators", beacon, task_id)
    return _choose(seed, others, task.definition.group.evaluators)


def draw_validators(state: State, beacon: Hash32, height: int, params: Params) -> tuple[Outpoint, ...]:
    """Choose validators among the tickets of all roles with a stake, at work or not; one of an owner.

    Tickets are drawn and an owner's further ones passed over, so chances grow with the stakes, not with the
    number of keys that they are spread over.
    """
    able = {
        outpoint.encode(): outpoint
        for outpoint, ticket in state.tickets.items()
        if ticket.is_live(height, params.ticket_maturity_blocks) and outpoint in state.utxos
    }
    seats: dict[PublicKey, Outpoint] = {}
    for name in sortition.choose(tagged_hash("p2pai/validators", beacon), able, len(able)):
        seats.setdefault(state.tickets[able[name]].owner, able[name])
    return tuple(sorted(list(seats.values())[: params.validators]))


def _choose(seed: Hash32, tickets: list[Outpoint], count: int) -> tuple[Outpoint, ...]:
    by_name = {t.encode(): t for t in tickets}
    return tuple(sorted(by_name[c] for c in sortition.choose(seed, tuple(by_name), count)))
