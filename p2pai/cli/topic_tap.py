"""`p2pai topic tap`: what is said on topics, decoded, as it comes."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from p2pai.cli import options, screen, topic_line, topic_source
from p2pai.gossip import condition
from p2pai.gossip.condition import Condition
from p2pai.gossip.recording import Entry
from p2pai.gossip.sightings import Arrived, Outcome, Published
from p2pai.gossip.topics import matches
from p2pai.node.entries import entry_fields, entry_names, topic_of
from p2pai.node.fields import Fields

Pattern = Annotated[
    str,
    typer.Argument(
        metavar="TOPIC|PATTERN",
        help="What to hear: block, it_*, how a task's id begins, 6f2a/it_res, chain/tx, or a whole name.",
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR",
        help="Only what this holds of, e.g. 'name == it_res and iteration > 10 and sender == dpai1ab..7xyz'.",
    ),
]
Count = Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many.")]
All = Annotated[
    bool,
    typer.Option(
        "--all", help="Also copies, messages sent and dropped, and changes of mesh and subscriptions."
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Show every field, one a line.")]


def tap(
    pattern: Pattern = "*",
    *,
    where: Where = None,
    count: Count = None,
    seconds: topic_source.Seconds = None,
    everything: All = False,
    full: Full = False,
    as_json: options.AsJson = False,
    bootstrap: topic_source.Bootstrap = None,
    chain: topic_source.Chain = None,
    file: topic_source.From = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Show what is said on topics, decoded, as it comes; Ctrl-C ends it.

    With --json, one object a line.
    """
    wanted = condition.parse(where, entry_names()) if where else None
    source = topic_source.open_source(data_dir, bootstrap, chain, file, pattern)
    printer = _JsonPrinter() if as_json else _LinePrinter(full=full)
    tapped = _Tap(source.prefix, pattern, wanted, printer, count, everything)
    source.watch(tapped.take, seconds)
    if file is not None and not tapped.shown:
        screen.remark(f"Nothing in {file} matches.")


class _Tap:
    """Chooses among entries, and ends when it has shown enough."""

    def __init__(
        self,
        prefix: str,
        pattern: str,
        wanted: Condition | None,
        printer: "_LinePrinter | _JsonPrinter",
        count: int | None,
        everything: bool,  # noqa: FBT001
    ) -> None:
        self._prefix, self._pattern, self._wanted = prefix, pattern, wanted
        self._printer, self._count, self._everything = printer, count, everything
        self.shown = 0
        """How many entries so far."""

    def take(self, entry: Entry) -> bool:
        """Show an entry if it is wanted; False when it was the last."""
        what: Any = entry.what
        topic = topic_of(what)
        if not self._everything and not _is_first_copy(what):
            return True
        if not matches(topic, self._pattern) if topic is not None else self._pattern != "*":
            return True
        fields = entry_fields(entry.time_us, what, self._prefix)
        if self._wanted is not None and not self._wanted.holds(fields):
            return True
        self._printer.show(fields)
        self.shown += 1
        return self.shown != self._count


class _LinePrinter:
    """Lines for people: cut at the edge of a terminal, whole in a pipe."""

    def __init__(self, *, full: bool) -> None:
        width = None if sys.stdout.isatty() else screen.PIPE_COLUMNS
        self._console, self._full = Console(highlight=False, width=width), full

    def show(self, fields: Fields) -> None:
        self._console.print(topic_line.line(fields), no_wrap=True, overflow="ellipsis")
        if self._full:
            self._console.print(topic_line.details(fields), end="")
        sys.stdout.flush()


class _JsonPrinter:
    """One object a line."""

    def show(self, fields: Fields) -> None:
        print(json.dumps(fields), flush=True)  # noqa: T201


def _is_first_copy(what: object) -> bool:
    return isinstance(what, Published) or (
        isinstance(what, Arrived) and what.outcome is not Outcome.DUPLICATE
    )
