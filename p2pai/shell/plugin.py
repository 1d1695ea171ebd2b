"""`p2pai.attach`: a node on a py-libp2p host that another program made and runs.

It is the very node of `p2pai start` (node.py) on another mount (gossip/libp2p/guest.py), in the other
program's trio thread: what it computes there takes milliseconds, and training has a process of its own. Logs
go where the program's structlog sends them. docs/PLUGIN.md shows it with an example.

A node that finds a bug in itself ends the block that it was attached for, and nothing else: the host's tasks
never see its exceptions.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio

from p2pai.gossip.libp2p.guest import GuestHost
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import KeySource
from p2pai.shell import keystore, node
from p2pai.shell.config import Config
from p2pai.shell.node import Node
from p2pai.shell.specs import published_keys


@asynccontextmanager
async def attach(
    host: Any,  # noqa: ANN401
    pubsub: Any,  # noqa: ANN401
    dht: Any | None = None,  # noqa: ANN401
    *,
    data_dir: Path | str,
    chain: str = "devnet",
    roles: Sequence[str] = ("peer",),
    bootstrap: Sequence[str] = (),
    keys: KeySource | None = None,
    password: str | None = None,
    dev_account: int | None = None,
    mdns: bool = False,
    checkpoint: str | None = None,
    rpc_port: int | None = None,
    record: Path | str | None = None,
) -> AsyncIterator[Node]:
    """Run a p2pai node on a libp2p host while inside; it serves from the beginning of the block.

    Args:
      host: a py-libp2p host that runs.
      pubsub: its `Pubsub`, which runs, over `GossipSub` 1.1, with signed messages.
      dht: its `KadDHT`, by which other nodes are found too.
      data_dir: the node's own directory, made if it isn't there.
      chain: name of a packaged chain spec, or the path of one.
      roles: what the node does for the network.
      bootstrap: full multiaddrs of nodes to join the network by.
      mdns: whether to look, and to be found, on the local network.
      keys: its keys, from wherever the program has them.
      password: of the key store in `data_dir`, as `p2pai wallet create` makes one; instead of `keys`.
      dev_account: number of the account whose keys the chain publishes; instead of `keys`.
      checkpoint: HEIGHT:BLOCK:SNAPSHOT to begin the chain at, on an empty data directory.
      rpc_port: loopback port for the `p2pai` commands, 0 for any free one; None: no RPC.
      record: file to record everything in that the node sees and is told, or to continue.

    Raises:
      P2paiError: it can't start, or had to stop; one sentence says why.
      Exception: what the block raised, or a bug of the node's that ended it.
    """
    config = Config(
        data_dir=Path(data_dir),
        chain=chain,
        roles=tuple(roles),
        bootstrap=tuple(bootstrap),
        mdns=mdns,
        checkpoint=checkpoint,
        rpc_port=rpc_port or 0,
        dev_account=dev_account,
        record=None if record is None else Path(record),
    )
    source = _find_keys(config, keys, password)
    config = node.prepare(config)
    with _bare_errors():
        mounted = node.running(
            config, source, lambda: GuestHost(host, pubsub, dht), has_rpc=rpc_port is not None
        )
        async with mounted as attached:
            yield attached


def _find_keys(config: Config, keys: KeySource | None, password: str | None) -> KeySource:
    if sum(given is not None for given in (keys, password, config.dev_account)) != 1:
        raise InvalidInput("a node needs one of keys, password and dev_account, to know whose it is")
    if keys is not None:
        return keys
    if password is not None:
        return keystore.unlock(config.data_dir, password)
    assert config.dev_account is not None, "counted above"
    return published_keys(config.chain, config.dev_account)


@contextmanager
def _bare_errors() -> Iterator[None]:
    """Take an exception out of the groups that nurseries put around it, when it is the only one."""
    try:
        yield
    except BaseExceptionGroup as group:
        causes = _leaves(group)
        if len(causes) != 1:
            raise
        raise causes[0] from causes[0].__cause__


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [] if isinstance(error, trio.Cancelled) else [error]
