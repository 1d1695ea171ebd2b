"""A scenario as a file: what `reading` reads back as the same scenario; defaults are left out."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import tomli_w

from testnet.scenario import adversaries, faults
from testnet.scenario.adversaries import Adversary
from testnet.scenario.faults import Fault
from testnet.scenario.model import Scenario


def write(scenario: Scenario) -> str:
    """Return the text of a scenario file."""
    return toml_of(_table(scenario))


def toml_of(table: Mapping[str, Any]) -> str:
    """Return a table as TOML."""
    return tomli_w.dumps(table)


def _table(record: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a record's keys that are not as by default; plain ones first, as TOML wants them."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    told = {f.name: values[f.name] for f in fields(record) if values[f.name] != _default(f)}
    plain = {name: _plain(value) for name, value in told.items()}
    return {**_kind(record), **plain}


def _kind(record: object) -> dict[str, str]:
    if isinstance(record, Fault):
        return {"kind": faults.kind_of(record)}
    if isinstance(record, Adversary):
        return {"kind": adversaries.kind_of(record)}
    return {}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if is_dataclass(value):
        return _table(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _default(field: "Field[Any]") -> Any:  # noqa: ANN401
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
