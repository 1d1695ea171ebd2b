"""A scenario file, read: TOML in, `Scenario` out, or one sentence that names the file and the key.

The reader knows no key: it follows the dataclasses of model.py, faults.py and adversaries.py, their types,
ranges and defaults. Pairs of integers are least and most.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

from p2pai.primitives.errors import InvalidInput
from testnet.scenario.adversaries import ADVERSARIES, Adversary
from testnet.scenario.checking import check
from testnet.scenario.faults import FAULTS, Fault
from testnet.scenario.model import Scenario
from testnet.scenario.ranges import Range, range_of

KINDS: Final[dict[type, Mapping[str, type]]] = {Fault: FAULTS, Adversary: ADVERSARIES}
"""What has a key `kind`, and which kinds there are."""

PAIR: Final = 2

Table = dict[str, Any]


class _WrongError(Exception):
    """A value is not what its key wants; the sentence begins with the key."""


def read(text: str, source: str) -> Scenario:
    """Read a scenario.

    Args:
      text: of the file.
      source: what the file is called in complaints.

    Raises:
      InvalidInput: not TOML, or some key is missing, unknown or not what it must be; one sentence.
    """
    try:
        table = tomllib.loads(text)
        scenario = _record(Scenario, table, "")
        assert isinstance(scenario, Scenario)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{source} is not TOML: {error}") from error
    except RecursionError as error:
        raise InvalidInput(f"{source} is nested too deeply") from error
    except _WrongError as error:
        raise InvalidInput(f"{source}: {error}") from error
    check(scenario, source)
    return scenario


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """Return the types of a record's fields, ranges included."""
    return get_type_hints(cls, include_extras=True)


def _record(cls: type, table: object, where: str) -> object:
    """Make a record of a table, every key checked."""
    if not isinstance(table, dict):
        raise _WrongError(f"{where} must be a table, not {_shown(table)}")
    table = dict(table)
    if cls in KINDS:
        cls = _kind(cls, table, where)
    hints = hints_of(cls)
    for key in table:
        if key not in hints:
            raise _WrongError(_unknown(f"there is no key {_at(where, key)}", key, hints))
    values = {key: _value(hints[key], value, _at(where, key), key) for key, value in table.items()}
    missing = [f.name for f in fields(cls) if f.name not in table and _is_required(f)]
    if missing:
        raise _WrongError(f"{_at(where, missing[0])} is missing")
    return cls(**values)


def _kind(cls: type, table: Table, where: str) -> type:
    kinds, kind = KINDS[cls], table.pop("kind", None)
    if kind is None:
        raise _WrongError(f"{_at(where, 'kind')} is missing")
    if not isinstance(kind, str) or kind not in kinds:
        known = ", ".join(kinds) or "none"
        sentence = f"{_at(where, 'kind')} is {_shown(kind)}, not one of {known}"
        raise _WrongError(_unknown(sentence, kind, kinds))
    return kinds[kind]


def _value(hint: Any, value: object, where: str, name: str) -> Any:  # noqa: ANN401
    """Check a value against a type, and return it as that."""
    wanted, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    origin = get_origin(wanted)
    if wanted is int:
        return _integer(value, where, next((e for e in extras if isinstance(e, Range)), range_of(name)))
    if wanted in (bool, str):
        return _plain(wanted, value, where)
    if origin is Literal:
        return _word(get_args(wanted), value, where)
    if origin is tuple:
        return _sequence(get_args(wanted), value, where, name)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _record(wanted, value, where)
    return _mapping(get_args(wanted)[1], value, where, name)


def _integer(value: object, where: str, allowed: Range) -> int:
    if type(value) is not int or not allowed.least <= value <= allowed.most:
        raise _WrongError(f"{where} must be {allowed}, not {_shown(value)}")
    return value


def _plain(wanted: type, value: object, where: str) -> object:
    if not isinstance(value, wanted):
        what = "true or false" if wanted is bool else "text in quotes"
        raise _WrongError(f"{where} must be {what}, not {_shown(value)}")
    return value


def _word(words: Sequence[str], value: object, where: str) -> object:
    if value not in words:
        sentence = f"{where} is {_shown(value)}, not one of {', '.join(words)}"
        raise _WrongError(_unknown(sentence, value, words))
    return value


def _sequence(args: tuple[Any, ...], value: object, where: str, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _WrongError(f"{where} must be a list, not {_shown(value)}")
    if args[-1] is Ellipsis:
        return tuple(_value(args[0], item, f"{where}[{i}]", name) for i, item in enumerate(value, 1))
    if len(value) != len(args):
        raise _WrongError(f"{where} must have {len(args)} values, least and most, not {len(value)}")
    made = tuple(_value(arg, item, where, name) for arg, item in zip(args, value, strict=True))
    if len(args) == PAIR and args[0] == args[1] and made[0] > made[1]:
        raise _WrongError(f"{where} must have the least first, not {list(made)}")
    return made


def _mapping(hint: Any, value: object, where: str, name: str) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise _WrongError(f"{where} must be a table, not {_shown(value)}")
    return {key: _value(hint, item, _at(where, key), name) for key, item in value.items()}


def _is_required(field: Any) -> bool:  # noqa: ANN401
    return field.default is MISSING and field.default_factory is MISSING


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _unknown(sentence: str, word: object, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = get_close_matches(str(word), list(known), n=1)
    return f"{sentence}; did you mean {close[0]}?" if close else sentence


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
