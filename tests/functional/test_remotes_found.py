"""A network whose bootstrap dies goes on, and is whole again when that node comes back somewhere else.

Real processes on loopback: a bootstrap peer and three who know only its address. It is killed (SIGKILL);
one of the three is restarted meanwhile and finds the others by its cache. Then the bootstrap peer starts
from its directory on another port, and nobody is told: it finds them by what it remembers of who dialled
it. At last all but one end, and that one says that it is alone.
"""

import pytest

from testnet.devnet.launch import Devnet, Plan, free_port, wait_for
from tests.functional.network import BOOTSTRAP, kill_9, p2pai, start

PEERS = tuple(Plan(f"peer-{n}", n, ("peer",)) for n in (1, 2, 3))
FOUND_S = 60.0


@pytest.fixture
def devnet(tmp_path):
    with Devnet(tmp_path) as running:
        yield running


def count(node):
    return node.call("node.network")["remotes"]


def remembers(cache, nodes):
    return cache.is_file() and all(node.peer_id in cache.read_text() for node in nodes)


def wait_for_all(nodes, wanted):
    assert wait_for(lambda: all(count(node) == wanted for node in nodes), FOUND_S), [*map(count, nodes)]


def restart_elsewhere(devnet, node):
    """Start a node that has ended on another port."""
    devnet.nodes.remove(node)
    listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
    old = node.multiaddr.partition("/p2p/")[0]
    command = tuple(listen if word == old else word for word in node.command)
    assert command != node.command
    again = devnet._spawn(node.plan, node.directory, command, listen)
    devnet.wait_ready(again)
    return again


@pytest.mark.slow
def test_a_bootstrap_that_dies_and_comes_back_elsewhere(devnet):
    nodes = start(devnet, PEERS)
    bootstrap, peers = nodes[BOOTSTRAP.name], [nodes[plan.name] for plan in PEERS]
    wait_for_all([bootstrap, *peers], 3)
    cache = bootstrap.directory / "remotes.txt"
    assert wait_for(lambda: remembers(cache, peers), FOUND_S)

    kill_9(bootstrap)
    wait_for_all(peers, 2)
    kill_9(peers[0])
    peers[0] = devnet.restart(peers[0])
    devnet.wait_ready(peers[0])
    wait_for_all(peers, 2)

    bootstrap = restart_elsewhere(devnet, bootstrap)
    wait_for_all([bootstrap, *peers], 3)

    for node in (bootstrap, *peers[1:]):
        kill_9(node)
        devnet.nodes.remove(node)
    assert wait_for(lambda: peers[0].call("node.network")["alone"], FOUND_S)
    assert "works alone, and goes on trying" in " ".join(p2pai(devnet, peers[0].directory, "status").split())
    assert "no other node answers" in (peers[0].directory / "node.log").read_text()
    devnet.check()
