"""One stream per remote on which it can be asked, opened when it connects and again when it breaks.

The stream is opened to every connection; a remote that doesn't speak our protocol, or is of another chain,
refuses it and is left alone. One that opens such a stream to us has come to speak it, and is tried at once.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog
import trio
from libp2p.abc import INotifee
from libp2p.peer.id import ID

from p2pai.gossip.libp2p.asking import Asker
from p2pai.gossip.libp2p.frames import FrameStream
from p2pai.gossip.libp2p.mount import Mounted
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.scores import Offence
from p2pai.primitives.errors import InvalidMessage

PAUSE_S: Final = 0.25
PAUSE_S_MAX: Final = 30.0
"""Seconds before a stream is opened again; they double with each failure. Strangers are asked again too: a
remote under heavy load can't be told from one."""

STEADY_S: Final = 30.0
FLAP_S_MAX: Final = 8.0
"""Seconds that a stream lasts which is no flapping, and that the next one waits for at most after it was:
each stream that comes has the core ask what is new, and discovery get acquainted."""

_log = structlog.get_logger(__name__)

REFUSED_PAUSE_S: Final = 1.0
"""Seconds between two looks at a refused remote that is connected still, or again."""

Note = Callable[[ID], None]


class Links(INotifee):  # type: ignore[misc]
    """Keeps `askers`: whom we can ask now."""

    def __init__(self, mounted: Mounted, protocol: str, warden: Warden, came: Note, went: Note) -> None:
        self.askers: dict[ID, Asker] = {}
        self._mounted = mounted
        self._host = mounted.host
        self._protocol = protocol
        self._came = came
        self._went = went
        self._warden = warden
        self._tended: dict[ID, trio.CancelScope] = {}
        self._pauses: dict[ID, trio.CancelScope] = {}
        self._waiting: dict[ID, trio.Event] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ANN401
        """Tend streams until cancelled."""
        network = self._host.get_network()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            network.register_notifee(self)
            try:
                for connection in network.get_connections():
                    await self.connected(None, connection)
                task_status.started()
                await trio.sleep_forever()
            finally:
                network.remove_notifee(self)
                self._nursery = None

    async def hang_up(self, remote: ID) -> None:
        """End our stream to a remote that is refused now, and the connection if it is ours to close."""
        scope = self._tended.get(remote)
        if scope is not None:
            scope.cancel()
        await self._mounted.disconnect(remote)

    def retry(self, remote: ID) -> None:
        """Open a stream to a remote now, if that waits for a later attempt."""
        pause = self._pauses.get(remote)
        if pause is not None:
            pause.cancel()

    async def wait_for(self, remote: ID, timeout_s: float) -> None:
        """Wait until a connected remote can be asked, or the time is over."""
        if remote not in self.askers:
            with trio.move_on_after(timeout_s):
                await self._waiting.setdefault(remote, trio.Event()).wait()
            self._waiting.pop(remote, None)

    async def connected(self, network: Any, conn: Any) -> None:  # noqa: ANN401, ARG002
        """Open a stream on a first connection."""
        self._begin(conn.muxed_conn.peer_id)

    async def disconnected(self, network: Any, conn: Any) -> None:  # noqa: ANN401, ARG002
        """Give up a remote whose last connection is gone."""
        remote = conn.muxed_conn.peer_id
        scope = self._tended.get(remote)
        if scope is not None and not self._is_connected(remote):
            scope.cancel()

    async def opened_stream(self, network: Any, stream: Any) -> None:  # noqa: ANN401
        """Not needed."""

    async def closed_stream(self, network: Any, stream: Any) -> None:  # noqa: ANN401
        """Not needed."""

    async def listen(self, network: Any, multiaddr: Any) -> None:  # noqa: ANN401
        """Not needed."""

    async def listen_close(self, network: Any, multiaddr: Any) -> None:  # noqa: ANN401
        """Not needed."""

    def _begin(self, remote: ID) -> None:
        # A connection may be announced while we end.
        if self._nursery is not None and remote not in self._tended:
            self._tended[remote] = trio.CancelScope()
            self._nursery.start_soon(self._tend, remote)

    async def _tend(self, remote: ID) -> None:
        with self._tended[remote] as scope:
            await self._keep_open(remote)
        del self._tended[remote]
        # A connection may have come while the stream of the last one was ending.
        if scope.cancelled_caught and self._is_connected(remote):
            self._begin(remote)

    async def _keep_open(self, remote: ID) -> None:
        pause_s = flap_s = PAUSE_S
        while self._is_connected(remote):
            if not self._warden.is_welcome(remote):
                await self._mounted.disconnect(remote)
                await trio.sleep(min(self._warden.seconds_left(remote), REFUSED_PAUSE_S))
                continue
            try:
                stream = await self._host.new_stream(remote, [self._protocol])
            except Exception as error:  # noqa: BLE001
                _log.debug("no stream", remote=str(remote), error=repr(error))
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
            else:
                began_s = trio.current_time()
                await self._use(remote, Asker(FrameStream(stream)))
                if trio.current_time() - began_s < STEADY_S:
                    await trio.sleep(flap_s)
                    flap_s = min(2 * flap_s, FLAP_S_MAX)
                else:
                    flap_s = PAUSE_S
                pause_s = PAUSE_S
            await self._pause(remote, pause_s)

    async def _pause(self, remote: ID, seconds: float) -> None:
        try:
            with trio.move_on_after(seconds) as self._pauses[remote]:
                await trio.sleep_forever()
        finally:
            del self._pauses[remote]

    async def _use(self, remote: ID, asker: Asker) -> None:
        self.askers[remote] = asker
        self._waiting.pop(remote, trio.Event()).set()
        self._came(remote)
        try:
            await asker.run()
        except* InvalidMessage:
            self._warden.blame(remote, Offence.MALFORMED)
        except* Exception as error:  # noqa: BLE001
            _log.debug("ask stream ended", remote=str(remote), error=repr(error))
        finally:
            del self.askers[remote]
            self._went(remote)

    def _is_connected(self, remote: ID) -> bool:
        return bool(self._host.is_peer_connected(remote))
