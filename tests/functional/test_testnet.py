"""`p2pai testnet up` for real: processes killed while a task is trained, a network cut in two, a calm one.

Each run is minutes of both cores, so not before a commit: `make slow`.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testnet.devnet import netlab
from testnet.devnet.launch import wait_for
from testnet.outcome import Outcome

pytestmark = pytest.mark.slow

RUN_S_MAX = 480
SCENARIO = """
name = "few"
about = "Few nodes, and something goes wrong."
limit_s = 240

[[nodes]]
name = "supervisor"
roles = ["supervisor", "verifier", "evaluator"]
count = 3

[[nodes]]
name = "miner"
roles = ["miner"]
count = 2

[[nodes]]
name = "client"
roles = ["client"]

[[tasks]]
at_s = 1
epochs = 2
miners = 2

[expect]
tasks = ["paid", "failed", "expired"]
may_be_slashed = ["any"]

[[faults]]
"""
KILLS = """
kind = "kill"
nodes = ["supervisor", "client"]
from_s = 5
every_s = [5, 10]
down_ms = [500, 3000]
count_max = 2
"""
PARTITION = """
kind = "partition"
from_s = 8
until_s = 28
"""


def command(*options):
    return (sys.executable, "-m", "p2pai", "testnet", "up", *map(str, options))


def run(tmp_path, faults):
    """Run a scenario; return its outcome."""
    file, directory = tmp_path / "few.toml", tmp_path / "run"
    file.write_text(SCENARIO + faults)
    options = ("--scenario", file, "--directory", directory, "--json", "--report", tmp_path / "out.html")
    done = subprocess.run(command(*options), capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    assert done.returncode == 0, done.stderr
    assert "<svg" in (tmp_path / "out.html").read_text()
    outcome = Outcome.from_json(done.stdout)
    assert outcome == Outcome.from_json((directory / "outcome.json").read_text())
    assert nodes_of(directory) == []
    return outcome


def nodes_of(directory):
    """Return the processes whose command names a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        found += [words] if any(word.startswith(bytes(directory)) for word in words) else []
    return found


def test_killed_nodes_come_back_and_every_invariant_holds(tmp_path):
    outcome = run(tmp_path, KILLS)
    assert {fired.kind: fired.count for fired in outcome.fired} == {"kill": 2}
    assert sum(node.starts for node in outcome.nodes) == 6 + 2
    assert all(len(block.seen_ms) > 1 for block in outcome.blocks if block.is_best)


@pytest.mark.skipif(netlab.missing() is not None, reason=netlab.missing() or "")
def test_a_network_cut_in_two_is_one_again(tmp_path):
    outcome = run(tmp_path, PARTITION)
    assert {fired.kind: fired.count > 0 for fired in outcome.fired} == {"partition": True}


def test_a_calm_network_stands_until_it_is_interrupted(tmp_path):
    directory, said = tmp_path / "run", tmp_path / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            command("--directory", directory), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        assert wait_for(lambda: "all nodes answer" in said.read_text(), 120), said.read_text()
        look = (sys.executable, "-m", "p2pai", "status", "--json", "--data-dir", str(directory / "client"))
        status = json.loads(subprocess.run(look, capture_output=True, timeout=60, check=True).stdout)
        assert (status["running"], status["chain"]) == (True, "devnet")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "interrupted; all nodes are ended" in said.read_text()
    finally:
        process.kill()
        process.wait()
    assert nodes_of(directory) == []
