"""A block with false training that all of its verifiers were bribed to approve, and one honest node.

What: a miner lies about what its iterations gave, every verifier approves, one auditor replays and proves it;
then an accuser that lies. How: real nodes with the fast trainer; each history once more with nodes that lack
the check in question, in which it must come out otherwise.
"""

from collections import Counter

import pytest

from p2pai import effects, jobs
from p2pai.chain.fraud import Judgement
from p2pai.chain.transaction import FraudProof
from p2pai.node.judging import Judging
from testnet.scenario.adversaries import ApprovesAll, FakeWork
from testnet.simulator.invariants import check_ledgers
from testnet.simulator.network import name_of, network
from testnet.simulator.weakened import WEAKNESSES

pytestmark = pytest.mark.usefixtures("shared")

AUDITOR, WITNESS, LIAR, BRIBED = 7, 8, 5, (1, 2, 3)

CHEATS = {FakeWork(nodes=("miner",)): (LIAR,), ApprovesAll(nodes=("verifiers",)): BRIBED}


class History:
    """A network with one liar and its friends."""

    def __init__(self, seed):
        accounts = (AUDITOR, 1, 2, 3, 4, 5, 6, WITNESS)
        roles = {AUDITOR: ("auditor",), WITNESS: ("peer",)}
        self.net = network(seed, accounts=accounts, roles=roles, dishonest=CHEATS)
        self.price = self.net.spec.params.ticket_price_atoms
        self.owned = self.tickets("miner", LIAR)

    def tickets(self, role, account):
        core = self.net.core(account)
        rows = self.net.core(WITNESS).state.tickets.items()
        return [o for o, t in rows if (t.role, t.owner) == (role, core.identity.public)]

    def approved(self):
        """The first block of the liar that all verifiers approved, as somebody without a role sees it."""
        state = self.net.core(WITNESS).pool
        blocks = (b for b, v in state.verifications.items() if v.ticket in self.owned and v.approvals == 3)
        return next(blocks, None)

    def convicted(self, account):
        return list(self.net.core(account).ledger.tree.convicted)

    def left_by_all(self, block):
        return all(block in self.convicted(a) for a in (AUDITOR, WITNESS, 1, 2, 3, 4, 6))

    def proofs(self):
        """What stands in the best chain of a node without a role."""
        core = self.net.core(WITNESS)
        blocks = (core.ledger.tree.block_at(h) for h in range(1, core.state.height + 1))
        return [(b, tx) for b in blocks for tx in b.transactions if isinstance(tx.data, FraudProof)]


def bribed_history(seed=6):
    """Go on until everybody approved a false block; return the history and the block.

    In this history the first of them is false: now and then an honest iteration moves nothing, too.
    """
    history = History(seed)
    stakes = {o: v for a in BRIBED for o in history.tickets("verifier", a) for v in (a,)}
    assert history.net.world.run(lambda: history.approved() is not None, 200), "no false block was approved"
    return history, history.approved(), stakes


def test_one_honest_node_undoes_what_all_verifiers_approved():
    history, block, verifiers = bribed_history()
    net = history.net
    before = net.core(WITNESS).state
    had = net.core(AUDITOR).query("wallet.balance", {})["total"]
    assert net.world.run(lambda: history.left_by_all(block), 60), "the network stays with a false block"
    assert net.world.run(lambda: history.proofs() != [], 60), "the proof is on the chain"
    (_, proof), *_ = history.proofs()
    assert proof.data.block == block
    assert len(proof.data.approvals) == 3
    state = net.core(WITNESS).state
    lost = [proof.data.ticket, *verifiers]
    assert proof.data.ticket in history.owned
    assert not any(ticket in state.utxos for ticket in lost)
    assert all(ticket in before.utxos for ticket in lost)
    assert net.world.run(lambda: net.core(AUDITOR).state.height >= state.height, 60), "it stays behind"
    gained = net.core(AUDITOR).query("wallet.balance", {})["total"] - had
    assert 2 * history.price - 100_000 < gained < 2 * history.price
    height = state.height
    assert net.world.run(lambda: net.core(WITNESS).state.height >= height + 3, 120), "the chain stands still"
    assert net.settle()
    net.check()
    state = net.core(WITNESS).state
    assert state.burned >= 2 * history.price
    miners = [b.transactions[0].data.ticket for b in chain_of(net.core(WITNESS))[proof_height(history) :]]
    assert not any(ticket in history.owned for ticket in miners), "who has no stake mines no more"
    assert net.world.rejected == []


def chain_of(core):
    return [core.ledger.tree.block_at(h) for h in range(1, core.state.height + 1)]


def proof_height(history):
    block, _ = history.proofs()[0]
    return history.net.core(WITNESS).ledger.tree.get(block.hash).state.height


@pytest.mark.slow
def test_a_network_whose_nodes_do_not_replay_what_is_accused_stays_with_the_false_block(monkeypatch):
    honest = Judging.begin

    def weakened(self, block, *, accused=False):
        if not accused:
            honest(self, block)

    monkeypatch.setattr(Judging, "begin", weakened)
    history, block, _ = bribed_history()
    assert not history.net.world.run(lambda: history.left_by_all(block), 60)


@pytest.mark.slow
def test_a_node_that_was_killed_and_one_that_comes_late_leave_the_block_too():
    history, block, _ = bribed_history()
    net = history.net
    assert net.world.run(lambda: history.left_by_all(block), 60)
    assert net.world.run(lambda: history.proofs() != [], 60)
    height = proof_height(history)
    net.restart(WITNESS)
    net.start(0)
    assert net.world.run(lambda: net.core(0).state.height > height + 1, 60), "it catches up"
    assert net.settle()
    net.check()
    assert block not in net.core(0).ledger.tree
    assert block not in net.core(WITNESS).ledger.tree
    assert net.core(0).judged[block].reason, "it has replayed the block itself"


# --- an accuser that lies


class Accused:
    """A network in which somebody without any reason accuses an honest block."""

    def __init__(self, seed=6):
        accounts = (AUDITOR, 1, 2, 3, 4, 5, 6, WITNESS)
        self.net = network(seed, accounts=accounts, roles={AUDITOR: ("peer",), WITNESS: ("peer",)})
        self.others = [name for name in self.net.cores if name != name_of(AUDITOR)]
        self.net.invariants.honesty.distrust(name_of(AUDITOR))
        self.replays = Counter()
        self.net.world.watchers.append(self)
        assert self.net.world.run(lambda: self.net.core(WITNESS).state.height >= 4, 100)
        core = self.net.core(AUDITOR)
        branch = core.ledger.tree.at_height(core.state.height - 1)
        self.block = branch.state.tip
        ticket = branch.block.work_proof.ticket
        core.judged[self.block] = Judgement(branch.state.height, ticket, bytes(32), "I say so")
        core.accuse(self.block)
        for effect in core.take_effects():
            self.net.world.perform(name_of(AUDITOR), effect)

    def __call__(self, name, event, reaction):
        for effect in reaction:
            if isinstance(effect, effects.Train) and isinstance(effect.job, jobs.Replay):
                self.replays[name, effect.job.message_map, effect.job.position] += 1

    def goes_on(self):
        """Whether all others keep the block until its window is over."""
        cores = [self.net.cores[name] for name in self.others]
        height = cores[0].state.height
        goal = height + self.net.spec.params.verification_window_blocks
        arrived = self.net.world.run(lambda: all(c.state.height >= goal for c in cores), 120)
        return arrived and all(core.is_best(self.block) for core in cores)


@pytest.mark.slow
def test_who_accuses_an_honest_block_costs_everybody_one_replay_and_gets_nothing():
    accused = Accused()
    assert accused.goes_on()
    net = accused.net
    for name in accused.others:
        judgement = net.cores[name].judged[accused.block]
        assert judgement.reason == ""
        assert not any(
            isinstance(tx.data, FraudProof) for tx in net.cores[name].ledger.mempool.transactions()
        )
    assert set(accused.replays.values()) == {1}
    proofs = [
        tx for b in chain_of(net.core(WITNESS)) for tx in b.transactions if isinstance(tx.data, FraudProof)
    ]
    assert proofs == []
    assert net.core(WITNESS).state.burned == 0
    reasons = {reason for name, reason in net.world.rejected if name in accused.others}
    assert reasons == {"the block that the proof accuses gives what its miner recorded"}
    assert net.settle(names=accused.others)
    check_ledgers(net.spec, {name: net.cores[name] for name in accused.others})


@pytest.mark.slow
def test_nodes_that_believe_every_accuser_lose_an_honest_block():
    with WEAKNESSES["accusers-believed"].apply():
        assert not Accused().goes_on()
