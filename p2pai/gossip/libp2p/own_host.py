"""A host for p2pai alone: hardened, tuned, with gossip and DHT, run from start to end."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from libp2p.abc import INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2pai.gossip.admission import LIMITS, Limits
from p2pai.gossip.libp2p.dht import make_dht
from p2pai.gossip.libp2p.dial_gate import DialGate
from p2pai.gossip.libp2p.doorman import Doorman, bound_services
from p2pai.gossip.libp2p.host import (
    check_free,
    close_connection,
    load_or_create_identity,
    make_host,
    stop_listening,
)
from p2pai.gossip.libp2p.mount import Judge, Mounted
from p2pai.gossip.libp2p.pubsub import HardenedPubsub
from p2pai.gossip.libp2p.router import MeshRouter
from p2pai.gossip.libp2p.traversal import Traversal, Ways
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.sightings import Observer

CLOSE_TIMEOUT_S: Final = 1.0
"""Seconds for closing all connections when the host stops."""


class OwnHost:
    """A mount (mount.py) that nobody else uses."""

    def __init__(
        self,
        identity: Path | None,
        listen: Sequence[str],
        limits: Limits = LIMITS,
        ways: Ways = Ways(),  # noqa: B008
    ) -> None:
        """Read or make the identity.

        Args:
          identity: file of the key that gives the peer id; None: a new one that nobody keeps.
          listen: multiaddrs to listen on; port 0 picks a free one.
          limits: how many connections it takes.
          ways: what it may do so that others reach it.

        Raises:
          ValueError: a malformed identity file or address.
        """
        self._key_pair = create_new_key_pair() if identity is None else load_or_create_identity(identity)
        self._limits = limits
        self._traversal = Traversal(ways)
        self._listen = [_read(address) for address in listen]
        self.id = ID.from_pubkey(self._key_pair.public_key)

    @asynccontextmanager
    async def running(
        self, judge: Judge, warden: Warden, observers: Sequence[Observer]
    ) -> AsyncIterator[Mounted]:
        """Run host, gossip and DHT while inside.

        Raises:
          OSError: an address cannot be listened on.
        """
        for address in self._listen:
            await _claim(address)
        host = make_host(self._key_pair, [str(address) for address in self._listen])
        Doorman(host, self._limits, warden)
        gate = host.get_network().connection_gate = DialGate()
        sockets = _Sockets(gate)
        host.get_network().register_notifee(sockets)
        router = MeshRouter()
        pubsub = HardenedPubsub(host, router, judge, warden, observers)
        dht = make_dht(host)
        bound_services(host, warden)
        async with (
            host.run(self._listen),
            background_trio_service(pubsub),
            background_trio_service(router),
            background_trio_service(dht),
            self._traversal.running(host),
        ):
            if not host.get_addrs():
                raise OSError("cannot listen on any address")
            try:
                yield Mounted(host, pubsub, dht, is_ours=True, traversal=self._traversal, gate=gate)
            finally:
                await stop_listening(host)
                await sockets.close_all()


async def check_address(address: str) -> None:
    """See that an address can be listened on, now.

    Raises:
      ValueError: it is no multiaddr of a TCP port.
      OSError: it is in use, or not ours.
    """
    await check_free(_read(address))


def _read(address: str) -> Any:  # noqa: ANN401
    """Read an address to listen on."""
    try:
        parsed = Multiaddr(address)
        parsed.value_for_protocol("tcp")
        parsed.value_for_protocol("ip6" if "/ip6/" in address else "ip4")
    except Exception as error:
        raise ValueError(f"not the multiaddr of a TCP port: {address}") from error
    return parsed


async def _claim(address: Any) -> None:  # noqa: ANN401
    try:
        await check_free(address)
    except OSError as error:
        raise OSError(f"{address} can't be listened on: {error.strerror}") from error


class _Sockets(INotifee):  # type: ignore[misc]
    """All connections of a host, those included whose closing is under way."""

    def __init__(self, gate: DialGate) -> None:
        self._gate = gate
        self._connections: set[Any] = set()

    async def close_all(self) -> None:
        """Close every connection, even while being cancelled, so that no socket is left behind."""
        with trio.move_on_after(CLOSE_TIMEOUT_S) as scope:
            scope.shield = True
            async with trio.open_nursery() as nursery:
                for connection in self._connections:
                    nursery.start_soon(close_connection, connection.muxed_conn)

    async def connected(self, network: Any, conn: Any) -> None:  # noqa: ANN401, ARG002
        """Note a connection."""
        self._connections.add(conn)
        self._gate.note(conn)

    async def disconnected(self, network: Any, conn: Any) -> None:  # noqa: ANN401, ARG002
        """Forget a connection."""
        self._connections.discard(conn)

    async def opened_stream(self, network: Any, stream: Any) -> None:  # noqa: ANN401
        """Not needed."""

    async def closed_stream(self, network: Any, stream: Any) -> None:  # noqa: ANN401
        """Not needed."""

    async def listen(self, network: Any, multiaddr: Any) -> None:  # noqa: ANN401
        """Not needed."""

    async def listen_close(self, network: Any, multiaddr: Any) -> None:  # noqa: ANN401
        """Not needed."""
