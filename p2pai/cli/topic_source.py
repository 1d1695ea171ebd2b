"""Where the commands of `p2pai topic` see gossip: a running node, the network itself, or a recording.

All three give the same entries, so a command does not know which of them it looks at.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, get_args

import typer

from p2pai.chain.spec import ChainSpec
from p2pai.cli import options, screen
from p2pai.cli.recordings import check_chain, opened
from p2pai.cli.topic_line import topic_name
from p2pai.gossip.meter import Meter
from p2pai.gossip.recording import Entry, Reading
from p2pai.gossip.sightings import Sighting
from p2pai.gossip.topics import chain_of, matches
from p2pai.primitives.errors import InvalidInput
from p2pai.shell import config as node_config
from p2pai.shell.client import RpcClient
from p2pai.shell.specs import load_spec

TICK_S: Final = 1.0
"""Seconds between two pictures of numbers that are followed."""

LISTEN_S: Final = 10
"""Seconds for which a listener counts when nothing else is said."""

SILENCE_TICKS: Final = 3
"""Ticks after which a listener that may join no topic says so."""

TOPICS_NAMED: Final = 20

Bootstrap = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MULTIADDR",
        help="Listen on the network itself, joined by this node; no node of your own is needed. Repeatable.",
    ),
]
Chain = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="The network; devnet, or the node's own, if not given."),
]
From = Annotated[
    Path | None, typer.Option("--from", metavar="FILE", help="Look at a recording instead of a node.")
]
Seconds = Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many seconds.")]

Take = Callable[[Entry], bool]
"""Takes what was seen; False when it has enough."""

Show = Callable[[dict[str, Any]], None]
"""Takes all numbers, as `meter.Meter.report` gives them."""


class Source(Protocol):
    """Something that gossip is seen at."""

    prefix: str
    """Of the network's addresses."""

    def watch(self, take: Take, seconds: int | None) -> None:
        """Give what is seen until `take` has enough, time is over, or the user interrupts."""

    def count(self, show: Show, seconds: int | None, *, follow: bool) -> None:
        """Show the numbers: once, or again and again until time is over or the user interrupts."""


def open_source(
    data_dir: Path, bootstrap: list[str] | None, chain: str | None, file: Path | None, pattern: str = "*"
) -> Source:
    """Return what the options name.

    Raises:
      InvalidInput: two of them at once, or a wrong one.
    """
    if bootstrap and file is not None:
        raise InvalidInput("--bootstrap and --from exclude each other")
    if file is not None:
        return _File(file, chain)
    if bootstrap:
        return _Network(bootstrap, chain or "devnet", pattern)
    return _Node(options.expand(data_dir), chain, pattern)


class _Node:
    """A node that runs on this machine, asked over its RPC."""

    def __init__(self, data_dir: Path, chain: str | None, pattern: str) -> None:
        self._client, self._pattern = RpcClient(data_dir), pattern
        known = node_config.find(data_dir) if chain is None else None
        self.prefix = load_spec(chain or (known.config.chain if known else "devnet")).prefix

    def watch(self, take: Take, seconds: int | None) -> None:
        _remark_on_silence(self._pattern, [row["topic"] for row in self._client.report()["topics"]])
        with suppress(KeyboardInterrupt), self._client.gossip(seconds) as pieces:
            _take_all(Reading(pieces), take)

    def count(self, show: Show, seconds: int | None, *, follow: bool) -> None:
        show(self._client.report())
        if not follow:
            return
        end_s = None if seconds is None else time.monotonic() + seconds
        with suppress(KeyboardInterrupt):
            while end_s is None or time.monotonic() < end_s:
                time.sleep(TICK_S)
                show(self._client.report())


class _Network:
    """The network, heard by a listener of our own."""

    def __init__(self, bootstrap: list[str], chain: str, pattern: str) -> None:
        spec = load_spec(chain)
        self.prefix = spec.prefix
        # libp2p takes a second to load; who asks a running node shall not wait for it.
        from p2pai.gossip.libp2p.listener import Listener

        self._listener = Listener(spec.short_id, bootstrap, lambda topic: matches(topic, pattern))
        self._remarks = Remarks(self._listener.followed, spec, pattern)

    def watch(self, take: Take, seconds: int | None) -> None:
        from p2pai.shell.listening import hear

        hear(self._listener, take, seconds, self._remarks.tick, TICK_S)

    def count(self, show: Show, seconds: int | None, *, follow: bool) -> None:
        from p2pai.shell.listening import hear
        from p2pai.shell.recorder import now_us

        meter = Meter(now_us())

        def take(entry: Entry) -> bool:
            _see(meter, entry)
            return True

        def tick() -> None:
            self._remarks.tick()
            show(meter.report(now_us()))

        if follow:
            hear(self._listener, take, seconds, tick, TICK_S)
        else:
            hear(self._listener, take, seconds or LISTEN_S, self._remarks.tick, TICK_S)
            show(meter.report(now_us()))


class Remarks:
    """Says once, a few ticks after a listener began, why it may hear nothing."""

    def __init__(self, followed: Callable[[], Sequence[str]], spec: ChainSpec, pattern: str) -> None:
        """Begin; `followed` gives the topics that remotes follow."""
        self._followed, self._spec, self._pattern = followed, spec, pattern
        self._ticks = count()

    def tick(self) -> None:
        """Count, and say it when it is time."""
        if next(self._ticks) != SILENCE_TICKS:
            return
        known = self._followed()
        chains = sorted({chain for chain in map(chain_of, known) if chain is not None})
        if chains and self._spec.short_id not in chains:
            screen.remark(
                f"The remotes follow topics of the chain {' and '.join(chains)} alone, none of "
                f"{self._spec.name} ({self._spec.short_id}); name theirs with --chain"
            )
        else:
            _remark_on_silence(self._pattern, known)


class _File:
    """A recording."""

    def __init__(self, file: Path, chain: str | None) -> None:
        spec = load_spec(chain or "devnet")
        self._file, self.prefix = file, spec.prefix
        self._named = None if chain is None else spec

    def watch(self, take: Take, seconds: int | None) -> None:
        with suppress(KeyboardInterrupt), self._opened() as reading:
            end_us: int | None = None
            if seconds is not None:
                end_us = reading.head.began_us + seconds * 1_000_000
            _take_all(reading, lambda entry: (end_us is None or entry.time_us <= end_us) and take(entry))

    def count(self, show: Show, seconds: int | None, *, follow: bool) -> None:
        if follow:
            raise InvalidInput("a recording does not change: leave out --follow")
        with self._opened() as reading:
            began_us = now_us = reading.head.began_us
            meter = Meter(began_us)

            def take(entry: Entry) -> bool:
                nonlocal now_us
                _see(meter, entry)
                now_us = max(now_us, entry.time_us)
                return seconds is None or now_us < began_us + seconds * 1_000_000

            _take_all(reading, take)
        show(meter.report(now_us))

    @contextmanager
    def _opened(self) -> Iterator[Reading]:
        with opened(self._file) as reading:
            if self._named is not None:
                check_chain(reading.head, self._named)
            yield reading


def _remark_on_silence(pattern: str, known: Sequence[str]) -> None:
    if not any(matches(topic, pattern) for topic in known):
        names = ", ".join(sorted(map(topic_name, known))[:TOPICS_NAMED]) or "none"
        screen.remark(f"No remote follows a topic that {pattern} means; there are: {names}. Waiting for one.")


def _take_all(reading: Reading, take: Take) -> None:
    for entry in reading:
        if isinstance(entry.what, get_args(Sighting)) and not take(entry):
            return


def _see(meter: Meter, entry: Entry) -> None:
    what: Any = entry.what
    meter.see(what, entry.time_us)
