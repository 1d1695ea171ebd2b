"""Being reached over relays, and reaching others so: places reserved, circuits opened.

A node that remotes can't call keeps a place at up to `RELAYS_WANTED` remotes that are relays, and tells the
addresses that come with them. Anybody dials a circuit who meets such an address.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
import trio
from libp2p.connection_types import ConnectionType
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as CircuitPeerId
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID
from libp2p.relay.circuit_v2.protocol_buffer import StatusCode
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from multiaddr import Multiaddr

from p2pai.gossip.libp2p.announcing import CIRCUIT, Announced
from p2pai.gossip.libp2p.host import Host, Stream, reset
from p2pai.gossip.libp2p.relaying import HANDSHAKE_S_MAX, RESERVATION_S
from p2pai.gossip.reachability import Outlook, Reach
from p2pai.primitives.errors import Unavailable

RELAYS_WANTED: Final = 2
LOOK_S: Final = 1.0
"""Seconds between two looks at whether a place should be reserved."""

AGAIN_S: Final = 300.0
"""Seconds until a remote that isn't a relay, or has no place, is asked again."""

_log = structlog.get_logger(__name__)


class Circuits:
    """The places that are kept for us, and the way to others' places."""

    def __init__(self, host: Host, announced: Announced) -> None:
        self._host = host
        self._announced = announced
        self._renew_at: dict[ID, float] = {}
        self._ask_at: dict[ID, float] = {}

    @property
    def relays(self) -> Mapping[ID, float]:
        """Where a place is kept for us."""
        return self._renew_at

    async def run(self, outlook: Callable[[], Outlook], members: Mapping[ID, object]) -> None:
        """Keep places while remotes can't call us, until cancelled."""
        while True:
            for relay in [relay for relay in self._renew_at if relay not in members]:
                self._drop(relay)
            for relay in self._due(outlook().reach, members):
                await self._reserve(relay)
            await trio.sleep(LOOK_S)

    async def connect(self, info: Any) -> None:  # noqa: ANN401
        """Connect to a remote whose address leads over a relay.

        Raises:
          Unavailable: the relay can't be reached, or doesn't open the circuit.
        """
        if self._host.is_peer_connected(info.peer_id):
            return
        at, _, rest = str(info.addrs[0]).partition(CIRCUIT)
        relay_at, _, name = at.rpartition("/p2p/")
        relay = _parse_id(name)
        if relay == self._host.get_id() or rest.count(CIRCUIT):
            raise Unavailable("no circuit leads over ourselves, or over two relays")
        try:
            with trio.fail_after(2 * HANDSHAKE_S_MAX):
                if not self._host.is_peer_connected(relay):
                    await self._host.connect(PeerInfo(relay, [Multiaddr(relay_at)]))
                await self._open(relay, info.peer_id, Multiaddr(f"{at}{CIRCUIT}"))
        except Unavailable:
            raise
        except Exception as error:
            raise Unavailable(f"no circuit: {error!r}") from error

    def _due(self, reach: Reach, members: Mapping[ID, object]) -> list[ID]:
        now_s = trio.current_time()
        if reach is Reach.REACHABLE:
            for relay in list(self._renew_at):
                self._drop(relay)
        if reach is not Reach.UNREACHABLE:
            return []
        renewed = [relay for relay, due_s in self._renew_at.items() if due_s <= now_s]
        wanted = RELAYS_WANTED - len(self._renew_at)
        asked = [
            remote
            for remote in members
            if remote not in self._renew_at and self._ask_at.get(remote, now_s) <= now_s
        ]
        return renewed + asked[: max(0, wanted)]

    async def _reserve(self, relay: ID) -> None:
        self._ask_at = {
            remote: due_s for remote, due_s in self._ask_at.items() if due_s > trio.current_time()
        }
        self._ask_at[relay] = trio.current_time() + AGAIN_S
        try:
            with trio.fail_after(HANDSHAKE_S_MAX):
                stream, _ = await self._request(relay, HopMessage(type=HopMessage.RESERVE))
            await stream.close()
            at = _address_of(self._host, relay)
        except Exception as error:  # noqa: BLE001
            _log.debug("no place at a relay", remote=str(relay), error=repr(error))
            self._drop(relay)
            return
        self._renew_at[relay] = trio.current_time() + RESERVATION_S / 2
        self._announced.relays[relay] = at

    def _drop(self, relay: ID) -> None:
        self._renew_at.pop(relay, None)
        self._announced.relays.pop(relay, None)

    async def _open(self, relay: ID, target: ID, address: Multiaddr) -> None:
        peer = CircuitPeerId(id=target.to_bytes())
        stream, _ = await self._request(relay, HopMessage(type=HopMessage.CONNECT, peer=peer))
        connection = RawConnection(
            stream=stream,
            initiator=True,
            connection_type=ConnectionType.RELAYED,
            addresses=[address.encapsulate(Multiaddr(f"/p2p/{target}"))],
        )
        try:
            await self._host.upgrade_outbound_connection(connection, target)
        except BaseException:
            await reset(stream)
            raise

    async def _request(self, relay: ID, message: HopMessage) -> tuple[Stream, HopMessage]:
        stream = await self._host.new_stream(relay, [PROTOCOL_ID])
        try:
            await write_delimited_msg(stream, message)
            answer = await read_delimited_msg(stream, HopMessage)
            if answer.type != HopMessage.STATUS or answer.status != StatusCode.OK:
                raise Unavailable(f"the relay refuses with status {answer.status}")
        except BaseException:
            await reset(stream)
            raise
        return stream, answer


def _address_of(host: Host, relay: ID) -> Any:  # noqa: ANN401
    """Return the address at which we are connected to a relay."""
    for connection in host.get_network().get_connections(relay):
        for address in connection.get_transport_addresses():
            text = str(address)
            if CIRCUIT not in text and "/tcp/" in text:
                return Multiaddr(text.partition("/p2p/")[0])
    raise Unavailable("not connected to the relay directly")


def _parse_id(name: str) -> ID:
    try:
        return ID.from_base58(name)
    except ValueError as error:
        raise Unavailable("an address over a relay names the relay") from error
