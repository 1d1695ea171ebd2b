"""Who may connect: bounds on connections in all, of one network, of one remote, and on those half made.

A connection is *half made* from the moment it is accepted until both ends have shown their keys; that costs a
few milliseconds of CPU each, so their rate is bounded too. Inbound connections never take all of the slots:
those that this node makes itself are what keeps it from being surrounded.

Addresses count by their network, /24 or /48, since whoever has one address there has others. Addresses that
only reach inside one machine or one site (loopback, private ranges) are told apart by nothing, so only the
bounds in all hold for them unless `Limits.local_is_exempt` is off.

Source: RELIABILITY (5), "libp2p": 64 connections, 8 per /24, 2+ outbound.
"""

import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from p2pai.gossip.buckets import Bucket, Rate

GROUPS_MAX: Final = 1024
"""Networks whose rate of connections is remembered."""


_RATE: Final = Rate(16, 64)
_GROUP_RATE: Final = Rate(2, 12)


BAN_TOKENS: Final = 120
"""New connections that a ban costs its network: a minute, and what a full bucket holds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections a node takes."""

    connections: int = 64
    inbound: int = 48
    """The others are for connections that this node makes."""
    per_group: int = 8
    """Inbound connections of one network."""
    per_remote: int = 2
    """Connections with one remote: two that dial each other at the same time have two."""
    half_made: int = 24
    half_made_per_group: int = 4
    rate: Rate = _RATE
    """New inbound connections in all; a handshake costs about 5 ms of CPU."""
    group_rate: Rate = _GROUP_RATE
    """New inbound connections of one network."""
    local_is_exempt: bool = True


LIMITS: Final = Limits()
"""What a node takes that isn't told otherwise."""


class Refusal(Enum):
    """Why a connection is not taken."""

    FULL = "all inbound connections are taken"
    CROWDED = "too many connections from its network"
    HALF_MADE = "too many handshakes at once"
    HASTY = "too many new connections"


@dataclass(slots=True)
class Entry:
    """An inbound connection that was let in."""

    group: str | None
    is_half_made: bool = True


class Admission:
    """Counts inbound connections."""

    def __init__(self, limits: Limits, now_ms: int) -> None:
        self.limits = limits
        self.inbound = 0
        self.half_made = 0
        self._established: dict[str, int] = {}
        self._half_made: dict[str, int] = {}
        self._bucket = Bucket(limits.rate, now_ms)
        self._buckets: dict[str, Bucket] = {}

    def arrive(self, address: str, now_ms: int) -> Entry | Refusal:
        """Let a connection in, or say why not; the cheapest and most local reason first."""
        limits = self.limits
        group = group_of(address, local_is_exempt=limits.local_is_exempt)
        if self.inbound >= limits.inbound:
            return Refusal.FULL
        if self.half_made >= limits.half_made:
            return Refusal.HALF_MADE
        if group is not None:
            if self._established.get(group, 0) >= limits.per_group:
                return Refusal.CROWDED
            if self._half_made.get(group, 0) >= limits.half_made_per_group:
                return Refusal.HALF_MADE
            if not self._bucket_of(group, now_ms).try_draw(1, now_ms):
                return Refusal.HASTY
        if not self._bucket.try_draw(1, now_ms):
            return Refusal.HASTY
        self.inbound += 1
        self.half_made += 1
        _add(self._established, group, 1)
        _add(self._half_made, group, 1)
        return Entry(group)

    def settle(self, entry: Entry) -> None:
        """Note that a connection's handshake is over, for better or worse."""
        if entry.is_half_made:
            entry.is_half_made = False
            self.half_made -= 1
            _add(self._half_made, entry.group, -1)

    def depart(self, entry: Entry) -> None:
        """Note that a connection is gone."""
        self.settle(entry)
        self.inbound -= 1
        _add(self._established, entry.group, -1)

    def charge(self, entry: Entry, now_ms: int) -> None:
        """Note that a connection was closed because its remote is banned: another name costs nothing.

        So its network pays: it gets no new connection for about `BAN_TOKENS` / `Limits.group_rate` seconds.
        """
        if entry.group is not None:
            self._bucket_of(entry.group, now_ms).draw(BAN_TOKENS, now_ms)

    def _bucket_of(self, group: str, now_ms: int) -> Bucket:
        bucket = self._buckets.get(group)
        if bucket is None:
            if len(self._buckets) >= GROUPS_MAX:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[group] = Bucket(self.limits.group_rate, now_ms)
        return bucket


def group_of(address: str, *, local_is_exempt: bool = True) -> str | None:
    """Return the network that an IP address belongs to, None when it counts for none."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if local_is_exempt and not ip.is_global:
        return None
    length = 24 if ip.version == 4 else 48  # noqa: PLR2004
    return str(ipaddress.ip_network((ip, length), strict=False))


def _add(counts: dict[str, int], group: str | None, step: int) -> None:
    if group is None:
        return
    count = counts.get(group, 0) + step
    if count:
        counts[group] = count
    else:
        del counts[group]
