"""One stream per remote on which it can be asked, opened when it connects and again when it breaks.

The stream is opened to every connection; a remote that doesn't speak our protocol, or is of another chain,
refuses it and is left alone.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog
import trio
from libp2p.abc import INotifee
from libp2p.peer.id import ID

from p2pai.gossip.libp2p.asking import Asker
from p2pai.gossip.libp2p.frames import FrameStream
from p2pai.gossip.libp2p.host import Host

PAUSE_S: Final = 0.25
PAUSE_S_MAX: Final = 30.0
"""Seconds before a stream is opened again; they double with each failure. Strangers are asked again too: a
remote under heavy load can't be told from one."""

REFUSED_MAX: Final = 4096
"""Remotes that are refused at a time; the oldest refusal is forgotten first."""

CLOSE_TIMEOUT_S: Final = 1.0
"""Seconds for closing all connections when the node stops."""

_log = structlog.get_logger(__name__)

Note = Callable[[ID], None]


class Links(INotifee):  # type: ignore[misc]
    """Keeps `askers`: whom we can ask now."""

    def __init__(self, host: Host, protocol: str, came: Note, went: Note) -> None:
        self.askers: dict[ID, Asker] = {}
        self._host = host
        self._protocol = protocol
        self._came = came
        self._went = went
        self._tended: dict[ID, trio.CancelScope] = {}
        self._refused_until: dict[ID, float] = {}
        self._waiting: dict[ID, trio.Event] = {}
        self._connections: set[Any] = set()
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ANN401
        """Tend streams until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._host.get_network().register_notifee(self)
            for connection in self._host.get_network().get_connections():
                await self.connected(None, connection)
            task_status.started()
            await trio.sleep_forever()

    def is_welcome(self, remote: ID) -> bool:
        """Tell whether a remote isn't refused at present."""
        until = self._refused_until.get(remote)
        if until is None:
            return True
        if trio.current_time() < until:
            return False
        del self._refused_until[remote]
        return True

    async def refuse(self, remote: ID, seconds: float) -> None:
        """Disconnect a remote and refuse it for a while."""
        if len(self._refused_until) >= REFUSED_MAX:
            self._refused_until.pop(next(iter(self._refused_until)))
        self._refused_until[remote] = trio.current_time() + seconds
        await self._close(remote)

    async def wait_for(self, remote: ID, timeout_s: float) -> None:
        """Wait until a connected remote can be asked, or the time is over."""
        if remote not in self.askers:
            with trio.move_on_after(timeout_s):
                await self._waiting.setdefault(remote, trio.Event()).wait()
            self._waiting.pop(remote, None)

    async def close_all(self) -> None:
        """Close every connection, even while being cancelled, so that no socket is left behind."""
        with trio.move_on_after(CLOSE_TIMEOUT_S) as scope:
            scope.shield = True
            async with trio.open_nursery() as nursery:
                for connection in self._connections:
                    nursery.start_soon(_close_socket, connection)

    async def connected(self, network: Any, conn: Any) -> None:  # noqa: ANN401, ARG002
        """Open a stream on a first connection."""
        self._connections.add(conn)
        self._begin(conn.muxed_conn.peer_id)

    async def disconnected(self, network: Any, conn: Any) -> None:  # noqa: ANN401, ARG002
        """Give up a remote whose last connection is gone."""
        self._connections.discard(conn)
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
        assert self._nursery is not None, "a connection before the start"
        if remote not in self._tended:
            self._tended[remote] = trio.CancelScope()
            self._nursery.start_soon(self._tend, remote)

    async def _tend(self, remote: ID) -> None:
        with self._tended[remote] as scope:
            if self.is_welcome(remote):
                await self._keep_open(remote)
            else:
                await self._close(remote)
        del self._tended[remote]
        # A connection may have come while the stream of the last one was ending.
        if scope.cancelled_caught and self._is_connected(remote):
            self._begin(remote)

    async def _keep_open(self, remote: ID) -> None:
        pause_s = PAUSE_S
        while self._is_connected(remote):
            try:
                stream = await self._host.new_stream(remote, [self._protocol])
            except Exception as error:  # noqa: BLE001
                _log.debug("no stream", remote=str(remote), error=repr(error))
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
            else:
                await self._use(remote, Asker(FrameStream(stream)))
                pause_s = PAUSE_S
            await trio.sleep(pause_s)

    async def _use(self, remote: ID, asker: Asker) -> None:
        self.askers[remote] = asker
        self._waiting.pop(remote, trio.Event()).set()
        self._came(remote)
        try:
            await asker.run()
        except Exception as error:  # noqa: BLE001
            _log.debug("ask stream ended", remote=str(remote), error=repr(error))
        finally:
            del self.askers[remote]
            self._went(remote)

    async def _close(self, remote: ID) -> None:
        await self._host.disconnect(remote)

    def _is_connected(self, remote: ID) -> bool:
        return bool(self._host.is_peer_connected(remote))


async def _close_socket(connection: Any) -> None:  # noqa: ANN401
    try:
        await connection.close()
        # If its closing was under way and got cancelled with all else, the above did nothing.
        await connection.muxed_conn.secured_conn.close()
    except Exception as error:  # noqa: BLE001
        _log.debug("close failed", error=repr(error))
