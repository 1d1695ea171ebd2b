"""Circuit relay v2 with limits: between remotes of our chain, for a while, for so many bytes.

The wire and the reservations are py-libp2p's. Its service lets anybody reserve in anybody's name, carries for
whoever asks, and keeps a circuit for ever on which nobody writes, or whose opener has gone. Ours:

* serves only remotes that speak our ask protocol, each for itself, between two of them;
* ends a circuit after `CIRCUIT_S_MAX` or `CIRCUIT_BYTES_MAX`, both directions together, whatever it is at;
* carries so many circuits in all, and so many for one remote.

Only the operator makes a node a relay (`--relay-service`). What is relayed is encrypted end to end: the relay
sees who talks to whom, and how much.

Source: libp2p specs, circuit-v2; RELIABILITY (5), "anonymous relays off".
"""

from collections import Counter
from collections.abc import Container
from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Limit, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as CircuitPeerId
from libp2p.relay.circuit_v2.protocol import STOP_PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.protocol_buffer import StatusCode
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg

from p2pai.gossip.libp2p.frames import remote_of
from p2pai.gossip.libp2p.host import Host, Stream, guarded, reset

CIRCUIT_S_MAX: Final = 900
CIRCUIT_BYTES_MAX: Final = 64 << 20
"""Enough to keep up with a chain; models and data sets come from nodes that can be called."""

CIRCUITS_MAX: Final = 32
CIRCUITS_PER_REMOTE_MAX: Final = 4
"""Circuits that one remote has opened, or that lead to it."""

RESERVATIONS_MAX: Final = 16
RESERVATION_S: Final = 600
"""Seconds that a place is kept; a client asks again at half of it."""

HANDSHAKE_S_MAX: Final = 10.0
"""Seconds for one message of the protocol."""

COPY_SIZE: Final = 64 << 10

LIMITS: Final = RelayLimits(
    duration=CIRCUIT_S_MAX,
    data=CIRCUIT_BYTES_MAX,
    max_circuit_conns=CIRCUITS_PER_REMOTE_MAX,
    max_reservations=RESERVATIONS_MAX,
    reservation_ttl=RESERVATION_S,
)

_log = structlog.get_logger(__name__)


class Relay(CircuitV2Protocol):  # type: ignore[misc]
    """A relay for others, if it serves; and the end at which circuits to us arrive."""

    def __init__(self, host: Host, *, serves: bool) -> None:
        super().__init__(host, LIMITS, allow_hop=serves)
        self.members: Container[ID] = ()
        """Whom to serve, and carry to."""
        self.relays: Container[ID] = ()
        """From whom circuits to us are taken."""
        self._carried: Counter[ID] = Counter()
        self._circuits = 0

    async def _handle_hop_stream(self, stream: Stream) -> None:
        await guarded(self._serve)(stream)

    async def _handle_stop_stream(self, stream: Stream) -> None:
        # Beside the doorman, who sees only sockets.
        swarm = self.host.get_network()
        is_full = len(swarm.get_connections()) >= swarm.connection_config.max_connections
        if remote_of(stream) in self.relays and not is_full:
            await guarded(super()._handle_stop_stream)(stream)
        else:
            await reset(stream)

    async def _serve(self, stream: Stream) -> None:
        remote = remote_of(stream)
        with trio.fail_after(HANDSHAKE_S_MAX):
            message = await read_delimited_msg(stream, HopMessage)
        if remote not in self.members or _is_relayed(stream):
            await self._send_status(stream, StatusCode.PERMISSION_DENIED, "not served")
        elif message.type == HopMessage.RESERVE:
            # Without what it says of a peer: everybody reserves for itself.
            await self._handle_reserve(stream, HopMessage(type=HopMessage.RESERVE))
        elif message.type == HopMessage.CONNECT:
            await self._connect(stream, remote, ID(message.peer.id))
            return
        else:
            await self._send_status(stream, StatusCode.UNEXPECTED_MESSAGE, "neither RESERVE nor CONNECT")
        await stream.close()

    async def _connect(self, stream: Stream, source: ID, target: ID) -> None:
        refusal = self._refuse(source, target)
        if refusal is not None:
            await self._send_status(stream, refusal, "refused")
            await stream.close()
            return
        self._circuits += 1
        self._carried.update((source, target))
        try:
            await self._carry(stream, source, target)
        finally:
            self._circuits -= 1
            self._carried.subtract((source, target))
            self._carried = +self._carried
            await reset(stream)

    def _refuse(self, source: ID, target: ID) -> StatusCode | None:
        reservation = self.resource_manager.get_reservation(target)
        if reservation is None or reservation.is_expired() or target not in self.members or source == target:
            return StatusCode.NO_RESERVATION
        if self._circuits >= CIRCUITS_MAX:
            return StatusCode.RESOURCE_LIMIT_EXCEEDED
        if max(self._carried[source], self._carried[target]) >= CIRCUITS_PER_REMOTE_MAX:
            return StatusCode.RESOURCE_LIMIT_EXCEEDED
        return None

    async def _carry(self, stream: Stream, source: ID, target: ID) -> None:
        limit = Limit(duration=CIRCUIT_S_MAX, data=CIRCUIT_BYTES_MAX)
        try:
            with trio.fail_after(HANDSHAKE_S_MAX):
                other = await self._call(target, source, limit)
        except Exception as error:  # noqa: BLE001
            _log.debug("circuit failed", target=str(target), error=repr(error))
            await self._send_status(stream, StatusCode.CONNECTION_FAILED, "no answer")
            return
        try:
            await self._send_status(stream, StatusCode.OK, "", limit)
            await splice(stream, other, CIRCUIT_S_MAX, CIRCUIT_BYTES_MAX)
        finally:
            await reset(other)

    async def _call(self, target: ID, source: ID, limit: Limit) -> Stream:
        """Open the second half of a circuit."""
        stream = await self.host.new_stream(target, [STOP_PROTOCOL_ID])
        try:
            peer = CircuitPeerId(id=source.to_bytes())
            await write_delimited_msg(stream, StopMessage(type=StopMessage.CONNECT, peer=peer, limit=limit))
            answer = await read_delimited_msg(stream, StopMessage)
            if answer.status != StatusCode.OK:
                raise ConnectionError(f"refused with status {answer.status}")
        except BaseException:
            await reset(stream)
            raise
        return stream


async def splice(one: Stream, other: Stream, seconds: float, size: int) -> None:
    """Copy both ways until either ends, the time is over, or `size` bytes went through."""
    left = size

    async def copy(source: Stream, sink: Stream, scope: trio.CancelScope) -> None:
        nonlocal left
        try:
            while left > 0 and (data := await source.read(min(COPY_SIZE, left))):
                left -= len(data)
                await sink.write(data)
        except Exception as error:  # noqa: BLE001
            _log.debug("circuit ended", error=repr(error))
        scope.cancel()

    with trio.move_on_after(seconds) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy, one, other, scope)
            nursery.start_soon(copy, other, one, scope)


def _is_relayed(stream: Any) -> bool:  # noqa: ANN401
    return any("/p2p-circuit" in str(address) for address in stream.muxed_conn.get_transport_addresses())
