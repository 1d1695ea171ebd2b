"""What a node is told when it starts, and what it leaves in `DIR/node.json` for tools that come later."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.shell.files import make_directory, write_atomically

FILE_NAME: Final = "node.json"
BLOBS_NAME: Final = "blobs"
IDENTITY_NAME: Final = "identity.key"
REMOTES_NAME: Final = "remotes.txt"


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one node."""

    data_dir: Path
    chain: str
    """Name of a packaged chain spec, or the path of one."""
    roles: tuple[str, ...] = ("peer",)
    listen: str = "/ip4/127.0.0.1/tcp/0"
    """Multiaddr to listen on; port 0 lets the system choose."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs of nodes to join the network by."""
    mdns: bool = False
    """Whether to look, and to be found, on the local network."""
    announce: tuple[str, ...] = ()
    """Multiaddrs to tell others, in place of those that it listens on."""
    uses_relays: bool = True
    """Whether to use relays, and to punch holes, when others can't call it."""
    relay_service: bool = False
    """Whether to be a relay for others."""
    checkpoint: str | None = None
    """HEIGHT:BLOCK:SNAPSHOT to begin the chain at, on an empty data directory; None for genesis."""
    rpc_port: int = 0
    """TCP port of the RPC on loopback; 0 lets the system choose."""
    metrics: str | None = None
    """HOST:PORT to serve metrics and probes on; None: nowhere."""
    dev_account: int | None = None
    """Number of the account, published by the chain, whose keys the node uses; None: its key store's."""
    record: Path | None = None
    """File to record everything in that the node sees and is told."""

    @property
    def blobs_dir(self) -> Path:
        """Where blobs are stored."""
        return self.data_dir / BLOBS_NAME

    @property
    def remotes(self) -> Path:
        """The file with the addresses of remotes that were good."""
        return self.data_dir / REMOTES_NAME

    @property
    def identity(self) -> Path:
        """The file with the key of the libp2p identity."""
        return self.data_dir / IDENTITY_NAME


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as its data directory describes it."""

    config: Config
    peer_id: PeerId
    public_key: PublicKey
    """Of its spending key: what the journal was written for."""


def save(record: NodeRecord) -> None:
    """Write the record of a node into its data directory; without secrets."""
    config = record.config
    values = {
        "chain": config.chain,
        "roles": list(config.roles),
        "listen": config.listen,
        "bootstrap": list(config.bootstrap),
        "dev_account": config.dev_account,
        "peer_id": record.peer_id,
        "public_key": record.public_key.hex(),
    }
    path = make_directory(config.data_dir) / FILE_NAME
    write_atomically(path, json.dumps(values, indent=1).encode())


def load(data_dir: Path) -> NodeRecord:
    """Read the record of the node that last ran on a data directory.

    Raises:
      Unavailable: none ever did.
      InvalidInput: the file is damaged.
    """
    path = data_dir / FILE_NAME
    try:
        values = json.loads(path.read_bytes())
        config = Config(
            data_dir,
            _text(values["chain"]),
            roles=_texts(values["roles"]),
            listen=_text(values["listen"]),
            bootstrap=_texts(values["bootstrap"]),
            dev_account=_number(values["dev_account"]),
        )
        public_key = PublicKey(bytes.fromhex(values["public_key"]))
        return NodeRecord(config, PeerId(_text(values["peer_id"])), public_key)
    except FileNotFoundError as error:
        raise Unavailable(
            f"{data_dir} holds no node; start one: p2pai start --data-dir {data_dir}"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{path} is damaged; remove it and start the node again") from error


def find(data_dir: Path) -> NodeRecord | None:
    """Return the record as `load` does, or None where no node ever ran.

    Raises:
      InvalidInput: the file is damaged.
    """
    try:
        return load(data_dir)
    except Unavailable:
        return None


def settle(config: Config) -> Config:
    """Return the settings with absolute paths, so that they mean the same from any directory."""
    chain = str(Path(config.chain).absolute()) if Path(config.chain).is_file() else config.chain
    return replace(config, data_dir=config.data_dir.absolute(), chain=chain)


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _number(value: Any) -> int | None:  # noqa: ANN401
    if value is not None and type(value) is not int:
        raise TypeError("expected a number")
    return value


def _texts(values: Any) -> tuple[str, ...]:  # noqa: ANN401
    if not isinstance(values, list):
        raise TypeError("expected a list")
    return tuple(_text(value) for value in values)
