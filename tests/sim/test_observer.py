"""What the observer tells of a history is what a naive look at all of it gives."""

from collections import Counter
from functools import lru_cache

import pytest

from p2pai import effects, events
from p2pai.chain import it_res
from p2pai.chain.genesis import predefined_task_id
from p2pai.chain.transaction import VerifyReveal
from p2pai.gossip.envelope import open_envelope
from testnet.outcome import Head, Outcome
from testnet.simulator.network import ROLES, name_of, network
from testnet.simulator.observer import Observer
from testnet.simulator.trainer import FastTrainer
from testnet.simulator.world import START_MS

HEAD = Head("calm", "simulator", 5)


class Counted:
    """A watcher that keeps what there is to count."""

    def __init__(self, world):
        self.world = world
        self.published, self.received = Counter(), Counter()
        self.iterations = {}
        self.steps = 0

    def __call__(self, name, event, reaction):
        self.steps += 1
        if isinstance(event, events.Received):
            self.received[event.topic.split("/")[4]] += len(event.data)
        for effect in reaction:
            if isinstance(effect, effects.Publish):
                self.published[effect.topic.split("/")[4]] += len(effect.data)
                if "/it_res/" in effect.topic:
                    body = open_envelope(effect.data, effect.topic).body
                    self.iterations[body] = it_res.decode(body)


@lru_cache(maxsize=1)
def history():
    """Some blocks of a network in which one is killed."""
    net = network(5, accounts=(), trainer=FastTrainer)
    accounts = (7, 1, 2, 3, 4, 5, 6)
    roles = {name_of(account): ROLES[account] for account in accounts}
    observer = Observer(net.world, net.spec, net.cores, roles, {name_of(6)})
    counted = Counted(net.world)
    net.world.watchers += [observer, counted]
    for account in accounts:
        net.start(account)
    assert net.world.run(lambda: net.core(7).state.height >= 3, 60)
    net.restart(5)
    height = 3 + net.spec.params.verification_window_blocks
    assert net.world.run(lambda: net.core(7).state.height >= height, 90)
    assert net.settle()
    return net, counted, observer.outcome(HEAD)


@pytest.fixture(scope="module")
def net():
    return history()[0]


@pytest.fixture(scope="module")
def outcome():
    return history()[2]


def all_blocks(net):
    return {
        b.block.hash: b for core in net.cores.values() for b in core.ledger.tree.branches() if b.state.height
    }


def test_every_block_is_told_with_its_place(net, outcome):
    known = all_blocks(net)
    told = {bytes.fromhex(block.hash): block for block in outcome.blocks}
    assert set(told) >= set(known)
    for name, block in told.items():
        assert block.is_best == net.core(7).is_best(name)
    for name, branch in known.items():
        assert told[name].height == branch.state.height
        assert told[name].prev == branch.block.header.prev.hex()
        assert told[name].size_bytes == branch.block.size
        ticket = branch.block.transactions[0].data.ticket
        owner = branch.state.tickets[ticket].key_hash
        miner = next(n for n, core in net.cores.items() if core.identity.key_hash == owner)
        assert told[name].miner == miner
    best = [block for block in outcome.blocks if block.is_best]
    assert [block.height for block in best] == list(range(1, net.core(7).state.height + 1))


def test_who_had_a_block_first_is_its_miner(outcome):
    for block in outcome.blocks:
        assert block.seen_ms[block.miner] == block.found_ms == min(block.seen_ms.values())
        assert set(block.seen_ms) <= {node.name for node in outcome.nodes}
        assert 0 <= block.found_ms <= outcome.head.length_ms


def test_approvals_are_those_that_the_chain_holds(net, outcome):
    tree = net.core(7).ledger.tree
    held = Counter()
    for height in range(1, net.core(7).state.height + 1):
        for tx in tree.block_at(height).transactions:
            if isinstance(tx.data, VerifyReveal):
                held[tx.data.block.hex(), height] += 1
    told = Counter(
        (block.hash, approval.height)
        for block in outcome.blocks
        for approval in block.approvals
        if approval.height is not None
    )
    assert told == held
    assert held
    for block in outcome.blocks:
        assert all(approval.at_ms > block.found_ms for approval in block.approvals)
        assert block.drawn == 3


def test_every_account_is_explained_to_the_atom(net, outcome):
    state = net.core(7).state
    for account in outcome.coins.accounts:
        came = account.genesis + account.mined + account.verified + account.worked + account.received
        went = account.tasks + account.fees + account.sent + account.slashed
        assert account.balance == came - went, account.node
    assert sum(account.balance for account in outcome.coins.accounts) == state.issued - state.burned
    assert sum(account.slashed for account in outcome.coins.accounts) == state.burned
    assert outcome.coins.subsidies > 0
    assert outcome.coins.genesis + outcome.coins.subsidies == state.issued
    staked = sum(state.utxos[ticket].value for ticket in state.tickets)
    assert outcome.coins.staked == staked == sum(account.staked for account in outcome.coins.accounts)


def test_traffic_is_counted(outcome):
    counted = history()[1]
    gossip = {t.name: t for t in outcome.traffic if t.name not in ("ask", "answer", "blob")}
    assert {name: t.published_bytes for name, t in gossip.items()} == counted.published
    assert {name: t.received_bytes for name, t in gossip.items()} == counted.received
    for traffic in outcome.traffic:
        assert sum(traffic.over_time) == traffic.received_bytes
        assert len(traffic.over_time) == outcome.head.length_ms // outcome.interval_ms + 1
    assert outcome.head.steps == counted.steps


def test_iterations_are_those_that_were_published(net, outcome):
    task_id = predefined_task_id(net.spec, 0)
    (task,) = outcome.tasks
    assert (task.id, task.is_predefined, task.client) == (task_id.hex(), True, "")
    assert set(task.miners) == {"n4", "n5", "n6"}
    said = history()[1].iterations.values()
    assert task.iterations == len(said) > 300
    assert task.map_bytes == sum(len(message.message_map) for message in said)
    assert task.map_bytes >= task.points[-1].map_bytes > task.map_bytes * 0.9
    assert [p.map_bytes for p in task.points] == sorted(p.map_bytes for p in task.points)
    assert all(0 <= p.metrics[0] <= 1 for p in task.points)


def test_nonces_of_all_lives_of_a_miner_are_counted(net, outcome):
    nodes = {node.name: node for node in outcome.nodes}
    now = net.core(5).roles["miner"].tally
    assert nodes["n5"].mining.earned > now.earned, "what it did before it was killed counts, too"
    assert nodes["n5"].starts == 2
    assert nodes["n4"].mining.earned == net.core(4).roles["miner"].tally.earned
    assert nodes["n7"].mining is None
    sent = sum(node.mining.sent for node in outcome.nodes if node.mining)
    assert sent >= len(outcome.blocks) > 3


def test_faults_are_told_with_their_times(net, outcome):
    fired = {f.kind: f for f in outcome.fired}
    assert fired["kill"].count == net.world.fired["kill"] == 1
    (at_ms,) = fired["kill"].at_ms
    assert 0 < at_ms < net.world.now_ms - START_MS


def test_where_the_nodes_ended(net, outcome):
    for node in outcome.nodes:
        core = net.cores[node.name]
        assert (node.height, node.tip) == (core.state.height, core.state.tip.hex())
        assert node.is_honest == (node.name != "n6")
        assert node.is_up
    assert outcome.head.digest == net.world.digest


def test_it_is_plain_data(outcome):
    assert Outcome.from_json(outcome.to_json()) == outcome
