"""Where a remote is: full multiaddrs of IP addresses, and which of them are near each other.

Addresses come from anybody. Names of DNS are not among them: looking one up would tell its owner who we are,
so a name is only ever the operator's. Whoever holds many addresses mostly holds neighbouring ones, so limits
are set on networks (/16, in IPv6 /32) and subnets (/24, in IPv6 /48).
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import PeerId

ADDRESS_SIZE_MAX: Final = 256
"""Characters of one address; one over a relay takes about 180."""

_ID: Final = r"[1-9A-HJ-NP-Za-km-z]{32,64}"
_TCP: Final = r"/(?P<family>ip[46])/(?P<host>[0-9a-fA-F.:]{2,45})/tcp/(?P<port>[1-9][0-9]{0,4})"
_PATTERN: Final = re.compile(rf"{_TCP}(?:/p2p/(?P<relay>{_ID})/p2p-circuit)?/p2p/(?P<remote>{_ID})")
_PORT_MAX: Final = 65_535
_NETWORK_BITS: Final = {4: 16, 6: 32}
_SUBNET_BITS: Final = {4: 24, 6: 48}

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Scope(IntEnum):
    """From where an address can be reached; wider ones are greater."""

    MACHINE = 0
    SITE = 1
    """Private and link-local networks."""
    WORLD = 2


@dataclass(frozen=True, slots=True)
class Address:
    """One address of one remote."""

    text: str
    """The full multiaddr."""
    remote: PeerId
    host: str
    """The IP address that is dialled, a relay's where one is between."""
    network: str
    """What its neighbours in the large share; see the module."""
    subnet: str
    """What its near neighbours share."""
    scope: Scope


def read(text: str) -> Address:
    """Read the full multiaddr of a TCP port, `/ip4/HOST/tcp/PORT/p2p/ID`, perhaps behind a relay.

    Raises:
      InvalidMessage: it is none, or nobody can listen there.
    """
    match = _PATTERN.fullmatch(text) if len(text) <= ADDRESS_SIZE_MAX else None
    if match is None or int(match["port"]) > _PORT_MAX:
        raise InvalidMessage("not the full multiaddr of a TCP port")
    ip = _read_ip(match["host"], match["family"])
    network, subnet = (_prefix(ip, bits[ip.version]) for bits in (_NETWORK_BITS, _SUBNET_BITS))
    return Address(text, PeerId(match["remote"]), str(ip), network, subnet, scope_of(ip))


def read_or_none(text: str) -> Address | None:
    """Read an address as `read` does; None when it is none that is dialled."""
    try:
        return read(text)
    except InvalidMessage:
        return None


def scope_of(ip: _Ip) -> Scope:
    """Return from where an IP address can be reached."""
    if ip.is_loopback:
        return Scope.MACHINE
    return Scope.WORLD if ip.is_global else Scope.SITE


def host_scope(host: str) -> Scope:
    """Return from where a host is reached, given as IP address in text.

    Raises:
      InvalidMessage: it is none.
    """
    return scope_of(_read_ip(host, "ip6" if ":" in host else "ip4"))


def network_of(host: str) -> str:
    """Return the network of a host, given as IP address in text; errors as of `host_scope`."""
    ip = _read_ip(host, "ip6" if ":" in host else "ip4")
    return _prefix(ip, _NETWORK_BITS[ip.version])


def _read_ip(host: str, family: str) -> _Ip:
    try:
        ip: _Ip = ipaddress.ip_address(host)
    except ValueError as error:
        raise InvalidMessage("not an IP address") from error
    # In two spellings it would count as two.
    if f"ip{ip.version}" != family or str(ip) != host:
        raise InvalidMessage("not an IP address of its family in its one spelling")
    # An IPv4 address in IPv6's clothes would count as another network.
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        raise InvalidMessage("an IPv4 address is written as one")
    if not ip.is_loopback and (ip.is_unspecified or ip.is_multicast or ip.is_reserved):
        raise InvalidMessage("nobody can listen there")
    return ip


def _prefix(ip: _Ip, bits: int) -> str:
    return str(ipaddress.ip_network((ip, bits), strict=False))
