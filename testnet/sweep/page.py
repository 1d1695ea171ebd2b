"""A sweep as a page with pictures: each measure against the first key, a line for each of the others."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from p2pai import __version__
from testnet.measures import MEASURES, Measure
from testnet.report import page
from testnet.report.canvas import SERIES, Axes, label, set_scale, set_values
from testnet.report.picture import Mark, Picture, Section, Table
from testnet.sweep.running import Plan, Row
from testnet.sweep.table import Cell, Spread, sum_up, told, varied_keys

LINES_MAX: Final = 7
"""Settings of the other keys that a picture shows."""

MARKERS: Final = "os^Dv<>"
WIDE_RANGE: Final = 20
"""Values that far apart stand on a logarithmic axis."""

ROWS_MAX: Final = 1_000


def render(plan: Plan, rows: Sequence[Row], measures: Sequence[str], command: str) -> str:
    """Return a page about a sweep.

    Args:
      plan: what was swept.
      rows: of its runs.
      measures: keys of those that are drawn.
      command: what a user types to run the same again.
    """
    cells = sum_up(rows)
    sections = [Section(key, _title(key), partial(_picture, MEASURES[key])) for key in measures]
    failed = [row for row in rows if not row.is_passed]
    head = {
        "about": plan.scenario.about,
        "scenario": plan.scenario.name,
        "command": command,
        "axes": [(axis.key, ", ".join(axis.values)) for axis in plan.axes],
        "seeds": f"{plan.seeds.start} to {plan.seeds.stop - 1}",
        "runs": len(rows),
        "failed": len(failed),
        "headings": _headings(cells, measures),
        "rows": _rows(cells, measures),
        "measures": [(key, MEASURES[key].about) for key in measures],
    }
    tail = {"rows": rows[:ROWS_MAX], "keys": [axis.key for axis in plan.axes]}
    parts: dict[str, tuple[str, Mapping[str, Any]]] = {
        "head": ("sweep_head.html.j2", head),
        "tail": ("sweep_tail.html.j2", tail),
    }
    varied = " and ".join(varied_keys(cells))
    return page.render(
        f"{plan.scenario.name}: {varied} varied", [""], [cells], sections, parts, f"p2pai {__version__}"
    )


def _title(key: str) -> str:
    about = MEASURES[key].about
    return f"{about[0].upper()}{about[1:]}"


def _headings(cells: Sequence[Cell], measures: Sequence[str]) -> tuple[str, ...]:
    return (*(f"{key}>" for key in varied_keys(cells)), "runs>", "failed>", *(f"{key}>" for key in measures))


def _rows(cells: Sequence[Cell], measures: Sequence[str]) -> list[tuple[object, ...]]:
    return [
        (
            *(cell.settings[key] for key in varied_keys(cells)),
            cell.runs,
            cell.failed,
            *(told(MEASURES[key], cell.spreads.get(key)) for key in measures),
        )
        for cell in cells
    ]


def _picture(measure: Measure, cells: Sequence[Cell]) -> Picture:
    lines = _lines(measure, cells)
    if not lines:
        return Picture(f"No run has a value of {measure.key}.", None)
    first = varied_keys(cells)[0]
    order = list(dict.fromkeys(cell.settings[first] for cell in cells))
    numbers = [float(text) for text in order] if all(text.isdigit() for text in order) else None
    places = dict(zip(order, numbers or range(len(order)), strict=True))
    factor = 100 if measure.unit == "%" else 1

    def draw(axes: Axes) -> None:
        for number, (_, known) in enumerate(lines.items()):
            axes.errorbar(
                [places[text] for text in known],
                [spread.mean * factor for spread in known.values()],
                [(spread.deviation or 0) * factor for spread in known.values()],
                color=SERIES[number], marker=MARKERS[number], markersize=5, capsize=3, linewidth=1.4,
            )  # fmt: skip
        set_scale(axes, label(first), f"{measure.key}{f' ({measure.unit})' if measure.unit else ''}")
        is_wide = numbers is not None and min(numbers) > 0 and max(numbers) > WIDE_RANGE * min(numbers)
        set_values(axes, list(places.values()), order, logarithmic=is_wide)
        axes.set_ylim(bottom=0)

    shown = dict(list(lines.items())[:LINES_MAX])
    caption = " ".join(_in_words(measure, first, name, known) for name, known in shown.items())
    more = f" The first {LINES_MAX} of {len(_all_lines(cells))} settings." if len(lines) == LINES_MAX else ""
    marks = tuple(Mark(name, number, "line") for number, name in enumerate(lines) if name)
    rows = [
        (name, text, told(measure, spread), spread.count)
        for name, known in lines.items()
        for text, spread in known.items()
    ]
    table = Table(("others", f"{first}>", f"{measure.key}>", "runs>"), tuple(rows))
    return Picture(f"{caption} Bars: one standard deviation over seeds.{more}", draw, marks, table, 250)


def _all_lines(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(_others(cell, varied_keys(cells)) for cell in cells))


def _others(cell: Cell, keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {cell.settings[key]}" for key in keys[1:])


def _lines(measure: Measure, cells: Sequence[Cell]) -> dict[str, dict[str, Spread]]:
    """Return spreads by the settings of all keys but the first, then by the first key's value."""
    lines: dict[str, dict[str, Spread]] = {}
    shown, keys = _all_lines(cells)[:LINES_MAX], varied_keys(cells)
    for cell in cells:
        spread, name = cell.spreads.get(measure.key), _others(cell, keys)
        if spread is not None and name in shown:
            lines.setdefault(name, {})[cell.settings[keys[0]]] = spread
    return lines


def _in_words(measure: Measure, key: str, name: str, known: Mapping[str, Spread]) -> str:
    values = list(known.items())
    (least, first), (most, last) = values[0], values[-1]
    where = f" with {name}" if name else ""
    if len(values) == 1:
        return f"{told(measure, first)} at {key} {least}{where}."
    return f"From {told(measure, first)} at {key} {least} to {told(measure, last)} at {most}{where}."
