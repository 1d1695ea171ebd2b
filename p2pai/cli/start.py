"""`p2pai start`: run a node until it is told to stop.

The node itself is `shell.node_process`; here its settings are put together, its keys are found or made, and
a line is printed when it answers.
"""

import threading
import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import trio
import typer

from p2pai.cli import options, screen
from p2pai.primitives.errors import InvalidInput, P2paiError, Unavailable
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell import keystore
from p2pai.shell.client import RpcClient
from p2pai.shell.config import Config
from p2pai.shell.node_process import run_node

READY_S_MAX: Final = 120.0
POLL_S: Final = 0.3


class Role(str, Enum):
    """What a node can do for the network."""

    PEER = "peer"
    CLIENT = "client"
    MINER = "miner"
    SUPERVISOR = "supervisor"
    VERIFIER = "verifier"
    EVALUATOR = "evaluator"


def start(
    *,
    role: Annotated[list[Role], typer.Option(help="What the node does; repeat for several.")] = [Role.PEER],  # noqa: B006
    bootstrap: Annotated[
        list[str], typer.Option(metavar="MULTIADDR", help="A node to join the network by; repeat for several.")
    ] = [],  # noqa: B006
    chain: Annotated[str, typer.Option(metavar="NAME|FILE", help="Network: devnet, or a chain spec file.")] = "devnet",
    listen: Annotated[
        str, typer.Option(metavar="MULTIADDR", help="Where to listen for other nodes.")
    ] = "/ip4/127.0.0.1/tcp/0",
    rpc_port: Annotated[int, typer.Option(min=0, max=65_535, help="Loopback port for commands; 0: any.")] = 0,
    dev_account: Annotated[
        int | None, typer.Option(min=0, help="Use the N-th account whose keys the chain spec publishes.")
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Run a node in the foreground; Ctrl-C ends it in order.

    New keys are made at the first start, and kept in the data directory.
    """
    directory = options.expand(data_dir)
    prepare_keys(directory, chain, dev_account)
    config = Config(
        data_dir=directory,
        chain=chain,
        roles=tuple(dict.fromkeys(r.value for r in role)),
        listen=listen,
        bootstrap=tuple(bootstrap),
        rpc_port=rpc_port,
    )
    threading.Thread(target=_announce, args=(directory, listen), daemon=True).start()
    try:
        trio.run(run_node, config)
    except BaseExceptionGroup as group:
        raise _first(group) from group


def prepare_keys(directory: Path, chain: str, dev_account: int | None) -> None:
    """Make keys where there are none; a published account's seed follows from the chain's name.

    Raises:
      InvalidInput: the chain publishes no keys, or the directory holds other keys than the account's.
    """
    if dev_account is None:
        if not keystore.exists(directory):
            keystore.create(directory)
        return
    seed = dev_seed(chain, dev_account)
    if not keystore.exists(directory):
        keystore.create_from_seed(directory, seed)
    elif keystore.load(directory) != keystore.derive_keys(seed):
        raise InvalidInput(f"{directory} holds other keys than account {dev_account}; use a directory of its own")


def dev_seed(chain: str, account: int) -> bytes:
    """Return the public seed of an account that a chain spec publishes."""
    if chain != "devnet":
        raise InvalidInput(f"chain {chain} publishes no keys: --dev-account is for devnet only")
    return tagged_hash("p2pai/dev-account", chain.encode(), account.to_bytes(4, "big"))


def _announce(directory: Path, listen: str) -> None:
    end_s = time.monotonic() + READY_S_MAX
    while time.monotonic() < end_s:
        try:
            status = RpcClient(directory).call("node.status", {})
        except P2paiError:
            time.sleep(POLL_S)
            continue
        screen.show_line(f"p2pai node of {status['chain']} is up: {', '.join(status['roles'])}")
        screen.show_line(f"  multiaddr  {listen}/p2p/{status['peer_id']}")
        screen.show_line(f"  address    {status['address']}")
        screen.show_line(f"  data       {directory}")
        return


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    ours, _ = group.split(P2paiError)
    error: BaseException = group if ours is None else ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
