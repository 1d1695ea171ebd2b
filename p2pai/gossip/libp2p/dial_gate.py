"""Keeps the library from dialling whatever remotes name.

Its DHT dials each address that an answer holds, and resolves names of DNS: a remote out in the world had a
node connect to services of the node's own machine and local network. Here only what discovery chose is
dialled wherever it is; what the library finds by itself, where everybody who ever connected could have
dialled it as well, and never by name.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from libp2p.network.connection_gate import ConnectionGate

from p2pai.gossip.addresses import Scope, host_scope
from p2pai.gossip.libp2p.census import scope_of
from p2pai.primitives.errors import InvalidMessage


class DialGate(ConnectionGate):  # type: ignore[misc]
    """Asked by a host of our own before each dial."""

    def __init__(self) -> None:
        super().__init__()
        self._farthest = Scope.MACHINE
        self._chosen: Counter[str] = Counter()

    def note(self, connection: Any) -> None:  # noqa: ANN401
        """Learn of a connection; that it was there is remembered, as what its remote named is."""
        self._farthest = max(self._farthest, scope_of(connection))

    @contextmanager
    def open_for(self, address: Any) -> Iterator[None]:  # noqa: ANN401
        """Let one address be dialled while inside: a remote's, or that of the relay before it."""
        text = _direct(address)
        self._chosen[text] += 1
        try:
            yield
        finally:
            self._chosen[text] -= 1
            self._chosen = +self._chosen

    async def is_allowed(self, remote_addr: Any) -> bool:  # noqa: ANN401
        """Tell whether an address may be dialled."""
        scope = scope_at(remote_addr)
        return scope is not None and (scope >= self._farthest or _direct(remote_addr) in self._chosen)


def scope_at(address: Any) -> Scope | None:  # noqa: ANN401
    """Return from where the IP address and TCP port of a multiaddr can be reached; None if it isn't such."""
    parts = str(address).split("/")
    if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp" or "p2p-circuit" in parts:  # noqa: PLR2004
        return None
    try:
        return host_scope(parts[2])
    except InvalidMessage:
        return None


def _direct(address: Any) -> str:  # noqa: ANN401
    return str(address).partition("/p2p/")[0]
