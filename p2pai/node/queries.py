"""What the local user may ask and order; everything is answered from the core's state alone.

Values are JSON's: hashes are hex strings, amounts are atoms. The methods are listed in docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from p2pai.chain.snapshot import snapshot_id
from p2pai.node import committees, history, money, orders, overview, replays, reports, staking, transactions
from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput
from p2pai.roles.miner import Miner

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Params = dict[str, Any]

METHOD_SHOWN_MAX: Final = 40
"""Characters of an unknown method's name that a refusal quotes."""


def answer(core: NodeCore, method: str, params: Params) -> Any:  # noqa: ANN401
    """Answer one question.

    Raises:
      InvalidInput: unknown method, or parameters that make no sense.
      Unavailable: what was asked for is not known.
    """
    question = _QUESTIONS.get(method)
    if question is None:
        raise InvalidInput(f"there is no method {method[:METHOD_SHOWN_MAX]!r}")
    return question(core, params)


def submit(core: NodeCore, method: str, params: bytes) -> None:
    """Carry out one order; how it goes is asked for with `submission`."""
    orders.carry_out(core, method, params)


def status(core: NodeCore, params: Params) -> Params:
    """Return the node's state in short."""
    from p2pai import __version__  # noqa: PLC0415

    del params
    checkpoint = core.state.checkpoint
    return {
        "version": __version__,
        "chain": core.spec.name,
        "chain_id": core.spec.id.hex(),
        "peer_id": core.identity.peer,
        "address": address.encode(core.spec.prefix, core.identity.key_hash),
        "roles": list(core.roles),
        "height": core.state.height,
        "tip": core.state.tip.hex(),
        "state_digest": snapshot_id(core.state).hex(),
        "origin": core.origin.said,
        "remotes": len(core.remotes),
        "mempool": len(core.ledger.mempool),
        "ticket_price": core.state.ticket_price,
        "checkpoint": str(checkpoint),
        "mining": _mining(core),
    }


def _mining(core: NodeCore) -> Params | None:
    miner = core.roles.get(Miner.name)
    return asdict(miner.tally) if isinstance(miner, Miner) else None


def dkg_transcript(core: NodeCore, params: Params) -> Params:
    """Return the transcript of a task's common key, checked."""
    return committees.transcript(core, *reports.find_task(core, params))


_QUESTIONS: Final[dict[str, Callable[[NodeCore, Params], Any]]] = {
    "node.status": status,
    "wallet.balance": money.balance,
    "wallet.accounts": money.accounts,
    "wallet.quote": money.quote,
    "wallet.history": history.answer,
    "supply": overview.supply,
    "chain.status": overview.chain_status,
    "tx.show": transactions.show,
    "submission": orders.submission,
    "block.list": reports.block_list,
    "block.show": reports.block_show,
    "task.list": reports.task_list,
    "task.show": reports.task_show,
    "task.progress": reports.task_progress,
    "dkg.transcript": dkg_transcript,
    "ticket.list": staking.ticket_list,
    "ticket.refundable": staking.refundable,
    "replay.job": replays.replay_job,
    "replay.verdict": replays.replay_verdict,
}
