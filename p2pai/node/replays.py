"""What it takes to replay a block offline, and what a replay of it means.

Source: PoUW §5.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.node.keeping import Mined
from p2pai.node.reports import Report, find_block
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.roles import replaying

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

REPLAYED_SIZE_MAX: Final = 64 * 1024
"""Bytes of a trainer's answer: content ids and one sentence."""


def replay_job(core: NodeCore, params: Report) -> Report:
    """Return what it takes to replay a block's lucky iteration.

    With `applied` (hex of the capsule's list of peers' messages) the answer holds the trainer's job; without,
    it says which blobs the capsule is made of.
    """
    mined = _mined_block(core, params)
    lucky = replaying.lucky_iteration(mined.block)
    names = ("weights", "residual", "optimiser", "batch", "applied")
    report: Report = {
        "block": mined.block.hash.hex(),
        "height": mined.height,
        "task": lucky.task.hex(),
        "iteration": lucky.message.iteration,
        "parts": {name: part.hex() for name, part in zip(names, lucky.parts(), strict=True)},
        "recorded_nonce": lucky.message.nonce.hex(),
    }
    if "applied" in params:
        try:
            applied = bytes.fromhex(str(params["applied"]))
        except ValueError as error:
            raise InvalidInput("`applied` is not hexadecimal") from error
        before = core.ledger.keeping.state_after(mined.block.header.prev)
        job = replaying.replay_job(lucky, applied, before)
        report["job"] = record.encode_tagged(job).hex()
    return report


def replay_verdict(core: NodeCore, params: Report) -> Report:
    """Judge what a replay gave (`replayed`: hex of the trainer's jobs.Replayed) as a verifier does."""
    lucky = replaying.lucky_iteration(_mined_block(core, params).block)
    try:
        data = bytes.fromhex(str(params.get("replayed", "")))
    except ValueError as error:
        raise InvalidInput("`replayed` is not hexadecimal") from error
    finding = replaying.judge(lucky, record.decode(jobs.Replayed, data, size_max=REPLAYED_SIZE_MAX))
    return {"identical": not finding.reason, "reason": finding.reason}


def _mined_block(core: NodeCore, params: Report) -> Mined:
    mined = core.ledger.keeping.mined(find_block(core, params))
    if mined is None:
        raise InvalidInput("the genesis block was not mined, there is nothing to replay")
    return mined
