"""Real nodes are recorded, one through a kill -9; their lives are lived again, compared, traced and played.

The first node pays the second one. The killed node's file is continued by its next life.
"""

import json
import subprocess
import sys

import pytest

from p2pai.gossip.recording import Holds, Reading
from p2pai.gossip.sightings import Arrived
from testnet.devnet.launch import Devnet, Plan, wait_for
from tests.functional.network import kill_9, p2pai, p2pai_json

WAIT_S = 60.0


def mempool(node):
    return node.call("node.status")["mempool"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return the devnet with one node still running, and the two files."""
    with Devnet(tmp_path_factory.mktemp("recordings")) as devnet:
        files = [devnet.directory / f"{name}.rec" for name in ("payer", "payee")]
        payer = devnet.start(Plan("payer", 7, ("peer",), ("--record", str(files[0]))))
        devnet.wait_ready(payer)
        payee = devnet.start(Plan("payee", 8, ("peer",), ("--record", str(files[1]))), [payer.multiaddr])
        devnet.wait_ready(payee)
        assert wait_for(lambda: payer.call("node.status")["remotes"] == 1, WAIT_S)
        whom = p2pai(devnet, payee.directory, "wallet", "address").strip()
        p2pai(devnet, payer.directory, "wallet", "send", whom, "1.5")
        assert wait_for(lambda: mempool(payee) == 1, WAIT_S)
        kill_9(payer)
        payer = devnet.restart(payer)
        devnet.wait_ready(payer)
        assert wait_for(lambda: mempool(payer) == 1, WAIT_S)
        p2pai(
            devnet, payer.directory, "topic", "record", str(devnet.directory / "part.rec"), "--seconds", "1"
        )
        kill_9(payer)
        yield devnet, payee, files


@pytest.mark.slow
def test_both_lives_of_a_killed_node_come_out_the_same(recorded):
    devnet, payee, files = recorded
    answer = p2pai_json(devnet, payee.directory, "topic", "replay", str(files[0]))
    assert answer["departure"] == ""
    assert answer["node"]["mempool"] == 1


@pytest.mark.slow
def test_the_payment_is_traced_from_payer_to_payee(recorded):
    _, _, files = recorded
    said = [entry.what for entry in Reading([files[1].read_bytes()])]
    message = next(
        what.message for what in said if isinstance(what, Arrived) and "/tx/" in what.message.topic
    )
    answer = run(recorded, "trace", message.id.hex()[-12:], *files)
    (root,) = answer["tree"]
    assert [answer["author"], root["node"]] == [Reading([files[0].read_bytes()]).head.peer] * 2
    assert [branch["node"] for branch in root["children"]] == [Reading([files[1].read_bytes()]).head.peer]
    assert run(recorded, "diff", *files)["both"] >= 1


@pytest.mark.slow
def test_a_new_node_hears_what_is_played(recorded):
    devnet, _, files = recorded
    fresh = devnet.start(Plan("fresh", 5, ("peer",)))
    devnet.wait_ready(fresh)
    answer = run(recorded, "play", files[1], "--to", fresh.multiaddr, "--speed", "0")
    assert answer["topics"][0]["left"] >= 1
    assert wait_for(lambda: mempool(fresh) == 1, WAIT_S)


@pytest.mark.slow
def test_a_running_node_gives_gossip_only(recorded):
    devnet, payee, _ = recorded
    part = devnet.directory / "part.rec"
    assert Reading([part.read_bytes()]).head.holds == (Holds.GOSSIP,)
    said = p2pai(devnet, payee.directory, "topic", "replay", str(part), status=1)
    assert "does not hold the node's inbox" in said


def run(recorded, *arguments):
    """Run a command that needs no node."""
    command = (sys.executable, "-m", "p2pai", "topic", *map(str, arguments), "--json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
