"""Fetching a blob from several remotes that may lie: nothing is kept that doesn't hash to what was asked for.

A manifest is checked against the blob's id, each chunk against the manifest, as they arrive. Which remote is
asked for what is decided in gossip/gathering.py; here are the questions, the clock, and the search for
sources: candidates are tried in order, as many at once as the rest of the blob is worth, and one more for
each second without progress. What came stays in the shelf, so that the next transfer asks only for the rest.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

import structlog
import trio

from p2pai.gossip.gathering import Gathering, Miss
from p2pai.gossip.libp2p.asking import Absent, Asker, Late
from p2pai.gossip.libp2p.frames import Kind
from p2pai.gossip.libp2p.lanes import Allotment
from p2pai.gossip.limits import BLOB_CHUNKS_MAX
from p2pai.primitives import merkle
from p2pai.primitives.blob import CHUNK_SIZE_MAX
from p2pai.primitives.errors import InvalidMessage, Unavailable
from p2pai.primitives.ids import HASH_SIZE, BlobId, Hash32, PeerId

MANIFEST_TIMEOUT_S: Final = 10.0
"""Seconds for a manifest, at most 128 KiB; others are asked meanwhile."""

CHUNK_TIMEOUT_S: Final = 20.0
"""Seconds for a chunk of 1 MiB, queueing behind others included: 0.4 Mbit/s."""

TRANSFER_S_MIN: Final = 60.0
CHUNK_S_MAX: Final = 2.0
TRANSFER_S_MAX: Final = 3600.0
"""Seconds for all that is missing of a blob: a minute, and 2 s for each chunk (4 Mbit/s); at most an hour."""

CONNECTIONS_MAX: Final = 4
"""Connections to one remote in one transfer: one that ended may come back so often."""

STALLED_MS: Final = 5_000
"""After this without progress, candidates of the next stage are tried beside the sources there are."""

LOOK_S: Final = 0.25
"""Between looks at the clock."""

_log = structlog.get_logger(__name__)


class Shelf(Protocol):
    """Where one blob's chunks go, and what of it is there already."""

    async def begin(self, leaves: tuple[Hash32, ...]) -> Collection[Hash32]:
        """Take the checked manifest; return those of its leaves whose chunks are here."""

    def put(self, leaf: Hash32, chunk: bytes) -> None:
        """Take a checked chunk, each once."""

    def report(self, missing: int, sources: int) -> None:
        """Learn how many different chunks are missing, and from how many remotes they come."""


Reach = Callable[[PeerId], Awaitable[Asker | None]]
"""Connects to a remote, which may take its time; None when that fails."""

Stage = Callable[[], Awaitable[Sequence[PeerId]]]
"""Finds candidates, best first."""

Offence = Callable[[PeerId, str], None]
"""Told of a remote that lied, and how."""


class Transfer:
    """One blob on its way."""

    def __init__(
        self, blob: BlobId, shelf: Shelf, reach: Reach, offence: Offence, allotment: Allotment
    ) -> None:
        self._blob, self._shelf, self._reach, self._offence = blob, shelf, reach, offence
        self._allotment = allotment
        self._gathering = Gathering(_now_ms())
        self._working: dict[PeerId, trio.CancelScope] = {}
        self._flying: dict[tuple[PeerId, Hash32], trio.CancelScope] = {}
        self._places: dict[Hash32, int] = {}
        self._changed = trio.Event()
        self._began_s = trio.current_time()
        self._beginning = trio.Lock()
        self._failure: OSError | None = None

    async def run(self, stages: Sequence[Stage]) -> tuple[Hash32, ...]:
        """Get all that is missing; return the blob's leaf hashes, in order.

        Args:
          stages: where candidates come from; a later one is asked when the ones before give nothing.

        Raises:
          Unavailable: nobody has it, or not all of it, or it takes too long.
          OSError: the shelf can't take it.
        """
        self._allotment.enter()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery)
                await self._search(stages, nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._allotment.leave()
        if self._failure is not None:
            raise self._failure
        if not self._gathering.is_complete:
            raise Unavailable(self._reason())
        assert self._gathering.leaves is not None
        return self._gathering.leaves

    # --- candidates

    async def _search(self, stages: Sequence[Stage], nursery: trio.Nursery) -> None:
        tried: dict[PeerId, None] = {}
        for number, stage in enumerate(stages):
            while number and not self._is_short(1):
                await self._changed.wait()
            for remote in await stage():
                while not self._is_short(number):
                    await self._changed.wait()
                if remote not in tried:
                    tried[remote] = None
                    self._working[remote] = trio.CancelScope()
                    nursery.start_soon(self._use, remote)
        while self._working:
            await self._changed.wait()

    def _is_short(self, stage: int) -> bool:
        """Return whether one more candidate is worth trying."""
        gathering, now_ms = self._gathering, _now_ms()
        if gathering.is_complete:
            return False
        if stage and self._working and now_ms - gathering.progress_ms < STALLED_MS:
            return False
        return len(self._working) < gathering.wanted(now_ms)

    async def _watch(self, nursery: trio.Nursery) -> None:
        """End it all when it is complete or takes too long; time alone can make a chunk due elsewhere."""
        while not self._is_over():
            with trio.move_on_after(LOOK_S):
                await self._changed.wait()
                continue
            self._note_change()
        nursery.cancel_scope.cancel()

    def _is_over(self) -> bool:
        limit_s = min(TRANSFER_S_MIN + CHUNK_S_MAX * len(self._places), TRANSFER_S_MAX)
        is_late = trio.current_time() > self._began_s + limit_s
        return is_late or self._gathering.is_complete or self._failure is not None

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
        if self._gathering.leaves is not None:
            self._shelf.report(self._gathering.missing_count, len(self._gathering.sources))

    def _reason(self) -> str:
        gathering = self._gathering
        if gathering.leaves is None:
            return "no remote has the blob"
        return f"{gathering.missing_count} of {len(gathering.leaves)} chunks could not be had"

    # --- one remote

    async def _use(self, remote: PeerId) -> None:
        try:
            with self._working[remote]:
                for _ in range(CONNECTIONS_MAX):
                    asker = await self._reach(remote)
                    if asker is not None and await self._introduce(remote, asker):
                        await self._draw(remote, asker)
                    if asker is None or not asker.has_ended:
                        break
        finally:
            self._gathering.drop(remote, "it has no more of it")
            del self._working[remote]
            self._note_change()

    async def _introduce(self, remote: PeerId, asker: Asker) -> bool:
        """Get the manifest; return whether the remote has it."""
        try:
            data = await asker.request(Kind.MANIFEST, self._blob, MANIFEST_TIMEOUT_S)
            leaves = self._gathering.leaves or _manifest(data, self._blob)
            if data != b"".join(leaves):
                raise InvalidMessage("manifest belongs to another blob")
            await self._begin(leaves)
        except OSError as error:
            self._failure = error
            return False
        except Unavailable as error:
            _log.debug("blob is not there", remote=remote, reason=str(error))
            return False
        except InvalidMessage as error:
            self._accuse(remote, str(error))
            return False
        self._gathering.join(remote)
        self._note_change()
        return True

    async def _begin(self, leaves: tuple[Hash32, ...]) -> None:
        # The shelf may take long to look at what it has; another remote's manifest waits for that.
        async with self._beginning:
            if self._gathering.leaves is None:
                here = await self._shelf.begin(leaves)
                self._places = {leaf: index for index, leaf in enumerate(leaves) if leaf not in here}
                self._gathering.begin(leaves, here, _now_ms())

    async def _draw(self, remote: PeerId, asker: Asker) -> None:
        async with trio.open_nursery() as nursery:
            while self._gathering.is_useful(remote):
                place = object()
                await asker.lane.take(place)
                leaf = self._choose(remote)
                if leaf is None:
                    asker.lane.leave(place)
                    await self._changed.wait()
                else:
                    self._flying[remote, leaf] = trio.CancelScope()
                    nursery.start_soon(self._fetch_chunk, remote, asker, leaf, place)

    def _choose(self, remote: PeerId) -> Hash32 | None:
        if len(self._flying) >= self._allotment.each:
            return None
        return self._gathering.choose(remote, _now_ms())

    # --- one chunk

    async def _fetch_chunk(self, remote: PeerId, asker: Asker, leaf: Hash32, place: object) -> None:
        question = self._blob + self._places[leaf].to_bytes(4, "little")
        asked_s = trio.current_time()
        try:
            with self._flying[remote, leaf]:
                chunk = await asker.request(Kind.CHUNK, question, CHUNK_TIMEOUT_S)
                asker.lane.came(trio.current_time() - asked_s)
                self._take(remote, leaf, chunk)
        except Late:
            asker.lane.late()
            self._gathering.missed(remote, leaf, Miss.LATE)
        except Absent:
            self._gathering.missed(remote, leaf, Miss.ABSENT)
        except Unavailable:
            self._gathering.leave(remote)
        finally:
            asker.lane.leave(place)
            del self._flying[remote, leaf]
            self._note_change()

    def _take(self, remote: PeerId, leaf: Hash32, chunk: bytes) -> None:
        if len(chunk) > CHUNK_SIZE_MAX or merkle.leaf_hash(chunk) != leaf:
            self._accuse(remote, "chunk is not what the manifest names")
            return
        try:
            self._shelf.put(leaf, chunk)
        except OSError as error:
            self._failure = error
            return
        for other in self._gathering.came(remote, leaf, _now_ms()):
            self._flying[other, leaf].cancel()

    def _accuse(self, remote: PeerId, lie: str) -> None:
        self._gathering.drop(remote, lie)
        self._working[remote].cancel()
        self._offence(remote, lie)


def _now_ms() -> int:
    return int(trio.current_time() * 1000)


def _manifest(data: bytes, blob: BlobId) -> tuple[Hash32, ...]:
    count, rest = divmod(len(data), HASH_SIZE)
    if rest or not 1 <= count <= BLOB_CHUNKS_MAX:
        raise InvalidMessage("malformed manifest")
    leaves = tuple(Hash32(data[i * HASH_SIZE : (i + 1) * HASH_SIZE]) for i in range(count))
    if merkle.root(leaves) != blob:
        raise InvalidMessage("manifest belongs to another blob")
    return leaves
