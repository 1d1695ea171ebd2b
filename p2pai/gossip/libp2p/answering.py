"""The answering side of a stream: serves one remote's questions, bounded, and fair to other remotes.

Questions of the node's own protocol may take long: each is answered in a task of its own, within the time
that the asker grants, and at most `QUESTIONS_IN_FLIGHT_MAX` at once. Blobs are served in the reader's task:
whoever asks for chunks and doesn't read them is held up by its own connection, and holds one chunk of our
memory.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from p2pai.gossip.allowance import Share
from p2pai.gossip.conduct import QUESTION_TOKENS
from p2pai.gossip.libp2p.frames import CLOCK_SIZE, Frame, FrameStream, Kind
from p2pai.gossip.limits import ANSWER_SIZE_MAX, BLOB_CHUNKS_MAX, QUESTION_SIZE_MAX, QUESTIONS_IN_FLIGHT_MAX
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import HASH_SIZE, BlobId, Hash32

PATIENCE_SIZE: Final = 4
"""Bytes that say how many milliseconds the asker waits."""

PATIENCE_MS_MAX: Final = 120_000
"""Longest time that one question is worked on."""

INDEX_SIZE: Final = 4


@dataclass(frozen=True, slots=True)
class Sources:
    """Where answers come from."""

    ask: Callable[[bytes], Awaitable[bytes | None]]
    manifest: Callable[[BlobId], tuple[Hash32, ...] | None]
    chunk: Callable[[BlobId, int], bytes | None]
    known: Callable[[], bytes | None]
    """Whom we know; None when that is asked too often."""


@dataclass(slots=True)
class Answerer:
    """Answers the questions that arrive on one stream."""

    stream: FrameStream
    sources: Sources
    share: Share
    """Memory for answers that wait to be written."""
    pace: Callable[[int, int], Awaitable[None]]
    """Takes a question's size and tokens; waits while there were too many."""
    _in_flight: set[int] = field(default_factory=set)

    async def run(self) -> None:
        """Answer until the stream ends or breaks a rule, which is raised."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.stream.run_writer)
                while True:
                    frame = await self.stream.read()
                    await self._take(frame, nursery)
                    await self.pace(len(frame.payload), QUESTION_TOKENS)
        finally:
            self.share.give_back(self.share.held)
            await self.stream.reset()

    async def _take(self, frame: Frame, nursery: trio.Nursery) -> None:
        match frame.kind:
            case Kind.ASK:
                await self._take_question(frame, nursery)
            case Kind.MANIFEST:
                await self._answer(frame.request, self._manifest(frame.payload))
            case Kind.CHUNK:
                await self._answer(frame.request, self._chunk(frame.payload))
            case Kind.CLOCK:
                await self._answer(frame.request, _clock())
            case Kind.KNOWN:
                await self._answer(frame.request, self._known(frame.payload))
            case _:
                raise InvalidMessage("an answer on the asking side of a stream")

    async def _take_question(self, frame: Frame, nursery: trio.Nursery) -> None:
        if not PATIENCE_SIZE <= len(frame.payload) <= PATIENCE_SIZE + QUESTION_SIZE_MAX:
            raise InvalidMessage("question of impossible size")
        if frame.request in self._in_flight:
            raise InvalidMessage("request number is in use")
        if len(self._in_flight) >= QUESTIONS_IN_FLIGHT_MAX:
            await self.stream.write(Frame(frame.request, Kind.BUSY))
            return
        self._in_flight.add(frame.request)
        nursery.start_soon(self._work, frame)

    async def _work(self, frame: Frame) -> None:
        patience_ms = int.from_bytes(frame.payload[:PATIENCE_SIZE], "little")
        try:
            with trio.move_on_after(min(patience_ms, PATIENCE_MS_MAX) / 1000):
                await self._answer(frame.request, await self.sources.ask(frame.payload[PATIENCE_SIZE:]))
        finally:
            self._in_flight.discard(frame.request)

    async def _answer(self, request: int, payload: bytes | None) -> None:
        if payload is None:
            await self.stream.write(Frame(request, Kind.ABSENT))
            return
        assert len(payload) <= ANSWER_SIZE_MAX, "answer is too long"
        if not self.share.take(len(payload)):
            await self.stream.write(Frame(request, Kind.BUSY))
            return
        await self.stream.write(Frame(request, Kind.ANSWER, payload))
        self.share.give_back(len(payload))

    def _manifest(self, payload: bytes) -> bytes | None:
        if len(payload) != HASH_SIZE:
            raise InvalidMessage("not a blob's id")
        leaves = self.sources.manifest(BlobId(Hash32(payload)))
        if leaves is None or len(leaves) > BLOB_CHUNKS_MAX:
            return None
        return b"".join(leaves)

    def _known(self, payload: bytes) -> bytes | None:
        if payload:
            raise InvalidMessage("whom we know depends on nothing")
        return self.sources.known()

    def _chunk(self, payload: bytes) -> bytes | None:
        if len(payload) != HASH_SIZE + INDEX_SIZE:
            raise InvalidMessage("not a chunk's place")
        return self.sources.chunk(
            BlobId(Hash32(payload[:HASH_SIZE])), int.from_bytes(payload[HASH_SIZE:], "little")
        )


def _clock() -> bytes:
    return (time.time_ns() // 1_000_000).to_bytes(CLOCK_SIZE, "little")
