"""Dialling one address of one remote, without the library's own memory of failures."""

import re
import secrets
from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from p2pai.gossip import addresses
from p2pai.gossip.libp2p.census import Census
from p2pai.gossip.libp2p.mount import Mounted, Welcome

DIAL_TIMEOUT_S: Final = 10.0

_NAMED: Final = re.compile(r"/p2p/((?:1|Qm)[^/]*)")
"""The peer ids in a multiaddr, as they are mostly written."""

_log = structlog.get_logger(__name__)


class Dialler:
    """Dials for discovery, and notes where in the census."""

    def __init__(self, mounted: Mounted, census: Census, is_welcome: Welcome) -> None:
        self._mounted = mounted
        self._census = census
        self._is_welcome = is_welcome

    async def dial(self, text: str) -> Any | None:  # noqa: ANN401
        """Connect to the remote at a full multiaddr; return its id, or None when that fails."""
        info = read_info(text)
        host = self._mounted.host
        if info is None or info.peer_id == host.get_id() or not self._is_welcome(info.peer_id):
            return None
        if host.is_peer_connected(info.peer_id):
            return info.peer_id
        self._mounted.forget_dials(info.peer_id)
        self._census.note_dial(info.peer_id, addresses.read_or_none(text))
        try:
            with trio.move_on_after(DIAL_TIMEOUT_S):
                await self._mounted.connect(info)
                return info.peer_id
        except Exception as error:  # noqa: BLE001
            _log.debug("dial failed", address=text, error=repr(error))
        self._census.note_dial(info.peer_id, None)
        return None

    async def let_go(self, remote: ID) -> None:
        """Disconnect a remote that was dialled, if the connection is ours to close."""
        try:
            await self._mounted.disconnect(remote)
        except Exception as error:  # noqa: BLE001
            _log.debug("not disconnected", remote=str(remote), error=repr(error))


def read_info(text: str) -> Any | None:  # noqa: ANN401
    """Return the id and address that a full multiaddr holds; None when it is none."""
    try:
        return info_from_p2p_addr(Multiaddr(text))
    except Exception:  # noqa: BLE001
        return None


def parse_bootstrap(text: str) -> Any:  # noqa: ANN401
    """Read a bootstrap address: a full multiaddr, `/ip4/.../tcp/.../p2p/ID`, with names of DNS or without.

    Raises:
      ValueError: not a multiaddr, or it names no peer id.
    """
    for name in _NAMED.findall(text):
        if not _is_whole(name):
            raise ValueError(f"{name} is no peer id: a character is wrong, missing or too many")
    try:
        address = Multiaddr(text)
        is_list = next(iter(address.protocols())).name == "dnsaddr"
    except Exception as error:
        raise ValueError(f"not a multiaddr (/ip4/ADDRESS/tcp/PORT/p2p/ID): {text}") from error
    if not is_list and read_info(text) is None:
        raise ValueError(f"not a full multiaddr (/ip4/ADDRESS/tcp/PORT/p2p/ID): {text}")
    return address


def jittered(seconds: float) -> float:
    """Return three to five quarters of it, so that nodes that began together don't go on so."""
    return seconds * (750 + secrets.randbelow(501)) / 1000


def _is_whole(name: str) -> bool:
    # A multihash: its kind, its length, and as many bytes.
    try:
        _, length, *digest = ID.from_base58(name).to_bytes()
    except ValueError:
        return False
    return bool(len(digest) == length)
