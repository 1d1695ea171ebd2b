"""Streams of stock py-libp2p, of ours, and raw trio TCP sockets, side by side: two processes, one connection.

    python -m benchmarks.libp2p_streams [--turns 3] [--megabytes 64]
    python -m benchmarks.libp2p_streams --delay-ms 25 --loss 0.01      # between namespaces; needs root

The contenders take turns and the median of the turns counts, so ratios mean something on a machine that does
other things too; of processor time, the receiver's is shown. Each has processes of its own, because our
tuning of the library is for a whole process. Both libp2p contenders speak noise and yamux over TCP, nothing
else. "noise" is ours without a multiplexer: the same encryption on the same tuned TCP stream, for one stream
alone. What ours lacks to it is what a multiplexer that costs nothing would bring.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

import trio

from testnet.devnet.netlab import NetLab
from testnet.devnet.wires import Link

KINDS: Final = ("raw", "noise", "stock", "ours")
STREAM: Final = "/p2pai-benchmark/stream/1"
ROUND: Final = "/p2pai-benchmark/round/1"
PIECE: Final = 1 << 18
"""Bytes written and read at once."""

COMMAND_SIZE: Final = 9

Read = Callable[[int], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[Any]]


@dataclass(frozen=True)
class Pipe:
    """Two ends of bytes, whatever they are made of."""

    read: Read
    write: Write

    async def exactly(self, size: int) -> None:
        """Read so many bytes and forget them."""
        while size:
            data = await self.read(min(size, PIECE))
            if not data:
                raise EOFError
            size -= len(data)


async def answer(pipe: Pipe) -> None:
    """Do what the client commands: send bytes, or give back single ones."""
    while True:
        command = b""
        while len(command) < COMMAND_SIZE:
            data = await pipe.read(COMMAND_SIZE - len(command))
            if not data:
                return
            command += data
        count = int.from_bytes(command[1:], "big")
        if command[:1] == b"S":
            await pour(pipe, count)
        else:
            for _ in range(count):
                await pipe.write(await pipe.read(1))


async def pour(pipe: Pipe, size: int) -> None:
    """Write so many bytes."""
    piece = bytes(PIECE)
    for start in range(0, size, PIECE):
        await pipe.write(piece[: min(PIECE, size - start)])


async def order(pipe: Pipe, kind: bytes, count: int) -> None:
    """Give the server a command."""
    await pipe.write(kind + count.to_bytes(COMMAND_SIZE - 1, "big"))


async def measure_pipe(pipe: Pipe, options: argparse.Namespace) -> dict[str, float]:
    """Return throughput and round trip of one pipe, after some warming up."""
    await order(pipe, b"S", 1 << 20)
    await pipe.exactly(1 << 20)
    size = options.megabytes * 1_000_000
    began, began_cpu = time.perf_counter(), time.process_time()
    await order(pipe, b"S", size)
    await pipe.exactly(size)
    speed = size / 1e6 / (time.perf_counter() - began)
    cpu_ms = 1e9 * (time.process_time() - began_cpu) / size
    await order(pipe, b"E", options.rounds)
    times = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        await pipe.write(b".")
        await pipe.exactly(1)
        times.append(time.perf_counter() - began)
    times.sort()
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    return {"MB_s": speed, "cpu_ms_MB": cpu_ms, "rtt_us": 1e6 * p50, "rtt_p99_us": 1e6 * p99}


def make_noise() -> tuple[Any, Any]:
    """Return the library's encryption with keys of its own, and their id."""
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
    from libp2p.peer.id import ID
    from libp2p.security.noise.transport import Transport

    from p2pai.gossip.libp2p import tuning

    tuning.apply()
    key_pair = create_new_key_pair()
    transport = Transport(key_pair, noise_privkey=create_noise_key_pair().private_key)
    return transport, ID.from_pubkey(key_pair.public_key)


def as_connection(stream: trio.SocketStream, *, dialled: bool) -> Any:  # noqa: ANN401
    """Return a socket as the library's encryption takes it."""
    from libp2p.io.trio import TrioTCPStream
    from libp2p.network.connection.raw_connection import RawConnection

    return RawConnection(TrioTCPStream(stream), dialled)


async def serve_noise(ip: str) -> None:
    """Answer clients of an encrypted connection without a multiplexer."""
    transport, me = make_noise()

    async def serve_one(stream: trio.SocketStream) -> None:
        with suppress(Exception):  # the client has ended
            session = await transport.secure_inbound(as_connection(stream, dialled=False))
            await answer(Pipe(session.read, session.write))

    listeners = await trio.open_tcp_listeners(0, host=ip)
    print(f"{listeners[0].socket.getsockname()[1]}/{me}", flush=True)
    await trio.serve_listeners(serve_one, listeners)


async def ask_noise(ip: str, address: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure an encrypted connection without a multiplexer."""
    from libp2p.peer.id import ID

    transport, _ = make_noise()
    port, remote = address.split("/")
    began = time.perf_counter()
    stream = await trio.open_tcp_stream(ip, int(port))
    session = await transport.secure_outbound(as_connection(stream, dialled=True), ID.from_base58(remote))
    connected = {"connect_ms": 1000 * (time.perf_counter() - began)}
    return connected | await measure_pipe(Pipe(session.read, session.write), options)


def make_stock(listen: str) -> Any:  # noqa: ANN401
    """Return py-libp2p's own host, with the security and multiplexer that ours has."""
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport
    from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
    from libp2p.stream_muxer.yamux.yamux import Yamux
    from multiaddr import Multiaddr

    key_pair = create_new_key_pair()
    noise = Transport(key_pair, noise_privkey=create_noise_key_pair().private_key)
    return new_host(
        key_pair=key_pair,
        sec_opt={PROTOCOL_ID: noise},
        muxer_opt={YAMUX_ID: Yamux},
        listen_addrs=[Multiaddr(listen)],
    )


def make_ours(listen: str) -> Any:  # noqa: ANN401
    """Return a host as `p2pai start` makes it."""
    from libp2p.crypto.ed25519 import create_new_key_pair

    from p2pai.gossip.libp2p.host import make_host

    return make_host(create_new_key_pair(), [listen])


def make(kind: str, ip: str) -> tuple[Any, Any]:
    """Return a host and where it listens."""
    from multiaddr import Multiaddr

    listen = f"/ip4/{ip}/tcp/0"
    return (make_stock if kind == "stock" else make_ours)(listen), [Multiaddr(listen)]


async def serve(kind: str, ip: str) -> None:
    """Answer clients until ended; prints the address first."""
    if kind == "raw":
        listeners = await trio.open_tcp_listeners(0, host=ip)
        print(listeners[0].socket.getsockname()[1], flush=True)
        await trio.serve_listeners(lambda s: answer(Pipe(s.receive_some, s.send_all)), listeners)
    if kind == "noise":
        await serve_noise(ip)
    host, listen = make(kind, ip)

    async def serve_stream(stream: Any) -> None:  # noqa: ANN401
        with suppress(Exception):  # the client has ended
            await answer(Pipe(stream.read, stream.write))

    async def serve_round(stream: Any) -> None:  # noqa: ANN401
        await stream.write(await stream.read(PIECE))
        await stream.close()

    host.set_stream_handler(STREAM, serve_stream)
    host.set_stream_handler(ROUND, serve_round)
    async with host.run(listen):
        print(str(host.get_addrs()[0]), flush=True)
        await trio.sleep_forever()


async def ask(kind: str, ip: str, address: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure one connection as its client."""
    if kind == "raw":
        began = time.perf_counter()
        raw = await trio.open_tcp_stream(ip, int(address))
        connected = {"connect_ms": 1000 * (time.perf_counter() - began)}
        return connected | await measure_pipe(Pipe(raw.receive_some, raw.send_all), options)
    if kind == "noise":
        return await ask_noise(ip, address, options)
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    host, listen = make(kind, "0.0.0.0")  # noqa: S104
    info = info_from_p2p_addr(Multiaddr(address))
    async with host.run(listen):
        began = time.perf_counter()
        await host.connect(info)
        found = {"connect_ms": 1000 * (time.perf_counter() - began)}
        stream = await host.new_stream(info.peer_id, [STREAM])
        found |= await measure_pipe(Pipe(stream.read, stream.write), options)
        return found | {"new_stream_ms": await measure_new_streams(host, info.peer_id, options)}


async def measure_new_streams(host: Any, remote: Any, options: argparse.Namespace) -> float:  # noqa: ANN401
    """Return the median milliseconds of a question and its answer on a stream of their own."""
    times = []
    for _ in range(options.streams):
        began = time.perf_counter()
        stream = await host.new_stream(remote, [ROUND])
        await stream.write(bytes(100))
        await Pipe(stream.read, stream.write).exactly(100)
        times.append(time.perf_counter() - began)
        await stream.close()
    return 1000 * statistics.median(times)


def run_pair(kind: str, options: argparse.Namespace, lab: NetLab | None) -> dict[str, float]:
    """Run one server and one client to the end, and return what the client found."""
    me = (sys.executable, "-m", "benchmarks.libp2p_streams", "--kind", kind)
    ip = "127.0.0.1" if lab is None else lab.address(1)
    numbers = [f"--{name}={getattr(options, name)}" for name in ("megabytes", "rounds", "streams")]

    def place(node: int, *command: str) -> tuple[str, ...]:
        return command if lab is None else lab.command(node, command)

    with subprocess.Popen(place(1, *me, "--serve", ip), stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            command = place(2, *me, *numbers, "--ask", ip, "--address", address)
            client = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)  # noqa: S603
        finally:
            server.kill()
    return dict(json.loads(client.stdout.splitlines()[-1]))


def compare(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Let the contenders take turns; return each one's medians."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    link = Link(delay_ms=options.delay_ms, loss=options.loss)
    with ExitStack() as stack:
        lab = stack.enter_context(NetLab(2, link)) if options.delay_ms or options.loss else None
        for turn in range(options.turns):
            for kind in KINDS:
                found[kind].append(run_pair(kind, options, lab))
                figures = {name: round(value, 2) for name, value in found[kind][-1].items()}
                print(f"turn {turn + 1} {kind}:", figures, flush=True)
    return {
        kind: {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
        for kind, turns in found.items()
    }


def show(medians: dict[str, dict[str, float]]) -> None:
    """Print the table of medians, and ours as multiples of the others."""
    names = ("MB_s", "cpu_ms_MB", "rtt_us", "rtt_p99_us", "new_stream_ms", "connect_ms")
    print("\n| median of the turns |", " | ".join(names), "|")
    print("|---" * (len(names) + 1) + "|")
    rows = dict(medians)
    for other in ("stock", "noise", "raw"):
        rows[f"ours / {other}"] = {n: medians["ours"][n] / v for n, v in medians[other].items() if v}
    for kind, values in rows.items():
        print(f"| {kind} |", " | ".join(f"{values[n]:.3g}" if n in values else "" for n in names), "|")


def main() -> None:
    """Read the command line; run as the parent, a server or a client."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--loss", type=float, default=0)
    for name in ("kind", "serve", "ask", "address"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.kind, options.serve)
    elif options.ask:
        print(json.dumps(trio.run(ask, options.kind, options.ask, options.address, options)))
    else:
        show(compare(options))


if __name__ == "__main__":
    main()
