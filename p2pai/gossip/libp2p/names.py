"""Names of DNS in the operator's bootstrap addresses; what remotes say never has any (gossip/addresses.py).

`/dns4`, `/dns6` and `/dns` are asked of the system, as by any other program, so that the hosts file and the
search domains of a container count. `/dnsaddr` stands for whatever multiaddrs the TXT records of
`_dnsaddr.NAME` hold, further names included.
"""

import socket
from typing import Any, Final

import structlog
import trio
from multiaddr import Multiaddr
from multiaddr.resolvers.dns import DNSResolver

ADDRESSES_MAX: Final = 16
"""Addresses that one name gives."""

DEPTH_MAX: Final = 4
"""Names behind a name."""

TIMEOUT_S: Final = 5.0
"""Seconds for all that one name needs."""

_FAMILIES: Final = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}
_log = structlog.get_logger(__name__)


async def resolve(address: Any) -> list[Any]:  # noqa: ANN401
    """Return the multiaddrs that one stands for: itself when it has no name, none for a name unknown."""
    kind = next(iter(address.protocols())).name
    if kind not in (*_FAMILIES, "dnsaddr"):
        return [address]
    found: list[Any] = []
    try:
        with trio.move_on_after(TIMEOUT_S):
            found = await (_resolve_records(address) if kind == "dnsaddr" else _resolve_host(address, kind))
    except Exception as error:  # noqa: BLE001
        _log.debug("name not resolved", address=str(address), error=repr(error))
    return found[:ADDRESSES_MAX]


async def _resolve_host(address: Any, kind: str) -> list[Any]:  # noqa: ANN401
    name = address.value_for_protocol(kind)
    rest = str(address).partition(f"/{kind}/{name}")[2]
    answers = await trio.socket.getaddrinfo(name, None, family=_FAMILIES[kind], type=socket.SOCK_STREAM)
    hosts = dict.fromkeys((family, str(place[0])) for family, _, _, _, place in answers)
    return [Multiaddr(f"/{'ip6' if f == socket.AF_INET6 else 'ip4'}/{host}{rest}") for f, host in hosts]


async def _resolve_records(address: Any) -> list[Any]:  # noqa: ANN401
    found = await DNSResolver().resolve(address, {"max_recursive_depth": DEPTH_MAX})
    return list(found or ())
