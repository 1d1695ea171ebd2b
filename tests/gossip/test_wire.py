"""docs/WIRE.md says what the code does: its tables, its example, and the test vectors beside it."""

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
import trio

from p2pai import gossip, primitives
from p2pai.chain import block
from p2pai.gossip import envelope, limits, rendezvous, sync, topics
from p2pai.gossip.libp2p.frames import Frame, FrameStream, Kind
from p2pai.gossip.scores import Offence
from p2pai.primitives import blob, record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash

DOCS = Path(__file__).parents[2] / "docs"
WIRE = (DOCS / "WIRE.md").read_text()
VECTORS = json.loads((DOCS / "vectors/wire.json").read_text())
LIMITS = re.findall(r"^\| .+ \| (-?[\d,]+) \| `(\w+)\.(\w+)` \|$", WIRE, re.MULTILINE)
MODULES = [block] + [
    import_module(found.name)
    for package in (gossip, primitives)
    for found in walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize(("value", "module", "name"), LIMITS, ids=[name for *_, name in LIMITS])
def test_each_limit_is_the_codes(value: str, module: str, name: str) -> None:
    found = [m for m in MODULES if m.__name__.endswith(f".{module}")]
    assert {getattr(m, name) for m in found} == {int(value.replace(",", ""))}


def test_no_limit_is_left_out() -> None:
    named = {name for *_, name in LIMITS}
    assert {name for module in (limits, sync) for name in vars(module) if name.endswith("_MAX")} <= named
    rows = WIRE.split("## Limits")[1].split("\n## ")[0].count("\n| ")
    assert rows == len(LIMITS) + 1, "a row that no test reads"


def test_the_tables_of_topics_and_kinds() -> None:
    listed = WIRE.split("### Topics")[1].split("###")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", listed, re.MULTILINE)) == topics.NAMES
    kinds = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", WIRE, re.MULTILINE)
    assert [(int(number), name) for number, name in kinds] == [(kind.value, kind.name) for kind in Kind]


def test_the_offences() -> None:
    listed = WIRE.split("## Standing")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (soft)? ?\| .+ \|$", listed, re.MULTILINE)
    found = [(label, int(points), bool(soft)) for label, points, soft in rows]
    assert found == [(offence.label, offence.points, offence.is_soft) for offence in Offence]


def test_the_questions_named() -> None:
    block = WIRE.split("tagged records; [SPEC]")[1].split("A node that knows no chain")[0]
    named = dict(re.findall(r"(\w+)\(([^)]*)\)", block.split("\n\n")[1]))
    records = (*sync.Question.__args__, *sync.Reply.__args__)
    assert {r.__name__: list(r.__dataclass_fields__) for r in records} == {
        name: [part.split(":")[0].strip() for part in fields.split(",")] for name, fields in named.items()
    }


def test_the_example() -> None:
    part = WIRE.split("Example: secret key 7")[1].split("### Verdicts")[0]
    digest, *sent = [line.split() for line in part.splitlines() if re.match(r" {4,}[0-9a-f]{2}", line)]
    sealed = bytes.fromhex("".join(words[0] for words in sent))
    topic = "/p2pai/0a1b2c3d/chain/tx/1"
    assert sealed == envelope.seal(bytes(31) + b"\x07", topic, 1, b"hello")
    opened = envelope.open_envelope(sealed, topic)
    assert envelope.signed_digest(opened.sender, topic, 1, b"hello").hex() == digest[0]


def outcome(action: Callable[[], Any]) -> str:
    try:
        action()
    except InvalidInput:
        return "refused"
    return "accepted"


def value_of(field: Any) -> Any:
    if isinstance(field, list):
        return tuple(map(value_of, field))
    return bytes.fromhex(field) if isinstance(field, str) else field


class Written(bytearray):
    """A stream that keeps what is written."""

    async def write(self, data: bytes) -> None:
        self += data


def frame_bytes(request: int, kind: str, payload: bytes) -> bytes:
    written = Written()
    trio.run(FrameStream(written)._write_now, Frame(request, Kind[kind], payload))
    return bytes(written)


GIVEN: dict[str, Callable[[dict[str, Any]], str]] = {
    "tagged_hash": lambda v: tagged_hash(v["tag"], *map(bytes.fromhex, v["parts"])).hex(),
    "envelope": lambda v: envelope.seal(
        bytes.fromhex(v["secret"]), v["topic"], int(v["sequence"]), bytes.fromhex(v["body"])
    ).hex(),
    "envelope_refused": lambda v: outcome(
        lambda: envelope.open_envelope(bytes.fromhex(v["data"]), v["topic"])
    ),
    "topic": lambda v: outcome(lambda: topics.parse(v["text"])),
    "content_id": lambda v: blob.blob_id([bytes.fromhex(chunk) for chunk in v["chunks"]]).hex(),
    "content_id_of_zeros": lambda v: blob.blob_id_of(bytes(v["size"])).hex(),
    "frame": lambda v: frame_bytes(v["request"], v["kind"], bytes.fromhex(v["payload"])).hex(),
    "question": lambda v: record.encode_tagged(getattr(sync, v["name"])(*map(value_of, v["fields"]))).hex(),
    "meeting_key": lambda v: rendezvous.current_key(
        rendezvous.Meeting(v["chain"], None if v["task"] == "chain" else bytes.fromhex(v["task"]), v["role"]),
        v["time_ms"],
    ).hex(),
}


@pytest.mark.parametrize("group", VECTORS)
def test_vectors(group: str) -> None:
    assert len(VECTORS[group]) > 1
    for vector in VECTORS[group]:
        assert GIVEN[group](vector) == vector["gives"], vector
