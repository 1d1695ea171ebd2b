"""Frozen dataclasses as JSON: an object for each, its keys the names of the fields; read back strictly.

The fields may be of type str, int, float, bool, another such dataclass, `tuple[X, ...]`, `Mapping[str, X]`,
and `X | None`. A field that has a default may be missing from a file; a key that is no field is an error.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from p2pai.primitives.errors import InvalidInput

T = TypeVar("T")


def write(value: Any) -> str:  # noqa: ANN401
    """Return a dataclass as text; equal values give equal bytes."""
    return json.dumps(asdict(value), allow_nan=False, separators=(",", ":")) + "\n"


def read(wanted: type[T], text: str, name: str, version: int) -> T:
    """Read a dataclass.

    Args:
      wanted: its type.
      text: what `write` gave.
      name: what an error calls the text.
      version: that its key `format` must have.

    Raises:
      InvalidInput: anything else, in one sentence that says where.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is not JSON: {error}") from error
    if not isinstance(data, dict) or "format" not in data:
        raise InvalidInput(f"{name} has no format number")
    if data["format"] != version:
        raise InvalidInput(f"{name} is of format {str(data['format'])[:20]}; this version reads {version}")
    try:
        made: T = _value(wanted, data, "")
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error
    return made


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _value(wanted: Any, data: Any, where: str) -> Any:  # noqa: ANN401
    if is_dataclass(wanted):
        return _record(wanted, data, where)
    if isinstance(wanted, UnionType):
        (inner,) = (part for part in get_args(wanted) if part is not NoneType)
        return None if data is None else _value(inner, data, where)
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)[0]
        return tuple(_value(inner, d, f"{where}[{i}]") for i, d in enumerate(_typed(list, data, where)))
    if get_origin(wanted) is Mapping:
        inner = get_args(wanted)[1]
        return {key: _value(inner, d, f"{where}.{key}") for key, d in _typed(dict, data, where).items()}
    if wanted is float:
        return _number(data, where)
    return _typed(wanted, data, where)


def _typed(wanted: type[T], data: Any, where: str) -> T:  # noqa: ANN401
    if type(data) is not wanted:
        words = {list: "a list", dict: "an object", str: "text", int: "a whole number", bool: "true or false"}
        raise InvalidInput(f"{where or 'it'} must be {words[wanted]}")
    return data


def _number(data: Any, where: str) -> float:  # noqa: ANN401
    try:
        number = float(data) if type(data) in (int, float) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(f"{where} must be a number")
    return number


def _record(wanted: Any, data: Any, where: str) -> Any:  # noqa: ANN401
    known = _typed(dict, data, where)
    types = _types(wanted)
    prefix = f"{where}." if where else ""
    for key in known:
        if key not in types:
            raise InvalidInput(f"{prefix}{key[:40]} is no field of it")
    for each in fields(wanted):
        if each.name not in known and each.default is MISSING and each.default_factory is MISSING:
            raise InvalidInput(f"{prefix}{each.name} is missing")
    return wanted(**{key: _value(types[key], d, f"{prefix}{key}") for key, d in known.items()})


@cache
def _types(wanted: Any) -> Mapping[str, Any]:  # noqa: ANN401
    return get_type_hints(wanted)
