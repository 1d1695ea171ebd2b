"""One hostile connection to a node: noise and yamux by hand, so that every rule of theirs can be broken.

The handshakes are the library's own; from there on bytes are written as an attack wants them. What the node
sends is read, or isn't (`reads=False`): then its windows and buffers fill.
"""

import socket
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.upgrader import TransportUpgrader

HEAD: Final = struct.Struct("!BBHII")
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
FRAME_SIZE: Final = 60_000
WINDOW_SIZE: Final = 256 << 10
HANDSHAKE_S: Final = 10.0
_ESTABLISHED: Final = 1
"""TCP_ESTABLISHED, first byte of the kernel's tcp_info."""


@dataclass(frozen=True, slots=True)
class Target:
    """The node that is attacked."""

    ip: str
    port: int
    peer_id: str
    chain: str
    """Eight hex digits."""


@dataclass(slots=True)
class Enemy:
    """One connection."""

    secured: Any
    socket: trio.socket.SocketType
    windows: dict[int, int] = field(default_factory=lambda: defaultdict(lambda: WINDOW_SIZE))
    _next: int = 1
    _news: trio.Event = field(default_factory=trio.Event)
    _ended: bool = False
    _lock: trio.Lock = field(default_factory=trio.Lock)

    @property
    def is_alive(self) -> bool:
        """Whether the node still keeps the connection, as our kernel knows it."""
        if self._ended or self.socket.fileno() < 0:
            return False
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] == _ESTABLISHED

    async def open(self, protocol: str) -> int:
        """Open a stream and name a protocol without waiting for an answer; return its number."""
        stream, self._next = self._next, self._next + 2
        await self.frame(WINDOW, SYN, stream)
        await self.send(stream, line("/multistream/1.0.0") + line(protocol))
        return stream

    async def frame(self, kind: int, flags: int, stream: int, length: int = 0, body: bytes = b"") -> None:
        """Write one yamux frame as it is."""
        async with self._lock:
            await self.secured.write(HEAD.pack(0, kind, flags, stream, length) + body)

    async def send(self, stream: int, data: bytes, *, heed_window: bool = True) -> None:
        """Write data on a stream, within its window or not."""
        for start in range(0, len(data), FRAME_SIZE):
            part = data[start : start + FRAME_SIZE]
            while heed_window and self.windows[stream] < len(part):
                if not self.is_alive:
                    raise trio.BrokenResourceError
                self._news = trio.Event()
                with trio.move_on_after(0.5):
                    await self._news.wait()
            self.windows[stream] -= len(part)
            await self.frame(DATA, 0, stream, len(part), part)

    async def read(self) -> None:
        """Read what the node sends, and remember the windows that it grants."""
        try:
            while True:
                _, kind, flags, stream, length = HEAD.unpack(await self._exactly(HEAD.size))
                if kind == DATA:
                    await self._exactly(length)
                    await self.frame(WINDOW, 0, stream, length)
                elif kind == WINDOW:
                    self.windows[stream] += length
                    self._news.set()
                elif kind == PING and flags & SYN:
                    await self.frame(PING, ACK, 0, length)
                elif kind == GO_AWAY:
                    break
        except Exception:  # noqa: BLE001, S110  # however it ends, it has ended
            pass
        self._ended = True
        self._news.set()

    def close(self) -> None:
        """Close the socket."""
        self._ended = True
        self.socket.close()

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = await self.secured.read(size - len(data))
            if not part:
                raise trio.EndOfChannel
            data += part
        return data


async def dial(target: Target, source: str = "127.0.0.1") -> trio.SocketStream:
    """Connect to a node's port, and say nothing."""
    sock = trio.socket.socket()
    try:
        await sock.bind((source, 0))
        await sock.connect((target.ip, target.port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def meet(target: Target, key_pair: Any, source: str = "127.0.0.1") -> Enemy:  # noqa: ANN401
    """Connect to a node and go through all handshakes.

    Raises:
      Exception: the node refused, however it did it.
    """
    tcp = await dial(target, source)
    try:
        noise = NoiseTransport(key_pair, noise_privkey=create_noise_key_pair().private_key)
        upgrader = TransportUpgrader({NOISE_ID: noise}, {YAMUX_ID: Yamux})
        remote = ID.from_base58(target.peer_id)
        with trio.fail_after(HANDSHAKE_S):
            raw = RawConnection(TrioTCPStream(tcp), True)  # noqa: FBT003
            secured = await upgrader.upgrade_security(raw, True, remote)  # noqa: FBT003
            await upgrader.upgrade_connection(secured, remote)
    except BaseException:
        tcp.socket.close()
        raise
    return Enemy(secured, tcp.socket)


def line(text: str) -> bytes:
    """Return a line of the protocol that names protocols."""
    return bytes([len(text) + 1]) + text.encode() + b"\n"
