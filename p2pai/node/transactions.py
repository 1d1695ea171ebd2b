"""One transaction for people and tools: where it stands, what it spends, what it says.

Nothing is indexed: a transaction is looked for in the mempool, then down the best chain, a bounded number
of blocks at each question, so that a long chain stops nobody; who asks goes on where the answer says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from p2pai.chain.block import Block
from p2pai.chain.genesis import genesis_state
from p2pai.chain.transaction import Output, PayForTask, Stake, Transaction, signing_digest
from p2pai.node import definitions
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import InvalidInput, InvalidProof
from p2pai.primitives.ids import Outpoint

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Report = dict[str, Any]

BLOCKS_MAX: Final = 1_000
"""Looked through at one question."""

DIGITS_MIN: Final = 8


def show(core: NodeCore, params: Report) -> Report:
    """Return a transaction, or the height below which to look on.

    Raises:
      InvalidInput: what is asked for is no txid or height.
    """
    digits, below = str(params.get("tx", "")).lower(), params.get("below")
    if not DIGITS_MIN <= len(digits) <= 64 or any(c not in "0123456789abcdef" for c in digits):
        raise InvalidInput(f"name a transaction by at least {DIGITS_MIN} hexadecimal digits of its txid")
    if below is not None and (type(below) is not int or below < 0):
        raise InvalidInput("a height is a whole number")
    if below is None:
        for tx in core.ledger.mempool.transactions():
            if tx.txid.hex().startswith(digits):
                return _waiting(core, tx)
    top = core.state.height if below is None else min(below - 1, core.state.height)
    for height, block in _blocks(core, top):
        for tx in block.transactions:
            if tx.txid.hex().startswith(digits):
                return _confirmed(core, tx, block, height)
    return {"found": False, "below": max(0, top - BLOCKS_MAX + 1)}


def _blocks(core: NodeCore, top: int) -> Iterator[tuple[int, Block]]:
    """Go down the best chain from a height, BLOCKS_MAX at most."""
    for height in range(top, max(-1, top - BLOCKS_MAX), -1):
        block = core.ledger.tree.block_at(height)
        if block is not None:
            yield height, block


def _waiting(core: NodeCore, tx: Transaction) -> Report:
    spent = dict(zip(tx.inputs, core.ledger.mempool.spent(tx.txid), strict=True))
    return {**_report(core, tx, spent), "where": "mempool", "block": None}


def _confirmed(core: NodeCore, tx: Transaction, block: Block, height: int) -> Report:
    where = {
        "height": height,
        "hash": block.hash.hex(),
        "time": block.header.time,
        "confirmations": core.state.height - height + 1,
    }
    return {**_report(core, tx, _spent(core, tx, height)), "where": "block", "block": where}


def _spent(core: NodeCore, tx: Transaction, height: int) -> dict[Outpoint, Output]:
    """Return what a transaction spent, as far as the blocks that made it are near."""
    wanted = dict.fromkeys(tx.inputs)
    found = {o: output for o, output in genesis_state(core.spec).utxos.items() if o in wanted}
    for _, block in _blocks(core, height):
        if len(found) == len(wanted):
            break
        for maker in block.transactions:
            made = {Outpoint(maker.txid, i): output for i, output in enumerate(maker.outputs)}
            found.update({o: output for o, output in made.items() if o in wanted})
    return found


def _report(core: NodeCore, tx: Transaction, spent: dict[Outpoint, Output]) -> Report:
    known = len(spent) == len(tx.inputs) and bool(tx.inputs)
    # A stake may be worth less than when it was made: then the fee can't be told from the outputs alone.
    tells = known and bool(tx.witnesses) and not any(isinstance(output, Stake) for output in spent.values())
    fee = sum(o.value for o in spent.values()) - sum(o.value for o in tx.outputs) if tells else None
    return {
        "found": True,
        "txid": tx.txid.hex(),
        "type": tx.kind,
        "size": tx.size,
        "inputs": [{"outpoint": str(o), **_output(core, spent.get(o))} for o in tx.inputs],
        "outputs": [_output(core, output) for output in tx.outputs],
        "fee": fee,
        "data": _data(tx),
        "signatures_valid": _signatures(core, tx),
    }


def _output(core: NodeCore, output: Output | None) -> Report:
    if output is None:
        return {"kind": None, "value": None, "address": None}
    owner = address.encode(core.spec.prefix, output.key_hash)
    return {"kind": type(output).__name__.lower(), "value": output.value, "address": owner}


def _signatures(core: NodeCore, tx: Transaction) -> bool | None:
    """Return whether all signatures hold; None where none is needed."""
    if not tx.witnesses:
        return None
    digest = signing_digest(tx, core.state.chain)
    try:
        for key, signature in dict.fromkeys((w.key, w.signature) for w in tx.witnesses):
            ecdsa.verify(key, digest, signature)
    except InvalidProof:
        return False
    return True


def _data(tx: Transaction) -> Report:
    values = {field.name: getattr(tx.data, field.name) for field in fields(tx.data)}
    if isinstance(tx.data, PayForTask):
        values["definition"] = definitions.report(tx.data.definition)
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value of a record in JSON's types."""
    if isinstance(value, Outpoint):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value
