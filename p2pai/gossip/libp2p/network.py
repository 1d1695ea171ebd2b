"""The node's whole view of the network: topics, questions, blobs, and who is there.

A remote is *connected* once it accepted a stream of our ask protocol, whose name carries the chain's id; it
is *disconnected* when that stream is gone. Handlers are called from the network's own tasks. An exception
of theirs outside the `P2paiError` family is our own bug: `Network.run` then ends by raising it. Whatever a
remote does ends one stream at most.

The network stands on a mount (mount.py): a host of our own, or one that somebody else made and runs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog
import trio
from libp2p.peer.id import ID

from p2pai.effects import Verdict
from p2pai.gossip.libp2p.announcing import CIRCUIT, on_interfaces
from p2pai.gossip.libp2p.answering import Sources
from p2pai.gossip.libp2p.dial_back import DialBacks
from p2pai.gossip.libp2p.dialling import parse_bootstrap
from p2pai.gossip.libp2p.discovery import Discovery, Places
from p2pai.gossip.libp2p.fetching import Fetching, parse_id
from p2pai.gossip.libp2p.links import Links
from p2pai.gossip.libp2p.mount import Mount
from p2pai.gossip.libp2p.outside import Outside
from p2pai.gossip.libp2p.providing import Providing
from p2pai.gossip.libp2p.refusals import Refusals
from p2pai.gossip.libp2p.serving import Serving
from p2pai.gossip.libp2p.transfer import Shelf
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.limits import ANSWER_SIZE_MAX, GOSSIP_SIZE_MAX
from p2pai.gossip.reachability import Answers, Outlook
from p2pai.gossip.scores import Offence
from p2pai.gossip.sightings import Observer
from p2pai.primitives.errors import P2paiError, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId, TaskId

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Handlers(Protocol):
    """What the node does when the network has something for it."""

    def received(self, remote: PeerId, topic: str, data: bytes) -> Verdict:
        """Judge a message, each once and never our own; ACCEPT lets it travel on."""

    async def asked(self, remote: PeerId, body: bytes) -> bytes:
        """Answer a question or raise Unavailable; cancelled when the asker no longer waits."""

    def connected(self, remote: PeerId) -> None:
        """Learn that a remote can be asked."""

    def disconnected(self, remote: PeerId) -> None:
        """Learn that a remote can no longer be asked."""

    def manifest(self, blob: BlobId) -> tuple[Hash32, ...] | None:
        """Return the leaf hashes of a shared blob."""

    def chunk(self, blob: BlobId, index: int) -> bytes | None:
        """Return one chunk of a shared blob."""


class Network:
    """One node of the network; everything but `peer_id` and `remotes` needs `run` to be running."""

    def __init__(
        self,
        mount: Mount,
        bootstrap: Sequence[str],
        chain_id: str,
        handlers: Handlers,
        *,
        cache: Path | None = None,
        mdns: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
          mount: the host that it will stand on.
          bootstrap: multiaddrs of nodes to start from, with names of DNS or without.
          chain_id: separates chains; remotes of other chains are never connected.
          handlers: what the node does.
          cache: file of the remotes that were good; None: they are forgotten at the end.
          mdns: whether to look, and to be found, on the local network.

        Raises:
          ValueError: a malformed address.
        """
        for address in bootstrap:
            parse_bootstrap(address)
        self._mount = mount
        self._places = Places(bootstrap, cache, mdns)
        self._chain_id = chain_id
        self._handlers = handlers
        self._protocol = f"/p2pai/{chain_id}/ask/1"
        self._refusals = Refusals()
        self._nursery: trio.Nursery | None = None
        self._failure: Exception | None = None
        self._outside: Outside | None = None
        self.peer_id = PeerId(str(mount.id))
        self.observers: list[Observer] = []
        """Who sees all gossip; may be added and removed at any time."""
        self.warden = Warden(chain_id, self._refusals, self.observers, self._begin_to_end)
        """How each remote stands."""
        self.addresses: tuple[str, ...] = ()
        """Full multiaddrs under which others reach this node, once it runs."""

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ANN401
        """Take part in the network until cancelled; ready when `task_status` is told.

        Raises:
          OSError: an address cannot be listened on.
          P2paiError: the mount can't be had.
          Exception: whatever a handler raised that is not a `P2paiError`.
        """
        self._failed = trio.Event()
        async with self._mount.running(self._judge, self.warden, self.observers) as mounted:
            self._host, self._pubsub = mounted.host, mounted.gossip
            self._links = Links(mounted, self._protocol, self.warden, self._came, self._went)
            self._serving = Serving(self._protocol, self.warden, self._sources, self._links.retry)
            self._discovery = Discovery(
                mounted, self._chain_id, self._places, self._refusals.is_welcome, self._links
            )
            self._providing = Providing(mounted.host, mounted.dht)
            self._fetching = Fetching(
                self.peer_id, self._links, self._discovery.find, self._providing, self._note_offence
            )
            dial_backs = DialBacks(self._host, self._refusals.is_welcome)
            self._outside = Outside(dial_backs, self._links.askers, self._find_called)
            self.addresses = self._find_addresses()
            if mounted.is_ours:
                # Whether somebody else's host dials back is its owner's to say.
                dial_backs.start()
            async with self._serving.running(self._host), trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._links.run)
                nursery.start_soon(self._discovery.run)
                nursery.start_soon(self._providing.run)
                nursery.start_soon(self._outside.run)
                if mounted.traversal is not None:
                    nursery.start_soon(mounted.traversal.run, self.outlook, self._links.askers)
                task_status.started()
                await self._failed.wait()
                nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def remotes(self) -> tuple[PeerId, ...]:
        """Return who can be asked now."""
        return tuple(PeerId(str(remote)) for remote in self._links.askers)

    def outlook(self) -> Outlook:
        """Return what remotes say of this node: whether they reach it, and what time it is."""
        return Answers().sum_up() if self._outside is None else self._outside.outlook()

    async def join(self, topic: str) -> None:
        """Follow a topic; others find us under its task."""
        self._discovery.search.follow(topic)
        await self._pubsub.subscribe(topic)

    async def leave(self, topic: str) -> None:
        """Stop following a topic."""
        self._discovery.search.unfollow(topic)
        await self._pubsub.unsubscribe(topic)

    async def publish(self, topic: str, data: bytes) -> None:
        """Send a message to all who follow a topic, or to as many as can be reached; never raises."""
        assert len(data) <= GOSSIP_SIZE_MAX, "message is too large for gossip"
        await self._pubsub.publish(topic, data)

    async def ask(self, remote: PeerId, body: bytes, timeout_s: float) -> bytes:
        """Ask a connected remote.

        Raises:
          Unavailable: not connected, no answer in time, or none to give.
        """
        known = parse_id(remote)
        asker = None if known is None else self._links.askers.get(known)
        if asker is None:
            raise Unavailable("the remote is not connected")
        return await asker.ask(body, timeout_s)

    async def fetch(self, blob: BlobId, providers: Sequence[PeerId], shelf: Shelf) -> tuple[Hash32, ...]:
        """Get what is missing of a blob, from several remotes at once.

        Connected remotes are asked first, `providers` before others; then other `providers`, and whoever is
        found in the DHT.

        Args:
          blob: its content id; all that arrives is checked against it.
          providers: who probably has it, best first.
          shelf: knows what is here, takes each chunk once, as it arrives.

        Returns:
          The leaf hashes of the blob's chunks, in order.

        Raises:
          Unavailable: nobody has it, or not all of it, or it takes too long.
        """
        return await self._fetching.fetch(blob, providers, shelf)

    def provide(self, blob: BlobId) -> None:
        """Tell who looks for a blob in the DHT that we have it, again and again."""
        self._providing.provide(blob)

    def withdraw(self, blob: BlobId) -> None:
        """Stop telling so; what was told expires within two days."""
        self._providing.withdraw(blob)

    async def take_part(self, task: TaskId, role: str) -> None:
        """Let others find us as one who does a role's part in a task."""
        self._discovery.search.take_part(task, role)

    async def end_part(self, task: TaskId, role: str) -> None:
        """Undo it; what was told ends within two hours."""
        self._discovery.search.end_part(task, role)

    def company(self) -> dict[str, Any]:
        """Return how many remotes there are, by who dialled; how many are known; and whether we are alone."""
        return self._discovery.company()

    async def hangup(self, remote: PeerId, seconds: float) -> None:
        """Have nothing to do with a remote for a while; on a host of our own, disconnect it."""
        known = parse_id(remote)
        if known is not None:
            self._refusals.add(known, seconds)
            await self._end(known)

    async def _end(self, remote: ID) -> None:
        self._serving.end(remote)
        await self._links.hang_up(remote)

    def _begin_to_end(self, remote: ID) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._end, remote)

    def _sources(self, asker: ID) -> Sources:
        remote = PeerId(str(asker))

        async def ask(body: bytes) -> bytes | None:
            try:
                answer = await self._handlers.asked(remote, body)
                assert len(answer) <= ANSWER_SIZE_MAX, "answer is too long"
            except P2paiError:
                return None
            except Exception as error:  # noqa: BLE001
                self._fail(error)
                return None
            return answer

        return Sources(
            ask,
            lambda blob: self._call(None, self._handlers.manifest, blob),
            lambda blob, index: self._call(None, self._handlers.chunk, blob, index),
            lambda: self._discovery.tell(asker),
        )

    def _judge(self, remote: ID, topic: str, data: bytes) -> Verdict:
        return self._call(Verdict.IGNORE, self._handlers.received, PeerId(str(remote)), topic, data)

    def _note_offence(self, remote: PeerId, lie: str) -> None:
        _log.warning("remote gave a false blob", remote=remote, reason=lie)
        known = parse_id(remote)
        if known is not None:
            self.warden.blame(known, Offence.FALSE_BLOB)

    def _came(self, remote: ID) -> None:
        self._discovery.note_arrival(remote)
        self._call(None, self._handlers.connected, PeerId(str(remote)))

    def _went(self, remote: ID) -> None:
        self._discovery.note_loss(remote)
        self._call(None, self._handlers.disconnected, PeerId(str(remote)))

    def _call(self, otherwise: T, handler: Callable[..., T], *args: object) -> T:
        try:
            return handler(*args)
        except P2paiError as error:
            _log.debug("handler refused", reason=str(error))
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        return otherwise

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._failed.set()

    def _find_called(self) -> list[str]:
        """Return where others may try to call us: first what is told them, then where we listen."""
        texts = [str(address) for address in (*self._host.get_addrs(), *self._host.get_transport_addrs())]
        return list(dict.fromkeys(text.partition("/p2p/")[0] for text in texts if CIRCUIT not in text))

    def _find_addresses(self) -> tuple[str, ...]:
        suffix = f"/p2p/{self.peer_id}"
        found = (str(address) for told in self._host.get_addrs() for address in on_interfaces(told))
        return tuple(text if text.endswith(suffix) else text + suffix for text in found)
