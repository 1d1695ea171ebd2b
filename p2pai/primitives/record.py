"""Frozen dataclasses as canonical CBOR, checked against their own annotations.

A record is encoded as a list of its fields in order; where a field may hold one of several records, the
class name stands in front. The annotation of each field is the schema: sizes of the byte types in `ids`,
unsigned 64-bit integers, tuples, nested records, `None`. A value that does not fit is the sender's fault
(`InvalidMessage`), so a decoded record needs no further check of shape.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Outpoint

SIZES: Final = {
    "Hash32": 32,
    "BlsPublicKey": 48,
    "BlsSignature": 96,
    "PublicKey": 33,
    "VrfPublicKey": 32,
    "KeyHash": 20,
}
"""Length in bytes of the fixed-size byte types of `ids`."""

TUPLE_LENGTH_MAX: Final = 65_536
"""Items in one tuple; the longest today is the transactions of a block."""

T = TypeVar("T")
Decoder = Callable[[Any], Any]


def encode(record: object) -> bytes:
    """Return the canonical bytes of a record."""
    return cbor.encode(to_value(record))


def encode_tagged(record: object) -> bytes:
    """Return the canonical bytes of a record with its class name in front."""
    return cbor.encode(_tagged(record))


def decode(cls: type[T], data: bytes, *, size_max: int) -> T:
    """Read one record of class `cls`.

    Raises:
      InvalidMessage: not canonical CBOR, or not of the shape that `cls` declares.
    """
    decoded: T = _decoder(cls)(cbor.decode(data, size_max=size_max))
    return decoded


def decode_tagged(classes: Any, data: bytes, *, size_max: int) -> Any:  # noqa: ANN401
    """Read one record of any class of the union `classes`."""
    return _union_decoder(get_args(classes))(cbor.decode(data, size_max=size_max))


def to_value(item: object) -> cbor.Value:
    """Turn a record into CBOR's types."""
    if is_dataclass(item) and not isinstance(item, type):
        hints = _hints(type(item))
        return [_field(getattr(item, f.name), hints[f.name]) for f in fields(item)]
    if isinstance(item, Outpoint):
        return item.encode()
    if isinstance(item, tuple | list):
        return [to_value(part) for part in item]
    assert item is None or isinstance(item, bool | int | str | bytes), type(item)
    return item


def _field(value: object, hint: Any) -> cbor.Value:  # noqa: ANN401
    if is_dataclass(value) and len(_records(hint)) > 1:
        return _tagged(value)
    return to_value(value)


def _tagged(record: object) -> cbor.Value:
    body = to_value(record)
    assert isinstance(body, list)
    return [type(record).__name__, *body]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _records(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if get_origin(hint) in (Union, UnionType):
        return tuple(a for a in get_args(hint) if is_dataclass(a))
    return ()


@cache
def _decoder(hint: Any) -> Decoder:  # noqa: ANN401, PLR0911
    if is_dataclass(hint):
        return _record_decoder(hint)
    if hint is Outpoint:
        return _outpoint
    if get_origin(hint) is tuple:
        return _tuple_decoder(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return _union_decoder(get_args(hint))
    if hasattr(hint, "__supertype__"):
        return _newtype_decoder(hint)
    return _plain_decoder(hint)


def _record_decoder(cls: Any) -> Decoder:  # noqa: ANN401
    names = [f.name for f in fields(cls)]

    def decode_record(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not list or len(value) != len(names):
            raise InvalidMessage(f"{cls.__name__} needs {len(names)} fields")
        hints = _hints(cls)
        return cls(*(_decoder(hints[n])(v) for n, v in zip(names, value, strict=True)))

    return decode_record


def _tuple_decoder(args: tuple[Any, ...]) -> Decoder:
    def decode_tuple(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not list or len(value) > TUPLE_LENGTH_MAX:
            raise InvalidMessage("expected a list")
        if args[-1] is Ellipsis:
            return tuple(_decoder(args[0])(v) for v in value)
        if len(value) != len(args):
            raise InvalidMessage(f"expected {len(args)} items")
        return tuple(_decoder(a)(v) for a, v in zip(args, value, strict=True))

    return decode_tuple


def _union_decoder(args: tuple[Any, ...]) -> Decoder:
    by_name = {a.__name__: a for a in args if is_dataclass(a)}
    others = [a for a in args if a is not NoneType and not is_dataclass(a)]

    def decode_union(value: Any) -> Any:  # noqa: ANN401
        if value is None and NoneType in args:
            return None
        if len(by_name) == 1 and not others:
            return _decoder(next(iter(by_name.values())))(value)
        if by_name and type(value) is list and value and value[0] in by_name:
            return _decoder(by_name[value[0]])(value[1:])
        if len(others) == 1:
            return _decoder(others[0])(value)
        raise InvalidMessage("unknown kind of record")

    return decode_union


def _newtype_decoder(hint: Any) -> Decoder:  # noqa: ANN401
    base, size = hint, None
    while hasattr(base, "__supertype__"):
        size = SIZES.get(base.__name__, size)
        base = base.__supertype__
    plain = _plain_decoder(base)

    def decode_newtype(value: Any) -> Any:  # noqa: ANN401
        if size is not None and len(plain(value)) != size:
            raise InvalidMessage(f"{hint.__name__} has {size} bytes")
        return plain(value)

    return decode_newtype


def _plain_decoder(cls: Any) -> Decoder:  # noqa: ANN401
    assert cls in (int, bool, str, bytes), cls

    def decode_plain(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not cls or (cls is int and value < 0):
            raise InvalidMessage(f"expected {cls.__name__}")
        return value

    return decode_plain


def _outpoint(value: Any) -> Outpoint:  # noqa: ANN401
    if type(value) is not bytes or len(value) != 36:  # noqa: PLR2004
        raise InvalidMessage("an outpoint has 36 bytes")
    return Outpoint.decode(value)
