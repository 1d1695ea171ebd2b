"""`p2pai topic record`: keep what a node sees of gossip in a file, for the other commands."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from p2pai.cli import options, screen
from p2pai.gossip import recording
from p2pai.gossip.recording import Entry, Reading
from p2pai.gossip.topics import matches
from p2pai.shell.client import RpcClient
from p2pai.shell.files import open_new

File = Annotated[Path, typer.Argument(metavar="FILE", help="A recording.")]
NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="The recording to make.")]
Pattern = Annotated[
    str,
    typer.Option(
        "--topic",
        metavar="PATTERN",
        help="Only topics of this name or kind, such as block or it_*.",
    ),
]


def record(
    file: NewFile,
    *,
    seconds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so long; else with Ctrl-C.")
    ] = None,
    topic: Pattern = "*",
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Record the gossip of a running node: every message, from whom, and what became of it.

    To record all that a node's core is told as well, for `p2pai topic replay`, run it with
    `p2pai start --record FILE`.
    """
    with RpcClient(options.expand(data_dir)).gossip(seconds) as pieces:
        reading = Reading(pieces)
        count = 0
        # Ctrl-C is how a recording without --seconds ends.
        with open_new(file) as made, suppress(KeyboardInterrupt):
            made.write(recording.begin(reading.head))
            for entry in select(reading, topic):
                made.write(recording.encode(entry))
                count += 1
    screen.show_line(f"{file}: {count} entries of {reading.head.peer}")


def select(entries: Reading, pattern: str) -> Iterator[Entry]:
    """Give the entries about some topics; what is about none belongs to all."""
    for entry in entries:
        about = getattr(entry.what, "message", entry.what)
        topic = getattr(about, "topic", None)
        if topic is None or matches(topic, pattern):
            yield entry
