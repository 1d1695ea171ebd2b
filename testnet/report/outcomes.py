"""One outcome as a page, or several side by side."""

from collections.abc import Sequence
from typing import Any, Final

from testnet.measures import MEASURES, shown
from testnet.outcome import Outcome
from testnet.report import block_pictures, page, task_pictures, world_pictures
from testnet.report.picture import Section

SECTIONS: Final = (
    Section("spread", "How blocks spread", block_pictures.spread),
    Section("spread-over-time", "How long each block took", block_pictures.spread_over_time),
    Section("forks", "The tree of blocks", block_pictures.forks),
    Section("approvals", "Approvals of each block", block_pictures.approvals),
    Section("mining", "What became of mining", block_pictures.mined),
    Section("tasks", "The lives of tasks", task_pictures.lives),
    Section("learning", "What was learned for the bytes sent", task_pictures.learning),
    Section("coins", "Where coins came from and went", world_pictures.coins),
    Section("traffic", "What was said", world_pictures.traffic),
    Section("faults", "What went wrong", world_pictures.faults),
)

NODES_MAX: Final = 200
"""Rows of the table of nodes."""

ATOMS_PER_COIN: Final = 100_000_000


def render(outcomes: Sequence[Outcome]) -> str:
    """Return a page about outcomes; equal outcomes give equal pages."""
    assert outcomes
    names = _names(outcomes)
    values = {"outcomes": outcomes, "names": names, "seconds": _seconds, "coins": _coins}
    head = {**values, "facts": _facts(outcomes), "measures": _measures(outcomes)}
    parts = {
        "head": ("outcome_head.html.j2", head),
        "tail": ("outcome_tail.html.j2", {**values, "nodes_max": NODES_MAX}),
    }
    versions = ", ".join(dict.fromkeys(outcome.head.version or "unknown" for outcome in outcomes))
    return page.render(_title(outcomes), names, outcomes, SECTIONS, parts, f"p2pai {versions}")


def _title(outcomes: Sequence[Outcome]) -> str:
    scenarios = " and ".join(dict.fromkeys(outcome.head.scenario for outcome in outcomes))
    return (
        f"{scenarios}, seed {outcomes[0].head.seed}" if len(outcomes) == 1 else f"{scenarios}, side by side"
    )


def _names(outcomes: Sequence[Outcome]) -> list[str]:
    """Name each run by what tells it from the others; by its number where nothing does."""
    heads = [outcome.head for outcome in outcomes]
    parts = [(head.scenario, head.runner, f"seed {head.seed}") for head in heads]
    differing = [i for i in range(3) if len({row[i]: None for row in parts}) > 1]
    names = [", ".join(row[i] for i in differing or (1, 2)) for row in parts]
    if len(dict.fromkeys(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return names


def _facts(outcomes: Sequence[Outcome]) -> list[tuple[str, list[str]]]:
    heads = [outcome.head for outcome in outcomes]
    rows = [
        ("Ran on", [_runner(head.runner) for head in heads]),
        ("Nodes", [str(len(outcome.nodes)) for outcome in outcomes]),
        ("Length", [_seconds(head.length_ms) for head in heads]),
        ("It took", [_seconds(head.real_ms) for head in heads]),
        ("Events", ["-" if head.steps is None else f"{head.steps}" for head in heads]),
        ("Healed after", [_seconds(head.healed_ms) for head in heads]),
        ("One tip after", [_seconds(head.settled_ms) for head in heads]),
        ("Without the defence", [head.weakened or "-" for head in heads]),
        ("Chain", [_settings(head.params) for head in heads]),
        ("Set for this run", [_settings(head.settings) or "-" for head in heads]),
        ("Digest of the history", [head.digest[:16] or "-" for head in heads]),
    ]
    return [(what, values) for what, values in rows if any(value != "-" for value in values)]


def _runner(name: str) -> str:
    return {"simulator": "the simulator, in virtual time", "processes": "real processes"}.get(name, name)


def _settings(known: Any) -> str:  # noqa: ANN401
    return ", ".join(f"{name} {value}" for name, value in known.items())


def _measures(outcomes: Sequence[Outcome]) -> list[tuple[Any, list[str]]]:
    rows = [(m, [shown(m, m.take(outcome)) for outcome in outcomes]) for m in MEASURES.values()]
    return [(measure, values) for measure, values in rows if any(value != "-" for value in values)]


def _seconds(ms: int | None) -> str:
    return "-" if ms is None else f"{ms / 1000:.1f} s"


def _coins(atoms: int) -> str:
    return f"{atoms / ATOMS_PER_COIN:.2f}" if atoms else "0"
