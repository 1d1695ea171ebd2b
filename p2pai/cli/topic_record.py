"""`p2pai topic record`: keep what a node sees of gossip in a file, for the other commands."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from p2pai import __version__
from p2pai.cli import options, screen, topic_source
from p2pai.gossip import recording
from p2pai.gossip.recording import FORMAT, Entry, Holds, Reading, Recording
from p2pai.gossip.topics import matches
from p2pai.shell.client import RpcClient
from p2pai.shell.files import open_new
from p2pai.shell.recorder import now_us
from p2pai.shell.specs import load_spec

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
    seconds: topic_source.Seconds = None,
    topic: Pattern = "*",
    bootstrap: topic_source.Bootstrap = None,
    chain: topic_source.Chain = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Record gossip until Ctrl-C: every message, from whom, and what became of it.

    It is that of a running node, or with --bootstrap what a listener hears. To record all that a node's core
    is told as well, for `p2pai topic replay`, run it with `p2pai start --record FILE`.
    """
    if bootstrap:
        head, count = _listen(file, bootstrap, chain or "devnet", topic, seconds)
    else:
        head, count = _copy(file, options.expand(data_dir), topic, seconds)
    screen.show_line(f"{file}: {count} entries of {head.peer}")


def _copy(file: Path, directory: Path, pattern: str, seconds: int | None) -> tuple[Recording, int]:
    """Record a running node; return the head, and how many entries there were."""
    count = 0
    with RpcClient(directory).gossip(seconds) as pieces:
        reading = Reading(pieces)
        # Ctrl-C is how a recording without --seconds ends.
        with open_new(file) as made, suppress(KeyboardInterrupt):
            made.write(recording.begin(reading.head))
            for entry in select(reading, pattern):
                made.write(recording.encode(entry))
                count += 1
    return reading.head, count


def _listen(
    file: Path, bootstrap: list[str], chain: str, pattern: str, seconds: int | None
) -> tuple[Recording, int]:
    """Record what a listener hears; return the head, and how many entries there were."""
    from p2pai.gossip.libp2p.listener import Listener
    from p2pai.shell import listening

    spec, count = load_spec(chain), 0
    listener = Listener(spec.short_id, bootstrap, lambda name: matches(name, pattern))
    head = Recording(
        FORMAT, __version__, spec.id, listener.peer_id, (), None, now_us(), (Holds.GOSSIP,), None
    )
    with open_new(file) as made:
        made.write(recording.begin(head))

        def take(entry: Entry) -> bool:
            nonlocal count
            if is_about(entry, pattern):
                made.write(recording.encode(entry))
                count += 1
            return True

        remarks = topic_source.Remarks(listener.followed, spec, pattern)
        listening.hear(listener, take, seconds, remarks.tick, topic_source.TICK_S)
    return head, count


def select(entries: Reading, pattern: str) -> Iterator[Entry]:
    """Give the entries about some topics."""
    return (entry for entry in entries if is_about(entry, pattern))


def is_about(entry: Entry, pattern: str) -> bool:
    """Tell whether an entry is about one of some topics; what is about none belongs to all."""
    about = getattr(entry.what, "message", entry.what)
    topic = getattr(about, "topic", None)
    return topic is None or matches(topic, pattern)
