"""Network address translation: one private host behind one public address, as home routers do it.

Routers differ in two ways. *Mapping*: does the host keep one public port for all it talks to, or get another
for each remote? *Filtering*: whose packets may come in through a port?

| kind            | one port for | lets in                                  |
|-----------------|--------------|------------------------------------------|
| full cone       | everybody    | everybody                                |
| port restricted | everybody    | those the host sent to from this port    |
| symmetric       | one remote   | that remote                              |

Nothing else gets in, silently: the sender waits in vain. The first two keep the host's own port where it is
free, as most routers do; punching holes with TCP relies on it. Mappings that nobody uses expire. What is
neither TCP nor UDP, or a fragment, is dropped, and nobody reaches his own public address from inside.

Source: RFC 4787 (section 4 mapping, 5 filtering), RFC 5382 for TCP.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from testnet.devnet.packets import Endpoint, Flow, flow_of, readdress

PORT_FIRST: Final = 20_000
PORTS_DEFAULT: Final = 20_000

IDLE_S_DEFAULT: Final = 120.0
"""Seconds without a packet after which a mapping is forgotten; cheap routers take no longer."""


class Kind(StrEnum):
    """What a router does; see the table above."""

    FULL_CONE = "full-cone"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"


@dataclass(slots=True)
class _Mapping:
    inside: Endpoint
    port: int
    used_s: float
    remotes: set[Endpoint] = field(default_factory=set)
    """To whom the host sent through it."""


class Translator:
    """A router with one public address; packets go through `leave` and `enter`."""

    def __init__(
        self, kind: Kind, public: int, idle_s: float = IDLE_S_DEFAULT, ports: int = PORTS_DEFAULT
    ) -> None:
        """Begin without mappings.

        Args:
          kind: how it maps and filters.
          public: its address outside.
          idle_s: seconds after which an unused mapping expires.
          ports: how many public ports it has.
        """
        self._ports = ports
        self._kind = kind
        self._public = public
        self._idle_s = idle_s
        self._next = 0
        self._outward: dict[tuple[int, Endpoint, Endpoint | None], _Mapping] = {}
        self._inward: dict[tuple[int, int], _Mapping] = {}

    def leave(self, packet: bytes, now_s: float) -> bytes | None:
        """Return a packet of the host as the world sees it; None when it can't leave."""
        flow = flow_of(packet)
        if flow is None:
            return None
        mapping = self._map(flow, now_s)
        if mapping is None:
            return None
        mapping.used_s = now_s
        mapping.remotes.add(flow.destination)
        return readdress(packet, (self._public, mapping.port), flow.destination)

    def enter(self, packet: bytes, now_s: float) -> bytes | None:
        """Return a packet from outside as the host sees it; None when it is kept out."""
        flow = flow_of(packet)
        mapping = None if flow is None else self._inward.get((flow.protocol, flow.destination[1]))
        if flow is None or mapping is None or self._is_old(mapping, now_s):
            return None
        if self._kind is not Kind.FULL_CONE and flow.source not in mapping.remotes:
            return None
        mapping.used_s = now_s
        return readdress(packet, flow.source, mapping.inside)

    def _map(self, flow: Flow, now_s: float) -> _Mapping | None:
        remote = flow.destination if self._kind is Kind.SYMMETRIC else None
        key = (flow.protocol, flow.source, remote)
        mapping = self._outward.get(key)
        if mapping is not None and not self._is_old(mapping, now_s):
            return mapping
        port = self._free_port(flow, now_s)
        if port is None:
            return None
        if mapping is not None:
            self._inward.pop((flow.protocol, mapping.port), None)
        mapping = _Mapping(flow.source, port, now_s)
        self._outward[key] = self._inward[flow.protocol, port] = mapping
        return mapping

    def _free_port(self, flow: Flow, now_s: float) -> int | None:
        own = flow.source[1]
        if self._kind is not Kind.SYMMETRIC and self._is_free(flow.protocol, own, now_s):
            return own
        for _ in range(self._ports):
            port = PORT_FIRST + self._next
            self._next = (self._next + 1) % self._ports
            if self._is_free(flow.protocol, port, now_s):
                return port
        return None

    def _is_free(self, protocol: int, port: int, now_s: float) -> bool:
        taken = self._inward.get((protocol, port))
        return taken is None or self._is_old(taken, now_s)

    def _is_old(self, mapping: _Mapping, now_s: float) -> bool:
        return now_s - mapping.used_s > self._idle_s
