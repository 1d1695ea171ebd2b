"""A decoded message in one line for people: what it is about, with hashes shortened.

Most kinds say their fields by name; what everybody looks for in a payment, an order, a block and an IT_RES is
said in words.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from p2pai.cli import screen
from p2pai.node.decoding import Decoded
from p2pai.node.fields import Fields

LENGTH_MAX: Final = 400
"""Characters of a summary; a program takes `--json`, which has everything."""

PAYMENTS_SHOWN: Final = 3
VALUES_SHOWN: Final = 4

_HIDDEN: Final = frozenset(
    (
        "signature",
        "first_signature",
        "second_signature",
        "certificate",
        "possession",
        "bls_key",
        "vrf_key",
        "salt",
        "witness",
        "kind",
        "version",
        "order",
        "key",
        "commitment",
        "shares",
        "approvals",
        "deal",
    )
)
"""Fields that say nothing to people."""

_FIRST: Final = frozenset(("statement", "place", "report", "height", "slot", "iteration"))
"""Fields that are said before the others of their record."""

_VOTES: Final = {
    "PreparedStatement": "prepare",
    "HistoryStatement": "a history",
    "MalformedStatement": "malformed data",
    "StatusStatement": "a miner's status",
}
"""What a share or a proposal is about, where it is no slot's certificate."""

_LONG: Final = re.compile("[0-9A-Za-z]{40,}")
"""A hash, an address or a peer id."""


def summarize(message: Decoded) -> str:
    """Return one line, all of it printable."""
    body = message.body or {}
    if message.kind in _SPECIAL:
        said = _SPECIAL[message.kind](body)
    else:
        said = (_say_transaction if "txid" in body else _say_fields)(body, message.task)
    line = printable(said)
    return line if len(line) <= LENGTH_MAX else line[: LENGTH_MAX - 3] + "..."


def printable(text: str) -> str:
    """Return text in which what could move a cursor, or hide or turn round other text, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _say_transfer(body: Fields) -> str:
    outputs = [output for output in body["outputs"] if isinstance(output, Mapping)]
    paid = [f"{screen.coins(o['value'])} to {screen.short(o['key_hash'])}" for o in outputs[:PAYMENTS_SHOWN]]
    more = [f"{len(outputs) - len(paid)} more"] if len(outputs) > len(paid) else []
    return f"{', '.join(paid + more)}; txid {screen.short(body['txid'])}"


def _say_transaction(body: Fields, task: str) -> str:
    return f"{_say_fields(body['data'], task)}; txid {screen.short(body['txid'])}".lstrip("; ")


def _say_order(body: Fields) -> str:
    definition, fee = body["data"]["definition"], body["outputs"][:1]
    samples = definition["dataset"]["samples"]
    parts = [
        f"{definition['name']}: {samples} samples, {definition['epochs']} epochs",
        *(f"fee {screen.coins(output['value'])}" for output in fee),
        f"txid {screen.short(body['txid'])}",
    ]
    return ", ".join(parts)


def _say_block(body: Fields) -> str:
    parts = [f"height {body['height']}"] if "height" in body else []
    parts += [f"hash {screen.short(body['hash'])}", f"after {screen.short(body['prev'])}"]
    if "transactions" in body:
        parts.append(_count(len(body["transactions"]), "transaction"))
    if "ticket" in body:
        parts.append(f"by ticket {_value(body['ticket'])}")
    return f"{', '.join(parts)}, made {screen.moment(body['time'])}"


def _say_iteration(body: Fields) -> str:
    parts = [
        f"iteration {body['iteration']}",
        f"epoch {body['epoch']}",
        f"ticket {_value(body['ticket'])}",
        f"{_count(body['elements'], 'element')} in {body['map_size']} B",
        f"tau 2^-{body['tau_bits']}",
        f"{_count(body['peer_count'], 'peer')} applied",
        *(f"{name} {' '.join(map(_float, body[name]))}" for name in ("metrics", "validation") if body[name]),
    ]
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _float(bits: int) -> str:
    return f"{struct.unpack('<f', bits.to_bytes(4, 'little'))[0]:.4g}"


def _say_fields(body: Mapping[str, Any], task: str) -> str:
    return ", ".join(_parts(body, task))


def _parts(body: Mapping[str, Any], task: str) -> Iterator[str]:
    ordered = sorted(body.items(), key=lambda item: item[0] not in _FIRST)
    for name, value in ordered:
        # The task stands in the topic already.
        if name in _HIDDEN or value is None or (task and value == task):
            continue
        title = name.replace("_", " ")
        if isinstance(value, Mapping) and "begin" not in value:
            # What stands on a reserved topic may have any key, and anything under it.
            vote = _VOTES.get(str(value.get("kind")))
            if vote:
                yield f"of {vote}"
            yield from _parts(value, task)
        elif isinstance(value, list) and _is_long(value):
            yield _count(len(value), title.removesuffix("s"))
        else:
            yield f"{title} {_value(value)}"


def _value(value: Any) -> str:  # noqa: ANN401
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return _shorten(value)
        case {"bytes": int(size)}:
            return f"of {size} B"
        case list():
            return " ".join(map(_value, value)) or "none"
    return str(value)


def _is_long(values: list[Any]) -> bool:
    return len(values) > VALUES_SHOWN or any(not isinstance(value, int | str) for value in values)


def _shorten(text: str) -> str:
    return _LONG.sub(lambda match: screen.short(match[0]), text)


_SPECIAL: Final = {
    "TRANSFER": _say_transfer,
    "PAY_FOR_TASK": _say_order,
    "BLOCK": _say_block,
    "HEADER": _say_block,
    "IT_RES": _say_iteration,
}
