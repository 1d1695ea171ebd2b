"""Tickets as the local user sees them: buying, listing, and getting stakes back.

A stake is its owner's again when its ticket was released (the task is over), or when the ticket expired and
every block that it was drawn to verify is settled. Until it is spent an expired ticket stays on the list.

Source: PoUW §3.3; PROTOCOL section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p2pai.chain.coins import is_locked
from p2pai.chain.state import Ticket
from p2pai.chain.transaction import ROLES, Stake
from p2pai.node import money, payments, wallet
from p2pai.node.accounts import Account
from p2pai.node.overview import ticket_stage
from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, Outpoint, TaskId
from p2pai.roles.base import ticket_data
from p2pai.vrf import selection

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Params = dict[str, Any]


def buy(core: NodeCore, order: Hash32, params: Params) -> None:
    """Buy tickets of a role with the node's own keys, at the price of the next block."""
    role, count = params["role"], params.get("count", 1)
    if role not in ROLES:
        raise InvalidInput(f"there are no tickets for the role {role!r}; the roles are {', '.join(ROLES)}")
    most = core.params.tickets_per_block_max
    if type(count) is not int or not 1 <= count <= most:
        raise InvalidInput(f"1 to {most} tickets can be bought at once")
    data = ticket_data(core, role, _preferences(core, params.get("preferences", [])))
    stake = Stake(core.state.ticket_price, core.identity.key_hash)
    funded = payments.pay(core, core.accounts.get(0), data, (stake,) * count)
    core.submissions[order] = money.posted(funded)


def refund(core: NodeCore, order: Hash32, params: Params) -> None:
    """Pay every stake that is free again to the account itself, in one piece."""
    account = core.accounts.get(params.get("account", 0))
    stakes = [o for o, output in _stakes(core, account) if not is_locked(core.pool, o)]
    free = wallet.coins(core.pool, account.key_hash, stakes)
    if not free:
        raise InvalidInput("no stake can be refunded now; p2pai ticket refund --dry-run says when")
    funded = wallet.collect(core.pool, account, free, core.ledger.mempool.fee_rate_min)
    core.announce(funded.tx)
    core.submissions[order] = money.posted(funded)


def refundable(core: NodeCore, params: Params) -> list[Params]:
    """Return our stakes, and for each whether and when it is ours again."""
    account = core.accounts.get(params.get("account", 0))
    return [
        {"stake": str(outpoint), "atoms": output.value, **_release(core, outpoint)}
        for outpoint, output in _stakes(core, account)
    ]


def ticket_list(core: NodeCore, params: Params) -> list[Params]:
    """Return every ticket of the chain, or only our own."""
    only_own = params.get("own", False)
    own = {account.key_hash for account in core.accounts}
    rows = sorted(core.state.tickets.items(), key=lambda item: item[0])
    return [_ticket(core, o, t, own=t.key_hash in own) for o, t in rows if not only_own or t.key_hash in own]


def _ticket(core: NodeCore, outpoint: Outpoint, ticket: Ticket, *, own: bool) -> Params:
    utxos, maturity = core.state.utxos, core.params.ticket_maturity_blocks
    return {
        "ticket": str(outpoint),
        "role": ticket.role,
        "owner": address.encode(core.spec.prefix, ticket.key_hash),
        "own": own,
        "stake": utxos[outpoint].value if outpoint in utxos else 0,
        "state": ticket_stage(core, ticket),
        "height": ticket.height,
        "live_from": ticket.height + maturity if ticket.height else 0,
        "expires": ticket.expires or None,
        "task": ticket.task.hex() if ticket.task else None,
    }


def _stakes(core: NodeCore, account: Account) -> list[tuple[Outpoint, Stake]]:
    utxos = core.state.utxos
    ours = ((o, utxos.get(o)) for o in sorted(core.accounts.confirmed(account, core.state)))
    return [(outpoint, output) for outpoint, output in ours if isinstance(output, Stake)]


def _release(core: NodeCore, outpoint: Outpoint) -> Params:
    """Tell what holds a stake, whether it is free, and the height from which it can be, if that is known."""
    state, ticket = core.state, core.state.tickets.get(outpoint)
    if not is_locked(state, outpoint):
        return {"role": ticket.role if ticket else None, "free": True, "from": state.height, "why": "free"}
    if ticket is None:
        task = TaskId(outpoint.txid).hex()
        return {
            "role": None,
            "free": False,
            "from": None,
            "why": f"fee of task {task[:16]}, until it is over",
        }
    why, height = _holder(core, outpoint, ticket)
    return {"role": ticket.role, "free": False, "from": height, "why": why}


def _holder(core: NodeCore, outpoint: Outpoint, ticket: Ticket) -> tuple[str, int | None]:
    if ticket.task is not None:
        return f"works on task {ticket.task.hex()[:16]}, until it is over", None
    if not ticket.is_expired(core.state.height + 1):
        return "waits to be drawn", ticket.expires or None
    window = core.params.verification_window_blocks
    drawn = [v.height + window for v in core.state.verifications.values() if outpoint in v.verifiers]
    return "was drawn to verify blocks", max(drawn)


def _preferences(core: NodeCore, given: Any) -> tuple[int, ...]:  # noqa: ANN401
    if not isinstance(given, list) or any(type(weight) is not int for weight in given):
        raise InvalidInput("preferences are whole numbers, one for each trait")
    if given:
        selection.check_traits(tuple(given))
    if given and len(given) != core.params.trait_count:
        raise InvalidInput(f"a ticket has {core.params.trait_count} preferences on this network")
    return tuple(given)
