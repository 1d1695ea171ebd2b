"""Buying tickets, applying for tasks with them, losing part of a stake.

Source: PoUW §3.3, §4.1; PROTOCOL section 4.
"""

from dataclasses import dataclass, replace

from p2pai.chain.params import Params
from p2pai.chain.state import Join, Stage, State, Task, Ticket
from p2pai.chain.task import PEER_ID_LENGTH_MAX
from p2pai.chain.transaction import ROLES, BuyTickets, JoinTask, Stake, Transaction
from p2pai.primitives import bls, ecdsa
from p2pai.primitives.errors import InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Amount, KeyHash, Outpoint, PublicKey, TaskId
from p2pai.vrf import ecvrf, selection

WORKER_ROLES = ("miner", "supervisor", "evaluator")
"""Roles that a task draws; verifiers are drawn per block."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule needs besides the state."""

    params: Params
    height: int
    """Of the block that the transaction would be in."""
    author: PublicKey
    """Key of the first input's witness."""

    @property
    def author_hash(self) -> KeyHash:
        """The author as outputs name it."""
        return ecdsa.key_hash(self.author)


def apply_buy_tickets(state: State, tx: Transaction, data: BuyTickets, context: Context) -> State:
    """Lock a stake per ticket.

    Raises:
      InvalidTicket: a rule of tickets is broken.
      InvalidProof: the BLS key's possession is not proven.
    """
    if data.role not in ROLES:
        raise InvalidTicket(f"no tickets are sold for the role {data.role!r}")
    if len(data.peer) > PEER_ID_LENGTH_MAX:
        raise InvalidTicket("peer id is too long")
    selection.check_traits(data.preferences)
    if len(data.preferences) != context.params.trait_count:
        raise InvalidTicket(f"a ticket has {context.params.trait_count} preferences on this network")
    ecvrf.check_key(data.vrf_key)
    bls.verify_possession(data.bls_key, data.possession)
    count = ticket_count(tx)
    if count == 0:
        raise InvalidTicket("no stake output")
    if count > context.params.tickets_per_block_max:
        raise InvalidTicket(f"at most {context.params.tickets_per_block_max} tickets per block")
    stakes, others = tx.outputs[:count], tx.outputs[count:]
    if any(isinstance(output, Stake) for output in others):
        raise InvalidTicket("stakes stand before all other outputs")
    if any(s.value != state.ticket_price for s in stakes):
        raise InvalidTicket(f"a ticket costs {state.ticket_price} atoms")
    if any(s.key_hash != context.author_hash for s in stakes):
        raise InvalidTicket("the stake belongs to another key")
    ticket = Ticket(
        data.role,
        context.author,
        context.author_hash,
        data.preferences,
        data.vrf_key,
        data.bls_key,
        data.peer,
        context.height,
        expiry(context.params, context.height),
    )
    tickets = state.tickets.update({Outpoint(tx.txid, i): ticket for i in range(count)})
    return replace(state, tickets=tickets)


def expiry(params: Params, height: int) -> int:
    """Return the height at which a ticket bought at a height expires; 0: never."""
    life = params.ticket_expiry_blocks
    return height + params.ticket_maturity_blocks + life if life else 0


def ticket_count(tx: Transaction) -> int:
    """Return the number of tickets that a BUY_TICKETS buys: its leading stake outputs."""
    for count, output in enumerate(tx.outputs):
        if not isinstance(output, Stake):
            return count
    return len(tx.outputs)


def apply_join_task(state: State, data: JoinTask, context: Context) -> State:
    """Accept a drawn ticket's application for a task.

    Raises:
      InvalidTicket: the ticket may not apply, or was not drawn.
      InvalidProof: the draw's proof does not hold.
      InvalidTransaction: the task does not take applications.
    """
    task = state.tasks.get(data.task)
    if task is None or task.stage is not Stage.JOINING:
        raise InvalidTransaction("the task does not take applications")
    if task.definition_block == ZERO_HASH:
        # The draw would be known to the client while it chooses the task's id.
        raise InvalidTransaction("the task's definition block is not known yet")
    ticket = require_ticket(state, data.ticket, context)
    if ticket.role not in WORKER_ROLES or ticket.task is not None:
        raise InvalidTicket("the ticket is not free for this task")
    if data.ticket not in state.utxos:  # it may have been live before it lost it
        raise InvalidTicket("the ticket has lost its stake")
    if not ticket.is_live(task.since, context.params.ticket_maturity_blocks):
        raise InvalidTicket("the ticket was not live when the task was submitted")
    # The block may be on another fork; which one counts, two thirds of the applications decide.
    alpha = selection.alpha(data.definition_block, data.task, ticket.role, data.ticket)
    beta = ecvrf.verify(ticket.vrf_key, alpha, data.proof)
    if not is_drawn(task, ticket, selection.draw_of(beta)):
        raise InvalidTicket("the ticket was not drawn")
    join = Join(data.ticket, ticket.role, beta, data.definition_block)
    return replace(
        state,
        tasks=state.tasks.set(data.task, replace(task, joins=(*task.joins, join))),
        tickets=state.tickets.set(data.ticket, replace(ticket, task=data.task)),
    )


def is_drawn(task: Task, ticket: Ticket, draw: int) -> bool:
    """Return whether a draw selects a ticket for a task."""
    omega = task.omegas[WORKER_ROLES.index(ticket.role)]
    return selection.is_selected(ticket.preferences, task.definition.preferences, draw, omega)


def derive_omegas(state: State, task: Task, params: Params) -> tuple[tuple[int, int], ...]:
    """Return how rare the draw of each worker role is, from the tickets live when a task is posted."""
    wanted = task.definition.preferences
    group = task.definition.group
    omegas = []
    for role, count in zip(WORKER_ROLES, (group.miners, group.supervisors, group.evaluators), strict=True):
        live = state.live_tickets(role, task.since, params.ticket_maturity_blocks)
        omegas.append(selection.omega([state.tickets[t].preferences for t in live], wanted, count))
    return tuple(omegas)


def require_ticket(state: State, outpoint: Outpoint, context: Context) -> Ticket:
    """Return a ticket of the transaction's author.

    Raises:
      InvalidTicket: there is none.
    """
    ticket = state.tickets.get(outpoint)
    if ticket is None:
        raise InvalidTicket("no such ticket")
    if ticket.owner != context.author:
        raise InvalidTicket("the ticket belongs to another key")
    return ticket


def slash(state: State, outpoint: Outpoint, percent: int) -> State:
    """Burn a share of a ticket's stake; the rest stays locked or returns as before."""
    output = state.utxos.get(outpoint)
    if outpoint not in state.tickets or output is None:
        return state
    cut = output.value * percent // 100
    rest = replace(output, value=Amount(output.value - cut))
    utxos = state.utxos.set(outpoint, rest) if rest.value else state.utxos.delete(outpoint)
    return replace(state, utxos=utxos, burned=Amount(state.burned + cut))


def capture(state: State, task_id: TaskId, outpoint: Outpoint, percent: int) -> State:
    """Take a share of a worker's stake for those who did their work on the task.

    Source: PoUW §3.3, Table A.3.
    """
    after = slash(state, outpoint, percent)
    task = after.tasks[task_id]
    captured = Amount(task.captured + after.burned - state.burned)
    return replace(after, tasks=after.tasks.set(task_id, replace(task, captured=captured)))


def release(state: State, outpoints: tuple[Outpoint, ...]) -> State:
    """Give stakes back to their owners: the tickets are gone, their outputs can be spent."""
    tickets = state.tickets
    for outpoint in outpoints:
        if outpoint in tickets:
            tickets = tickets.delete(outpoint)
    return replace(state, tickets=tickets)


def lock(state: State, outpoints: tuple[Outpoint, ...], task: TaskId | None) -> State:
    """Bind tickets to a task; or to none, so that other tasks may draw them again."""
    for outpoint in outpoints:
        ticket = state.tickets.get(outpoint)
        if ticket is not None:
            state = replace(state, tickets=state.tickets.set(outpoint, replace(ticket, task=task)))
    return state
