"""`p2pai sim`: a whole network in one process, in virtual time, from one seed.

What is run is a scenario: one that ships, a file, or one drawn by lot (chaos). The work is done by
testnet.simulator, which is loaded when the command runs.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.status import Status

from p2pai.cli import options, screen, sim_report
from p2pai.cli import report as report_command
from p2pai.primitives.errors import InvalidInput

if TYPE_CHECKING:
    from testnet.outcome import Outcome
    from testnet.scenario.model import Scenario
    from testnet.simulator.many import Brief
    from testnet.simulator.simulation import Options, Simulation

CALM: Final = "calm"
"""The scenario that is run when none is named."""

SEED_MAX: Final = 2**63 - 1
SEEDS_MAX: Final = 10_000_000

_WHAT: Final = "What is run"
_HOW: Final = "How"
_OUT: Final = "What comes out"


Name = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="NAME|FILE",
        rich_help_panel=_WHAT,
        help="A scenario: a name of --list, or the path of a TOML file; calm when nothing else is said.",
    ),
]
Chaos = Annotated[
    bool,
    typer.Option(
        "--chaos",
        rich_help_panel=_WHAT,
        help="Draw a scenario from the seed; with --scenario, draw faults on top of it.",
    ),
]
Nodes = Annotated[
    int | None,
    typer.Option(min=1, rich_help_panel=_WHAT, help="How many; the groups that scale grow or shrink."),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=SEED_MAX, rich_help_panel=_WHAT, help="Of all that is drawn: one seed, one history."
    ),
]
Seeds = Annotated[
    int,
    typer.Option(min=1, max=SEEDS_MAX, rich_help_panel=_WHAT, help="How many, counted from --seed."),
]
Weaken = Annotated[
    str,
    typer.Option(metavar="DEFENCE", rich_help_panel=_WHAT, help="Take a defence away from all nodes."),
]
Train = Annotated[
    str,
    typer.Option(
        metavar="fast|real", rich_help_panel=_HOW, help="Who trains: a toy with real hashes, or JAX."
    ),
]
Jobs = Annotated[
    int,
    typer.Option(min=0, max=1024, rich_help_panel=_HOW, help="Processes for --seeds; 0: one a core."),
]
Shrink = Annotated[
    bool,
    typer.Option(
        "--shrink", rich_help_panel=_HOW, help="Search for a smaller scenario that fails in the same way."
    ),
]
Runs = Annotated[int, typer.Option(min=1, rich_help_panel=_HOW, help="Histories that --shrink may play.")]
Save = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=_OUT,
        help="Write the scenario: as drawn, scaled or shrunk. Run as a file it has the same history.",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=_OUT, help="Record every honest node, for `p2pai topic`."),
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=_OUT,
        help="Write a page with pictures: one HTML file, see `p2pai report`.",
    ),
]
ShowList = Annotated[bool, typer.Option("--list", rich_help_panel=_OUT, help="Show the scenarios that ship.")]
ShowKinds = Annotated[
    bool,
    typer.Option("--kinds", rich_help_panel=_OUT, help="Show all kinds of faults and adversaries."),
]


def sim(
    *,
    scenario: Name = None,
    chaos: Chaos = False,
    nodes: Nodes = None,
    seed: Seed = 1,
    seeds: Seeds = 1,
    weaken: Weaken = "",
    train: Train = "fast",
    jobs: Jobs = 0,
    shrink: Shrink = False,
    runs: Runs = 200,
    save: Save = None,
    record: Record = None,
    report: Report = None,
    show_list: ShowList = False,
    show_kinds: ShowKinds = False,
    as_json: options.AsJson = False,
) -> None:
    """Simulate a whole network: real nodes, virtual time, every fault drawn from one seed.

    Exit status 0 only when no invariant was broken and all is as the scenario expects. A history that fails
    says what broke first, where, what happened right before, and how to run the same again.
    """
    if show_list and show_kinds:
        raise InvalidInput("--list and --kinds are two questions; ask one of them")
    if show_list:
        sim_report.show_list(as_json=as_json)
        return
    if show_kinds:
        sim_report.show_kinds(as_json=as_json)
        return
    if seeds > 1 and (shrink or save or record or report):
        raise InvalidInput("--shrink, --save, --record and --report are for one seed, not for --seeds")
    if report is not None:
        report_command.check()
    wanted = _Wanted(scenario, nodes, weaken, train, chaos=chaos)
    if seeds > 1:
        passed = _run_many(wanted, range(seed, seed + seeds), jobs or os.cpu_count() or 1, as_json=as_json)
    elif shrink:
        passed = _shrink(wanted, seed, runs, save, report, as_json=as_json)
    else:
        passed = _run(wanted, seed, save, record, report, as_json=as_json)
    if not passed:
        raise typer.Exit(1)


class _Wanted:
    """What the user asked to be run."""

    def __init__(
        self, scenario: str | None, nodes: int | None, weaken: str, train: str, *, chaos: bool
    ) -> None:
        self.scenario, self.nodes, self.chaos = scenario, nodes, chaos
        self.weaken, self.train = weaken, train
        self._read = self._load()

    def _load(self) -> "Scenario | None":
        """Read the scenario; there is none where all of it is drawn."""
        from testnet.simulator.loading import load

        if self.scenario is None and self.chaos:
            return None
        return load(CALM if self.scenario is None else self.scenario, self.nodes)

    def played(self, seed: int) -> "Scenario":
        """Return the scenario to be played with a seed."""
        from testnet.scenario.chaos import disturb, draw

        if self._read is None:
            return draw(seed, self.nodes)
        return disturb(self._read, seed) if self.chaos else self._read

    def options(self, seed: int, **more: Any) -> "Options":  # noqa: ANN401
        """Return how it is to be played."""
        from testnet.simulator.simulation import Options, trainer_of

        return Options(
            trainer=trainer_of(self.train), weakened=self.weaken, command=self.command(seed), **more
        )

    def command(self, seed: int) -> str:
        """Return what a user types to run the same again."""
        parts = ["p2pai sim"]
        parts += ["--chaos"] if self.chaos else []
        parts += [f"--scenario {shlex.quote(self.scenario)}"] if self.scenario is not None else []
        parts += [f"--seed {seed}"]
        parts += [f"--nodes {self.nodes}"] if self.nodes is not None else []
        parts += [f"--weaken {shlex.quote(self.weaken)}"] if self.weaken else []
        parts += [f"--train {self.train}"] if self.train != "fast" else []
        return " ".join(parts)


def _run(
    wanted: _Wanted, seed: int, save: Path | None, record: Path | None, report: Path | None, *, as_json: bool
) -> bool:
    from testnet.simulator.recordings import Recordings
    from testnet.simulator.simulation import simulate

    scenario = wanted.played(seed)
    if save is not None:
        _save(scenario, save)
    with screen.busy(f"{scenario.name}, seed {seed}") as status:
        more: dict[str, Any] = {"progress": _progress(status)}
        if record is None:
            outcome = simulate(scenario, seed, wanted.options(seed, **more))
        else:
            record.mkdir(parents=True, exist_ok=True)
            with Recordings(record) as recordings:
                outcome = simulate(scenario, seed, wanted.options(seed, recordings=recordings, **more))
    _show(outcome, report, as_json=as_json)
    return outcome.is_passed


def _run_many(wanted: _Wanted, seeds: range, processes: int, *, as_json: bool) -> bool:
    from testnet.simulator import many

    jobs = (many.Job(wanted.played(seed), seed, wanted.options(seed)) for seed in seeds)
    briefs: list[many.Brief] = []
    try:
        with (
            screen.busy(f"{len(seeds)} seeds") as status,
            closing(many.play(jobs, min(processes, len(seeds)))) as playing,
        ):
            for brief in playing:
                briefs.append(brief)
                status.update(_so_far(briefs, seeds))
                if not brief.is_passed:
                    screen.remark(f"seed {brief.seed}: {brief.verdict}\n  {brief.command}")
    except KeyboardInterrupt:
        screen.remark(f"interrupted after {_so_far(briefs, seeds)}")
        sim_report.show_many(briefs, as_json=as_json)
        raise
    sim_report.show_many(briefs, as_json=as_json)
    return all(brief.is_passed for brief in briefs)


def _so_far(briefs: "Sequence[Brief]", seeds: range) -> str:
    failed = sum(not brief.is_passed for brief in briefs)
    return f"{len(briefs)} of {len(seeds)} seeds, {failed} failed"


def _shrink(
    wanted: _Wanted, seed: int, runs: int, save: Path | None, report: Path | None, *, as_json: bool
) -> bool:
    from testnet.simulator.shrinking import shrink
    from testnet.simulator.simulation import simulate

    scenario = wanted.played(seed)
    with screen.busy(f"{scenario.name}, seed {seed}") as status:
        found = shrink(
            scenario, seed, wanted.options(seed), runs, lambda what: screen.remark(f"left out {what}")
        )
        status.update("once more")
        file = save or Path(f"{scenario.name}-shrunk.toml")
        _save(found.scenario, file)
        smaller = _Wanted(str(file), None, wanted.weaken, wanted.train, chaos=False)
        outcome = simulate(found.scenario, found.seed, smaller.options(found.seed))
    _show(outcome, report, as_json=as_json)
    if not as_json:
        screen.show_line(f"Written to {file} after {found.runs} runs")
    return False


def _show(outcome: "Outcome", report: Path | None, *, as_json: bool) -> None:
    if report is not None:
        report_command.write([outcome], report)
    if as_json:
        screen.show_line(outcome.to_json().rstrip())
    else:
        screen.show(sim_report.one(outcome))


def _save(scenario: "Scenario", file: Path) -> None:
    from testnet.scenario.writing import write

    file.write_text(write(scenario), "utf-8")


def _progress(status: Status) -> Callable[["Simulation"], None]:
    def show(simulation: "Simulation") -> None:
        seconds, steps = simulation.now_ms // 1000, simulation.recent.steps
        status.update(screen.clean(f"{simulation.scenario.name}: {seconds} s of virtual time, {steps} steps"))

    return show
