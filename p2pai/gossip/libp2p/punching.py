"""Hole punching: two nodes that met over a relay try to call each other at the same moment.

The protocol is py-libp2p's DCUtR. It works where both routers let the host keep its port, as most do; behind
a router that maps each remote to another port (symmetric) it can't, and the circuit stays.

Two things are other here. A remote names the addresses that we dial, so only those are dialled that lie in
the open internet, and a few at a time. And the circuit is closed soon after a direct connection stands.

Source: libp2p specs, DCUtR.
"""

from typing import Any, Final

import trio
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.dcutr import DCUtRProtocol
from multiaddr import Multiaddr

from p2pai.gossip.addresses import Scope
from p2pai.gossip.libp2p.dial_gate import scope_at
from p2pai.gossip.libp2p.host import Host

ADDRESSES_MAX: Final = 8
"""Addresses of one message that are tried."""

DIALS_MAX: Final = 8
"""Dials at once, for all remotes together."""

RELAY_GRACE_S: Final = 5.0
"""Seconds that a circuit stays beside a direct connection, for what is under way."""


class Puncher(DCUtRProtocol):  # type: ignore[misc]
    """Turns circuits into direct connections, where it can."""

    def __init__(self, host: Host) -> None:
        super().__init__(_Listening(host))
        host._dcutr_protocol = self
        self._dials = trio.CapacityLimiter(DIALS_MAX)

    def _decode_observed_addrs(self, addr_bytes: list[bytes]) -> list[Multiaddr]:
        decoded = super()._decode_observed_addrs(addr_bytes[:ADDRESSES_MAX])
        return [address for address in decoded if is_open(address)]

    async def _dial_peer(
        self,
        peer_id: ID,
        addr: Multiaddr,
        source: tuple[str, int] | None = None,
        as_responder: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        # The library also tries all that the remote ever said of itself.
        if is_open(addr):
            async with self._dials:
                await super()._dial_peer(peer_id, addr, source, as_responder)

    def _schedule_relay_close(self, peer_id: ID) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._close_relayed_conns_after_grace, peer_id, RELAY_GRACE_S)


class _Listening:
    """A host whose addresses are those that it listens on: from their ports holes are punched."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def get_addrs(self) -> Any:  # noqa: ANN401
        return self._host.get_transport_addrs()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._host, name)


def is_open(address: Any) -> bool:  # noqa: ANN401
    """Tell whether an address lies in the open internet: nobody shall make us dial our own network."""
    return scope_at(address) is Scope.WORLD
