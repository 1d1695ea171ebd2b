"""Nodes killed with -9 at any time go on from their journals; late ones catch up.

Real processes on loopback: a bootstrap peer, three nodes that supervise and verify, three miners. While they
mine the predefined task, a miner and then the leading supervisor are killed (SIGKILL, their trainers too) and
started again; a node that never saw the chain joins last. All must end on one chain with one state.
"""

import pytest

from testnet.devnet.launch import Devnet, Plan, wait_for
from tests.functional.network import GROW_S, height, kill_9, start, wait_height
from tests.shell.parts import journal_of


@pytest.fixture
def devnet(tmp_path):
    with Devnet(tmp_path) as running:
        yield running


def iterations(node, address):
    """Return how far a miner of the predefined task has come, as another node hears it."""
    task = node.call("task.list")[0]["task"]
    progress = node.call("task.progress", task=task)["miners"]
    return next(m["iteration"] for m in progress if m["address"] == address)


def agree(nodes):
    """Whether all nodes have one tip and one state."""
    states = [node.call("node.status") for node in nodes]
    return len({(s["tip"], s["state_digest"]) for s in states}) == 1


def restart(devnet, node):
    """Kill a node, check that its journal opens, and start it again; return the new one."""
    kill_9(node)
    records = len(journal_of(node.directory))
    assert records > 0
    again = devnet.restart(node)
    devnet.wait_ready(again)
    return again, records


def test_killed_nodes_go_on_and_a_late_one_catches_up(devnet):
    nodes = start(devnet)
    watcher = nodes["committee-2"]
    wait_height(watcher, 2)

    miner = nodes["miner-1"]
    address = miner.call("node.status")["address"]
    before_height, before_iteration = height(miner), iterations(watcher, address)
    miner, records = restart(devnet, miner)
    assert height(miner) >= before_height, "the journal lost blocks"
    assert wait_for(lambda: iterations(watcher, address) > before_iteration + 3, GROW_S), (
        "the miner does not train on"
    )
    assert len(journal_of(miner.directory)) > records

    leader = nodes["committee-1"]
    leader, _ = restart(devnet, leader)
    wait_height(leader, height(watcher) + 2)

    late = devnet.start(Plan("late", 8, ("peer",)), [nodes["bootstrap"].multiaddr])
    devnet.wait_ready(late)
    wait_height(late, height(watcher))
    everyone = [late, miner, leader, watcher, nodes["miner-2"], nodes["bootstrap"]]
    assert wait_for(lambda: agree(everyone), GROW_S), [n.call("node.status") for n in everyone]
    assert watcher.call("supply")["holds"]
    devnet.check()
