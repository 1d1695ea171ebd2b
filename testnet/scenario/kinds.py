"""All kinds of faults and adversaries with their keys and defaults, as a file would have them."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, Final

from testnet.scenario.adversaries import ADVERSARIES
from testnet.scenario.faults import FAULTS

_COMMON: Final = ("nodes", "from_s", "until_s")

Row = tuple[str, str, str, str]
"""The list of a file that it belongs in, its name, what it does, its own keys."""


def rows() -> Iterator[Row]:
    """Yield a row for each kind."""
    for table, kinds in (("faults", FAULTS), ("adversaries", ADVERSARIES)):
        for kind, cls in kinds.items():
            about = (cls.__doc__ or "").splitlines()[0]
            own = [field for field in fields(cls) if field.name not in _COMMON]
            yield table, kind, about, ", ".join(map(_key, own))


def _key(field: "Field[Any]") -> str:
    return field.name if field.default is MISSING else f"{field.name} = {_value(field.default)}"


def _value(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
