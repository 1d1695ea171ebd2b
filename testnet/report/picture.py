"""What a page shows: pictures, with the same in words and in a table for who can't see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Sequence[object]


@dataclass(frozen=True)
class Mark:
    """An entry of a picture's legend."""

    what: str
    colour: int | None
    """Which of canvas.SERIES; None for the colour of text."""
    shape: str = "box"
    """box, striped, lined, crossed, hollow, line, dot, square, triangle, ring."""


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; a heading that ends with `>` is a column of numbers."""

    headings: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Picture:
    """One picture of one outcome."""

    caption: str
    """What is to be seen, with numbers: the picture in words."""
    draw: Callable[[Any], None] | None
    """Draws on axes; None where there is nothing to draw, which the caption says."""
    marks: tuple[Mark, ...] = ()
    table: Table | None = None
    height: int = 230
    """Points."""


@dataclass(frozen=True)
class Section:
    """A question that pictures answer, one for each outcome of the page."""

    name: str
    """Of letters: the picture's address on the page."""
    title: str
    take: Callable[[Any], Picture] = field(repr=False)
    """Of an outcome."""
