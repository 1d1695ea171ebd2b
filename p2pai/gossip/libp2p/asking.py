"""The asking side of a stream: many questions at once to one remote, each with its deadline."""

from dataclasses import dataclass, field

import trio

from p2pai.gossip.libp2p.frames import QUESTIONS, Frame, FrameStream, Kind
from p2pai.gossip.libp2p.lanes import Lane
from p2pai.gossip.limits import QUESTION_SIZE_MAX, QUESTIONS_IN_FLIGHT_MAX
from p2pai.primitives.errors import InvalidMessage, Unavailable


class Late(Unavailable):
    """The remote didn't answer in time; it may have what was asked for."""


class Absent(Unavailable):
    """The remote says that it has nothing to give."""


@dataclass(slots=True)
class _Waiting:
    done: trio.Event = field(default_factory=trio.Event)
    answer: Frame | None = None


class Asker:
    """One remote that can be asked, as long as `run` runs."""

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        self._slots = trio.Semaphore(QUESTIONS_IN_FLIGHT_MAX)
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0
        self.has_ended = False
        """Whether nothing can be asked here any more."""
        self.lane = Lane()

    async def run(self) -> None:
        """Carry questions and answers until the stream fails, which is raised, or this is cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stream.run_writer)
                while True:
                    self._settle(await self._stream.read())
        finally:
            self.has_ended = True
            for waiting in self._waiting.values():
                waiting.done.set()
            await self._stream.reset()

    async def ask(self, body: bytes, timeout_s: float) -> bytes:
        """Put a question and return its answer.

        Raises:
          Unavailable: no answer within `timeout_s`, or the remote has none.
        """
        assert len(body) <= QUESTION_SIZE_MAX, "question is too long"
        patience_ms = max(1, min(int(timeout_s * 1000), 2**32 - 1))
        return await self.request(Kind.ASK, patience_ms.to_bytes(4, "little") + body, timeout_s)

    async def request(self, kind: Kind, payload: bytes, timeout_s: float) -> bytes:
        """Send one question of any kind and return what its answer carries.

        Raises:
          Late: no answer within `timeout_s`.
          Absent: the remote has none.
          Unavailable: the remote is busy, or the connection ended.
        """
        answer = None
        with trio.move_on_after(timeout_s):
            async with self._slots:
                answer = await self._exchange(kind, payload)
        if answer is None:
            raise Late("the remote didn't answer in time")
        if answer.kind is Kind.ABSENT:
            raise Absent("the remote has no answer")
        if answer.kind is not Kind.ANSWER:
            raise Unavailable("the remote is busy")
        return answer.payload

    async def _exchange(self, kind: Kind, payload: bytes) -> Frame:
        self._next = (self._next + 1) % 2**32
        number, waiting = self._next, _Waiting()
        self._waiting[number] = waiting
        try:
            if not self.has_ended:
                await self._stream.write(Frame(number, kind, payload))
                await waiting.done.wait()
        except trio.BrokenResourceError as error:
            raise Unavailable("the connection ended") from error
        finally:
            del self._waiting[number]
        if waiting.answer is None:
            raise Unavailable("the connection ended")
        return waiting.answer

    def _settle(self, frame: Frame) -> None:
        if frame.kind in QUESTIONS:
            raise InvalidMessage("a question on the answering side of a stream")
        # An answer that nobody waits for any more came too late.
        waiting = self._waiting.get(frame.request)
        if waiting is not None:
            waiting.answer = frame
            waiting.done.set()
