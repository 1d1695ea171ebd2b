"""Strict reading of one mapping of a YAML file: every fault is a sentence that names its key.

A `Section` hands out each key once, checked for type and range; `close` then refuses the keys nobody asked
for, so a misspelt key never passes in silence. Numbers with a fraction become `Decimal` from their shortest
text, so 0.2 stays exactly two tenths.
"""

import difflib
from decimal import Decimal, InvalidOperation
from typing import Final

from p2pai.primitives.errors import InvalidInput

TEXT_LENGTH_MAX: Final = 4096
"""Characters of a value shown or taken as text; longer ones are surely a mistake."""


class Section:
    """A mapping under a name, read key by key."""

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise InvalidInput(f"{where or 'the file'} must be a mapping of keys to values")
        self._items = dict(value)
        self._where = where
        self._known: dict[str, None] = {}

    def name(self, key: str) -> str:
        """Return the full name of a key, such as `dataset.batch_size`."""
        return f"{self._where}.{key}" if self._where else key

    def has(self, key: str) -> bool:
        """Tell whether the key is there; the key counts as known from now on."""
        self._known[key] = None
        return key in self._items

    def take(self, key: str) -> object:
        """Return the key's value as it stands."""
        if not self.has(key):
            raise InvalidInput(f"{self.name(key)} is missing")
        return self._items[key]

    def text(self, key: str, choices: tuple[str, ...] = (), length_max: int = TEXT_LENGTH_MAX) -> str:
        """Return text, one of `choices` where given."""
        value = self.take(key)
        if not isinstance(value, str) or not 1 <= len(value) <= length_max:
            raise InvalidInput(f"{self.name(key)} must be text of 1 to {length_max} characters")
        if choices and value not in choices:
            raise InvalidInput(f"{self.name(key)} must be {' or '.join(choices)}, not {value!r}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        value = self.take(key)
        if type(value) is not int or not low <= value <= high:
            raise InvalidInput(f"{self.name(key)} must be a whole number from {low:,} to {high:,}")
        return value

    def decimal(self, key: str) -> Decimal:
        """Return a number, exactly as it was written."""
        value = self.take(key)
        try:
            number = Decimal(str(value)) if not isinstance(value, bool | dict | list) else None
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite():
            raise InvalidInput(f"{self.name(key)} must be a number")
        return number

    def section(self, key: str) -> "Section":
        """Return a mapping inside this one."""
        return Section(self.take(key), self.name(key))

    def items(self, key: str, count_max: int) -> list[object]:
        """Return a list of 1 to `count_max` items."""
        value = self.take(key)
        if not isinstance(value, list) or not 1 <= len(value) <= count_max:
            raise InvalidInput(f"{self.name(key)} must be a list of 1 to {count_max} items")
        return value

    def close(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
          InvalidInput: names the first unknown key, and the known one it resembles.
        """
        for key in self._items:
            if key in self._known:
                continue
            near = difflib.get_close_matches(str(key), self._known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(self._known)}"
            raise InvalidInput(f"{self.name(str(key))} is not a known key; {hint}")
