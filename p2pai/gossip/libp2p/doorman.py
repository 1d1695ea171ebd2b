"""Takes or refuses inbound connections before anything is spent on them, and bounds the streams on each.

The library's own handler keeps a slot for every connection it ever accepted until the node ends, so a node
that had accepted 300 in its life took no more; and its bound on connections is one number for all. Here a
slot is free again when its connection is gone, and `admission.Admission` decides.

A refused socket is reset, not closed, so that it leaves nothing behind in the kernel either.

Streams that remotes open are counted per connection and per protocol, since each is a task and a window of
256 KiB; what is beyond is reset, and blamed.
"""

import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
import trio
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID

from p2pai.gossip.admission import Admission, Entry, Limits, Refusal
from p2pai.gossip.buckets import Bucket, Rate
from p2pai.gossip.conduct import Loss
from p2pai.gossip.libp2p.host import RESET_AT_CLOSE, Host, Stream, close_connection, reset
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.scores import Offence

HANDSHAKE_S_MAX: Final = 10.0
"""Seconds from a TCP connection to a multiplexed one: six round trips, on a machine that may be busy."""

NEGOTIATION_S_MAX: Final = 10.0
"""Seconds from a stream to the protocol it is for."""

STREAMS_MAX: Final = 48
"""Streams that a remote may have open on one connection, of all protocols."""

STREAM_RATE: Final = Rate(8, 96)
"""Streams that a remote may open on one connection; negotiating one costs about a millisecond of CPU."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """How many streams of a protocol one remote may have at once, and how long each may last."""

    streams: int
    seconds: float


SERVICES: Final = {
    "/ipfs/kad/1.0.0": Service(8, 30.0),
    "/ipfs/id/1.0.0": Service(2, 10.0),
    "/ipfs/id/push/1.0.0": Service(2, 10.0),
    "/ipfs/ping/1.0.0": Service(2, 300.0),
}
"""Of the library's own protocols; ours bound themselves."""


class Doorman:
    """Stands at a host's listening sockets and at every stream that remotes open."""

    def __init__(
        self,
        host: Host,
        limits: Limits,
        warden: Warden,
    ) -> None:
        """Take up the post; nothing of the host may be running yet.

        Args:
          host: whose connections these are.
          limits: how many there may be.
          warden: told who opened a stream too many; knows whom to refuse.
        """
        self.admission = Admission(limits, _now_ms())
        self.refusals: Counter[Refusal] = Counter()
        self._swarm = host.get_network()
        self._warden = warden
        self._streams: Counter[Any] = Counter()
        self._handle_stream = self._swarm.common_stream_handler
        config = self._swarm.connection_config
        config.max_connections = limits.connections
        config.max_connections_per_peer = limits.per_remote
        config.inbound_upgrade_timeout = HANDSHAKE_S_MAX
        config.inbound_stream_protocol_negotiation_timeout = NEGOTIATION_S_MAX
        self._swarm._handle_inbound_connection = self.admit
        self._swarm.set_stream_handler(self.serve)

    async def admit(self, tcp: Any, listener: Any) -> None:  # noqa: ANN401
        """Serve one accepted connection to its end, or refuse it."""
        entry = self.admission.arrive(_address(tcp), _now_ms())
        if isinstance(entry, Refusal):
            self.refusals[entry] += 1
            self._warden.lose(Loss.CONNECTION)
            reset_socket(tcp)
            return
        try:
            await self._serve_connection(tcp, listener, entry)
        except Exception as error:  # noqa: BLE001
            _log.debug("inbound connection failed", error=repr(error))
        finally:
            self.admission.depart(entry)

    async def serve(self, stream: Stream) -> None:
        """Serve one stream to its end, or refuse it."""
        connection = stream.muxed_conn
        if self._streams[connection] >= STREAMS_MAX or not self._pace_of(connection).try_draw(1, _now_ms()):
            await _refuse_stream(stream, self._warden)
            return
        self._streams[connection] += 1
        try:
            await self._handle_stream(stream)
        finally:
            _decrease(self._streams, connection)

    def _pace_of(self, connection: Any) -> Bucket:  # noqa: ANN401
        pace: Bucket | None = getattr(connection, "stream_pace", None)
        if pace is None:
            pace = connection.stream_pace = Bucket(STREAM_RATE, _now_ms())
        return pace

    async def _serve_connection(self, tcp: Any, listener: Any, entry: Entry) -> None:  # noqa: ANN401
        connection = await self._swarm.upgrade_inbound_raw_conn(RawConnection(tcp, False), listener)  # noqa: FBT003
        self.admission.settle(entry)
        remote = connection.peer_id
        connection.on_overrun = partial(self._warden.blame, remote, Offence.OVERRUN)
        crowd = len(self._swarm.get_connections(remote))
        if not self._warden.is_welcome(remote) or crowd > self.admission.limits.per_remote:
            await close_connection(connection)
            return
        self._warden.arrive(remote, entry.group)
        await connection.event_closed.wait()
        self._warden.depart(remote)
        if not self._warden.is_welcome(remote):
            self.admission.charge(entry, _now_ms())


def bound_services(host: Host, warden: Warden) -> None:
    """Bound what remotes have of the library's own protocols; after the last of them was registered."""
    handlers = host.get_mux().handlers
    for protocol, service in SERVICES.items():
        if protocol in handlers:
            handlers[protocol] = _bounded(handlers[protocol], service, warden)


def _bounded(
    handle: Callable[[Stream], Awaitable[None]], service: Service, warden: Warden
) -> Callable[[Stream], Awaitable[None]]:
    served: Counter[ID] = Counter()

    async def handle_bounded(stream: Stream) -> None:
        remote = stream.muxed_conn.peer_id
        if served[remote] >= service.streams:
            await _refuse_stream(stream, warden)
            return
        served[remote] += 1
        try:
            with trio.fail_after(service.seconds):
                await handle(stream)
        finally:
            _decrease(served, remote)

    return handle_bounded


async def _refuse_stream(stream: Stream, warden: Warden) -> None:
    warden.blame(stream.muxed_conn.peer_id, Offence.STREAMS)
    warden.lose(Loss.STREAM)
    await reset(stream)


def reset_socket(tcp: Any) -> None:  # noqa: ANN401
    """Close a TCP stream at once, whatever is still under way on it."""
    try:
        tcp.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        tcp.stream.socket.close()
    except OSError as error:
        _log.debug("reset failed", error=repr(error))


def _address(tcp: Any) -> str:  # noqa: ANN401
    # The library's own answer is None for IPv6.
    try:
        return str(tcp.stream.socket.getpeername()[0])
    except OSError:
        return ""


def _decrease(counts: Counter[Any], key: Any) -> None:  # noqa: ANN401
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
