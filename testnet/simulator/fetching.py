"""Blobs on their way from one node's store to another's."""

import random
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from p2pai import effects, events
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId
from testnet.simulator.host import After, Host, Hosts
from testnet.simulator.links import Links
from testnet.simulator.storing import Storing

FETCH_MS: Final = (10, 60)
"""Least and most time of a fetch, besides what the bytes take."""

FETCHED_BYTES_MAX: Final = 256 * 1024
"""Larger blobs are not handed to the core whole (see events.Fetched)."""


class Fetching:
    """Carries out what nodes want fetched."""

    def __init__(
        self, after: After, storing: Storing, hosts: Hosts, links: Links, dice: random.Random
    ) -> None:
        self._after, self._storing, self._hosts, self._links = after, storing, hosts, links
        self._dice = dice

    def begin(self, host: Host, effect: effects.Fetch) -> None:
        """Fetch a blob; it is there, or nobody had it, when the event comes."""
        self._after(host, self._dice.randint(*FETCH_MS), lambda: self._look(host, effect))

    def _look(self, host: Host, effect: effects.Fetch) -> Iterator[events.Event]:
        """Find somebody who has it; the bytes take their time, after which he may be gone."""
        found = _stored(host, effect.blob, whole=effect.whole)
        source = next(filter(partial(self._has, host, effect.blob), self._sources(effect)), None)
        if found is not None or source is None:
            yield found or events.Fetched(effect.blob, None, None)
            return
        delay_ms = self._links.stream(source.name, host.name, source.blobs.size(effect.blob))
        if delay_ms is None:
            self.begin(host, effect)
        else:
            self._after(host, delay_ms, lambda: self._receive(host, effect, source))

    def _receive(self, host: Host, effect: effects.Fetch, source: Host) -> Iterator[events.Event]:
        if self._has(host, effect.blob, source):
            # A damaged one is none, as its provider finds out now.
            with suppress(Unavailable):
                self._storing.put(host, source.blobs.get(effect.blob), shared=True)
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


def _stored(host: Host, wanted: BlobId, *, whole: bool) -> events.Fetched | None:
    """Return a blob that is stored; a large one is not looked into. Source: shell/fetches.py, `_stored`."""
    if wanted not in host.blobs:
        return None
    leaves = host.blobs.leaves(wanted)
    if not whole and host.blobs.size(wanted) > FETCHED_BYTES_MAX:
        return events.Fetched(wanted, leaves, None)
    try:
        return events.Fetched(wanted, leaves, b"".join(host.blobs.get(wanted)))
    except Unavailable:
        return None
