"""Which addresses a host of our own tells others: to remotes, to the DHT, to whoever asks.

What the operator says (`--announce`) takes the place of all else. Else it is where the host listens, and
where remotes reached it; an address such as 0.0.0.0, which nobody can dial, is told only while there is no
other. Addresses over relays come on top.

The library's own list strips the first peer id that it finds, so that an address over a relay would become
the relay's own, told as ours; hence `install`.
"""

from collections.abc import Sequence
from typing import Any, Final

from libp2p.peer.id import ID
from multiaddr import Multiaddr
from multiaddr.utils import get_thin_waist_addresses

from p2pai.gossip.libp2p.host import Host

CIRCUIT: Final = "/p2p-circuit"
_UNSPECIFIED: Final = ("/ip4/0.0.0.0/", "/ip6/::/")
_LOOPBACK: Final = ("/ip4/127.0.0.1/", "/ip6/::1/")


class Announced:
    """The addresses of one host, as they are now."""

    def __init__(self, fixed: Sequence[str] = ()) -> None:
        """Begin with those that the operator says.

        Raises:
          ValueError: not a multiaddr.
        """
        self._fixed = [_parse(text) for text in fixed]
        self._host: Host | None = None
        self.reached: tuple[str, ...] = ()
        """Where remotes reached us."""
        self.relays: dict[ID, Multiaddr] = {}
        """At which address each relay that keeps a place for us is found."""

    def install(self, host: Host) -> None:
        """Make a host tell these."""
        self._host = host
        host.get_addrs = self.full

    def full(self) -> list[Any]:
        """Return the multiaddrs, each with our peer id."""
        assert self._host is not None, "not installed"
        ours = Multiaddr(f"/p2p/{self._host.get_id()}")
        through = [Multiaddr(f"{at}/p2p/{relay}{CIRCUIT}") for relay, at in self.relays.items()]
        listened = self._host.get_transport_addrs()
        told = [*(self._fixed or self._direct(listened)), *through] or listened
        return [address.encapsulate(ours) for address in told]

    def _direct(self, listened: Sequence[Any]) -> list[Any]:
        usable = {str(at): at for at in listened if not str(at).startswith(_UNSPECIFIED)}
        usable.update((text, Multiaddr(text)) for text in self.reached)
        return list(usable.values())


def on_interfaces(address: Any) -> list[Any]:  # noqa: ANN401
    """Return where who listens at an address is found: 0.0.0.0 stands for all interfaces, loopback last."""
    for unspecified, loopback in zip(_UNSPECIFIED, _LOOPBACK, strict=True):
        if (text := str(address)).startswith(unspecified):
            own = Multiaddr(text.replace(unspecified, loopback, 1))
            return [*get_thin_waist_addresses(address), own]
    return [address]


def _parse(text: str) -> Any:  # noqa: ANN401
    """Read an address to announce, without its peer id."""
    try:
        address = Multiaddr(text.partition("/p2p/")[0])
        address.value_for_protocol("tcp")
    except Exception as error:
        raise ValueError(f"not the multiaddr of a TCP port: {text}") from error
    return address
