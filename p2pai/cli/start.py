"""`p2pai start`: run a node until it is told to stop.

The node itself is `shell.node_process`; here its settings are put together, and what it says of itself is
printed once it serves.
"""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import trio
import typer

from p2pai.cli import keys, options, passwords, screen, unlocking
from p2pai.node import trust
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import KeySource
from p2pai.shell import keystore
from p2pai.shell.config import Config
from p2pai.shell.specs import load_spec, published_keys

if TYPE_CHECKING:
    from p2pai.shell.node import Node


class Role(StrEnum):
    """What a node can do for the network."""

    PEER = "peer"
    CLIENT = "client"
    MINER = "miner"
    SUPERVISOR = "supervisor"
    VERIFIER = "verifier"
    EVALUATOR = "evaluator"
    AUDITOR = "auditor"


class NatWay(StrEnum):
    """What a node does when others can't call it."""

    AUTO = "auto"
    OFF = "off"


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
Mdns = Annotated[
    bool,
    typer.Option("--mdns/--no-mdns", help="Find nodes on the local network, and be found, by multicast DNS."),
]
Chain = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="The network: devnet, or the file of a chain spec.")
]
Listen = Annotated[
    str,
    typer.Option(metavar="MULTIADDR", help="Where to listen for other nodes; port 0 is any free one."),
]
Announce = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MULTIADDR",
        help="The address to tell others when a router passes a port on to this machine; repeat for several.",
    ),
]
Nat = Annotated[
    NatWay,
    typer.Option(help="auto: while others can't call this node, use relays, punch holes; off: don't."),
]
RelayService = Annotated[
    bool, typer.Option("--relay-service", help="Be a relay for nodes of the chain that can't be called.")
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        metavar="HEIGHT:BLOCK:SNAPSHOT",
        help="Begin at this checkpoint, as `p2pai status` of a node that you trust shows it; "
        "for an empty data directory.",
    ),
]
RpcPort = Annotated[
    int, typer.Option(min=0, max=65_535, help="Loopback port for the commands; 0 is any free one.")
]
Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Serve /metrics for Prometheus and the probes /livez and /readyz there."
    ),
]
DevAccount = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Use the N-th account whose keys the chain publishes (devnet)."),
]
Record = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Record all that the node sees and is told, for p2pai topic; or continue its recording.",
    ),
]


def start(
    *,
    role: Roles = None,
    bootstrap: Bootstrap = None,
    chain: Chain = "devnet",
    listen: Listen = "/ip4/127.0.0.1/tcp/0",
    mdns: Mdns = False,
    announce: Announce = None,
    nat: Nat = NatWay.AUTO,
    relay_service: RelayService = False,
    checkpoint: Checkpoint = None,
    rpc_port: RpcPort = 0,
    metrics: Metrics = None,
    dev_account: DevAccount = None,
    record: Record = None,
    password_file: passwords.PasswordFile = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Run a node in the foreground; Ctrl-C ends it in order.

    It works with the keys of its data directory, made by `p2pai wallet create`.
    """
    directory = options.expand(data_dir)
    config = Config(
        data_dir=directory,
        chain=chain,
        roles=tuple(dict.fromkeys(r.value for r in role or [Role.PEER])),
        listen=listen,
        bootstrap=tuple(bootstrap or ()),
        mdns=mdns,
        announce=tuple(announce or ()),
        uses_relays=nat is NatWay.AUTO,
        relay_service=relay_service,
        checkpoint=None if checkpoint is None else str(trust.parse(checkpoint)),
        rpc_port=rpc_port,
        metrics=metrics,
        dev_account=_dev_account(directory, dev_account),
        record=record,
    )
    source = _keys(config, password_file)
    # The whole node, libp2p included, takes seconds to load; other commands shall not wait for it.
    from p2pai.shell.node_process import run_node

    trio.run(run_node, config, source, partial(greet, config, source))


def _dev_account(directory: Path, given: int | None) -> int | None:
    """Return the published account to work with: the one asked for, or that which the directory is of."""
    if not keystore.exists(directory):
        return unlocking.published_before(directory) if given is None else given
    if given is not None:
        raise InvalidInput(f"{directory} holds other keys; choose another --data-dir for --dev-account")
    return None


def _keys(config: Config, password_file: Path | None) -> KeySource:
    directory = config.data_dir
    if config.dev_account is not None:
        return published_keys(config.chain, config.dev_account)
    if not keystore.exists(directory) and passwords.is_terminal():
        screen.show_line(f"{directory} holds no keys yet.")
        if passwords.agrees("Make a new wallet there?"):
            return keys.make(directory, password_file)
    return unlocking.unlock(directory, password_file)


def greet(config: Config, source: KeySource, node: "Node") -> None:
    """Print where the node is found, and whom to pay."""
    spec = load_spec(config.chain)
    key = ecdsa.public_key(source.account(0).spending)
    screen.show_line(f"p2pai node of {spec.name} serves as {', '.join(config.roles)}")
    for multiaddr in node.addresses:
        screen.show_line(f"  multiaddr  {multiaddr}")
    screen.show_line(f"  address    {address.encode(spec.prefix, ecdsa.key_hash(key))}")
    screen.show_line(f"  data       {config.data_dir}")
