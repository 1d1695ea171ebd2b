"""Fetches under way: each blob at most once at a time, a few at a time; how far they are.

What came of a blob stays in the store, so that the next fetch of it goes on from there, in this life of the
process or another.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
import trio

from p2pai.events import Fetched
from p2pai.primitives.errors import InvalidProof, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId
from p2pai.shell.blobs import BlobStore
from p2pai.shell.wire import Wire

FETCHES_MAX: Final = 8
"""Blobs that move at once; the others wait for their turn."""

INLINE_BYTES_MAX: Final = 256 << 10
"""A blob up to this size comes with its event. Source: events.Fetched."""

_PEER_ID: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{1,128}")
"""Base58."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """How far a fetch is."""

    chunks: int | None = None
    """Different ones of the blob; None until a remote gave its manifest."""
    missing: int = 0
    sources: int = 0
    """Remotes that it comes from now."""


class Arrival:
    """The part of the store that one blob comes into (gossip/libp2p/transfer.py, Shelf)."""

    def __init__(
        self, blob: BlobId, blobs: BlobStore, progress: Progress, under_way: Collection[BlobId]
    ) -> None:
        self._blob, self._blobs, self._progress, self._under_way = blob, blobs, progress, under_way

    async def begin(self, leaves: tuple[Hash32, ...]) -> Collection[Hash32]:
        """Note the checked manifest; return those of its leaves whose chunks are here and sound."""
        look = partial(self._blobs.begin, self._blob, leaves, tuple(self._under_way))
        here = await trio.to_thread.run_sync(look)
        self._progress.chunks = len(dict.fromkeys(leaves))
        self._progress.missing = self._progress.chunks - len(here)
        return here

    def put(self, leaf: Hash32, chunk: bytes) -> None:
        """Store a checked chunk."""
        self._blobs.put_chunk(leaf, chunk)

    def report(self, missing: int, sources: int) -> None:
        """Note how far it is."""
        self._progress.missing, self._progress.sources = missing, sources


class Fetches:
    """Gets blobs into the store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._providers: dict[BlobId, list[PeerId]] = {}
        self._whole: dict[BlobId, bool] = {}
        self._progress: dict[BlobId, Progress] = {}
        self._slots = trio.Semaphore(FETCHES_MAX)

    def report(self) -> list[dict[str, Any]]:
        """Return how far each fetch is, in JSON's types, the one begun first first."""
        return [
            {
                "blob": blob.hex(),
                "chunks": progress.chunks,
                "here": None if progress.chunks is None else progress.chunks - progress.missing,
                "sources": progress.sources,
            }
            for blob, progress in self._progress.items()
        ]

    def begin(self, blob: BlobId, providers: Sequence[PeerId], *, whole: bool = False) -> bool:
        """Note a wish; True when `finish` must follow, False when a fetch under way takes it over."""
        # A provider's name may come from a remote; what can't be a peer id is nobody.
        named = [p for p in providers if _PEER_ID.fullmatch(p)]
        self._whole[blob] = whole or self._whole.get(blob, False)
        known = self._providers.get(blob)
        if known is not None:
            known.extend(p for p in named if p not in known)
            return False
        self._providers[blob] = list(dict.fromkeys(named))
        return True

    async def finish(self, network: Wire, blob: BlobId) -> Fetched:
        """Fetch unless the blob is stored; what came from remotes is shared.

        A blob that was stored already keeps its mark: a remote that makes us want a private blob, such as
        hidden test data, must not make it public by that.
        """
        try:
            fetched = self._stored(blob, whole=self._whole[blob])
            if fetched is not None:
                return fetched
            self._progress[blob] = Progress()
            async with self._slots:
                await self._fetch(network, blob)
        finally:
            del self._providers[blob]
            whole = self._whole.pop(blob)
            self._progress.pop(blob, None)
        return self._stored(blob, whole=whole) or Fetched(blob, None, None)

    async def _fetch(self, network: Wire, blob: BlobId) -> None:
        arrival = Arrival(blob, self._blobs, self._progress[blob], self._providers)
        tried: tuple[PeerId, ...] | None = None
        # Whoever asked for it meanwhile may have named a provider that has it.
        while tried is None or set(self._providers[blob]) - set(tried):
            tried = tuple(self._providers[blob])
            try:
                leaves = self._blobs.begun(blob)
                if leaves is None or len(await arrival.begin(leaves)) < len(dict.fromkeys(leaves)):
                    leaves = await network.fetch(blob, tried, arrival)
                self._blobs.put_manifest(blob, leaves)
                self._blobs.share(blob)
            except (Unavailable, InvalidProof) as error:
                _log.info("fetch failed", blob=blob.hex(), reason=str(error))
            else:
                return

    def _stored(self, blob: BlobId, *, whole: bool) -> Fetched | None:
        leaves: tuple[Hash32, ...] | None = self._blobs.manifest(blob)
        size_bytes = self._blobs.size_bytes(blob)
        if leaves is None or size_bytes is None:
            return None
        if size_bytes > INLINE_BYTES_MAX and not whole:
            return Fetched(blob, leaves, None)
        try:
            return Fetched(blob, leaves, b"".join(self._blobs.get(blob)))
        except Unavailable:
            return None
