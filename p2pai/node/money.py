"""What the local user may ask and order about the wallet: accounts, balances, payments.

Source: docs/adr/0028-wallet.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p2pai.chain.params import MONEY_MAX
from p2pai.chain.transaction import Pay, Transfer
from p2pai.node import payments, wallet
from p2pai.node.accounts import Account
from p2pai.node.wallet import Funded
from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount, Hash32
from p2pai.roles.client import Submission

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Params = dict[str, Any]
OWN_ACCOUNT = 0


def balance(core: NodeCore, params: Params) -> Params:
    """Return our money, of all accounts and of each: confirmed, locked, and what the mempool will change."""
    del params
    received = core.accounts.received(core.ledger.mempool.transactions())
    each = [_balance(core, account, dict(received)) for account in core.accounts]
    sums = {name: sum(a[name] for a in each) for name in ("spendable", "staked", "total", "waiting")}
    return {"address": each[0]["address"], **sums, "accounts": each}


def accounts(core: NodeCore, params: Params) -> list[Params]:
    """Return our accounts and their addresses."""
    del params
    return [{"account": a.number, "address": _address(core, a)} for a in core.accounts]


def quote(core: NodeCore, params: Params) -> Params:
    """Return what a payment would cost now; nothing is paid."""
    if "address" not in params or "atoms" not in params:
        raise InvalidInput("name the address and the atoms of the payment")
    account, output = _account(core, params), _output(core, params)
    funded = payments.prepare(core, account, Transfer(), (output,), _rate(params))
    return {
        "fee": funded.fee,
        "size": funded.tx.size,
        "inputs": len(funded.tx.inputs),
        "change": sum(output.value for output in funded.tx.outputs[1:]),
    }


def send(core: NodeCore, order: Hash32, params: Params) -> None:
    """Pay an address from one of our accounts."""
    account, output = _account(core, params), _output(core, params)
    core.submissions[order] = posted(payments.pay(core, account, Transfer(), (output,), _rate(params)))


def add_account(core: NodeCore, order: Hash32, params: Params) -> None:
    """Add an account; the order is done when the journal knows of it."""
    del params
    record = core.accounts.next_record()
    core.accounts.add(record)
    core.submissions[order] = Submission()

    def durable() -> None:
        core.submissions[order] = Submission("posted")

    core.persist(record, durable)


def posted(funded: Funded) -> Submission:
    """Return how an order stands whose transaction is on its way."""
    return Submission("posted", txid=funded.tx.txid, fee=funded.fee)


def atoms(value: object) -> Amount:
    """Read an amount.

    Raises:
      InvalidInput: not a positive number of atoms.
    """
    if type(value) is not int or not 0 < value <= MONEY_MAX:
        raise InvalidInput("an amount is a positive whole number of atoms")
    return Amount(value)


def _balance(core: NodeCore, account: Account, received: dict[Any, Any]) -> Params:
    confirmed = core.accounts.confirmed(account, core.state)
    now = wallet.balance(core.state, account.key_hash, confirmed)
    later = wallet.balance(core.pool, account.key_hash, {**dict.fromkeys(confirmed), **received})
    return {
        "account": account.number,
        "address": _address(core, account),
        "spendable": now.spendable,
        "staked": now.staked,
        "total": now.total,
        "waiting": later.total - now.total,
    }


def _account(core: NodeCore, params: Params) -> Account:
    return core.accounts.get(params.get("account", OWN_ACCOUNT))


def _output(core: NodeCore, params: Params) -> Pay:
    receiver = address.decode(core.spec.prefix, str(params["address"]))
    return Pay(atoms(params["atoms"]), receiver)


def _rate(params: Params) -> int | None:
    rate = params.get("fee_rate")
    if rate is not None and type(rate) is not int:
        raise InvalidInput("a fee rate is a whole number of atoms per byte")
    return rate


def _address(core: NodeCore, account: Account) -> str:
    return address.encode(core.spec.prefix, account.key_hash)
