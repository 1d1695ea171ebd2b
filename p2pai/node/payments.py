"""Paying from an account of this node: a transaction is funded, signed, admitted and announced, or refused.

Source: docs/adr/0028-wallet.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pai.chain import task_life
from p2pai.chain.mempool import FEE_RATE_MIN
from p2pai.chain.packages import ORDINARY
from p2pai.chain.state import State
from p2pai.chain.transaction import Data, Output, PayForTask
from p2pai.node import wallet
from p2pai.node.accounts import Account
from p2pai.node.wallet import Funded
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore


def prepare(
    core: NodeCore, account: Account, data: Data, outputs: tuple[Output, ...], rate: int | None = None
) -> Funded:
    """Return a transaction that an account pays for; nothing is announced.

    Args:
      core: whose coins and ledger.
      account: who pays.
      data: what it is for.
      outputs: what is paid.
      rate: atoms per byte; as little as gets into the mempool where None.

    Raises:
      InvalidInput: the coins do not suffice.
    """
    ours, tip = core.accounts, core.state
    purses = (ours.confirmed(account, tip), ours.waiting(account, tip, core.pool))
    state = _purse(core, account, data)
    # What money or the chain's weight waits for gets in at the minimum, however full the pool is.
    least = core.ledger.mempool.fee_rate_min if isinstance(data, ORDINARY) else FEE_RATE_MIN
    return wallet.fund(state, account, purses, data, outputs, least if rate is None else rate)


def pay(
    core: NodeCore,
    account: Account,
    data: Data,
    outputs: tuple[Output, ...],
    rate: int | None = None,
    note: Callable[[Hash32], object] | None = None,
) -> Funded:
    """Prepare a transaction and announce it.

    Raises:
      InvalidInput: the coins do not suffice, or the ledger refuses it.
    """
    funded = prepare(core, account, data, outputs, rate)
    core.announce(funded.tx, note)
    return funded


def _purse(core: NodeCore, account: Account, data: Data) -> State:
    """Return the ledger to pay from: the fee of a task that is replaced is at hand already."""
    if not isinstance(data, PayForTask) or data.replaces is None:
        return core.pool
    try:
        return task_life.revoke(core.pool, data.replaces, account.key_hash, core.state.height + 1)
    except InvalidInput:
        return core.pool
