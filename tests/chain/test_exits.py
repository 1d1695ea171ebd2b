"""Targets: whatever a task is left in, its deadline passes and every coin that it locked comes out."""

from dataclasses import replace

import pytest

from p2pai.chain import pausing, votes
from p2pai.chain.coins import is_locked
from p2pai.chain.state import Stage
from p2pai.chain.supervision import ConsiderPause, Pause, Suspicion
from p2pai.chain.task_life import MALFORMED
from p2pai.chain.transaction import BuyTickets, Stake
from tests.chain.ledger import CLIENT, EVALUATORS, Chain, devnet, key_hash, keys, label, public

FEE = 1_000_000

PAUSED_BLOCKS = 8
"""A pause may last so long here, where nobody waits for it in vain."""


class Case:
    """A client's task left in a stage by everybody; what it locked at its largest."""

    def __init__(self, stage, **params):
        spec = devnet()
        self.chain = Chain(replace(spec, params=replace(spec.params, **params)))
        self.task_id, self.stakes = None, {}
        getattr(self, stage)()
        self.note()

    @property
    def task(self):
        return self.chain.task(self.task_id)

    def note(self):
        """Remember the stakes that are bound to the task now."""
        held = (o for o, t in self.chain.pool.tickets.items() if t.task == self.task_id)
        self.stakes |= {o: self.chain.pool.tickets[o].key_hash for o in held}

    def joining(self):
        self.task_id = self.chain.submit(fee=FEE)
        for role, account in (("miner", 4), ("supervisor", 1)):
            self.chain.add(self.chain.join(self.task_id, role, account))
        self.chain.mine()

    def keying(self):
        self.task_id = self.chain.submit(fee=FEE)
        self.chain.join_all(self.task_id)
        self.chain.mine_until(self.task.since + self.chain.params.join_blocks)

    def training(self):
        self.task_id = self.chain.start(fee=FEE)

    def resharing(self):
        self.training()
        accused = self.task.supervisors[0]
        self.slash(accused)
        assert accused in self.task.expelled

    def paused(self):
        self.training()
        working = pausing.workers(self.task)
        for ticket in working[:4]:
            self.say(ticket, ConsiderPause(self.task_id, ticket, Suspicion.DOS_ATTACK))
        self.say(working[0], Pause(self.task_id, working[0]))
        self.chain.mine()

    def evaluating(self):
        self.training()
        self.chain.end_training(self.task_id)

    def disagreeing(self):
        """One evaluator alone reveals."""
        self.evaluating()
        first = EVALUATORS[0]
        self.chain.post(first, self.chain.conclude(self.task_id, first, MALFORMED))
        self.chain.mine()

    def concluded(self):
        self.evaluating()
        self.chain.evaluate(self.task_id)
        self.chain.mine()

    def malformed(self):
        self.evaluating()
        self.chain.evaluate(self.task_id, MALFORMED)
        self.chain.mine()

    def say(self, ticket, data):
        self.chain.post(self.chain.account(ticket), data)

    def slash(self, ticket):
        """Destroy a worker's stake: it voted for two blocks of one height."""
        account = self.chain.account(ticket)
        own = keys(account).spending
        pair = [votes.cast(own, self.chain.state.chain, ticket, 16, label(i), label(0)) for i in (1, 2)]
        self.chain.post(CLIENT, votes.evidence(public(account), *pair))
        self.chain.mine()


STAGES = {
    "joining": (Stage.JOINING, Stage.EXPIRED),
    "keying": (Stage.KEYING, Stage.FAILED),
    "training": (Stage.TRAINING, Stage.FAILED),
    "resharing": (Stage.TRAINING, Stage.FAILED),
    "paused": (Stage.PAUSED, Stage.FAILED),
    "evaluating": (Stage.EVALUATING, Stage.FAILED),
    "disagreeing": (Stage.EVALUATING, Stage.FAILED),
    "concluded": (Stage.EVALUATING, Stage.PAID),
    "malformed": (Stage.EVALUATING, Stage.MALFORMED),
}


def deadline(case):
    """Return the last height at which a task can still be in its stage, if nobody does anything more."""
    params, task = case.chain.params, case.task
    rounds = params.evaluate_commit_blocks + params.evaluate_reveal_blocks
    return {
        Stage.JOINING: task.since + params.join_blocks,
        Stage.KEYING: task.since + 2 * params.keying_blocks,
        Stage.TRAINING: task.since + task.definition.expected_blocks,
        Stage.PAUSED: task.since + PAUSED_BLOCKS,
        Stage.EVALUATING: task.since + params.evaluate_rounds_max * rounds,
    }[task.stage]


@pytest.mark.parametrize("name", STAGES)
def test_every_coin_comes_out(name, monkeypatch):
    monkeypatch.setattr(pausing, "PAUSED_BLOCKS_MAX", PAUSED_BLOCKS)
    case = Case(name)
    chain, (begins, ends) = case.chain, STAGES[name]
    assert case.task.stage is begins
    assert is_locked(chain.state, case.task.stake)
    assert case.stakes
    if case.task.conclusion is not None:
        chain.add(chain.charge(case.task_id))  # anybody may, at any time
        chain.mine()
    chain.mine_until(deadline(case) if not case.task.stage.is_over else chain.height)
    task = case.task
    assert task.stage is ends
    assert not any(t.task == case.task_id for t in chain.state.tickets.values())
    for ticket, owner in case.stakes.items():
        output = chain.state.utxos.get(ticket)
        if output is None:
            assert ticket in task.expelled, "only a liar's stake is gone"
        elif ticket in chain.state.tickets:  # free: it may be drawn again
            assert chain.state.tickets[ticket].task is None
        else:
            assert not is_locked(chain.state, ticket)
            assert output == Stake(output.value, owner)
    if ends in (Stage.PAID, Stage.MALFORMED):
        assert task.stake not in chain.state.utxos
    else:
        assert not is_locked(chain.state, task.stake)
        assert chain.state.utxos[task.stake] == Stake(FEE, key_hash(CLIENT))
    chain.check_supply()


def test_who_was_slashed_as_evaluator_is_bound_to_its_task_until_the_end():
    """Or another task could draw it, and lose it when the first one ends."""
    case = Case("evaluating")
    chain = case.chain
    liar = case.task.evaluators[0]
    case.slash(liar)
    for account in (6, 7, 8):
        chain.add(chain.buy(account, "evaluator"))
    chain.mine_until(case.task.since + 8)
    assert case.task.round == 1
    assert liar not in case.task.evaluators
    assert chain.state.tickets[liar].task == case.task_id
    assert liar not in chain.state.live_tickets("evaluator", chain.height, 2)
    chain.mine_until(deadline(case))
    assert liar not in chain.state.tickets


def test_an_undrawn_ticket_is_worth_its_stake_again():
    chain = Chain(replace(devnet(), params=replace(devnet().params, ticket_expiry_blocks=3)))
    tx = chain.add(chain.buy(7))
    chain.mine()
    (ticket,) = chain.tickets("miner", 7)
    assert isinstance(tx.data, BuyTickets)
    chain.mine_until(chain.state.tickets[ticket].expires - 2)
    assert is_locked(chain.state, ticket)
    chain.mine()
    assert not is_locked(chain.state, ticket)
