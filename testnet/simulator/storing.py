"""What nodes write, on its way to their disks, and what follows when a disk fails.

Source: shell/runtime.py, `_persist`; shell/sharing.py.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from p2pai import effects, events
from p2pai.primitives.ids import PeerId
from testnet.simulator.disk import DiskError
from testnet.simulator.host import After, Host

PERSIST_MS: Final = (1, 10)
"""Least and most time until writes are durable."""


class Storing:
    """Carries out writes."""

    def __init__(
        self,
        after: After,
        stop: Callable[[PeerId, str], None],
        dice: random.Random,
        fired: Counter[str],
    ) -> None:
        self._after, self._stop, self._dice, self._fired = after, stop, dice, fired

    def write(self, host: Host, effect: effects.Write) -> None:
        """Write, together with all that waits when the disk is free; `Persisted` comes when it is durable."""
        host.disk.write(effect)
        if not host.disk.is_busy:
            self._begin(host)

    def put_blob(self, host: Host, effect: effects.PutBlob) -> None:
        """Store a blob."""
        self.put(host, effect.chunks, shared=effect.shared)

    def put(self, host: Host, chunks: Sequence[bytes], *, shared: bool) -> None:
        """Store chunks, wherever they come from."""
        try:
            host.disk.room()
        except DiskError as error:
            self._fail(host, error)
        else:
            host.blobs.put(chunks, shared=shared)

    def deliver(self, host: Host, effect: effects.Deliver) -> None:
        """Write a model for the user; where there is no room the node goes on without."""
        if not host.disk.is_full:
            host.delivered[effect.name] = effect.blob

    def _begin(self, host: Host) -> None:
        disk = host.disk
        disk.begin()
        delay_ms = self._dice.randint(*PERSIST_MS)
        if disk.slow_ms[1]:
            self._fired["slow-disk"] += 1
            delay_ms += self._dice.randint(*disk.slow_ms)
        self._after(host, delay_ms, lambda: self._end(host))

    def _end(self, host: Host) -> Iterator[events.Event]:
        try:
            tokens = host.disk.commit(self._dice)
        except DiskError as error:
            self._fail(host, error)
            return
        for token in tokens:
            yield events.Persisted(token)
        if host.disk.waiting:
            self._begin(host)

    def _fail(self, host: Host, error: DiskError) -> None:
        """Stop a node whose disk fails: the journal is the truth."""
        self._fired[error.kind] += 1
        host.disk.drop()
        self._stop(host.name, str(error))
