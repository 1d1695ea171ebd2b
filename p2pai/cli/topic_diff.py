"""`p2pai topic diff`: which messages two nodes saw differently."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.recordings import opened
from p2pai.cli.topic_line import topic_names
from p2pai.cli.topic_record import Pattern, select
from p2pai.gossip.differences import Differences
from p2pai.gossip.recording import Entry, Holds, Reading

A = Annotated[Path, typer.Argument(metavar="A", help="A recording of one node.")]
B = Annotated[Path, typer.Argument(metavar="B", help="A recording of another one.")]
Report = dict[str, Any]


def diff(
    a: A,
    b: B,
    *,
    topic: Pattern = "*",
    count: Annotated[
        int, typer.Option(min=0, metavar="N", help="List so many differences of each kind.")
    ] = 20,
    as_json: options.AsJson = False,
) -> None:
    """Show which messages two nodes saw differently: missing, judged otherwise, in another order, or late."""
    with opened(a, Holds.GOSSIP) as first, opened(b, Holds.GOSSIP) as second:
        answer = compare(first, second, topic)
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render(answer, count))


def compare(first: Reading, second: Reading, pattern: str = "*") -> Report:
    """Return the differences of two recordings, read side by side in the order of their times."""

    def of_side(side: int, reading: Reading) -> Iterator[tuple[int, int, Entry]]:
        for entry in select(reading, pattern):
            yield entry.time_us, side, entry

    found = Differences((first.head, second.head))
    both = heapq.merge(of_side(0, first), of_side(1, second), key=lambda item: item[:2])
    for _, side, entry in both:
        found.see(side, entry)
    return found.report()


def render(answer: Report, count: int) -> RenderableType:
    """Show differences, at most `count` of each kind."""
    names = [f"A ({_end(answer['nodes'][0])})", f"B ({_end(answer['nodes'][1])})"]
    shown = topic_names(row["topic"] for row in answer["topics"])
    topics = [_topic(shown[row["topic"]], row) for row in answer["topics"]]
    listed = [
        ("only " + name, _end(m["id"]), shown[m["topic"]], m["outcome"])
        for name, found in zip(names, answer["only_listed"], strict=True)
        for m in found[:count]
    ]
    judged = [
        ("judged", _end(v["id"]), shown[v["topic"]], " / ".join(v["outcomes"]))
        for v in answer["verdicts_listed"][:count]
    ]
    return screen.stack(
        screen.facts(
            [
                ("Both had", f"{answer['both']} messages"),
                *((f"Only {name}", n) for name, n in zip(names, answer["only"], strict=True)),
                ("Judged differently", answer["verdicts"]),
                ("Duplicates", " / ".join(map(str, answer["duplicates"]))),
                ("Invalid", " / ".join(map(str, answer["invalid"]))),
                ("Clock of B", _clock(answer["clock"])),
            ]
        ),
        screen.table(
            ("topic", "A>", "B>", "both>", "other order>", "B later: p50>", "p90>", "p99>", "max>"), topics
        ),
        screen.table(("difference", "message", "topic", "outcome"), [*listed, *judged])
        if listed or judged
        else None,
    )


def _topic(name: str, row: Report) -> tuple[object, ...]:
    later = row["later_us"] or {}
    late = [screen.milliseconds(later.get(f"p{p}")) for p in (50, 90, 99, 100)]
    return name, *row["messages"], row["both"], row["out_of_order"], *late


def _clock(clock: Report | None) -> str:
    if clock is None:
        return "not comparable: no messages went both ways, so times are by each node's own clock"
    ahead = screen.milliseconds(clock["ahead_us"])
    return f"{ahead} ahead of A's, give or take {screen.milliseconds(clock['error_us'])}; times are corrected"


def _end(name: str) -> str:
    # Ids of messages and of nodes begin alike.
    return name if len(name) <= screen.END_LENGTH else f"..{name[-screen.END_LENGTH :]}"
