"""The launcher starts what it is told, and ends that: all of it, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from p2pai.primitives.errors import Unavailable
from testnet.devnet import launch
from testnet.devnet.launch import Devnet, NodeFailure, Place, Plan, wait_for

STAND_IN = (sys.executable, "-m", "tests.testnet.stand_in")
PLAN = Plan("alpha", 3, ("verifier", "evaluator"))
OTHER = Plan("beta", 4, ("miner",))


def devnet(directory, behaviour):
    return Devnet(directory, executable=(*STAND_IN, behaviour))


def is_alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def said(node, word):
    """Return what the stand-in printed after a word, once it has."""
    found = []

    def look():
        found[:] = [x.split()[1:] for x in node.log.read_text().splitlines() if x.startswith(word)]
        return bool(found)

    assert wait_for(look, 20)
    return found[0]


@pytest.fixture
def bystander():
    """A process like a node, which isn't ours."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "p2pai start"])
    yield process
    process.kill()
    process.wait()


def test_ends_its_nodes_and_nothing_else(tmp_path, bystander):
    with devnet(tmp_path, "obey") as net:
        first, second = net.start(PLAN), net.start(OTHER)
        said(first, "arguments"), said(second, "arguments")
        assert is_alive(first.pid)
        assert is_alive(second.pid)
        assert os.getpgid(first.pid) == first.pid != os.getpgid(0)
    assert not is_alive(first.pid)
    assert not is_alive(second.pid)
    assert first.process.returncode == -signal.SIGTERM
    assert bystander.poll() is None


def test_ends_its_nodes_when_the_program_fails(tmp_path):
    def fail():
        with devnet(tmp_path, "obey") as net:
            started.append(net.start(PLAN))
            raise KeyboardInterrupt

    started = []
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not is_alive(started[0].pid)


def test_a_node_that_does_not_obey_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "STOP_S_MAX", 0.5)
    with devnet(tmp_path, "defy") as net:
        node = net.start(PLAN)
        child = int(said(node, "child")[0])
        assert is_alive(child)
    assert node.process.returncode == -signal.SIGKILL
    assert wait_for(lambda: not is_alive(child), 5)


def test_arguments_are_those_of_an_ordinary_node(tmp_path):
    with devnet(tmp_path, "obey") as net:
        node = net.start(PLAN, ["/ip4/127.0.0.1/tcp/1/p2p/a", "/ip4/127.0.0.1/tcp/2/p2p/b"])
        given = said(node, "arguments")
    assert given[0] == "start"
    assert given[given.index("--data-dir") + 1] == str(tmp_path / "alpha")
    assert given[given.index("--dev-account") + 1] == "3"
    assert given[given.index("--chain") + 1] == "devnet"
    assert [b for a, b in pairwise(given) if a == "--role"] == ["verifier", "evaluator"]
    assert given.count("--bootstrap") == 2
    assert (tmp_path / "alpha").stat().st_mode & 0o777 == 0o700


def test_a_node_that_fails_shows_the_end_of_its_log(tmp_path):
    with devnet(tmp_path, "fail") as net:
        node = net.start(PLAN)
        with pytest.raises(NodeFailure, match=r"(?s)alpha ended with status 1.*the port is taken"):
            net.wait_ready(node)
        with pytest.raises(NodeFailure):
            net.check()


def test_waits_until_a_node_answers(tmp_path):
    with devnet(tmp_path, "serve") as net:
        node = net.start(PLAN)
        net.wait_ready(node, 30)
        assert node.peer_id == "12D3KooWstandin"
        assert node.multiaddr.endswith("/p2p/12D3KooWstandin")
        assert node.call("block.show", block="7")["params"] == {"block": "7"}
        assert node.rpc_url.startswith("http://127.0.0.1:")
    with pytest.raises(Unavailable):
        node.call("node.status")


def test_a_node_that_never_answers_is_a_failure(tmp_path):
    with devnet(tmp_path, "obey") as net:
        node = net.start(PLAN)
        with pytest.raises(NodeFailure, match="did not answer within"):
            net.wait_ready(node, 0.5)


def test_starts_a_killed_node_again_as_it_was(tmp_path):
    with devnet(tmp_path, "obey") as net:
        node = net.start(PLAN)
        said(node, "arguments")
        launch.kill(node)
        again = net.restart(node)
        assert again.command == node.command
        assert again.pid != node.pid
        assert net.nodes == [again]


def state(node):
    return Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_paused_node_goes_on_where_it_was_and_is_ended_like_any_other(tmp_path):
    with devnet(tmp_path, "obey") as net:
        node = net.start(PLAN)
        said(node, "arguments")
        node.pause()
        assert wait_for(lambda: state(node) == "T", 5)
        node.resume()
        assert wait_for(lambda: state(node) == "S", 5)
        node.pause()
    assert node.process.returncode == -signal.SIGTERM


def test_a_node_runs_where_its_place_is(tmp_path):
    asked = []

    def inside(work):
        asked.append("inside")
        return work()

    place = Place("127.0.0.2", ("env", "P2PAI_PLACE=there"), inside)
    with devnet(tmp_path, "serve") as net:
        node = net.start(replace(PLAN, place=place))
        net.wait_ready(node, 30)
        assert b"P2PAI_PLACE=there" in Path(f"/proc/{node.pid}/environ").read_bytes()
    assert node.multiaddr.startswith("/ip4/127.0.0.2/tcp/")
    assert asked


@pytest.mark.parametrize("paused", [False, True])
def test_nodes_end_when_the_launcher_is_killed(tmp_path, paused):
    program = f"""
import time
from itertools import pairwise
from pathlib import Path
from testnet.devnet.launch import Devnet, Plan
net = Devnet(Path({str(tmp_path)!r}), executable=(*{STAND_IN!r}, "obey"))
node = net.start(Plan("alpha", 0, ("peer",)))
while not node.log.read_bytes():
    time.sleep(0.01)
if {paused}:
    node.pause()
print(node.pid, flush=True)
time.sleep(300)
"""
    launcher = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    node = int(launcher.stdout.readline())
    assert is_alive(node)
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    assert wait_for(lambda: not is_alive(node), 10)


def test_free_ports_are_free():
    assert 1024 < launch.free_port() < 65_536


def test_wait_for_tells_what_came_first():
    start = time.monotonic()
    assert wait_for(lambda: time.monotonic() > start + 0.1, 10, 0.01)
    assert not wait_for(lambda: False, 0.1, 0.01)
