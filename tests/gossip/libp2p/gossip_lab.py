"""Real nodes on loopback, a few to a test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from p2pai.effects import Verdict
from p2pai.gossip.libp2p import census
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.primitives import merkle
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId

CHAIN = "0a1b2c3d"


@dataclass
class Recorder:
    """Handlers that write down what happens, and do what the test tells them."""

    accept: Callable[[bytes], bool] = lambda data: True
    messages: list[bytes] = field(default_factory=list)
    here: list[PeerId] = field(default_factory=list)
    gone: list[PeerId] = field(default_factory=list)
    blobs: dict[BlobId, dict[int, bytes]] = field(default_factory=dict)
    manifests: dict[BlobId, tuple[Hash32, ...]] = field(default_factory=dict)
    chunks_asked: list[int] = field(default_factory=list)
    working: int = 0

    def received(self, remote: PeerId, topic: str, data: bytes) -> Verdict:
        assert topic and remote  # noqa: PT018
        self.messages.append(data)
        return Verdict.ACCEPT if self.accept(data) else Verdict.IGNORE

    async def asked(self, remote: PeerId, body: bytes) -> bytes:
        self.working += 1
        try:
            match body:
                case b"nothing":
                    raise Unavailable("nothing here")
                case b"bug":
                    raise AssertionError("a bug of ours")
                case b"large":
                    return bytes(2 << 20)
                case b"slow":
                    await trio.sleep_forever()
        finally:
            self.working -= 1
        return body[::-1]

    def connected(self, remote: PeerId) -> None:
        self.here.append(remote)

    def disconnected(self, remote: PeerId) -> None:
        self.gone.append(remote)

    def manifest(self, blob: BlobId) -> tuple[Hash32, ...] | None:
        return self.manifests.get(blob)

    def chunk(self, blob: BlobId, index: int) -> bytes | None:
        self.chunks_asked.append(index)
        return self.blobs.get(blob, {}).get(index)

    def share(self, chunks: Sequence[bytes]) -> BlobId:
        """Offer a blob."""
        leaves = tuple(map(merkle.leaf_hash, chunks))
        blob = BlobId(merkle.root(leaves))
        self.manifests[blob] = leaves
        self.blobs[blob] = dict(enumerate(chunks))
        return blob


@dataclass
class Shelf:
    """Where a fetched blob's chunks go, and what was there before."""

    got: dict[Hash32, bytes] = field(default_factory=dict)
    here: dict[Hash32, bytes] = field(default_factory=dict)
    reports: list[tuple[int, int]] = field(default_factory=list)

    async def begin(self, leaves: tuple[Hash32, ...]) -> list[Hash32]:
        return [leaf for leaf in leaves if leaf in self.here]

    def put(self, leaf: Hash32, chunk: bytes) -> None:
        assert leaf not in self.got, "a chunk came twice"
        self.got[leaf] = chunk

    def report(self, missing: int, sources: int) -> None:
        self.reports.append((missing, sources))


@dataclass
class Node:
    """A running network, its handlers, and how to stop it."""

    network: Network
    seen: Recorder
    scope: trio.CancelScope
    ended: trio.Event

    async def stop(self) -> None:
        """Cancel it and wait for its end."""
        self.scope.cancel()
        await self.ended.wait()


Start = Callable[..., Awaitable[Node]]


@pytest.fixture
async def start(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Start]:
    """Start nodes; each test's nodes end with it."""

    async def start_node(
        name: str,
        *bootstrap: Node | str,
        chain: str = CHAIN,
        listen: str = "/ip4/127.0.0.1/tcp/0",
        cache: Path | None = None,
    ) -> Node:
        seen = Recorder()
        addresses = [b if isinstance(b, str) else b.network.addresses[0] for b in bootstrap]
        host = OwnHost(tmp_path / f"{name}.key", [listen])
        network = Network(host, addresses, chain, seen, cache=cache)
        node = Node(network, seen, trio.CancelScope(), trio.Event())

        async def run(task_status: trio.TaskStatus[None]) -> None:
            try:
                with node.scope:
                    await network.run(task_status)
            finally:
                node.ended.set()

        with trio.fail_after(5):
            await nursery.start(run)
        return node

    yield start_node
    nursery.cancel_scope.cancel()


def dial_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes be content with the links that their bootstrap gives them."""
    monkeypatch.setattr(census, "OUTBOUND_WANTED", 0)
    monkeypatch.setattr(census, "LINKS_WANTED", 0)


async def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    """Wait until something holds."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def meet(*nodes: Node) -> None:
    """Wait until all are connected to all."""
    await until(lambda: all(len(node.network.remotes()) >= len(nodes) - 1 for node in nodes))


async def follow(topic: str, *nodes: Node) -> None:
    """Let all join a topic and know of each other's joining."""
    for node in nodes:
        await node.network.join(topic)
    await until(lambda: all(node.network._pubsub.router.mesh[topic] for node in nodes))
