"""`p2pai sim`: a whole network in one process, in virtual time, from one seed.

What is run is a scenario: one that ships, or a file. The work is done by testnet.simulator, which is loaded
when the command runs.
"""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import RenderableType
from rich.status import Status

from p2pai.cli import options, screen

if TYPE_CHECKING:
    from testnet.outcome import Outcome
    from testnet.scenario.model import Scenario
    from testnet.simulator.simulation import Simulation

SCENARIO_DEFAULT: Final = "calm"
SEED_MAX: Final = 2**63 - 1


def sim(
    *,
    scenario: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="What is run: a name of --list, or the path of a file.")
    ] = SCENARIO_DEFAULT,
    seed: Annotated[
        int, typer.Option(min=0, max=SEED_MAX, help="Of everything that is drawn: one seed, one history.")
    ] = 1,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="How many; the groups that scale grow or shrink.")
    ] = None,
    weaken: Annotated[str, typer.Option(metavar="DEFENCE", help="Take a defence away from all nodes.")] = "",
    show_list: Annotated[bool, typer.Option("--list", help="Show the scenarios that ship.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Simulate a whole network: real nodes, virtual time, every fault drawn from one seed.

    Exit status 0 only when no invariant was broken and all is as the scenario expects.
    """
    from testnet.scenario.cast import scaled
    from testnet.scenario.shelf import load

    if show_list:
        _show_list(as_json=as_json)
        return
    played = load(scenario)
    if nodes is not None:
        played = scaled(played, nodes)
    command = _command(scenario, seed, nodes, weaken)
    outcome = _run(played, seed, weaken, command)
    if as_json:
        screen.show_line(outcome.to_json().rstrip())
    else:
        screen.show(_report(outcome))
    if not outcome.is_passed:
        raise typer.Exit(1)


def _run(scenario: "Scenario", seed: int, weaken: str, command: str) -> "Outcome":
    from testnet.simulator.simulation import Options, simulate

    with screen.busy(f"{scenario.name}, seed {seed}") as status:
        return simulate(scenario, seed, Options(weakened=weaken, progress=_progress(status), command=command))


def _progress(status: Status) -> Callable[["Simulation"], None]:
    def show(simulation: "Simulation") -> None:
        seconds, steps = simulation.now_ms // 1000, simulation.recent.steps
        status.update(screen.clean(f"{simulation.scenario.name}: {seconds} s of virtual time, {steps} steps"))

    return show


def _command(scenario: str, seed: int, nodes: int | None, weaken: str) -> str:
    parts = ["p2pai sim --scenario", shlex.quote(scenario), f"--seed {seed}"]
    parts += [f"--nodes {nodes}"] if nodes is not None else []
    parts += [f"--weaken {weaken}"] if weaken else []
    return " ".join(parts)


def _show_list(*, as_json: bool) -> None:
    from testnet.scenario.shelf import load, shipped

    rows = [load(name) for name in shipped()]
    if as_json:
        screen.show_json([{"name": s.name, "row": s.row, "about": s.about} for s in rows])
    else:
        screen.show(screen.table(("scenario", "row", "about"), ((s.name, s.row, s.about) for s in rows)))


def _report(outcome: "Outcome") -> RenderableType:
    head = outcome.head
    facts = [
        ("scenario", f"{head.scenario}: {head.about}"),
        ("seed", head.seed),
        ("virtual time", f"{head.length_ms / 1000:.1f} s"),
        ("real time", f"{head.real_ms / 1000:.1f} s"),
        ("steps", _pace(head.steps or 0, head.real_ms)),
        ("blocks", sum(block.is_best for block in outcome.blocks)),
        ("tasks", ", ".join(f"{t.name} {t.stages[-1].stage}" for t in outcome.tasks if not t.is_predefined)),
        ("fired", ", ".join(f"{fired.kind} {fired.count}" for fired in outcome.fired)),
        ("digest", head.digest),
    ]
    parts: list[RenderableType] = [screen.facts(facts), screen.clean(outcome.verdict)]
    if not outcome.is_passed:
        parts += _failure(outcome)
    return screen.stack(*parts)


def _pace(steps: int, real_ms: int) -> str:
    return f"{steps} ({1000 * steps // max(1, real_ms)} a second)"


def _failure(outcome: "Outcome") -> list[RenderableType]:
    parts: list[RenderableType] = []
    broken = outcome.broken
    if broken is not None:
        parts.append(screen.clean(f"At {broken.at_ms / 1000:.3f} s, at {broken.node or 'no node'}."))
    missed = [e for e in outcome.expectations if not e.is_met]
    if missed:
        rows = ((e.what, e.found) for e in missed)
        parts.append(screen.table(("expected", "found"), rows))
    parts.append(screen.clean("The last events:\n" + "\n".join(outcome.last_events)))
    parts.append(screen.clean(f"Replay it: {outcome.head.command}"))
    return parts
