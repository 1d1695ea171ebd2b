"""CSV data files: one sample a line, numbers separated by commas, the label in the last column.

The first line may hold names, none of which is a number. Where labels are numbers (regression), a file with
names may have several of them: all trailing columns named `target`, `y`, `target_...` or `y_...`; without
such names it is the last column alone. Empty lines are skipped.

Lines are parsed many at a time and kept as float32, so a file takes little more memory than its numbers.
Where that fails, the same lines are read again one by one to say which is at fault.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from p2pai.jaxtrain.reading import check_size
from p2pai.primitives.errors import InvalidInput

LINE_LENGTH_MAX: Final = 1 << 21
"""Characters of a line: 65,536 features of 31 characters."""

BLOCK_CELLS: Final = 1 << 20
"""Numbers that are parsed at a time."""

CELL_SHOWN_MAX: Final = 20
"""Characters of a cell that a message quotes."""

_TARGET: Final = re.compile(r"(target|y)(_.*)?", re.IGNORECASE)

Array = np.ndarray[Any, Any]
Line = tuple[int, str]
"""Its number from 1, and its text."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """What all lines have in common."""

    columns: int
    labels: int
    """Trailing columns that are labels."""

    def describe(self, line: int, column: int) -> str:
        """Name a cell (column from 0) for a person."""
        is_label = column >= self.columns - self.labels
        return f"line {line}, column {column + 1}{' (the label)' if is_label else ''}"


def read(file: Path, *, regression: bool) -> tuple[Array, Array]:
    """Return features, float32 (samples, features), and labels, float64 (samples,) or (samples, targets).

    Raises:
      InvalidInput: names the line at fault.
      OSError: the file can't be read.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return _read_lines(_lines(stream), regression=regression)
    except UnicodeDecodeError as error:
        raise InvalidInput("it is not UTF-8 text") from error


def _read_lines(lines: Iterator[Line], *, regression: bool) -> tuple[Array, Array]:
    first = next(lines, None)
    if first is None:
        raise InvalidInput("it holds no samples")
    names = [name.strip(" \t\"'") for name in first[1].split(",")]
    layout = _Layout(len(names), _label_count(names) if regression else 1)
    if layout.columns <= layout.labels:
        raise InvalidInput("it needs a column of features, and then the label")
    head = [] if _is_header(names) else [first]
    return _read_samples(head, lines, layout, regression=regression)


def _read_samples(
    head: list[Line], lines: Iterator[Line], layout: _Layout, *, regression: bool
) -> tuple[Array, Array]:
    features, labels, size = [], [], 0
    block_length = max(1, BLOCK_CELLS // layout.columns)
    while block := head + list(islice(lines, block_length - len(head))):
        table, head = _parse(block, layout), []
        features.append(table[:, : -layout.labels].astype(np.float32))
        labels.append(table[:, -layout.labels :].copy())
        size += features[-1].nbytes
        check_size(size)
    if not features:
        raise InvalidInput("it holds no samples, only a line of names")
    y = np.concatenate(labels)
    return np.concatenate(features), y if regression else y[:, 0]


def _lines(stream: IO[str]) -> Iterator[Line]:
    """Yield the lines that are not empty."""
    number = 0
    while text := stream.readline(LINE_LENGTH_MAX + 1):
        number, text = number + 1, text.rstrip("\n")
        if len(text) > LINE_LENGTH_MAX:
            raise InvalidInput(f"line {number} is longer than {LINE_LENGTH_MAX:,} characters")
        if text.strip():
            yield number, text


def _is_header(names: list[str]) -> bool:
    return not any(_is_number(name) for name in names)


def _label_count(names: list[str]) -> int:
    """Return how many trailing columns are named as targets; 1 where none is."""
    count = 0
    while count < len(names) and _TARGET.fullmatch(names[-1 - count]):
        count += 1
    return max(count, 1)


def _parse(block: list[Line], layout: _Layout) -> Array:
    """Return a table of finite float64 numbers, a row a line."""
    try:
        table = np.loadtxt([text for _, text in block], delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise _fault(block, layout) from error
    if table.shape != (len(block), layout.columns) or not np.all(np.isfinite(table)):
        raise _fault(block, layout)
    return table


def _fault(block: list[Line], layout: _Layout) -> InvalidInput:
    """Find what is wrong with lines that could not be parsed."""
    for number, text in block:
        cells = text.split(",")
        if len(cells) != layout.columns:
            wanted = f"{layout.columns} as in the first line"
            return InvalidInput(f"line {number} has {len(cells)} columns, not {wanted}")
        for column, cell in enumerate(cells):
            if not _is_number(cell) or not isfinite(float(cell)):
                shown = cell.strip()[:CELL_SHOWN_MAX]
                what = f"{shown!r} is not a number" if shown else "there is nothing"
                return InvalidInput(f"{layout.describe(number, column)}: {what}")
    return InvalidInput(f"lines {block[0][0]} to {block[-1][0]} are not numbers separated by commas")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
