"""AutoNAT: remotes ask us to dial them back, and we them.

The wire is AutoNAT v1 (`/libp2p/autonat/1.0.0`), by py-libp2p. Three things of its service are other here:

* It "dials back" by `host.connect`, which returns the connection that the asker just came by: everybody would
  be reachable. Ours makes a new TCP connection, checks by a Noise handshake that the asker is at its other
  end, and closes it.
* It dials only addresses that already have the IP address that the asker comes from. Nodes behind a router
  don't know that address; ours is put in its place, as the Go implementation does. Nobody can make us dial
  anyone else.
* It works for whoever asks, as often and as long as they like. Ours has limits.

Source: libp2p specs, autonat-v1.
"""

from typing import Any, Final

import structlog
import trio
from libp2p.host.autonat.autonat import AUTONAT_PROTOCOL_ID, AutoNATService
from libp2p.host.autonat.pb.autonat_pb2 import Message
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pai.gossip.libp2p.frames import remote_of
from p2pai.gossip.libp2p.host import Host, Stream, guarded, reset
from p2pai.gossip.libp2p.mount import Welcome
from p2pai.gossip.reachability import DialBack
from p2pai.primitives.errors import Unavailable

ADDRESSES_MAX: Final = 4
"""Addresses of one asker that are dialled."""

DIAL_S_MAX: Final = 3.0
"""Seconds for one of them; together less than the asker waits."""

ANSWER_S_MAX: Final = 15.0
"""Seconds that the asker waits."""

SERVE_S_MAX: Final = 20.0
"""Seconds after which a stream is ended, whatever it is at."""

ASKERS_MAX: Final = 4
"""Remotes that are served at once."""

REST_S: Final = 5.0
"""Seconds between two questions of one remote."""

RESTING_MAX: Final = 1024
"""Remotes whose last question is remembered."""

_log = structlog.get_logger(__name__)


class DialBacks(AutoNATService):  # type: ignore[misc]
    """Answers such questions while it is served, and asks them."""

    def __init__(self, host: Host, is_welcome: Welcome) -> None:
        super().__init__(host, serve=False)
        self._is_welcome = is_welcome
        self._serving: set[ID] = set()
        self._served_at: dict[ID, float] = {}

    def start(self) -> None:
        """Answer from now on."""
        self.host.set_stream_handler(AUTONAT_PROTOCOL_ID, guarded(self._serve))

    def stop(self) -> None:
        """Answer no more."""
        self.host.remove_stream_handler(AUTONAT_PROTOCOL_ID)

    async def ask(self, remote: ID, addresses: list[str]) -> DialBack:
        """Ask a connected remote to dial us back.

        Args:
          remote: whom.
          addresses: multiaddrs that we listen on; their hosts don't matter to a node of ours.

        Raises:
          Unavailable: it doesn't do that, not now, or didn't answer in time.
        """
        candidates = [Multiaddr(address).to_bytes() for address in addresses[:ADDRESSES_MAX]]
        try:
            status, address = await self.query_server(remote, candidates, ANSWER_S_MAX)
        except Exception as error:
            raise Unavailable(f"the remote does not dial back: {error!r}") from error
        if status == Message.OK and address is not None:
            # What it says will be told to others, so it must at least be a port of ours.
            if _tcp_port(address) not in map(_tcp_port, candidates):
                raise Unavailable("the remote reached a port that isn't ours")
            return DialBack(_read(address))
        if status == Message.E_DIAL_ERROR:
            return DialBack(None)
        raise Unavailable(f"the remote refuses to dial back (status {status})")

    async def _serve(self, stream: Stream) -> None:
        remote = remote_of(stream)
        if not self._may_ask(remote):
            await reset(stream)
            return
        self._serving.add(remote)
        try:
            with trio.move_on_after(SERVE_S_MAX) as scope:
                await self.handle_stream(stream)
            if scope.cancelled_caught:
                await reset(stream)
        finally:
            self._serving.discard(remote)

    def _may_ask(self, remote: ID) -> bool:
        if remote in self._serving or len(self._serving) >= ASKERS_MAX or not self._is_welcome(remote):
            return False
        now_s = trio.current_time()
        if now_s < self._served_at.get(remote, -REST_S) + REST_S:
            return False
        self._served_at.pop(remote, None)
        if len(self._served_at) >= RESTING_MAX:
            del self._served_at[next(iter(self._served_at))]
        self._served_at[remote] = now_s
        return True

    @staticmethod
    def _filter_by_observed_ip(addrs: list[bytes], observed_ip: str | None) -> list[bytes]:
        """Put the address that the asker comes from in the place of what it says."""
        if observed_ip is None:
            return []
        family = "ip6" if ":" in observed_ip else "ip4"
        ports = dict.fromkeys(port for port in map(_tcp_port, addrs[:ADDRESSES_MAX]) if port is not None)
        return [Multiaddr(f"/{family}/{observed_ip}/tcp/{port}").to_bytes() for port in ports]

    async def _try_dial(self, peer_id: ID, addrs: list[bytes]) -> bytes | None:
        for address in addrs:
            try:
                with trio.fail_after(DIAL_S_MAX):
                    await self._meet(peer_id, Multiaddr(address))
            except Exception as error:  # noqa: BLE001
                _log.debug("not reached", remote=str(peer_id), error=repr(error))
            else:
                return address
        return None

    async def _meet(self, remote: ID, address: Multiaddr) -> None:
        """Connect anew, see who is there, and leave."""
        network = self.host.get_network()
        transport = network.transport_manager.transport_for_dialing(address)
        connection = await transport.dial(Multiaddr(f"{address}/p2p/{remote}"))
        try:
            await network.upgrader.upgrade_security(connection, is_initiator=True, peer_id=remote)
        finally:
            with trio.CancelScope(shield=True):
                await connection.close()


def _read(address: bytes) -> str:
    try:
        return str(Multiaddr(address))
    except Exception as error:
        raise Unavailable("the remote answered with no address") from error


def _tcp_port(address: bytes) -> int | None:
    try:
        port: Any = Multiaddr(address).value_for_protocol("tcp")
        return int(port)
    except Exception:  # noqa: BLE001
        # Whatever a remote sent that isn't an address of a TCP port.
        return None
