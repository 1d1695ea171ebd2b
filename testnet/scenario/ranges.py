"""Which integers a key of a scenario file may have, where its name does not say so.

`percent` in a name means 0 to 100; any other integer is 0 to `INTEGER_MAX` unless its field is
`Annotated[int, Range(...)]`.
"""

from dataclasses import dataclass
from typing import Final

INTEGER_MAX: Final = 1_000_000_000
PERCENT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"an integer from {self.least} to {self.most}"


def range_of(name: str) -> Range:
    """Return what a key may be by its name alone."""
    return Range(0, PERCENT_MAX if "percent" in name.split("_") else INTEGER_MAX)
