"""A libp2p host as p2pai wants it: TCP, noise and yamux and nothing else, and no handler that can kill us.

The stock host also accepts plaintext, secio, tls and mplex, and any exception that leaves a stream handler
ends the process. `make_host` closes both, and leaves out what of the resource manager looks at the machine
instead of this process.
"""

import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import trio
from libp2p import load_identity, new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.rcmgr import new_resource_manager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from p2pai.gossip.libp2p import tuning

RESET_TIMEOUT_S: Final = 2.0
"""Seconds for telling a remote that its stream is over; it may not be listening."""

STALL_S: Final = 6.0
READ_RATE_MIN: Final = 32 << 10
"""Seconds, and bytes a second beyond them, in which a remote must take what is written to it."""

RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which a closed socket is reset, and its unsent data forgotten."""

DRAIN_POLL_S: Final = 0.02

CLOSE_S_MAX: Final = 1.0
"""Seconds for telling a remote that its connection ends; it may not be reading."""

_log = structlog.get_logger(__name__)

Host = Any
Stream = Any


def load_or_create_identity(path: Path) -> Any:  # noqa: ANN401
    """Return the key pair in the file `path`, made and stored (mode 0600) when there is none.

    Raises:
      ValueError: the file is not a key.
    """
    if not path.exists():
        _write_private(path, create_new_key_pair().private_key.serialize())
    return load_identity(path)


def make_host(key_pair: Any, listen: Sequence[str]) -> Host:  # noqa: ANN401
    """Build a host that isn't running yet."""
    tuning.apply()
    noise = NoiseTransport(key_pair, noise_privkey=create_noise_key_pair().private_key)
    host = new_host(
        key_pair=key_pair,
        sec_opt={NOISE_ID: noise},
        muxer_opt={YAMUX_ID: Yamux},
        listen_addrs=[Multiaddr(address) for address in listen],
        connection_config=ConnectionConfig(min_connections=0, low_watermark=0),
        resource_manager=new_resource_manager(
            enable_memory_limits=False,
            enable_metrics=False,
            enable_circuit_breaker=False,
            enable_graceful_degradation=False,
        ),
    )
    network = host.get_network()
    network.set_stream_handler(guarded(network.common_stream_handler))
    # Whom to dial, and how often, is for discovery to say: the library would dial whomever it ever heard of
    # until it has 150 connections, and repeat a failed dial at once.
    network.auto_connector.maybe_connect = _connect_nobody
    network.retry_config = RetryConfig(max_retries=0)
    return host


def guarded(handle: Callable[[Stream], Awaitable[None]]) -> Callable[[Stream], Awaitable[None]]:
    """Wrap a stream handler so that whatever it raises resets that stream, and nothing else."""

    async def handle_guarded(stream: Stream) -> None:
        try:
            await handle(stream)
        # It may fail in the very moment in which we are cancelled: that goes on, its failure doesn't.
        except* Exception as errors:  # noqa: BLE001
            remote, failures = str(stream.muxed_conn.peer_id), repr(errors.exceptions)
            _log.debug("stream failed", protocol=stream.get_protocol(), remote=remote, error=failures)
            await reset(stream)

    return handle_guarded


async def reset(stream: Stream) -> None:
    """End a stream in both directions, whatever state it is in; never raises."""
    with trio.move_on_after(RESET_TIMEOUT_S) as scope:
        scope.shield = True
        try:
            await stream.reset()
        except Exception as error:  # noqa: BLE001
            _log.debug("reset failed", error=repr(error))


async def write_in_time(stream: Stream, data: bytes) -> None:
    """Write to a stream whose remote reads at least at the slowest pace that is allowed.

    The library gives up by itself when a stream's window stays shut for 5 s, but not when TCP's does.

    Raises:
      trio.TooSlowError: it doesn't read.
    """
    began_s = trio.current_time()
    try:
        with trio.fail_after(STALL_S + len(data) / READ_RATE_MIN):
            await stream.write(data)
    except Exception as error:
        if trio.current_time() - began_s > STALL_S / 2:
            raise trio.TooSlowError("the remote doesn't read") from error
        raise


async def close_connection(muxed: Any) -> None:  # noqa: ANN401
    """Close a multiplexed connection, politely if its remote reads, by force otherwise; never raises."""
    with trio.CancelScope(shield=True):
        await _drain_or_forget(muxed.secured_conn)
        with trio.move_on_after(CLOSE_S_MAX):
            try:
                await muxed.close()
            except Exception as error:  # noqa: BLE001
                _log.debug("close failed", error=repr(error))
        # Had it to wait, the socket is still open; the reader of a closed one does the rest.
        with trio.move_on_after(CLOSE_S_MAX):
            try:
                await muxed.secured_conn.close()
            except Exception as error:  # noqa: BLE001
                _log.debug("close failed", error=repr(error))


async def _drain_or_forget(secured: Any) -> None:  # noqa: ANN401
    # What a remote doesn't read would stay in the kernel, and keep the end of the connection from it.
    try:
        tcp = secured.conn.read_writer.read_write_closer.stream.stream.socket
        with trio.move_on_after(CLOSE_S_MAX):
            while _unsent(tcp):  # noqa: ASYNC110
                await trio.sleep(DRAIN_POLL_S)
            return
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    except (AttributeError, OSError, ValueError) as error:
        # Closed already, or a circuit that is no socket.
        _log.debug("no socket of ours", error=repr(error))


def _unsent(tcp: Any) -> int:  # noqa: ANN401
    # TIOCOUTQ of a TCP socket: bytes that the other end hasn't acknowledged.
    return int.from_bytes(fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


async def check_free(address: Multiaddr) -> None:
    """Make sure that nobody listens on a TCP address yet.

    The library binds with SO_REUSEPORT, so two nodes on one port would both start and share out the callers.

    Raises:
      OSError: the address is in use, or not ours.
    """
    family = socket.AF_INET6 if "/ip6/" in str(address) else socket.AF_INET
    with trio.socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ip = address.value_for_protocol("ip6" if family == socket.AF_INET6 else "ip4")
        await probe.bind((ip, int(address.value_for_protocol("tcp"))))
        probe.listen(1)


async def stop_listening(host: Host) -> None:
    """Close the listeners, even while being cancelled, when the library leaves them open."""
    with trio.move_on_after(RESET_TIMEOUT_S) as scope:
        scope.shield = True
        for listener in list(host.get_network().listeners.values()):
            await listener.close()


async def _connect_nobody() -> None:
    pass


def _write_private(path: Path, data: bytes) -> None:
    # A crash leaves no file or a whole one, and no moment in which others may read it.
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
