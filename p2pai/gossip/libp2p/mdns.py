"""Nodes of the same chain on the local network, by multicast DNS.

py-libp2p's own mDNS writes from zeroconf's threads into what the trio thread reads, sleeps there for as
long as a stranger's record is missing, and remembers without bound; so zeroconf, which comes with it, is
used directly. Its threads only hand over text.

A service `_p2p-CHAIN._udp.local.` stands for us, as the specification has it for networks of their own; its
TXT record has a string `dnsaddr=MULTIADDR` for each of our addresses that others on the site can reach.
Anybody there can say anything: what is heard is an address worth trying, and no more.

Source: libp2p specifications, discovery/mdns.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog
import trio
from zeroconf import Error, IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from p2pai.gossip.addresses import ADDRESS_SIZE_MAX, Address, Scope, read_or_none

TEXTS_MAX: Final = 8
"""Addresses of one service, ours or another's."""

ASK_TIMEOUT_MS: Final = 3_000
"""Milliseconds that zeroconf's thread waits for a service's record."""

WAITING_MAX: Final = 64
"""Addresses that wait for the trio thread; a flood beyond it is dropped."""

_PREFIX: Final = b"dnsaddr="
_log = structlog.get_logger(__name__)


async def run(chain: str, addresses: Sequence[str], heard: Callable[[Address], object]) -> None:
    """Announce us and listen until cancelled; a network without multicast is logged, and no more.

    Args:
      chain: first digits of the chain's id.
      addresses: our full multiaddrs.
      heard: told each address of others.
    """
    ours = _for_neighbours(addresses)
    if not ours:
        _log.warning("nothing to announce by mDNS: listen on an address of the local network, or on 0.0.0.0")
    put, take = trio.open_memory_channel[bytes](WAITING_MAX)
    token = trio.lowlevel.current_trio_token()

    def pass_on(text: bytes) -> None:
        # The thread may have something to say still when trio is gone.
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(_offer, put, text)

    try:
        neighbours = await trio.to_thread.run_sync(_Neighbours, chain, ours, pass_on)
    except (OSError, Error) as error:
        _log.warning("no mDNS on this machine", reason=str(error))
        return
    try:
        async for text in take:
            for address in _for_neighbours(parse(text)):
                heard(address)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(neighbours.close)


class _Neighbours:
    """zeroconf's side; made, called and closed in other threads than trio's."""

    def __init__(self, chain: str, ours: Sequence[Address], found: Callable[[bytes], None]) -> None:
        self._type = f"_p2p-{chain}._udp.local."
        self._found = found
        is_six = any(":" in address.host for address in ours)
        self._zeroconf = Zeroconf(ip_version=IPVersion.All if is_six else IPVersion.V4Only)
        try:
            if ours:
                self._zeroconf.register_service(self._service(ours))
            self._browser = ServiceBrowser(self._zeroconf, self._type, handlers=[self._changed])
        except BaseException:
            self._zeroconf.close()
            raise

    def close(self) -> None:
        """Say goodbye and end the threads."""
        self._zeroconf.close()

    def _service(self, ours: Sequence[Address]) -> ServiceInfo:
        # A name drawn anew each time: who we are stands in the addresses alone.
        name = secrets.token_hex(16)
        return ServiceInfo(
            self._type,
            f"{name}.{self._type}",
            port=int(ours[0].text.split("/")[4]),
            properties=text_of([address.text for address in ours]),
            server=f"{name}.local.",
            parsed_addresses=[address.host for address in ours][:TEXTS_MAX],
        )

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            return
        info = ServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf) or info.request(zeroconf, ASK_TIMEOUT_MS):
            self._found(bytes(info.text))


def text_of(addresses: Sequence[str]) -> bytes:
    """Return a TXT record's strings, each behind its length."""
    strings = [_PREFIX + address.encode() for address in addresses[:TEXTS_MAX]]
    return b"".join(bytes([len(string)]) + string for string in strings if len(string) < 256)  # noqa: PLR2004


def parse(text: bytes) -> list[str]:
    """Return the addresses in a TXT record; whatever else is in it is left out."""
    found: list[str] = []
    while text and len(found) < TEXTS_MAX:
        string, text = text[1 : 1 + text[0]], text[1 + text[0] :]
        if string.startswith(_PREFIX) and len(string) <= ADDRESS_SIZE_MAX and string.isascii():
            found.append(string.removeprefix(_PREFIX).decode())
    return found


def _for_neighbours(texts: Sequence[str]) -> list[Address]:
    found = [address for address in map(read_or_none, texts) if address is not None]
    return [address for address in found if address.scope > Scope.MACHINE]


def _offer(put: trio.MemorySendChannel[bytes], text: bytes) -> None:
    try:
        put.send_nowait(text)
    except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
        _log.debug("too many neighbours at once")
