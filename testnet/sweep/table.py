"""The rows of a sweep, summed over seeds: mean and spread of each measure, cell by cell."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testnet.measures import MEASURES, Measure, shown
from testnet.sweep.running import Row


@dataclass(frozen=True)
class Spread:
    """Several values of one measure."""

    mean: float
    deviation: float | None
    """Of the sample: with n - 1 below; None of a single value."""
    count: int
    least: float
    most: float


@dataclass(frozen=True)
class Cell:
    """All runs with the same settings."""

    settings: Mapping[str, str]
    runs: int
    failed: int
    """That broke an invariant, could not be run, or ended otherwise than expected."""
    verdicts: tuple[str, ...]
    """Of those that failed, each once."""
    spreads: Mapping[str, Spread]
    """By measure, over the runs that came to their end; a measure that none had is missing."""


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean and spread of some values, of which there is one at least."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    deviation = math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None
    return Spread(mean, deviation, len(values), min(values), max(values))


def sum_up(rows: Sequence[Row]) -> list[Cell]:
    """Return the cells, in the order of their first rows."""
    grouped: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault(tuple(row.settings.items()), []).append(row)
    return [_cell(members) for members in grouped.values()]


def varied_keys(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the keys that have several values; the first one where none has."""
    keys = tuple(cells[0].settings) if cells else ()
    several = tuple(key for key in keys if len({cell.settings[key]: None for cell in cells}) > 1)
    return several or keys[:1]


def _cell(rows: Sequence[Row]) -> Cell:
    spreads = {}
    for key in MEASURES:
        values = [value for row in rows if row.is_whole and (value := row.measures.get(key)) is not None]
        if values:
            spreads[key] = spread_of(values)
    failed = [row for row in rows if not row.is_passed]
    verdicts = tuple(dict.fromkeys(row.verdict for row in failed))
    return Cell(rows[0].settings, len(rows), len(failed), verdicts, spreads)


def told(measure: Measure, spread: Spread | None) -> str:
    """Return mean and deviation as text, as in `12.3 ± 0.8 %`."""
    if spread is None:
        return "-"
    if spread.deviation is None:
        return shown(measure, spread.mean)
    factor, unit = (100, " %") if measure.unit == "%" else (1, f" {measure.unit}" if measure.unit else "")
    mean, deviation = spread.mean * factor, spread.deviation * factor
    digits = 1 if measure.unit == "%" else _digits(mean)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}{unit}"


def _digits(value: float) -> int:
    """Return how many digits after the point leave three that mean something."""
    return max(0, min(4, 2 - math.floor(math.log10(abs(value))))) if value else 1


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as a table for other programs, one line for each run."""
    out = io.StringIO()
    keys = list(rows[0].settings) if rows else []
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*keys, "seed", "passed", "verdict", "digest", "real_ms", "steps", *MEASURES])
    for row in rows:
        measures = ("" if (v := row.measures.get(key)) is None else repr(v) for key in MEASURES)
        passed = "yes" if row.is_passed else "no"
        plain = (row.seed, passed, row.verdict, row.digest, row.real_ms, row.steps)
        writer.writerow([*row.settings.values(), *plain, *measures])
    return out.getvalue()
