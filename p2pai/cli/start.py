"""`p2pai start`: run a node until it is told to stop.

The node itself is `shell.node_process`; here its settings are put together, and what it says of itself is
printed once it serves.
"""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import trio
import typer

from p2pai.chain.spec import dev_account_seed
from p2pai.cli import options, screen
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.shell import keystore
from p2pai.shell.config import Config
from p2pai.shell.specs import load_spec

if TYPE_CHECKING:
    from p2pai.shell.node_process import Ready


class Role(StrEnum):
    """What a node can do for the network."""

    PEER = "peer"
    CLIENT = "client"
    MINER = "miner"
    SUPERVISOR = "supervisor"
    VERIFIER = "verifier"
    EVALUATOR = "evaluator"


Roles = Annotated[
    list[Role] | None,
    typer.Option(
        metavar="ROLE", help=f"What the node does: {', '.join(Role)}. Repeat for several; peer if not given."
    ),
]
Bootstrap = Annotated[
    list[str] | None,
    typer.Option(metavar="MULTIADDR", help="A node to join the network by; repeat for several."),
]
Chain = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="The network: devnet, or the file of a chain spec.")
]
Listen = Annotated[
    str,
    typer.Option(metavar="MULTIADDR", help="Where to listen for other nodes; port 0 is any free one."),
]
RpcPort = Annotated[
    int, typer.Option(min=0, max=65_535, help="Loopback port for the commands; 0 is any free one.")
]
DevAccount = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Use the N-th account whose keys the chain publishes (devnet)."),
]


def start(
    *,
    role: Roles = None,
    bootstrap: Bootstrap = None,
    chain: Chain = "devnet",
    listen: Listen = "/ip4/127.0.0.1/tcp/0",
    rpc_port: RpcPort = 0,
    dev_account: DevAccount = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Run a node in the foreground; Ctrl-C ends it in order.

    New keys are made at the first start, and kept in the data directory.
    """
    config = Config(
        data_dir=options.expand(data_dir),
        chain=chain,
        roles=tuple(dict.fromkeys(r.value for r in role or [Role.PEER])),
        listen=listen,
        bootstrap=tuple(bootstrap or ()),
        rpc_port=rpc_port,
        seed=None if dev_account is None else dev_seed(chain, dev_account),
    )
    # The whole node, libp2p included, takes seconds to load; other commands shall not wait for it.
    from p2pai.shell.node_process import run_node

    trio.run(run_node, config, partial(announce, config))


def dev_seed(chain: str, account: int) -> bytes:
    """Return the public seed of an account that a chain spec publishes.

    Raises:
      InvalidInput: the chain doesn't publish that account.
    """
    spec = load_spec(chain)
    if account >= spec.dev_accounts:
        which = f"it has 0 to {spec.dev_accounts - 1}" if spec.dev_accounts else "it publishes no keys"
        raise InvalidInput(f"chain {spec.name} has no --dev-account {account}: {which}")
    return dev_account_seed(spec.name, account)


def announce(config: Config, node: "Ready") -> None:
    """Print where the node is found, and whom to pay."""
    spec = load_spec(config.chain)
    key = ecdsa.public_key(keystore.load(config.data_dir).spending)
    screen.show_line(f"p2pai node of {spec.name} serves as {', '.join(config.roles)}")
    for multiaddr in node.addresses:
        screen.show_line(f"  multiaddr  {multiaddr}")
    screen.show_line(f"  address    {address.encode(spec.prefix, ecdsa.key_hash(key))}")
    screen.show_line(f"  data       {config.data_dir}")
