"""Fetching blobs from remotes that may lie: nothing is kept that doesn't hash to what was asked for.

A manifest is checked against the blob's id, each chunk against the manifest. What one remote gave is kept
when the next one takes over, so a blob arrives as long as each of its chunks has an honest holder.
"""

from collections.abc import Callable
from typing import Final

import trio

from p2pai.gossip.libp2p.asking import Asker
from p2pai.gossip.libp2p.frames import Kind
from p2pai.gossip.limits import BLOB_CHUNKS_MAX
from p2pai.primitives import merkle
from p2pai.primitives.blob import CHUNK_SIZE_MAX
from p2pai.primitives.errors import InvalidMessage, Unavailable
from p2pai.primitives.ids import HASH_SIZE, BlobId, Hash32

MANIFEST_TIMEOUT_S: Final = 5.0
"""Seconds for a manifest, at most 128 KiB."""

CHUNK_TIMEOUT_S: Final = 20.0
"""Seconds for a chunk of 1 MiB, queueing behind others included: 0.4 Mbit/s."""

AHEAD_MAX: Final = 4
"""Chunks asked for at once from one remote; hides the round trip."""

Sink = Callable[[Hash32, bytes], None]
"""Takes each chunk once, with its leaf hash."""


class Transfer:
    """One blob on its way; `taken` grows until it is complete."""

    def __init__(self, blob: BlobId, sink: Sink) -> None:
        self._blob = blob
        self._sink = sink
        self._taken: set[Hash32] = set()

    async def fetch_from(self, asker: Asker) -> tuple[Hash32, ...]:
        """Get all that is still missing from one remote; return the blob's leaf hashes.

        Raises:
          Unavailable: the remote doesn't have it, or stopped answering.
          InvalidMessage: the remote lied.
        """
        leaves = _manifest(await asker.request(Kind.MANIFEST, self._blob, MANIFEST_TIMEOUT_S), self._blob)
        missing = {leaf: index for index, leaf in enumerate(leaves) if leaf not in self._taken}
        failures: list[Exception] = []
        slots = trio.Semaphore(AHEAD_MAX)
        async with trio.open_nursery() as nursery:
            for leaf, index in missing.items():
                await slots.acquire()
                if failures:
                    break
                nursery.start_soon(self._fetch_chunk, asker, leaf, index, slots, failures)
        if failures:
            raise failures[0]
        return leaves

    async def _fetch_chunk(
        self, asker: Asker, leaf: Hash32, index: int, slots: trio.Semaphore, failures: list[Exception]
    ) -> None:
        try:
            place = self._blob + index.to_bytes(4, "little")
            chunk = await asker.request(Kind.CHUNK, place, CHUNK_TIMEOUT_S)
            if len(chunk) > CHUNK_SIZE_MAX or merkle.leaf_hash(chunk) != leaf:
                raise InvalidMessage("chunk is not what the manifest names")
        except (Unavailable, InvalidMessage) as error:
            failures.append(error)
        else:
            self._taken.add(leaf)
            self._sink(leaf, chunk)
        finally:
            slots.release()


def _manifest(data: bytes, blob: BlobId) -> tuple[Hash32, ...]:
    count, rest = divmod(len(data), HASH_SIZE)
    if rest or not 1 <= count <= BLOB_CHUNKS_MAX:
        raise InvalidMessage("malformed manifest")
    leaves = tuple(Hash32(data[i * HASH_SIZE : (i + 1) * HASH_SIZE]) for i in range(count))
    if merkle.root(leaves) != blob:
        raise InvalidMessage("manifest belongs to another blob")
    return leaves
