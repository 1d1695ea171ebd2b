"""One node: every part made, and joined on a mount (gossip/libp2p/mount.py).

`p2pai start` runs it as a program of its own (node_process.py), `p2pai.attach` as a guest of another program
(plugin.py). The order matters: the store first, because its lock keeps a second node off the data directory;
the core after the mount, because it must know its own peer id; the RPC last, so that who finds it finds a
node that serves.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
import trio

from p2pai import __version__
from p2pai.gossip.libp2p.mount import Mount
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.recording import FORMAT, Birth, Recording, What
from p2pai.node.archive import Archive
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.primitives.keys import Keys, KeySource
from p2pai.shell import config as node_config
from p2pai.shell.blobs import BlobStore
from p2pai.shell.clock import Clock
from p2pai.shell.config import Config
from p2pai.shell.delivery import DIRECTORY_NAME as MODELS_NAME
from p2pai.shell.files import make_directory
from p2pai.shell.record_file import RecordFile
from p2pai.shell.recorder import Recorder
from p2pai.shell.rpc import run_server, submit
from p2pai.shell.runtime import Runtime
from p2pai.shell.specs import load_spec
from p2pai.shell.store import Store
from p2pai.shell.trainer import Trainer
from p2pai.shell.watching import Watching
from p2pai.shell.wire import Core

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """A node that serves."""

    config: Config
    network: Network
    runtime: Runtime
    rpc_url: str | None
    """Where its RPC listens, if it has one."""

    @property
    def peer_id(self) -> PeerId:
        """Its libp2p id, which is its host's."""
        return self.network.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """Full multiaddrs under which others reach it; none on a host that doesn't listen."""
        return self.network.addresses

    @property
    def roles(self) -> tuple[str, ...]:
        """What it does for the network."""
        return self.config.roles

    @property
    def data_dir(self) -> Path:
        """Where it keeps what it knows."""
        return self.config.data_dir

    def remotes(self) -> tuple[PeerId, ...]:
        """Return the remotes of its chain that it is connected with now."""
        return self.network.remotes()

    def query(self, method: str, params: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
        """Answer a question, in JSON's types.

        Args:
          method: as in the table of the RPC (docs/ARCHITECTURE.md), `node.status` for one.
          params: as there.

        Raises:
          InvalidInput: an unknown method or wrong parameters.
          Unavailable: it can't tell now.
        """
        return self.runtime.query(method, dict(params or {}))

    def submit(self, method: str, params: Mapping[str, Any] | None = None) -> str:
        """Give an order, such as `wallet.send`; returns the id to ask about with the question `submission`.

        Raises:
          InvalidInput: no order has this name, or the parameters are not JSON's types without fractions.
        """
        return submit(self.runtime, method, dict(params or {}))


def prepare(config: Config) -> Config:
    """Make a node's data directory, and return its settings with absolute paths.

    Raises:
      InvalidInput: it can't be made.
    """
    config = node_config.settle(config)
    try:
        make_directory(config.data_dir)
    except OSError as error:
        raise InvalidInput(f"{config.data_dir} can't be a data directory: {error.strerror}") from error
    return config


@asynccontextmanager
async def running(
    config: Config, source: KeySource, make_mount: Callable[[], Mount], *, has_rpc: bool
) -> AsyncIterator[Node]:
    """Run a node while inside; it serves from the beginning of the block.

    Args:
      config: its settings, prepared.
      source: its keys, unlocked.
      make_mount: gives the host that it stands on; called once the data directory is its own.
      has_rpc: whether its data directory's commands can reach it.

    Raises:
      P2paiError: it can't start; one sentence says why.
      Exception: what stopped it, in a group perhaps; the block is cancelled then.
    """
    with closing(Store.open(config.data_dir)) as store:
        async with _joined(config, source, store, make_mount(), has_rpc=has_rpc) as node:
            _log.info("node serves", peer_id=node.peer_id, addresses=node.addresses)
            yield node


def make_core(
    config: Config,
    keys: Keys | PublicKey,
    peer_id: PeerId,
    archive: Archive,
    source: KeySource | None = None,
) -> Core:
    """Build the core of a node, as it is before its journal; with a public key it only answers questions."""
    from p2pai.node import trust  # noqa: PLC0415
    from p2pai.node.core import NodeCore  # noqa: PLC0415

    checkpoint = trust.parse(config.checkpoint) if config.checkpoint else None
    return NodeCore(load_spec(config.chain), keys, peer_id, config.roles, archive, source, checkpoint)


@asynccontextmanager
async def _joined(
    config: Config, source: KeySource, store: Store, mount: Mount, *, has_rpc: bool
) -> AsyncIterator[Node]:
    keys = source.account(0)
    public = _check_owner(config, keys)
    blobs = BlobStore(config.blobs_dir)
    blobs.sweep()
    async with Trainer(config.data_dir, config.blobs_dir) as trainer, trio.open_nursery() as nursery:
        runtime = Runtime(store, blobs, trainer, Clock(), config.data_dir / MODELS_NAME)
        network = _make_network(config, mount, runtime)
        node_config.save(node_config.NodeRecord(config, network.peer_id, public))
        watching = Watching(network.observers, network.publish, network.warden.report, network.warden.lost)
        head = _head(config, network.peer_id, public)
        gossip = Recorder(head, network.observers, watching.standing)

        def make(archive: Archive) -> Core:
            return make_core(config, keys, network.peer_id, archive, source)

        file = None if config.record is None else RecordFile(config.record, _birth(config, head))
        if file is None:
            core = make(store.archive)
        else:
            network.observers.append(file.write)
            core = _recorded(make, store.archive, file.write)
        await nursery.start(runtime.run, core, network)
        if file is not None:
            await nursery.start(file.run)
        url: str | None = None
        if has_rpc:
            door = (runtime, config.data_dir, config.rpc_port, network.addresses, gossip, watching)
            url = await nursery.start(run_server, *door)
        if config.metrics is not None:
            await _start_metrics(nursery, config.metrics, runtime, network)
        yield Node(config, network, runtime, url)
        nursery.cancel_scope.cancel()


async def _start_metrics(nursery: trio.Nursery, where: str, runtime: Runtime, network: Network) -> None:
    from p2pai.shell.metrics import run_metrics  # noqa: PLC0415

    shown = runtime, lambda: len(network.remotes()), network.observers, where
    _log.info("metrics are served", url=await nursery.start(run_metrics, *shown))


def _check_owner(config: Config, keys: Keys) -> PublicKey:
    """Refuse a directory whose journal promises what other keys signed."""
    public = ecdsa.public_key(keys.spending)
    before = node_config.find(config.data_dir)
    if before is not None and before.public_key != public:
        raise InvalidInput(f"{config.data_dir} is of a node with other keys; choose another --data-dir")
    return public


def _head(config: Config, peer: PeerId, public: PublicKey) -> Recording:
    """Return the head of this node's recordings, which have yet to begin."""
    spec = load_spec(config.chain)
    return Recording(FORMAT, __version__, spec.id, peer, config.roles, public, 0, (), None)


def _recorded(make: Callable[[Archive], Any], archive: Archive, write: Callable[[What], None]) -> Core:
    from p2pai.node.recorded import RecordedCore  # noqa: PLC0415

    return RecordedCore(make, archive, write)


def _birth(config: Config, head: Recording) -> Recording:
    """Return the head of a recording that holds the inbox too."""
    from p2pai.node import trust  # noqa: PLC0415

    checkpoint = trust.parse(config.checkpoint) if config.checkpoint else None
    return replace(head, birth=Birth(load_spec(config.chain), checkpoint))


def _make_network(config: Config, mount: Mount, runtime: Runtime) -> Network:
    spec = load_spec(config.chain)
    try:
        return Network(
            mount,
            (*config.bootstrap, *spec.bootstrap),
            spec.short_id,
            runtime,
            cache=config.remotes,
            mdns=config.mdns,
        )
    except ValueError as error:
        raise InvalidInput(f"an address to join the network by is malformed: {error}") from error
