"""`p2pai sweep`: a scenario run with its parameters varied, over several seeds: a table of what it gives."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli import report as report_command
from p2pai.primitives.errors import InvalidInput

if TYPE_CHECKING:
    from testnet.sweep.running import Plan, Row
    from testnet.sweep.table import Cell

SHOWN: Final = "blocks,spacing_s,lost,delay99_s"
SEEDS_MAX: Final = 100_000


Name = Annotated[
    str, typer.Option("--scenario", metavar="NAME|FILE", help="A name of `p2pai sim --list`, or a file.")
]
Vary = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=V,V,...",
        help="A key of the scenario's file and its values, as chain.spacing_s=15,60; or nodes, loss_percent, "
        "dishonest_percent. May be given again: every combination is run.",
    ),
]
Seeds = Annotated[int, typer.Option(min=1, max=SEEDS_MAX, help="Runs of each combination.")]
Seed = Annotated[int, typer.Option(min=0, help="The first of them.")]
Blocks = Annotated[
    int, typer.Option(min=0, help="Length of each run in block spacings; 0: as the scenario says.")
]
Show = Annotated[
    str, typer.Option(metavar="MEASURE,...", help="Columns and pictures; `all`, or names of --measures.")
]
Jobs = Annotated[int, typer.Option(min=0, max=1024, help="Processes; 0: one a core.")]
Train = Annotated[str, typer.Option(metavar="fast|real", help="As of `p2pai sim`.")]
Rows = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write down each run as it ends; started again, the sweep goes on from there."
    ),
]
Csv = Annotated[Path | None, typer.Option(metavar="FILE", help="Write all runs as a table.")]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a page with pictures: one HTML file.")
]
ShowMeasures = Annotated[bool, typer.Option("--measures", help="Show what can be measured.")]


def sweep(
    *,
    scenario: Name = "calm",
    vary: Vary = [],  # noqa: B006
    seeds: Seeds = 3,
    seed: Seed = 1,
    blocks: Blocks = 0,
    show: Show = SHOWN,
    jobs: Jobs = 0,
    train: Train = "fast",
    rows: Rows = None,
    csv: Csv = None,
    report: Report = None,
    measures: ShowMeasures = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a scenario with its parameters varied: mean and spread of what it gives, over seeds.

    A run that fails is a row that says so. Exit status 0 when every run came to its end with no invariant
    broken, whether it met the scenario's expectations or not.
    """
    from testnet.sweep.table import sum_up, to_csv

    if measures:
        _show_measures(as_json=as_json)
        return
    if not vary:
        raise InvalidInput("nothing is varied: say what with --vary, as in --vary chain.spacing_s=15,60,600")
    if report is not None:
        report_command.check()
    columns = _columns(show)
    plan = _plan(scenario, vary, range(seed, seed + seeds), blocks, train)
    found = _run(plan, jobs or os.cpu_count() or 1, rows)
    if csv is not None:
        csv.write_text(to_csv(found), "utf-8")
    if report is not None:
        _write_report(plan, found, columns, _command(scenario, vary, seeds, seed, blocks, train), report)
    cells = sum_up(found)
    if as_json:
        screen.show_json([_plain(cell) for cell in cells])
    else:
        screen.show(_table(cells, columns))
    if not all(row.is_whole for row in found):
        raise typer.Exit(1)


def _plan(scenario: str, vary: Sequence[str], seeds: range, blocks: int, train: str) -> "Plan":
    from testnet.simulator.loading import load
    from testnet.simulator.simulation import trainer_of
    from testnet.sweep.running import Plan
    from testnet.sweep.varying import axis_of

    plan = Plan(load(scenario), tuple(map(axis_of, vary)), seeds, blocks, trainer_of(train))
    for point in plan.points:
        plan.played(point.settings)  # what can't be is said before hours of work
    return plan


def _columns(show: str) -> list[str]:
    from testnet.measures import MEASURES

    if show == "all":
        return list(MEASURES)
    wanted = [name.strip() for name in show.split(",") if name.strip()]
    for name in wanted:
        if name not in MEASURES:
            raise InvalidInput(f"there is no measure {name[:40]!r}; there are {', '.join(MEASURES)}")
    return wanted


def _run(plan: "Plan", processes: int, rows: Path | None) -> "list[Row]":
    """Run all, and say how far it has come: while it runs, and when it is interrupted."""
    from testnet.sweep.running import sweep as run_all

    ended: list[Row] = []

    def so_far() -> str:
        failed = sum(not row.is_passed for row in ended)
        return f"{len(ended)} of {len(plan.points)} runs, {failed} not as expected"

    try:
        with screen.busy(f"{plan.scenario.name}: {len(plan.points)} runs") as status:

            def done(row: "Row") -> None:
                ended.append(row)
                status.update(so_far())

            return run_all(plan, processes, rows, done)
    except KeyboardInterrupt:
        kept = "nothing is kept, since there is no --rows"
        if rows is not None:
            kept = f"{rows} keeps them, and the same command goes on from there"
        screen.remark(f"interrupted after {so_far()}; {kept}")
        raise


def _write_report(
    plan: "Plan", found: "Sequence[Row]", columns: Sequence[str], command: str, out: Path
) -> None:
    from testnet.sweep.page import render

    out.write_text(render(plan, found, columns, command), "utf-8")
    screen.remark(f"The report is in {out}")


def _command(scenario: str, vary: Sequence[str], seeds: int, seed: int, blocks: int, train: str) -> str:
    parts = ["p2pai sweep --scenario", shlex.quote(scenario)]
    parts += [f"--vary {shlex.quote(each)}" for each in vary]
    parts += [f"--seeds {seeds}", f"--seed {seed}"]
    parts += [f"--blocks {blocks}"] if blocks else []
    parts += [f"--train {train}"] if train != "fast" else []
    return " ".join(parts)


def _table(cells: "Sequence[Cell]", columns: Sequence[str]) -> RenderableType:
    from testnet.measures import MEASURES
    from testnet.sweep.table import told, varied_keys

    keys = varied_keys(cells)
    headings = (*(f"{key}>" for key in keys), "runs>", "failed>", *(f"{c}>" for c in columns))
    lines = [
        (
            *(cell.settings[key] for key in keys),
            cell.runs,
            cell.failed,
            *(told(MEASURES[c], cell.spreads.get(c)) for c in columns),
        )
        for cell in cells
    ]
    reasons = [
        (", ".join(f"{key} {cell.settings[key]}" for key in keys), verdict)
        for cell in cells
        for verdict in cell.verdicts
    ]
    failures = screen.table(("with", "not as expected"), reasons) if reasons else None
    return screen.stack(screen.table(headings, lines), failures)


def _plain(cell: "Cell") -> dict[str, object]:
    spreads = {
        key: {
            "mean": spread.mean,
            "deviation": spread.deviation,
            "count": spread.count,
            "least": spread.least,
            "most": spread.most,
        }
        for key, spread in cell.spreads.items()
    }
    return {
        "settings": dict(cell.settings),
        "runs": cell.runs,
        "failed": cell.failed,
        "verdicts": list(cell.verdicts),
        "measures": spreads,
    }


def _show_measures(*, as_json: bool) -> None:
    from testnet.measures import MEASURES

    if as_json:
        screen.show_json([{"key": m.key, "unit": m.unit, "about": m.about} for m in MEASURES.values()])
    else:
        screen.show(
            screen.table(
                ("measure", "unit", "what it is"), ((m.key, m.unit, m.about) for m in MEASURES.values())
            )
        )
