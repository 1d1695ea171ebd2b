"""Blobs that remotes may fetch: kept in the store, the large ones made known in the DHT, the rest swept."""

from functools import partial
from typing import Final

import trio

from p2pai.effects import Discard, PutBlob, Share
from p2pai.primitives.ids import BlobId
from p2pai.shell.blobs import BlobStore
from p2pai.shell.wire import Wire

PROVIDED_BYTES_MIN: Final = 1 << 20
"""A shared blob of this size is made known; smaller ones are asked of those who are connected."""

PROVIDED_MAX: Final = 1024
"""Blobs made known again after a start; as many as the network provides."""

SWEEP_S: Final = 3600.0
"""Between two sweeps of the store."""


class Sharing:
    """Carries out what the core asks of the blob store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._network: Wire | None = None

    def put(self, effect: PutBlob) -> None:
        """Store a blob."""
        self.make_known(self._blobs.put(effect.chunks, shared=effect.shared))

    def share(self, effect: Share) -> None:
        """Let remotes fetch a blob."""
        self._blobs.share(effect.blob)
        self.make_known(effect.blob)

    def discard(self, effect: Discard) -> None:
        """Remove a blob."""
        self._blobs.discard(effect.blob, effect.but_for)
        if self._network is not None:
            self._network.withdraw(effect.blob)

    def make_known(self, blob: BlobId) -> None:
        """Tell the DHT of a blob if it is large and shared; before the network is up, `run` will."""
        is_large = (self._blobs.size_bytes(blob) or 0) >= PROVIDED_BYTES_MIN
        if is_large and self._network is not None and self._blobs.is_shared(blob):
            self._network.provide(blob)

    async def run(self, network: Wire) -> None:
        """Make known what was shared before, and sweep the store, until cancelled."""
        self._network = network
        look = partial(self._blobs.shared, PROVIDED_BYTES_MIN, PROVIDED_MAX)
        for blob in reversed(await trio.to_thread.run_sync(look)):
            network.provide(blob)
        while True:
            await trio.sleep(SWEEP_S)
            await trio.to_thread.run_sync(self._blobs.sweep)
