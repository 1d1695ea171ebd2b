"""Our ask protocol on a host: its stream handler, a few streams a remote, all of them ended when we end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio
from libp2p.peer.id import ID

from p2pai.gossip.allowance import Pool, Share
from p2pai.gossip.conduct import Loss
from p2pai.gossip.libp2p.answering import Answerer, Sources
from p2pai.gossip.libp2p.frames import FrameStream, remote_of
from p2pai.gossip.libp2p.host import Host, Stream, guarded, reset
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.limits import ANSWER_SIZE_MAX
from p2pai.gossip.scores import Offence
from p2pai.primitives.errors import InvalidInput, InvalidMessage

STREAMS_PER_REMOTE_MAX: Final = 2
"""Ask streams of one remote; it needs one, and a second while the first is ending."""

ANSWERS_SIZE_MAX: Final = 8 << 20
ANSWERS_OWN_SIZE: Final = ANSWER_SIZE_MAX
ANSWERS_POOL_SIZE: Final = 64 << 20
"""Bytes of answers that wait to be written to one stream, that it has whatever others do, and that all share;
beyond it the answer is "busy"."""


class Serving:
    """Answers whoever opens a stream of `protocol`; the tasks are the host's own, so it must end them."""

    def __init__(
        self,
        protocol: str,
        warden: Warden,
        sources: Callable[[ID], Sources],
        heard: Callable[[ID], None],
    ) -> None:
        self._protocol = protocol
        self._warden = warden
        self._sources = sources
        self._heard = heard
        self._answers = Pool(ANSWERS_POOL_SIZE)
        self._streams: dict[ID, set[trio.CancelScope]] = {}
        self._idle = trio.Event()

    @asynccontextmanager
    async def running(self, host: Host) -> AsyncIterator[None]:
        """Serve while inside; no stream of ours is left at the end.

        Raises:
          InvalidInput: somebody serves the protocol on this host already.
        """
        if self._protocol in host.get_mux().handlers:
            raise InvalidInput(f"the host serves {self._protocol} already: one node of a chain to a host")
        host.set_stream_handler(self._protocol, guarded(self._serve))
        try:
            yield
        finally:
            host.remove_stream_handler(self._protocol)
            for remote in list(self._streams):
                self.end(remote)
            with trio.CancelScope(shield=True):
                while self._streams:
                    self._idle = trio.Event()
                    await self._idle.wait()

    def count(self, remote: ID) -> int:
        """Return how many streams a remote has open."""
        return len(self._streams.get(remote, ()))

    def end(self, remote: ID) -> None:
        """End the streams of one remote."""
        for scope in self._streams.get(remote, ()):
            scope.cancel()

    async def _serve(self, stream: Stream) -> None:
        remote = remote_of(stream)
        if not self._warden.is_welcome(remote) or self.count(remote) >= STREAMS_PER_REMOTE_MAX:
            self._warden.lose(Loss.STREAM)
            await reset(stream)
            return
        scope = trio.CancelScope()
        self._streams.setdefault(remote, set()).add(scope)
        try:
            with scope:
                self._heard(remote)
                share = Share(self._answers, ANSWERS_OWN_SIZE, ANSWERS_SIZE_MAX)
                pace = partial(self._warden.pace, remote)
                await Answerer(FrameStream(stream), self._sources(remote), share, pace).run()
        except* InvalidMessage:
            self._warden.blame(remote, Offence.MALFORMED)
        except* trio.TooSlowError:
            self._warden.give_up(remote)
        finally:
            self._streams[remote].discard(scope)
            if not self._streams[remote]:
                del self._streams[remote]
                self._idle.set()
