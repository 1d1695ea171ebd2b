"""The runs of a sweep, in several processes; each that ends is written down, so that nothing is run twice.

The file has one line for each run, in the order in which they end, below a line that says what is swept. A
sweep that was interrupted goes on when it is started again with the same file; a line that was cut off is run
again. What a run is depends on nothing but its line of the plan: the rows are the same however often it was
interrupted.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2pai import __version__
from p2pai.primitives.errors import InvalidInput
from testnet import json_form
from testnet.measures import MEASURES
from testnet.scenario.model import Scenario
from testnet.scenario.writing import write
from testnet.simulator.crew import crew
from testnet.simulator.simulation import Options, Trainer, simulate
from testnet.sweep.varying import Axis, Settings, cells, lengthened, varied

FORMAT: Final = 1


@dataclass(frozen=True)
class Plan:
    """What is swept."""

    scenario: Scenario
    axes: tuple[Axis, ...]
    seeds: range
    blocks: int = 0
    """Length of each run in blocks; 0: as the scenario says."""
    trainer: Trainer = "fast"

    @property
    def points(self) -> list["Point"]:
        """Every run."""
        return [Point(settings, seed) for settings in cells(self.axes) for seed in self.seeds]

    def played(self, settings: Settings) -> Scenario:
        """Return the scenario of a run.

        Raises:
          InvalidInput: with these settings there is none.
        """
        made = varied(self.scenario, settings)
        return lengthened(made, self.blocks) if self.blocks else made

    @property
    def digest(self) -> str:
        """Of all that decides what a run gives, but for the points."""
        text = f"{write(self.scenario)}\n{self.blocks}\n{self.trainer}\n{__version__}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Point:
    """One run: what is set, and the seed."""

    settings: Settings
    seed: int

    @property
    def key(self) -> tuple[tuple[tuple[str, str], ...], int]:
        """The same as a key of dictionaries."""
        return tuple(self.settings.items()), self.seed


@dataclass(frozen=True, slots=True)
class Row:
    """What one run gave."""

    settings: Mapping[str, str]
    seed: int
    is_whole: bool
    """Whether it came to its end with no invariant broken: only then its measures count."""
    is_passed: bool
    """Whether all was as the scenario expects, too."""
    verdict: str
    digest: str = ""
    real_ms: int = 0
    steps: int = 0
    measures: Mapping[str, float | None] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def key(self) -> tuple[tuple[tuple[str, str], ...], int]:
        """As of its point."""
        return tuple(self.settings.items()), self.seed


@dataclass(frozen=True, slots=True)
class _Title:
    """The first line of a file of rows."""

    sweep: str
    """Name of the scenario."""
    keys: tuple[str, ...]
    digest: str
    """Of the plan."""
    format: int = FORMAT


def run(plan: Plan, point: Point) -> Row:
    """Run one history; a setting that can't be is a row that says so."""
    try:
        outcome = simulate(plan.played(point.settings), point.seed, Options(trainer=plan.trainer))
    except InvalidInput as error:
        verdict = f"It could not be run: {error}"
        return Row(point.settings, point.seed, is_whole=False, is_passed=False, verdict=verdict)
    return Row(
        settings=point.settings,
        seed=point.seed,
        is_whole=outcome.broken is None,
        is_passed=outcome.is_passed,
        verdict=outcome.verdict,
        digest=outcome.head.digest,
        real_ms=outcome.head.real_ms,
        steps=outcome.head.steps or 0,
        measures={measure.key: measure.take(outcome) for measure in MEASURES.values()},
    )


def sweep(plan: Plan, processes: int, file: Path | None, done: Callable[[Row], None]) -> list[Row]:
    """Run all that is not in the file yet; return the rows of the plan in its order.

    Args:
      plan: what is swept.
      processes: that share the runs.
      file: of rows, made or gone on with; None: nothing is written.
      done: is called with each row as it is known.

    Raises:
      InvalidInput: the file is of another sweep.
      Unavailable: a process ended before its work was done.
    """
    rows = {row.key: row for row in _begin(plan, file)} if file is not None else {}
    points = plan.points
    for row in rows.values():
        done(row)
    left = [point for point in points if point.key not in rows]
    for row in _played(plan, left, processes):
        rows[row.key] = row
        if file is not None:
            with file.open("a", encoding="utf-8") as out:
                out.write(json_form.write(row))
        done(row)
    return [rows[point.key] for point in points]


def _played(plan: Plan, points: Sequence[Point], processes: int) -> Iterator[Row]:
    if processes <= 1 or len(points) <= 1:
        yield from (run(plan, point) for point in points)
        return
    with crew(min(processes, len(points))) as pool:
        waiting: list[Future[Row]] = [pool.submit(run, plan, point) for point in points]
        for ended in as_completed(waiting):
            yield ended.result()


def _begin(plan: Plan, file: Path) -> list[Row]:
    """Return the rows that a file has of a plan; make it, or cut off what was not written to its end."""
    title = _Title(plan.scenario.name, tuple(axis.key for axis in plan.axes), plan.digest)
    if not file.exists() or not file.stat().st_size:
        file.write_text(json_form.write(title), "utf-8")
        return []
    lines = file.read_text("utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        file.write_text("".join(whole), "utf-8")
    if not whole or json_form.read(_Title, whole[0], str(file), FORMAT) != title:
        raise InvalidInput(f"{file} holds the rows of another sweep; name another file, or remove it")
    wanted = {point.key: None for point in plan.points}
    known = [json_form.read(Row, line, f"{file}, line {i}", FORMAT) for i, line in enumerate(whole[1:], 2)]
    return [row for row in known if row.key in wanted]
