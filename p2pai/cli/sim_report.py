"""What `p2pai sim` shows of the histories that it ran."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import RenderableType

from p2pai.cli import screen

if TYPE_CHECKING:
    from testnet.outcome import Outcome
    from testnet.simulator.many import Brief


def show_list(*, as_json: bool) -> None:
    """Show the scenarios that ship."""
    from testnet.scenario.shelf import load, shipped

    rows = [load(name) for name in shipped()]
    if as_json:
        screen.show_json([{"name": s.name, "row": s.row, "about": s.about} for s in rows])
    else:
        screen.show(screen.table(("scenario", "row", "about"), ((s.name, s.row, s.about) for s in rows)))


def show_kinds(*, as_json: bool) -> None:
    """Show all kinds of faults and adversaries that a file can ask for."""
    from testnet.scenario.kinds import rows

    if as_json:
        screen.show_json([dict(zip(("table", "kind", "about", "keys"), row, strict=True)) for row in rows()])
    else:
        screen.show(screen.table(("in", "kind", "what it does", "keys and their defaults"), rows()))


def one(outcome: "Outcome") -> RenderableType:
    """Show one history: its size, and what came of it."""
    head = outcome.head
    tasks = (f"{task.name} {task.stages[-1].stage}" for task in outcome.tasks if not task.is_predefined)
    facts = [
        ("scenario", f"{head.scenario}: {head.about}"),
        ("seed", head.seed),
        ("nodes", len(outcome.nodes)),
        *_times(outcome),
        ("blocks", sum(block.is_best for block in outcome.blocks)),
        ("tasks", ", ".join(tasks)),
        ("fired", _counts({fired.kind: fired.count for fired in outcome.fired})),
        *((("digest", head.digest),) if head.digest else ()),
    ]
    return screen.stack(
        screen.facts(facts), *(() if outcome.is_passed else _failure(outcome)), outcome.verdict
    )


def _times(outcome: "Outcome") -> list[tuple[str, str]]:
    """Return how long it took, twice where the nodes' time was not ours."""
    length, head = f"{outcome.head.length_ms / 1000:.1f} s", outcome.head
    if head.runner != "simulator":
        return [("time", length), ("events", str(head.steps or 0))]
    real = f"{head.real_ms / 1000:.1f} s"
    return [("virtual time", length), ("real time", real), ("steps", _pace(head.steps or 0, head.real_ms))]


def show_many(briefs: "Sequence[Brief]", *, as_json: bool) -> None:
    """Show many histories: how many failed, how, and what happened in all of them."""
    from testnet.simulator.many import fired

    if as_json:
        screen.show_json([asdict(brief) for brief in briefs])
        return
    failed = [brief for brief in briefs if not brief.is_passed]
    steps, real_ms = sum(b.steps for b in briefs), sum(b.real_ms for b in briefs)
    facts = [
        ("seeds", len(briefs)),
        ("failed", len(failed)),
        ("virtual time", f"{sum(b.length_ms for b in briefs) / 1000:.0f} s"),
        ("time of all processes", f"{real_ms / 1000:.1f} s"),
        ("steps", _pace(steps, real_ms)),
        ("fired", _counts(fired(briefs))),
    ]
    ways = Counter(brief.symptom for brief in failed)
    rows = [
        (count, how, next(b.command for b in failed if b.symptom == how)) for how, count in ways.most_common()
    ]
    screen.show(screen.stack(screen.facts(facts), _table(rows)))


def _table(rows: Sequence[tuple[int, str, str]]) -> RenderableType | None:
    return screen.table(("times>", "what failed", "for example"), rows) if rows else None


def _pace(steps: int, real_ms: int) -> str:
    return f"{steps} ({1000 * steps // max(1, real_ms)} a second)"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items())


def _failure(outcome: "Outcome") -> list[RenderableType]:
    broken, missed = outcome.broken, [e for e in outcome.expectations if not e.is_met]
    parts: list[RenderableType] = [screen.clean("The last events:\n" + "\n".join(outcome.last_events))]
    if missed:
        parts.append(screen.table(("expected", "found"), ((e.what, e.found) for e in missed)))
    if broken is not None:
        where = f", at {broken.node}" if broken.node else ""
        parts.append(screen.clean(f"{broken.invariant} broke at {broken.at_ms / 1000:.3f} s{where}"))
    parts.append(screen.clean(f"The same again: {outcome.head.command}"))
    return parts
