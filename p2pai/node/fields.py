"""A record as names and plain values, for whoever looks at messages.

Values are of JSON's types, bytes in hex, and long ones are cut. What comes from remotes keeps its text as it
is; who shows it must escape it.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, get_args, get_type_hints

from p2pai.primitives import address
from p2pai.primitives.ids import KeyHash, Outpoint

ITEMS_MAX: Final = 256
"""Items of a list that are given; a note stands for the others."""

BYTES_MAX: Final = 100
"""Bytes given in hex; of longer ones, their number and how they begin."""

BYTES_BEGIN: Final = 16
TEXT_LENGTH_MAX: Final = 200
"""Characters of a text that are given."""

_KEY_HASH_SIZE: Final = 20

Fields = dict[str, Any]


def fields_of(record: object, prefix: str) -> Fields:
    """Return a record's fields by name; nested records are mappings.

    Args:
      record: a frozen dataclass, as those of primitives/record.py.
      prefix: of the network's addresses, which stand for key hashes.
    """
    return {name: plain(getattr(record, name), prefix) for name in _names(record)}


def plain(value: object, prefix: str) -> Any:  # noqa: ANN401
    """Return a field's value in JSON's types."""
    match value:
        case None | bool() | int():
            return value
        case Enum():
            return value.value
        case str():
            return value if len(value) <= TEXT_LENGTH_MAX else value[:TEXT_LENGTH_MAX] + "..."
        case bytes():
            is_key_hash = len(value) == _KEY_HASH_SIZE
            return address.encode(prefix, KeyHash(value)) if is_key_hash else short_hex(value)
        case Outpoint():
            return str(value)
        case tuple() | list():
            return _items(value, prefix)
        case Mapping():
            return {str(key)[:TEXT_LENGTH_MAX]: plain(item, prefix) for key, item in value.items()}
    if is_dataclass(value):
        return {"kind": type(value).__name__, **fields_of(value, prefix)}
    return str(value)[:TEXT_LENGTH_MAX]


def short_hex(value: bytes) -> Any:  # noqa: ANN401
    """Return bytes in hex; of more than `BYTES_MAX`, how many there are and how they begin."""
    if len(value) <= BYTES_MAX:
        return value.hex()
    return {"bytes": len(value), "begin": value[:BYTES_BEGIN].hex()}


def names_of(hint: Any) -> frozenset[str]:  # noqa: ANN401
    """Return the names of all fields of a record class, or a union of some, and of the records inside."""
    found: dict[str, None] = {}
    waiting, known = [hint], [hint]
    while waiting:
        for inner in _inside(waiting.pop(), found):
            if inner not in known:
                known.append(inner)
                waiting.append(inner)
    return frozenset(found)


def _names(record: object) -> tuple[str, ...]:
    assert is_dataclass(record), "not a record"
    return tuple(field.name for field in fields(record))


def _inside(hint: Any, found: dict[str, None]) -> tuple[Any, ...]:  # noqa: ANN401
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        found.update(dict.fromkeys(field.name for field in fields(hint)))
        return tuple(hints[field.name] for field in fields(hint))
    return get_args(hint)


def _items(values: tuple[object, ...] | list[object], prefix: str) -> list[Any]:
    shown = [plain(value, prefix) for value in values[:ITEMS_MAX]]
    left = len(values) - len(shown)
    return [*shown, f"... and {left} more"] if left else shown
