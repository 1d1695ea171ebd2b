"""One node as a process: every part made, joined and run until a signal.

The order matters: the store first, because its lock keeps a second node off the data directory; the
network's identity before the core, which must know its own peer id; the RPC last, so that who finds it finds
a node that serves.

A signal (SIGTERM, SIGINT) ends all of it within `STOP_S_MAX`; should a thread hang, the process is ended the
hard way, which the journal is made for. A bug of our own ends it with status 1 and one sentence on stderr.
"""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from p2pai import __version__
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.gossip.recording import FORMAT, Recording
from p2pai.node.archive import Archive
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, P2paiError, Unavailable
from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.primitives.keys import Keys, KeySource
from p2pai.shell import config as node_config
from p2pai.shell import telemetry
from p2pai.shell.blobs import BlobStore
from p2pai.shell.clock import Clock
from p2pai.shell.config import Config
from p2pai.shell.delivery import DIRECTORY_NAME as MODELS_NAME
from p2pai.shell.files import make_directory
from p2pai.shell.recorder import Recorder
from p2pai.shell.rpc import run_server
from p2pai.shell.runtime import Runtime
from p2pai.shell.specs import load_spec
from p2pai.shell.store import Store
from p2pai.shell.trainer import Trainer
from p2pai.shell.wire import Core

STOP_S_MAX: Final = 4.5
"""Seconds from a signal to the end; who sends one waits five."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """What a node that serves has to say about itself."""

    peer_id: PeerId
    addresses: tuple[str, ...]
    """Full multiaddrs."""
    rpc_url: str


async def run_node(
    config: Config, source: KeySource, ready: Callable[[Ready], None] = lambda _: None
) -> None:
    """Run a node until SIGTERM or SIGINT.

    Args:
      config: its settings.
      source: its keys, unlocked.
      ready: called once, when it serves.

    Raises:
      P2paiError: it can't start; one sentence says why.
      SystemExit: it had to stop; status 1, the log says why.
    """
    config = node_config.settle(config)
    try:
        make_directory(config.data_dir)
    except OSError as error:
        raise InvalidInput(f"{config.data_dir} can't be a data directory: {error.strerror}") from error
    os.umask(0o077)
    telemetry.configure(config.data_dir)
    with closing(Store.open(config.data_dir)) as store, _stopped_by_signals() as scope:
        try:
            await _run_parts(config, source, store, ready)
        except Exception as error:
            raise _explain(error) from error
    if scope.cancelled_caught:
        _log.info("node stopped")
    # The process ends next; collecting what the libraries leave behind would take most of its last CPU time.
    gc.freeze()


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


async def _run_parts(config: Config, source: KeySource, store: Store, ready: Callable[[Ready], None]) -> None:
    if store.dropped:
        _log.warning("the journal's end was damaged and is cut off", records=store.dropped)
    keys = source.account(0)
    public = _check_owner(config, keys)
    blobs = BlobStore(config.blobs_dir)
    blobs.sweep()
    async with Trainer(config.data_dir, config.blobs_dir) as trainer, trio.open_nursery() as nursery:
        runtime = Runtime(store, blobs, trainer, Clock(), config.data_dir / MODELS_NAME)
        network = _make_network(config, runtime)
        node_config.save(node_config.NodeRecord(config, network.peer_id, public))
        gossip = Recorder(_head(config, network.peer_id, public), network.observers)
        core = make_core(config, keys, network.peer_id, store.archive, source)
        await nursery.start(runtime.run, core, network)
        door = (config.data_dir, config.rpc_port, network.addresses, gossip)
        url = await nursery.start(run_server, runtime, *door)
        _log.info("node serves", peer_id=network.peer_id, addresses=network.addresses)
        ready(Ready(network.peer_id, network.addresses, url))


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


def _make_network(config: Config, runtime: Runtime) -> Network:
    spec = load_spec(config.chain)
    bootstrap = (*config.bootstrap, *spec.bootstrap)
    try:
        return Network(OwnHost(config.identity, [config.listen]), bootstrap, spec.short_id, runtime)
    except ValueError as error:
        raise InvalidInput(f"an address or the identity file is malformed: {error}") from error


@contextmanager
def _stopped_by_signals() -> Iterator[trio.CancelScope]:
    """Cancel what runs inside at the first SIGTERM or SIGINT."""
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    def stop(*_: object) -> None:
        # Whatever hangs (a thread, a library, the core), the kernel then ends the process.
        signal.setitimer(signal.ITIMER_REAL, STOP_S_MAX)
        token.run_sync_soon(scope.cancel, idempotent=True)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        with scope:
            yield scope
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(error: Exception) -> BaseException:
    """Return what to raise for it: its own sentence, or a status when the log has the sentence."""
    causes = _leaves(error)
    bug = next((cause for cause in causes if isinstance(cause, AssertionError)), None)
    if bug is None:
        for cause in causes:
            if isinstance(cause, P2paiError):
                return cause
            if isinstance(cause, OSError):
                return Unavailable(f"the system refused: {cause}")
    _log.critical(
        "the node found a bug in itself and stopped; its journal is intact, start it again",
        bug=repr(bug or causes[0]),
        exc_info=error,
    )
    return SystemExit(1)


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]
