"""Blobs on their way from one node's store to another's."""

import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from p2pai import effects, events
from p2pai.primitives import merkle
from p2pai.primitives.ids import BlobId
from testnet.simulator.host import Host, Hosts
from testnet.simulator.links import Links

FETCH_MS: Final = (10, 60)
"""Least and most time of a fetch, besides what the bytes take."""

FETCHED_BYTES_MAX: Final = 256 * 1024
"""Larger blobs are not handed to the core whole (see events.Fetched)."""

After = Callable[[Host, int, Callable[[], Iterable[events.Event]]], None]
"""Lets a host's work of so many milliseconds end with events."""


class Fetching:
    """Carries out what nodes want fetched."""

    def __init__(self, after: After, hosts: Hosts, links: Links, dice: random.Random) -> None:
        self._after, self._hosts, self._links = after, hosts, links
        self._dice = dice

    def begin(self, host: Host, effect: effects.Fetch) -> None:
        """Fetch a blob; it is there, or nobody had it, when the event comes."""
        self._after(host, self._dice.randint(*FETCH_MS), lambda: self._look(host, effect))

    def _look(self, host: Host, effect: effects.Fetch) -> Iterator[events.Event]:
        """Find somebody who has it; the bytes take their time, after which he may be gone."""
        source = next(filter(partial(self._has, host, effect.blob), self._sources(effect)), None)
        if effect.blob in host.blobs or source is None:
            yield _fetched(host, effect.blob, whole=effect.whole)
            return
        size = sum(map(len, source.blobs.get(effect.blob)))
        delay_ms = self._links.stream(source.name, host.name, size)
        if delay_ms is None:
            self.begin(host, effect)
        else:
            self._after(host, delay_ms, lambda: self._receive(host, effect, source))

    def _receive(self, host: Host, effect: effects.Fetch, source: Host) -> Iterator[events.Event]:
        if self._has(host, effect.blob, source):
            host.blobs.put(source.blobs.get(effect.blob), shared=True)
        yield from self._look(host, effect)

    def _sources(self, effect: effects.Fetch) -> Iterator[Host]:
        for name in dict.fromkeys((*effect.providers, *self._hosts)):
            if name in self._hosts:
                yield self._hosts[name]

    def _has(self, host: Host, wanted: BlobId, source: Host) -> bool:
        return (
            source.name in host.remotes
            and not self._links.are_apart(source.name, host.name)
            and not self._links.are_apart(host.name, source.name)
            and wanted in source.blobs
            and wanted in source.blobs.shared
        )


def _fetched(host: Host, wanted: BlobId, *, whole: bool) -> events.Fetched:
    if wanted not in host.blobs:
        return events.Fetched(wanted, None, None)
    chunks = host.blobs.get(wanted)
    data = b"".join(chunks)
    leaves = tuple(merkle.leaf_hash(chunk) for chunk in chunks)
    return events.Fetched(wanted, leaves, data if whole or len(data) <= FETCHED_BYTES_MAX else None)
