"""`p2pai topic list`, `stats` and `mesh`: gossip in numbers, once or again and again in place."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from p2pai.cli import options, screen, topic_source
from p2pai.cli.summary import printable
from p2pai.cli.topic_line import duration, remote_name, size, topic_names
from p2pai.gossip.topics import matches
from p2pai.primitives.errors import InvalidInput

WINDOW_S: Final = 10
"""Seconds over which rates are taken."""

Report = dict[str, Any]
Row = dict[str, Any]

Follow = Annotated[
    bool,
    typer.Option("--follow", "--watch", help="Again every second, in place on a terminal; Ctrl-C ends it."),
]
Pattern = Annotated[
    str, typer.Argument(metavar="[TOPIC|PATTERN]", help="Only these topics, as in p2pai topic tap.")
]
Dot = Annotated[bool, typer.Option("--dot", help="Print a graph in Graphviz's language.")]


class By(StrEnum):
    """What the rows of `stats` are."""

    TOPIC = "topic"
    REMOTE = "remote"


def list_topics(
    pattern: Pattern = "*",
    *,
    follow: Follow = False,
    seconds: topic_source.Seconds = None,
    as_json: options.AsJson = False,
    bootstrap: topic_source.Bootstrap = None,
    chain: topic_source.Chain = None,
    file: topic_source.From = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """List topics: who follows them, the mesh, rates over the last 10 seconds, and totals."""
    source = topic_source.open_source(data_dir, bootstrap, chain, file, pattern)
    with _Shown(lambda report: render_list(report, pattern), as_json=as_json, follow=follow) as shown:
        source.count(shown.show, seconds, follow=follow)


def stats(
    pattern: Pattern = "*",
    *,
    by: Annotated[By, typer.Option(help="A row for each topic, or for each remote.")] = By.TOPIC,
    follow: Follow = False,
    seconds: topic_source.Seconds = None,
    as_json: options.AsJson = False,
    bootstrap: topic_source.Bootstrap = None,
    chain: topic_source.Chain = None,
    file: topic_source.From = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Show how gossip does: copies, what was refused or dropped, latency, and the lag of later copies."""
    if by is By.REMOTE and pattern != "*":
        raise InvalidInput(
            "what each remote did is counted over all topics: leave out --by remote or the topic"
        )
    source = topic_source.open_source(data_dir, bootstrap, chain, file, pattern)

    def render(report: Report) -> RenderableType:
        return render_topics(report, pattern) if by is By.TOPIC else render_remotes(report)

    with _Shown(render, as_json=as_json, follow=follow) as shown:
        source.count(shown.show, seconds, follow=follow)


def mesh(
    pattern: Pattern = "*",
    *,
    dot: Dot = False,
    follow: Follow = False,
    seconds: topic_source.Seconds = None,
    as_json: options.AsJson = False,
    bootstrap: topic_source.Bootstrap = None,
    chain: topic_source.Chain = None,
    file: topic_source.From = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Show the mesh of each topic: with whom, since when, and who asked for it."""
    if dot and (as_json or follow):
        raise InvalidInput("--dot prints one graph: leave out --json and --follow")
    source = topic_source.open_source(data_dir, bootstrap, chain, file, pattern)
    if dot:
        source.count(lambda report: print(graph(report, pattern)), seconds, follow=False)  # noqa: T201
        return
    with _Shown(lambda report: render_mesh(report, pattern), as_json=as_json, follow=follow) as shown:
        source.count(shown.show, seconds, follow=follow)


class _Shown:
    """Shows reports: as JSON, one below the other, or in place of the one before."""

    def __init__(self, render: Callable[[Report], RenderableType], *, as_json: bool, follow: bool) -> None:
        self._render, self._as_json, self._follow = render, as_json, follow
        in_place = follow and not as_json and sys.stdout.isatty()
        self._live = Live(console=Console(highlight=False), auto_refresh=False) if in_place else None

    def __enter__(self) -> "_Shown":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, report: Report) -> None:
        """Show one report."""
        if self._as_json and self._follow:
            screen.show_line(json.dumps(report))
        elif self._as_json:
            screen.show_json(report)
        elif self._live is not None:
            self._live.update(self._render(report), refresh=True)
        else:
            screen.show(self._render(report))


def render_list(report: Report, pattern: str) -> RenderableType:
    """Show the topics of a report."""
    names = _names(report)
    rows = [
        (
            names[row["topic"]],
            len(row["followers"]),
            len(row["mesh"]),
            *_rates(row, report),
            row["messages"],
            size(row["bytes"]),
        )
        for row in _topics(report, pattern)
    ]
    headings = ("topic", "remotes>", "mesh>", "msg/s>", "per s>", "messages>", "bytes>")
    return screen.stack(_head(report), screen.table(headings, rows))


def render_topics(report: Report, pattern: str) -> RenderableType:
    """Show how each topic does."""
    names = _names(report)
    rows = [
        (names[row["topic"]], row["messages"], row["duplicate"], *_losses(row), *_latencies(row))
        for row in _topics(report, pattern)
    ]
    headings = ("topic", "new>", "copies>", "refused>", "dropped>", "p50>", "p90>", "p99>", "lag>")
    return screen.stack(_head(report), screen.table(headings, rows), _KEY)


def render_remotes(report: Report) -> RenderableType:
    """Show how each remote does."""
    ordered = sorted(report["remotes"], key=lambda row: (row["since_us"] is None, -row["arrived"]))
    rows = [
        (
            remote_name(row["remote"]),
            row["messages"],
            _share(row["messages"], row["messages"] + row["duplicate"]),
            *_losses(row),
            *_latencies(row, ("p50", "p99")),
            row["score"],
        )
        for row in ordered
    ]
    headings = ("remote", "first>", "share>", "refused>", "dropped>", "p50>", "p99>", "lag>", "score>")
    return screen.stack(_head(report), screen.table(headings, rows), _KEY)


def render_mesh(report: Report, pattern: str) -> RenderableType:
    """Show who is in the mesh of which topic."""
    names = _names(report)
    scores = {row["remote"]: row["score"] for row in report["remotes"]}
    rows = [
        (
            names[topic["topic"]],
            remote_name(link["remote"]),
            "the remote" if link["by_remote"] else "us",
            _age(report, link["since_us"]),
            scores.get(link["remote"]),
        )
        for topic in _topics(report, pattern)
        for link in topic["mesh"]
    ]
    outside = [
        (names[topic["topic"]], ", ".join(map(remote_name, others)))
        for topic in _topics(report, pattern)
        if (others := _outside(topic))
    ]
    return screen.stack(
        _head(report),
        screen.table(("topic", "remote", "grafted by", "since>", "score>"), rows),
        screen.table(("topic", "followed outside our mesh by"), outside) if outside else None,
    )


def graph(report: Report, pattern: str) -> str:
    """Return the mesh as a graph: an edge goes from who asked for it."""
    topics = _names(report)
    lines = ["digraph mesh {", '  us [shape=box, label="this node"];']
    for topic in _topics(report, pattern):
        for link in topic["mesh"]:
            ends = (_quoted(link["remote"]), "us") if link["by_remote"] else ("us", _quoted(link["remote"]))
            lines.append(f"  {ends[0]} -> {ends[1]} [label={_quoted(topics[topic['topic']])}];")
    names = dict.fromkeys(link["remote"] for topic in _topics(report, pattern) for link in topic["mesh"])
    lines += [f"  {_quoted(name)} [label={_quoted(remote_name(name))}];" for name in names]
    return "\n".join([*lines, "}"])


_KEY: Final = screen.clean(
    "Latency: from the sender's stamp, by its clock, to us. Lag: p90 from the first copy to a later one."
)


def _head(report: Report) -> RenderableType:
    here = sum(row["since_us"] is not None for row in report["remotes"])
    return screen.clean(
        f"{here} {'remote' if here == 1 else 'remotes'}, counted for {_age(report, report['began_us'])}"
    )


def _topics(report: Report, pattern: str) -> Iterator[Row]:
    return (row for row in report["topics"] if matches(row["topic"], pattern))


def _names(report: Report) -> dict[str, str]:
    return topic_names(row["topic"] for row in report["topics"])


def _rates(row: Row, report: Report) -> tuple[str, str]:
    elapsed_s = max(1, min(WINDOW_S, (report["now_us"] - report["began_us"]) // 1_000_000))
    messages, count = row[f"last_{WINDOW_S}_s"]
    return f"{messages / elapsed_s:.1f}", size(count // elapsed_s)


def _losses(row: Row) -> tuple[int, int]:
    return row["rejected"] + row["invalid"], row["dropped"]


def _latencies(row: Row, names: Sequence[str] = ("p50", "p90", "p99")) -> tuple[str, ...]:
    return (*(duration(row["latency_us"][name]) for name in names), duration(row["lag_us"]["p90"]))


def _share(part: int, whole: int) -> str:
    return f"{100 * part // whole} %" if whole else "-"


def _age(report: Report, since_us: int) -> str:
    seconds = max(0, report["now_us"] - since_us) // 1_000_000
    minutes, hours = seconds // 60, seconds // 3600
    return f"{seconds} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{hours} h"


def _outside(topic: Row) -> list[str]:
    inside = [link["remote"] for link in topic["mesh"]]
    return [remote for remote in topic["followers"] if remote not in inside]


def _quoted(text: str) -> str:
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
