"""Frozen dataclasses as canonical CBOR, checked against their own annotations.

A record is encoded as a list of its fields in order; where a field may hold one of several records, the
class name stands in front. The annotation of each field is the schema: sizes of the byte types in `ids`,
unsigned 64-bit integers, tuples, nested records, `None`. A value that does not fit is the sender's fault
(`InvalidMessage`) when it is read and our own bug when it is written, so a decoded record needs no further
check of shape, and what was encoded can be decoded.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import HASH_SIZE, Outpoint
from p2pai.primitives.memo import pure

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

_OUTPOINT_SIZE: Final = HASH_SIZE + 4

T = TypeVar("T")
Coder = Callable[[Any], Any]
"""Turns a field into CBOR's types, or back."""


def encode(record: object) -> bytes:
    """Return the canonical bytes of a record."""
    return cbor.encode(to_value(record))


def encode_tagged(record: object) -> bytes:
    """Return the canonical bytes of a record with its class name in front."""
    return cbor.encode(_tagged(record))


@pure(lambda cls, data, *, size_max: (cls, data, size_max))
def decode(cls: type[T], data: bytes, *, size_max: int) -> T:
    """Read one record of class `cls`.

    Raises:
      InvalidMessage: not canonical CBOR, or not of the shape that `cls` declares.
    """
    hint: Any = cls
    decoded: T = _decoder(hint)(cbor.decode(data, size_max=size_max))
    return decoded


@pure(lambda classes, data, *, size_max: (classes, data, size_max))
def decode_tagged(classes: Any, data: bytes, *, size_max: int) -> Any:  # noqa: ANN401
    """Read one record of any class of `classes`, a record or a union of records.

    Raises:
      InvalidMessage: not canonical CBOR, none of these classes, or not of the shape that it declares.
    """
    records = _records(classes) or (classes,)
    return _named_decoder(records)(cbor.decode(data, size_max=size_max))


def to_value(record: object) -> cbor.Value:
    """Turn a record into CBOR's types."""
    assert is_dataclass(record), f"{type(record).__name__} is not a record"
    hint: Any = type(record)
    value: cbor.Value = _encoder(hint)(record)
    return value


def _tagged(record: object) -> cbor.Value:
    body = to_value(record)
    assert isinstance(body, list)
    return [type(record).__name__, *body]


def _records(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    return tuple(a for a in _options(hint) if is_dataclass(a))


def _options(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else ()


def _fields(cls: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    hints = get_type_hints(cls)
    return [(f.name, hints[f.name]) for f in fields(cls)]


@cache
def _encoder(hint: Any) -> Coder:  # noqa: ANN401
    if is_dataclass(hint):
        return _record_encoder(hint)
    if hint is Outpoint:
        return _encode_outpoint
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_encoder(hint)
    if get_origin(hint) is tuple:
        return _tuple_encoder(get_args(hint))
    if _options(hint):
        return _union_encoder(hint)
    return _plain_encoder(hint)


def _record_encoder(cls: Any) -> Coder:  # noqa: ANN401
    encoders = [(name, _encoder(hint)) for name, hint in _fields(cls)]

    def encode_record(record: Any) -> cbor.Value:  # noqa: ANN401
        assert type(record) is cls, f"{type(record).__name__} stands where {cls.__name__} belongs"
        return [encoder(getattr(record, name)) for name, encoder in encoders]

    return encode_record


def _tuple_encoder(args: tuple[Any, ...]) -> Coder:
    encoders = [_encoder(a) for a in args if a is not Ellipsis]

    def encode_tuple(items: Any) -> cbor.Value:  # noqa: ANN401
        assert isinstance(items, tuple | list), "not a tuple"
        assert len(items) <= TUPLE_LENGTH_MAX, "tuple is too long"
        if args[-1] is Ellipsis:
            return [encoders[0](item) for item in items]
        assert len(items) == len(encoders), f"expected {len(encoders)} items"
        return [encoder(item) for encoder, item in zip(encoders, items, strict=True)]

    return encode_tuple


def _union_encoder(hint: Any) -> Coder:  # noqa: ANN401
    encoders: dict[type, Coder] = {cls: _encoder(cls) for cls in _records(hint)}
    other, nothing = _other(hint), NoneType in _options(hint)
    plain = None if other is None else _encoder(other)

    def encode_union(item: Any) -> cbor.Value:  # noqa: ANN401
        if item is None:
            assert nothing, "None stands where a value belongs"
            return None
        encoder = encoders.get(type(item), plain)
        assert encoder is not None, f"{type(item).__name__} is not of {hint}"
        value: Any = encoder(item)
        named: cbor.Value = [type(item).__name__, *value] if len(encoders) > 1 else value
        return named

    return encode_union


def _plain_encoder(hint: Any) -> Coder:  # noqa: ANN401
    # What a decoder would refuse must not leave; the decoder of a plain type changes nothing.
    decoder = _decoder(hint)

    def encode_plain(item: Any) -> cbor.Value:  # noqa: ANN401
        try:
            value: cbor.Value = decoder(item)
        except InvalidMessage as error:
            raise AssertionError(f"encoding a field: {error}") from error
        return value

    return encode_plain


def _enum_encoder(cls: type[Enum]) -> Coder:
    def encode_enum(member: Any) -> cbor.Value:  # noqa: ANN401
        assert isinstance(member, cls), f"not a {cls.__name__}"
        value: cbor.Value = member.value
        return value

    return encode_enum


def _enum_decoder(cls: type[Enum]) -> Coder:
    members = {member.value: member for member in cls}

    def decode_enum(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not str or value not in members:
            raise InvalidMessage(f"not a {cls.__name__}")
        return members[value]

    return decode_enum


def _encode_outpoint(outpoint: Any) -> cbor.Value:  # noqa: ANN401
    assert isinstance(outpoint, Outpoint), "not an outpoint"
    return outpoint.encode()


@cache
def _decoder(hint: Any) -> Coder:  # noqa: ANN401
    if is_dataclass(hint):
        return _record_decoder(hint)
    if hint is Outpoint:
        return _decode_outpoint
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_decoder(hint)
    if get_origin(hint) is tuple:
        return _tuple_decoder(get_args(hint))
    if _options(hint):
        return _union_decoder(hint)
    return _plain_decoder(hint)


def _record_decoder(cls: Any) -> Coder:  # noqa: ANN401
    decoders = [_decoder(hint) for _, hint in _fields(cls)]

    def decode_record(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not list or len(value) != len(decoders):
            raise InvalidMessage(f"{cls.__name__} needs {len(decoders)} fields")
        return cls(*[decoder(v) for decoder, v in zip(decoders, value, strict=True)])

    return decode_record


def _tuple_decoder(args: tuple[Any, ...]) -> Coder:
    decoders = [_decoder(a) for a in args if a is not Ellipsis]

    def decode_tuple(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not list or len(value) > TUPLE_LENGTH_MAX:
            raise InvalidMessage("expected a list")
        if args[-1] is Ellipsis:
            return tuple(map(decoders[0], value))
        if len(value) != len(args):
            raise InvalidMessage(f"expected {len(args)} items")
        return tuple(decoder(v) for decoder, v in zip(decoders, value, strict=True))

    return decode_tuple


def _union_decoder(hint: Any) -> Coder:  # noqa: ANN401
    records, other, nothing = _records(hint), _other(hint), NoneType in _options(hint)
    if other is None and len(records) > 1:
        decode = _named_decoder(records)
    else:
        decode = _decoder(records[0] if other is None else other)

    def decode_union(value: Any) -> Any:  # noqa: ANN401
        return None if value is None and nothing else decode(value)

    return decode_union


@cache
def _named_decoder(records: tuple[Any, ...]) -> Coder:
    decoders = {record.__name__: _decoder(record) for record in records}
    assert len(decoders) == len(records), "two records of one name"

    def decode_named(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not list or not value or type(value[0]) is not str or value[0] not in decoders:
            raise InvalidMessage("unknown kind of record")
        return decoders[value[0]](value[1:])

    return decode_named


def _other(hint: Any) -> Any:  # noqa: ANN401
    """Return the one member of a union that is neither a record nor None, if there is one."""
    others = [a for a in _options(hint) if a is not NoneType and not is_dataclass(a)]
    assert len(others) + bool(_records(hint)) == 1, f"{hint} can't be told apart on the wire"
    return others[0] if others else None


def _plain_decoder(hint: Any) -> Coder:  # noqa: ANN401
    base, size = hint, None
    while hasattr(base, "__supertype__"):
        size = SIZES.get(base.__name__, size)
        base = base.__supertype__
    assert base in (int, bool, str, bytes), f"{hint} has no wire form"

    def decode_integer(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not int or not 0 <= value <= cbor.INTEGER_MAX:
            raise InvalidMessage(f"expected {hint.__name__}")
        return value

    def decode_plain(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not base:
            raise InvalidMessage(f"expected {hint.__name__}")
        if size is not None and len(value) != size:
            raise InvalidMessage(f"{hint.__name__} has {size} bytes")
        return value

    return decode_integer if base is int else decode_plain


def _decode_outpoint(value: Any) -> Outpoint:  # noqa: ANN401
    if type(value) is not bytes or len(value) != _OUTPOINT_SIZE:
        raise InvalidMessage(f"an outpoint has {_OUTPOINT_SIZE} bytes")
    return Outpoint.decode(value)
