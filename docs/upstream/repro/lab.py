"""What the reproductions share: stock py-libp2p hosts on loopback, and how a result is told.

Nothing of any other project is used; attach this file to a report beside the script that it is about.
"""

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_pair
from libp2p.peer.peerinfo import PeerInfo
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

LISTEN = Multiaddr("/ip4/127.0.0.1/tcp/0")
TIMEOUT_S = 60
CALM = {
    "adaptive_gossip_enabled": False,
    "spam_protection_enabled": False,
    "eclipse_protection_enabled": False,
}
"""Options that keep the router from limiting rates, where something else is shown."""


def make_host(key_pair: Any = None, **options: Any) -> Any:
    """Build a host with noise and yamux."""
    key_pair = key_pair or create_new_key_pair()
    noise = Noise(key_pair, noise_privkey=create_noise_pair().private_key)
    return new_host(
        key_pair=key_pair,
        sec_opt={NOISE: noise},
        muxer_opt={YAMUX: Yamux},
        listen_addrs=[LISTEN],
        **options,
    )


def make_router(degree: int = 3, low: int = 2, high: int = 4, **options: Any) -> GossipSub:
    """Build a GossipSub 1.1 router that beats once a second."""
    given = {"heartbeat_interval": 1, **CALM, **options}
    return GossipSub(protocols=[PROTOCOL_ID_V11], degree=degree, degree_low=low, degree_high=high, **given)


@asynccontextmanager
async def running(*hosts: Any) -> AsyncIterator[None]:
    """Run hosts."""
    async with AsyncExitStack() as stack:
        for host in hosts:
            await stack.enter_async_context(host.run([LISTEN]))
        yield


def listen_address(host: Any) -> Multiaddr:
    """Return where a host listens, without its id."""
    return Multiaddr(str(host.get_addrs()[0]).split("/p2p/")[0])


async def connect(a: Any, b: Any) -> None:
    """Dial from a to b."""
    await a.connect(PeerInfo(b.get_id(), [listen_address(b)]))


@dataclass
class Node:
    """A host with pubsub."""

    host: Any
    router: Any
    pubsub: Pubsub

    @property
    def id(self) -> Any:
        """Its peer id."""
        return self.host.get_id()


@asynccontextmanager
async def gossiping(
    count: int, router: Callable[[], Any] = make_router, **options: Any
) -> AsyncIterator[list[Node]]:
    """Run nodes with pubsub; they are not connected."""
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(count):
            host = make_host()
            await stack.enter_async_context(host.run([LISTEN]))
            made = router()
            pubsub = Pubsub(host, made, strict_signing=True, **options)
            for service in (pubsub, made):
                await stack.enter_async_context(background_trio_service(service))
            await pubsub.wait_until_ready()
            nodes.append(Node(host, made, pubsub))
        yield nodes


async def meet(a: Node, b: Node) -> None:
    """Connect two nodes and wait until both have a pubsub stream."""
    await connect(a.host, b.host)
    await a.pubsub.wait_for_peer(b.id, 10)
    await b.pubsub.wait_for_peer(a.id, 10)


def count_messages(subscription: Any, nursery: trio.Nursery) -> list[bytes]:
    """Collect what a subscription gives, in a task of its own."""
    heard: list[bytes] = []

    async def listen() -> None:
        while True:
            heard.append((await subscription.get()).data)

    nursery.start_soon(listen)
    return heard


def signed(key_pair: Any, author: bytes, topic: str, data: bytes, number: int) -> rpc_pb2.Message:
    """Make a message as any implementation of libp2p does."""
    made = rpc_pb2.Message(data=data, topicIDs=[topic], from_id=author, seqno=number.to_bytes(8, "big"))
    made.signature = key_pair.private_key.sign(b"libp2p-pubsub:" + made.SerializeToString())
    return made


def with_length(data: bytes) -> bytes:
    """Put a length in front, as a varint."""
    size, prefix = len(data), bytearray()
    while size >= 0x80:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*prefix, size]) + data


class Found(Exception):
    """How a reproduction ends."""

    def __init__(self, is_there: bool, sentence: str) -> None:
        super().__init__(sentence)
        self.is_there = is_there


def tell(is_there: bool, sentence: str) -> NoReturn:
    """End with the result."""
    raise Found(is_there, sentence)


def leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, however deep."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


def run(main: Callable[[], Awaitable[None]]) -> NoReturn:
    """Run a reproduction; status 0 when the fault is there, 1 when not."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)

    async def bounded() -> None:
        with trio.fail_after(TIMEOUT_S):
            await main()

    try:
        trio.run(bounded)
    except BaseException as error:
        found = next((leaf for leaf in leaves(error) if isinstance(leaf, Found)), None)
        if found is None:
            raise
        print("REPRODUCED:" if found.is_there else "not reproduced:", found)
        sys.exit(0 if found.is_there else 1)
    print("not reproduced: nothing was found")
    sys.exit(1)


async def outcome_of(main: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Return what ended a part that should not end, the first of several; None when it ran to its end."""
    try:
        await main()
    except BaseException as error:
        rest = [leaf for leaf in leaves(error) if not isinstance(leaf, trio.Cancelled)]
        if not rest:
            raise
        return rest[0]
    return None
