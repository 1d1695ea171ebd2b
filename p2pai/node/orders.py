"""What the local user may order: a task, a payment, tickets.

An order is known by the hash of its parameters, so that the same order twice is one order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from p2pai.chain.task import FRAGMENT_COUNT_MAX, FRAGMENT_COUNT_MIN, TaskDefinition
from p2pai.node import money, reports, staking
from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, TaskId
from p2pai.roles.client import Client, Submission

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Params = dict[str, Any]

PARAMS_SIZE_MAX: Final = 1 << 20


def submission_id(params: bytes) -> Hash32:
    """Return what an order is known by."""
    return tagged_hash("p2pai/submission", params)


def carry_out(core: NodeCore, method: str, params: bytes) -> None:
    """Begin an order; failures are kept with the submission."""
    order = submission_id(params)
    if order in core.submissions and core.submissions[order].state != "failed":
        return
    try:
        decoded = cbor.decode(params, size_max=PARAMS_SIZE_MAX)
        if not isinstance(decoded, dict):
            raise InvalidInput("the parameters are not a table")
        if method in _ORDERS:
            _ORDERS[method](core, order, decoded)
    except (InvalidInput, Unavailable) as error:
        core.submissions[order] = Submission("failed", error=str(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        core.submissions[order] = Submission("failed", error=f"the order lacks or misuses {error}")


def submission(core: NodeCore, params: Params) -> Params:
    """Return how an order goes."""
    try:
        order = Hash32(bytes.fromhex(str(params["id"])))
    except (KeyError, ValueError) as error:
        raise InvalidInput("name the order by its id") from error
    entry = core.submissions.get(order)
    client = core.roles.get(Client.name)
    if entry is None and isinstance(client, Client):
        entry = client.submissions.get(order)
    if entry is None:
        raise InvalidInput("there is no such order")
    task = entry.task.hex() if entry.task else None
    txid = entry.txid.hex() if entry.txid else None
    fee = {} if entry.fee is None else {"fee": entry.fee}
    return {"state": entry.state, "task": task, "txid": txid, "error": entry.error or None, **fee}


def _submit_task(core: NodeCore, order: Hash32, params: dict[str, Any]) -> None:
    client, fee = _client(core), money.atoms(params["fee"])
    replaces = _task(core, params["replaces"]) if "replaces" in params else None
    client.submit(order, _draft(core, params["definition"]), str(params["data"]), fee, replaces)


def _revoke(core: NodeCore, order: Hash32, params: Params) -> None:
    _client(core).revoke(order, _task(core, params["task"]))


def _pause(core: NodeCore, order: Hash32, params: Params, *, pause: bool) -> None:
    task = _task(core, params["task"])
    core.submissions[order] = Submission("posted", task, core.pausing.wish(task, pause=pause))


def _client(core: NodeCore) -> Client:
    client = core.roles.get(Client.name)
    if not isinstance(client, Client):
        raise InvalidInput("this node is no client; start it with --role client to submit tasks")
    return client


def _task(core: NodeCore, named: Any) -> TaskId:  # noqa: ANN401
    return reports.find_task(core, {"task": named})[0]


def _draft(core: NodeCore, digits: Any) -> TaskDefinition:  # noqa: ANN401
    """Read a definition whose data is not known yet: its fragments are counted, not named."""
    try:
        draft = TaskDefinition.decode(bytes.fromhex(digits))
    except (TypeError, ValueError) as error:
        raise InvalidInput("the definition is not in hexadecimal") from error
    if not FRAGMENT_COUNT_MIN <= len(draft.dataset.fragments) <= FRAGMENT_COUNT_MAX:
        raise InvalidInput(f"a dataset has {FRAGMENT_COUNT_MIN} to {FRAGMENT_COUNT_MAX} fragments")
    return replace(draft, client=core.identity.peer)


_ORDERS: Final[dict[str, Callable[[NodeCore, Hash32, Params], None]]] = {
    "task.submit": _submit_task,
    "task.revoke": _revoke,
    "task.pause": partial(_pause, pause=True),
    "task.resume": partial(_pause, pause=False),
    "wallet.send": money.send,
    "wallet.add_account": money.add_account,
    "ticket.buy": staking.buy,
    "ticket.refund": staking.refund,
}
"""The same names as shell/rpc.SUBMIT_METHODS."""
