"""Fetches under way: each blob at most once at a time, a few at a time."""

import re
from collections.abc import Sequence
from typing import Final

import structlog
import trio

from p2pai.events import Fetched
from p2pai.primitives.errors import InvalidProof, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId
from p2pai.shell.blobs import BlobStore
from p2pai.shell.wire import Wire

FETCHES_MAX: Final = 8
"""Blobs that move at once; the others wait for their turn."""

FETCH_S_MAX: Final = 300.0
"""Seconds for one blob: 256 MB at about 1 MB/s."""

INLINE_BYTES_MAX: Final = 256 << 10
"""A blob up to this size comes with its event. Source: events.Fetched."""

_PEER_ID: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{1,128}")
"""Base58."""

_log = structlog.get_logger(__name__)


class Fetches:
    """Gets blobs into the store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._providers: dict[BlobId, list[PeerId]] = {}
        self._whole: dict[BlobId, bool] = {}
        self._slots = trio.Semaphore(FETCHES_MAX)

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
            async with self._slots:
                await self._fetch(network, blob)
        finally:
            del self._providers[blob]
            whole = self._whole.pop(blob)
        return self._stored(blob, whole=whole) or Fetched(blob, None, None)

    async def _fetch(self, network: Wire, blob: BlobId) -> None:
        tried: tuple[PeerId, ...] | None = None
        with trio.move_on_after(FETCH_S_MAX):
            # Whoever asked for it meanwhile may have named a provider that has it.
            while tried is None or set(self._providers[blob]) - set(tried):
                tried = tuple(self._providers[blob])
                try:
                    leaves = await network.fetch(blob, tried, self._blobs.put_chunk)
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
