"""Reports on blocks, tasks and tickets for people and tools.

Everything is read from the ledger at the tip and from the chain itself, since the ledger after an old block
is kept no longer: a block's approvals from the verdicts revealed after it, a worker from its JOIN_TASK.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from p2pai.chain import it_res, schedule
from p2pai.chain.block import Block
from p2pai.chain.it_res import IterationResult
from p2pai.chain.rewards import earned_subsidy, task_shares
from p2pai.chain.state import Stage, Task
from p2pai.chain.transaction import Coinbase, JoinTask, Transaction, VerifyReveal
from p2pai.node import committees, definitions
from p2pai.node.keeping import Mined
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Hash32, KeyHash, Outpoint, TaskId
from p2pai.roles.client import Client

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Report = dict[str, Any]
Owners = dict[Outpoint, KeyHash]

DIGITS_SHOWN_MAX = 64
"""Of an id or a hash, that a refusal quotes."""

COUNT_DEFAULT = 20
COUNT_MAX = 10_000


def block_list(core: NodeCore, params: Report) -> list[Report]:
    """Return the newest blocks of the best chain, newest first."""
    count = params.get("count", COUNT_DEFAULT)
    if type(count) is not int or not 1 <= count <= COUNT_MAX:
        raise InvalidInput(f"count is 1 to {COUNT_MAX}")
    top = core.state.height
    hashes = (core.ledger.tree.hash_at(h) for h in range(top, max(0, top - count), -1))
    found = (core.ledger.keeping.mined(name) for name in hashes if name is not None)
    return [_block(core, mined) for mined in found if mined is not None]


def block_show(core: NodeCore, params: Report) -> Report:
    """Return one block in full."""
    name = find_block(core, params)
    block, mined = core.ledger.tree.block(name), core.ledger.keeping.mined(name)
    if block is None:
        raise Unavailable("the block is damaged on this disk; it is fetched again from other nodes")
    header = block.header
    report = _block(core, mined) if mined else {"height": 0, "hash": block.hash.hex()}
    report["header"] = {
        "version": header.version,
        "prev": header.prev.hex(),
        "merkle_root": header.merkle_root.hex(),
        "time": header.time,
        "bits": f"{header.bits:08x}",
        "nonce": header.nonce.hex(),
        "hash_msg": header.hash_msg.hex(),
        "hash_msg_hist": header.hash_msg_hist.hex(),
        "work_hash": header.work_hash[::-1].hex(),
    }
    report["work_proof"] = _work_proof(block)
    report["transactions"] = [_transaction(core, tx) for tx in block.transactions]
    report["approvals_by"] = _approvers(core, mined) if mined else []
    return report


def find_block(core: NodeCore, params: Report) -> Hash32:
    """Return the hash of the block that the user means: a height, or the first digits of a hash.

    Raises:
      InvalidInput: neither, or more than one block.
      Unavailable: no such block.
    """
    wanted = str(params.get("block", ""))
    if wanted.isdecimal() and len(wanted) < 16:
        name = core.ledger.tree.hash_at(int(wanted))
        if name is None:
            raise Unavailable(f"there is no block {wanted}; the tip is at height {core.state.height}")
        return name
    digits = wanted.lower()
    if len(digits) < 4 or any(c not in "0123456789abcdef" for c in digits):
        raise InvalidInput("name a block by its height or at least 4 hexadecimal digits of its hash")
    found = core.ledger.keeping.beginning(digits[:64])
    if len(found) > 1:
        raise InvalidInput(f"more than one block begins with {digits[:DIGITS_SHOWN_MAX]}")
    if not found:
        raise Unavailable(f"no block of the chain begins with {digits[:DIGITS_SHOWN_MAX]}")
    return found[0]


def task_list(core: NodeCore, params: Report) -> list[Report]:
    """Return every task, oldest first."""
    del params
    tasks = sorted(core.state.tasks.items(), key=lambda item: (item[1].history[0][1], item[0]))
    return [_task(core, task_id, task) for task_id, task in tasks]


def task_show(core: NodeCore, params: Report) -> Report:
    """Return one task in full."""
    task_id, task = find_task(core, params)
    report = _task(core, task_id, task)
    report["definition"] = definitions.report(task.definition)
    owners = _owners(core, task_id, task)
    report["workers"] = [
        {"role": role, "ticket": str(ticket), "address": _owner(core, owners, ticket)}
        for role, tickets in (*task.workers(), ("expelled", task.expelled))
        for ticket in tickets
    ]
    report["keys"] = committees.report(core, task_id, task)
    report["history"] = [{"state": name, "height": height} for name, height in task.history]
    report["result"] = _result(core, task_id, task)
    return report


def task_progress(core: NodeCore, params: Report) -> Report:
    """Return how far a task has come: per miner, its blocks, its payouts."""
    task_id, task = find_task(core, params)
    followed = core.following.get(task_id)
    client = core.roles.get(Client.name)
    delivered = client.delivered.get(task_id) if isinstance(client, Client) else None
    result, owners = _result(core, task_id, task), _owners(core, task_id, task)
    return {
        "state": task.stage.value,
        "height": core.state.height,
        "miners": [_miner(core, task_id, task, ticket, owners) for ticket in task.miners],
        "slots": followed.history.next_slot if followed else task.slots,
        "blocks": [b for b in _blocks_since(core, task) if b["task"] == task_id.hex()],
        "payouts": result["payouts"] if result and task.stage.is_over else [],
        "model_path": f"models/{delivered}" if delivered else None,
    }


def find_task(core: NodeCore, params: Report) -> tuple[TaskId, Task]:
    """Return the task that the user means by the first digits of its id.

    Raises:
      InvalidInput: more than one task.
      Unavailable: no such task.
    """
    digits = str(params.get("task", "")).lower()
    found = sorted((i, t) for i, t in core.state.tasks.items() if i.hex().startswith(digits))
    if len(found) > 1:
        raise InvalidInput(f"more than one task begins with {digits[:DIGITS_SHOWN_MAX]!r}")
    if not found:
        raise Unavailable(f"no task on the chain begins with {digits[:DIGITS_SHOWN_MAX]!r}")
    return found[0]


def _blocks_since(core: NodeCore, task: Task) -> list[Report]:
    """Return the blocks that can be of a task, newest first."""
    blocks = core.state.height - task.history[0][1]
    return block_list(core, {"count": min(blocks, COUNT_MAX)}) if blocks else []


def _block(core: NodeCore, mined: Mined) -> Report:
    block, height = mined.block, mined.height
    coinbase, proof = block.transactions[0].data, block.work_proof
    assert isinstance(coinbase, Coinbase)
    assert proof is not None
    approvals = len(_approvers(core, mined))
    settled_at = height + core.params.verification_window_blocks
    settled, rules = core.state.height >= settled_at, core.spec.params_at(settled_at)
    paid = earned_subsidy(height, approvals, mined.verifiers, rules) if settled else 0
    return {
        "height": height,
        "hash": block.hash.hex(),
        "time": block.header.time,
        "task": coinbase.task.hex(),
        "task_name": core.state.tasks[coinbase.task].definition.name,
        "miner": _address(core, mined.miner),
        "iteration": it_res.decode(proof.lucky.message).iteration,
        "transactions": len(block.transactions),
        "approvals": approvals,
        "verifiers": mined.verifiers,
        "settled": settled,
        "subsidy_paid": paid,
    }


def _approvers(core: NodeCore, mined: Mined) -> list[str]:
    """Return the addresses of those who revealed an approval in the blocks that follow."""
    window = range(mined.height + 1, mined.height + core.params.verification_window_blocks + 1)
    later = (block for block in map(core.ledger.tree.block_at, window) if block is not None)
    return [
        _address(core, _author(tx))
        for block in later
        for tx in block.transactions
        if isinstance(tx.data, VerifyReveal) and tx.data.block == mined.block.hash and tx.data.approved
    ]


def _work_proof(block: Block) -> Report | None:
    proof = block.work_proof
    if proof is None:
        return None
    lucky = it_res.decode(proof.lucky.message)
    return {
        "ticket": str(proof.ticket),
        "committed_iteration": it_res.decode(proof.committed.message).iteration,
        "lucky_iteration": lucky.iteration,
        "epoch": lucky.epoch,
        "slots": [s.slot for s in proof.slots],
        "views": [s.view for s in proof.slots],
        "batch": lucky.batch.hex(),
        "weights": lucky.weights.hex(),
        "residual": lucky.residual.hex(),
        "peer_messages": lucky.peer_count,
        "message_map_bytes": len(lucky.message_map),
        "nonce_precursor_hash": lucky.nonce.hex(),
    }


def _transaction(core: NodeCore, tx: Any) -> Report:  # noqa: ANN401
    return {
        "txid": tx.txid.hex(),
        "type": tx.kind,
        "inputs": [str(outpoint) for outpoint in tx.inputs],
        "outputs": [{"value": o.value, "to": _address(core, o.key_hash)} for o in tx.outputs],
        "size": tx.size,
    }


def _task(core: NodeCore, task_id: TaskId, task: Task) -> Report:
    followed = core.following.get(task_id)
    latest = followed.history.latest.values() if followed else ()
    result = _result(core, task_id, task)
    return {
        "task": task_id.hex(),
        "name": task.definition.name,
        "state": task.stage.value,
        "predefined": task.is_predefined,
        "fee": task.fee,
        "height": task.history[0][1],
        "miners": len(task.miners),
        "supervisors": len(task.supervisors),
        "evaluators": len(task.evaluators),
        "iterations": _iterations(task, latest),
        "metric": task.definition.metrics[0],
        "score": result["score"] if result else None,
    }


def _iterations(task: Task, latest: Iterable[IterationResult]) -> int | None:
    """Return how far the first of the miners is; None when this node has not heard."""
    heard = max((m.iteration + 1 for m in latest), default=None)
    if task.stage in (Stage.EVALUATING, Stage.PAID):
        plan = schedule.make_schedule(task.definition, task.definition_block)
        return task.roster.iterations(plan, task.roster.working[0])
    return heard if heard is not None or task.stage is Stage.TRAINING else 0


def _result(core: NodeCore, task_id: TaskId, task: Task) -> Report | None:
    conclusion = task.conclusion
    if conclusion is None:
        return None
    owners = _owners(core, task_id, task)
    miners = [_owner(core, owners, ticket) for ticket in task.miners]
    metric = task.definition.metrics[0]
    values = [definitions.value_of(metric, score) for score in conclusion.scores]
    return {
        "model": conclusion.model.hex(),
        "samples": conclusion.samples,
        "metric": metric,
        "score": definitions.value_of(metric, max(conclusion.scores)) if conclusion.scores else None,
        "scores": [{"address": o, "score": v} for o, v in zip(miners, values, strict=bool(values))],
        "payouts": [
            {"address": _owner(core, owners, ticket), "role": role, "atoms": value}
            for role, ticket, value in task_shares(task, conclusion)
        ],
    }


def _owners(core: NodeCore, task_id: TaskId, task: Task) -> Owners:
    """Return who the task's tickets belong to; of one that is over they are known by how they joined."""
    if not task.stage.is_over:
        return {ticket: known.key_hash for ticket, known in core.state.tickets.items()}
    owners = {ticket: known.key_hash for ticket, known in core.ledger.keeping.genesis.tickets.items()}
    heights = [height for _, height in task.history]
    for height in range(heights[0], heights[1] + 1):
        block = core.ledger.tree.block_at(height)
        for tx in block.transactions if block else ():
            if isinstance(tx.data, JoinTask) and tx.data.task == task_id:
                owners[tx.data.ticket] = _author(tx)
    return owners


def _miner(core: NodeCore, task_id: TaskId, task: Task, ticket: Outpoint, owners: Owners) -> Report:
    followed = core.following.get(task_id)
    latest = followed.history.latest.get(ticket) if followed else None
    plan = schedule.make_schedule(task.definition, task.definition_block)
    return {
        "address": _owner(core, owners, ticket),
        "iteration": latest.iteration + 1 if latest else 0,
        "iterations": task.roster.iterations(plan, ticket),
        "epoch": latest.epoch if latest else 0,
        "epochs": plan.epochs,
        "metrics": _metrics(task, latest.metrics if latest else ()),
    }


def _metrics(task: Task, values: tuple[int, ...]) -> Report:
    names = task.definition.metrics
    return dict(zip(names, map(_float, values), strict=True)) if values else dict.fromkeys(names)


def _float(bits: int) -> float | None:
    """Return a metric; None for what is no number, which a miner may well claim."""
    value: float = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return value if math.isfinite(value) else None


def _owner(core: NodeCore, owners: Owners, ticket: Outpoint) -> str:
    return _address(core, owners[ticket]) if ticket in owners else str(ticket)


def _author(tx: Transaction) -> KeyHash:
    return ecdsa.key_hash(tx.witnesses[0].key)


def _address(core: NodeCore, key_hash: KeyHash) -> str:
    return address.encode(core.spec.prefix, key_hash)
