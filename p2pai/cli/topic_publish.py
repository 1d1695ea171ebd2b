"""`p2pai topic publish`: say something on a topic, to see who hears it and what they make of it."""

import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from p2pai.cli import options, screen, topic_source
from p2pai.cli.topic_line import topic_name
from p2pai.gossip.envelope import seal, sequence_at
from p2pai.gossip.limits import BODY_SIZE_MAX, GOSSIP_SIZE_MAX
from p2pai.gossip.topics import matches
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Millis
from p2pai.shell import config as node_config
from p2pai.shell.client import RpcClient
from p2pai.shell.files import read_private
from p2pai.shell.specs import load_spec, published_keys

_KEY: Final = re.compile(rb"\s*[0-9a-fA-F]{64}\s*")
_KEY_FILE_SIZE_MAX: Final = 100

Topic = Annotated[
    str, typer.Argument(metavar="TOPIC", help="Where: a whole name, or block, chain/tx, 6f2a/it_res.")
]
AsText = Annotated[str | None, typer.Option("--text", metavar="TEXT", help="What to say.")]
AsHex = Annotated[str | None, typer.Option("--hex", metavar="HEX", help="What to say, in hexadecimal.")]
AsFile = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="What to say, from a file.")]
Key = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Sign with this secp256k1 key, 64 hexadecimal digits; else with one made for it."
    ),
]
DevAccount = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Sign as the N-th account that the chain publishes.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Send the bytes as they are, without an envelope.")]


def publish(
    topic: Topic,
    *,
    text: AsText = None,
    hexadecimal: AsHex = None,
    file: AsFile = None,
    key: Key = None,
    dev_account: DevAccount = None,
    raw: Raw = False,
    bootstrap: topic_source.Bootstrap = None,
    chain: topic_source.Chain = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Publish a message on a topic, for tests: sealed in an envelope, unless --raw.

    Nodes judge it as any other message: whoever publishes nonsense is held to account for it.
    """
    body = _body(text, hexadecimal, file, GOSSIP_SIZE_MAX if raw else BODY_SIZE_MAX)
    directory = options.expand(data_dir)
    secret = _secret(key, dev_account, chain or _chain_of(directory, bootstrap))

    def sealed(name: str) -> bytes:
        return body if raw else seal(secret, name, sequence_at(Millis(time.time_ns() // 1_000_000), 0), body)

    if bootstrap:
        from p2pai.gossip.libp2p.listener import Listener
        from p2pai.shell import listening

        listener = Listener(load_spec(chain or "devnet").short_id, bootstrap, lambda _: False)
        name, remotes = listening.publish(listener, lambda known: choose(topic, known), sealed)
    else:
        name, remotes = _publish_by_node(RpcClient(directory), topic, sealed)
    said = f"{len(body)} {'byte' if len(body) == 1 else 'bytes'} on {topic_name(name)}"
    if not remotes:
        raise Unavailable(f"{said} reached nobody: no remote follows that topic")
    screen.show_line(f"{said} went to {remotes} {'remote' if remotes == 1 else 'remotes'}")


def choose(wanted: str, known: Sequence[str]) -> str | None:
    """Return the one topic that is meant among known ones; None when there is none.

    Raises:
      InvalidInput: several are.
    """
    found = [wanted] if wanted in known else [topic for topic in known if matches(topic, wanted)]
    if len(found) > 1:
        raise InvalidInput(f"{wanted} means {', '.join(map(topic_name, found))}; say which")
    return found[0] if found else None


def _publish_by_node(node: RpcClient, wanted: str, sealed: Callable[[str], bytes]) -> tuple[str, int]:
    known = [row["topic"] for row in node.report()["topics"]]
    name = choose(wanted, known) or (wanted if wanted.startswith("/") else None)
    if name is None:
        raise Unavailable(f"the node knows of no topic {wanted}; give its whole name")
    return name, node.publish(name, sealed(name))


def _body(text: str | None, hexadecimal: str | None, file: Path | None, size_max: int) -> bytes:
    if sum(given is not None for given in (text, hexadecimal, file)) != 1:
        raise InvalidInput("give what to say with one of --text, --hex and --file")
    if file is not None:
        with file.open("rb") as opened:
            body = opened.read(size_max + 1)
    elif hexadecimal is not None:
        body = _from_hex(hexadecimal)
    else:
        body = (text or "").encode("utf-8", "surrogateescape")
    if len(body) > size_max:
        raise InvalidInput(f"a message says at most {size_max} bytes")
    return body


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidInput("--hex takes pairs of hexadecimal digits") from error


def _secret(key: Path | None, dev_account: int | None, chain: str) -> bytes:
    if key is not None and dev_account is not None:
        raise InvalidInput("--key and --dev-account exclude each other")
    if dev_account is not None:
        return published_keys(chain, dev_account).account(0).spending
    if key is None:
        return secrets.token_bytes(32)
    digits = read_private(key, _KEY_FILE_SIZE_MAX)
    if _KEY.fullmatch(digits) is None:
        raise InvalidInput(f"{key} is not a key: 64 hexadecimal digits")
    return bytes.fromhex(digits.decode().strip())


def _chain_of(data_dir: Path, bootstrap: list[str] | None) -> str:
    known = None if bootstrap else node_config.find(data_dir)
    return known.config.chain if known else "devnet"
