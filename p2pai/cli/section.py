"""Strict reading of one mapping of a YAML file: every fault is a sentence that names its key.

A `Section` hands out each key once, checked for type and range; `close` then refuses the keys nobody asked
for, so a misspelt key never passes in silence. A key with nothing behind it counts as absent. Numbers with a
fraction become `Decimal` from their shortest text, so 0.2 stays exactly two tenths.
"""

import difflib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from p2pai.primitives.errors import InvalidInput

TEXT_LENGTH_MAX: Final = 4096
"""Characters of a value shown or taken as text; longer ones are surely a mistake."""

VALUE_SHOWN_MAX: Final = 40
"""Characters of a wrong value that a sentence quotes."""

EXPONENT_MAX: Final = 30
"""Numbers reach from 10^-30 to 10^30, so that they stay cheap to compute with exactly."""


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

    @property
    def title(self) -> str:
        """The mapping's own name."""
        return self._where or "the file"

    def has(self, key: str) -> bool:
        """Tell whether the key is there; the key counts as known from now on."""
        self._known[key] = None
        return self._items.get(key) is not None

    def find(self, keys: Sequence[str]) -> list[str]:
        """Return which of the keys stand there, without taking them as known."""
        return [key for key in keys if key in self._items]

    def take(self, key: str) -> object:
        """Return the key's value as it stands."""
        if not self.has(key):
            raise InvalidInput(f"{self.name(key)} is missing")
        return self._items[key]

    def nothing(self, key: str) -> None:
        """Take a key that stands for itself, with no value."""
        if self.has(key):
            raise InvalidInput(f"{self.name(key)} takes no value")

    def text(
        self,
        key: str,
        choices: Sequence[str] = (),
        length_max: int = TEXT_LENGTH_MAX,
        default: str | None = None,
    ) -> str:
        """Return text, one of `choices` where given."""
        value = default if default is not None and not self.has(key) else self.take(key)
        if not isinstance(value, str) or not 1 <= len(value) <= length_max:
            raise InvalidInput(f"{self.name(key)} must be text of 1 to {length_max} characters")
        if choices and value not in choices:
            shown = value[:VALUE_SHOWN_MAX]
            raise InvalidInput(f"{self.name(key)} must be {' or '.join(choices)}, not {shown!r}")
        return value

    def truth(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.take(key) if self.has(key) else default
        if not isinstance(value, bool):
            raise InvalidInput(f"{self.name(key)} must be true or false")
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number from `low` to `high`, both included."""
        value = default if default is not None and not self.has(key) else self.take(key)
        if type(value) is not int or not low <= value <= high:
            raise InvalidInput(f"{self.name(key)} must be a whole number from {low:,} to {high:,}")
        return value

    def integers(self, key: str, low: int, high: int, count_max: int) -> tuple[int, ...]:
        """Return a list of whole numbers, or one alone."""
        value = self.take(key)
        numbers = value if isinstance(value, list) else [value]
        if not 1 <= len(numbers) <= count_max or any(
            type(n) is not int or not low <= n <= high for n in numbers
        ):
            raise InvalidInput(
                f"{self.name(key)} must be 1 to {count_max} whole numbers from {low:,} to {high:,}"
            )
        return tuple(numbers)

    def decimal(self, key: str, default: str | None = None) -> Decimal:
        """Return a number, exactly as it was written."""
        value = default if default is not None and not self.has(key) else self.take(key)
        try:
            number = Decimal(str(value)) if not isinstance(value, bool | dict | list) else None
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite():
            raise InvalidInput(f"{self.name(key)} must be a number")
        if number != 0 and abs(number.adjusted()) > EXPONENT_MAX:
            raise InvalidInput(f"{self.name(key)} must be a number of ordinary size")
        return number

    def section(self, key: str) -> "Section":
        """Return a mapping inside this one."""
        return Section(self.take(key), self.name(key))

    def variant(self, key: str, names: Sequence[str], tables: Sequence[str]) -> tuple[str, "Section"]:
        """Return which of several forms a value has, and where its details stand.

        Args:
          key: whose value it is.
          names: forms that are one word; they have no details.
          tables: forms that are a mapping of one key, such as `{holdout: 10}`.

        Returns:
          The form, and the mapping (empty for a word).
        """
        value = self.take(key)
        if isinstance(value, str) and value in names:
            return value, Section({}, self.name(key))
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in tables:
            return next(iter(value)), self.section(key)
        forms = (*names, *(f"{{{table}: ...}}" for table in tables))
        raise InvalidInput(f"{self.name(key)} must be {' or '.join(forms)}")

    def items(self, key: str, count_max: int) -> list[object]:
        """Return a list of 1 to `count_max` items."""
        value = self.take(key)
        if not isinstance(value, list) or not 1 <= len(value) <= count_max:
            raise InvalidInput(f"{self.name(key)} must be a list of 1 to {count_max} items")
        return value

    def words(self, key: str, count_max: int) -> tuple[str, ...]:
        """Return a list of words, or one alone."""
        value = self.take(key)
        found = [value] if isinstance(value, str) else self.items(key, count_max)
        words = tuple(word for word in found if isinstance(word, str) and word)
        if len(words) < len(found):
            raise InvalidInput(f"{self.name(key)} must be a list of 1 to {count_max} words")
        return words

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
            raise InvalidInput(f"{self.name(str(key))[:TEXT_LENGTH_MAX]} is not a known key; {hint}")
