"""The main job on real processes: a task from submission to payment, then what is left is examined offline.

The network is the demonstration's own. Afterwards, with every process ended, the commands read what the nodes
wrote; a block is replayed from its capsule; and one changed byte in a capsule is found.
"""

import json
import shutil

import pytest

from testnet.devnet import demo
from testnet.devnet.launch import Devnet
from tests.functional.network import p2pai, p2pai_json

DEADLINE_S = 480.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the demonstration once; return its directory."""
    directory = tmp_path_factory.mktemp("demo")
    demo.run(directory, DEADLINE_S)
    return directory


@pytest.fixture(scope="module")
def summary(finished):
    return json.loads((finished / "summary.json").read_text())


@pytest.fixture
def offline(finished):
    """A devnet that runs nothing: it only knows how to call the command."""
    return Devnet(finished)


def test_every_criterion_holds(summary):
    assert [c for c in summary["criteria"] if not c["holds"]] == []
    assert summary["passed"]


def test_the_fee_is_paid_to_the_atom(summary):
    assert sum(p["atoms"] for p in summary["payouts"]) == summary["fee"]


def test_commands_read_what_is_left(offline, finished):
    directory = finished / "committee-1"
    blocks = p2pai_json(offline, directory, "block", "list")
    shown = p2pai_json(offline, directory, "block", "show", blocks[0]["hash"])
    assert shown["hash"] == blocks[0]["hash"]
    states = [t["state"] for t in p2pai_json(offline, directory, "task", "list")]
    assert sorted(states) == ["paid", "training"]
    assert p2pai_json(offline, directory, "wallet", "balance")["total"] > 0


def test_anyone_replays_a_block(offline, finished, summary):
    block = summary["blocks"][-1]["hash"]
    printed = p2pai(offline, finished / "committee-2", "replay", block[:16])
    assert printed.startswith("identical")


def test_a_capsule_changed_by_one_byte_is_found(offline, finished, summary, tmp_path):
    directory = tmp_path / "tampered"
    shutil.copytree(finished / "committee-2", directory)
    block = summary["blocks"][-1]
    weights = block["work_proof"]["weights"]
    chunk = directory / "blobs" / "chunks" / weights[:2] / weights
    data = bytearray(chunk.read_bytes())
    data[1000] ^= 1
    chunk.chmod(0o600)
    chunk.write_bytes(data)
    message = p2pai(offline, directory, "replay", block["hash"], status=1)
    assert weights[:8] in message or "not here" in message


def test_the_hidden_test_data_left_the_client_only_at_the_end(finished, summary, offline):
    task = p2pai_json(offline, finished / "client", "task", "show", summary["task"]["task"])
    stages = [entry["state"] for entry in task["history"]]
    assert stages == ["joining", "keying", "training", "evaluating", "paid"]
