"""Targets: who trained falsely or approved it loses its stake; only a replay says so; no atom is lost."""

from dataclasses import replace

import pytest

from p2pai.chain import transition
from p2pai.chain.committee import StatusStatement
from p2pai.chain.fraud import Judgement, Unjudged, approves
from p2pai.chain.params import FRAUD_PROOF_SIZE_MAX, VERIFY_REVEAL_SIZE_MAX
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Checkpoint, Stage
from p2pai.chain.supervision import NodeStatus
from p2pai.chain.transaction import FraudProof, Pay, Transaction, Transfer, VerifyReveal, Witness
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, InvalidProof, InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from tests.chain.ledger import (
    FEE,
    MINERS,
    SUPERVISORS,
    VERIFIERS,
    Chain,
    devnet,
    key_hash,
    label,
    public,
    refused,
)

PRICE = 10**9
PROVER = 7
LIAR = MINERS[0]


class Case:
    """A chain with a false block and its approvals, and the branch that the honest go on with."""

    def __init__(self, chain=None, approvers=VERIFIERS, **plan):
        self.chain = chain or Chain()
        self.chain.mine()
        self.honest = self.chain.fork()
        self.false = self.chain.mine(miner=LIAR, **plan)
        self.ticket = self.false.work_proof.ticket
        self.judge()
        self.approvals = {}
        if approvers:
            self.chain.approve(self.false, approvers)
            shown = [tx for tx in self.chain.queue if approves(tx, self.false.hash)]
            self.approvals = dict(zip(approvers, shown, strict=True))
            self.chain.mine(miner=MINERS[1])
        self.honest.mine(miner=MINERS[1])

    def judge(self, reason="message map", **changes):
        said = Judgement(2, self.ticket, label("found"), reason)
        self.chain.judged[self.false.hash] = replace(said, **changes)

    def proof(self, approvers=VERIFIERS, **changes):
        shown = tuple(self.approvals[a].encoded for a in approvers if a in self.approvals)
        return replace(FraudProof(self.false.hash, 2, self.ticket, label("found"), shown), **changes)

    def posted(self, proof=None, account=PROVER, reward=0):
        """Return the signed proof; its change takes the reward too."""
        return with_reward(self.honest, self.honest.fund(account, proof or self.proof()), account, reward)

    def refuse(self, proof, reason, error=InvalidTransaction):
        before = snapshot_id(self.honest.pool)
        with pytest.raises(error, match=reason):
            self.honest.add(self.posted(proof))
        assert snapshot_id(self.honest.pool) == before


def with_reward(chain, tx, account, reward):
    *others, change = tx.outputs
    paid = (*others, replace(change, value=change.value + reward))
    return chain.sign(replace(tx, outputs=paid, witnesses=()), account)


@pytest.fixture
def case():
    return Case()


def money(chain, account):
    return sum(value for value, _ in chain.coins(account))


class TestStakes:
    def test_the_miner_and_whoever_approved_lose_all_and_the_prover_gets_half(self, case):
        had = money(case.honest, PROVER)
        tickets = [case.ticket, *(case.honest.verifier(a) for a in VERIFIERS)]
        case.honest.add(case.posted(reward=2 * PRICE))
        case.honest.mine(miner=MINERS[1])
        assert not any(t in case.honest.state.utxos for t in tickets)
        assert case.honest.state.burned == 2 * PRICE
        assert money(case.honest, PROVER) == had + 2 * PRICE - FEE
        case.honest.check_supply()

    @pytest.mark.parametrize("percent", [0, 1, 33, 100])
    def test_the_provers_share_is_exact_and_the_rest_is_burned(self, percent):
        spec = devnet()
        spec = replace(spec, params=replace(spec.params, prover_share_percent=percent))
        case = Case(Chain(spec), VERIFIERS[:1])
        reward = 2 * PRICE * percent // 100
        with pytest.raises(InvalidTransaction, match="the outputs exceed the inputs"):
            case.honest.add(case.posted(reward=reward + FEE + 1))
        case.honest.add(case.posted(reward=reward))
        case.honest.mine(miner=MINERS[1])
        assert case.honest.state.burned == 2 * PRICE - reward
        case.honest.check_supply()

    def test_a_share_of_an_odd_stake_loses_no_atom(self, case):
        first = case.honest.verifier(1)
        case.honest.state = case.honest.pool = replace(
            case.honest.state,
            utxos=case.honest.state.utxos.set(first, replace(case.honest.state.utxos[first], value=7)),
            burned=case.honest.state.burned + PRICE - 7,
        )
        case.honest.add(case.posted(case.proof(VERIFIERS[:1]), reward=(PRICE + 7) // 2))
        case.honest.mine(miner=MINERS[1])
        case.honest.check_supply()

    def test_what_the_prover_does_not_take_is_the_blocks_miners(self, case):
        had = money(case.honest, MINERS[1])
        case.honest.add(case.posted())
        case.honest.mine(miner=MINERS[1])
        assert money(case.honest, MINERS[1]) == had + 2 * PRICE + FEE
        case.honest.check_supply()

    def test_who_approved_and_is_not_shown_keeps_its_stake(self, case):
        kept = case.honest.verifier(3)
        case.honest.add(case.posted(case.proof((1, 2))))
        assert case.honest.pool.utxos[kept].value == PRICE
        assert kept in case.honest.pool.live_tickets("verifier", 4, 2)

    def test_a_later_proof_takes_from_those_who_came_to_light_since(self, case):
        case.honest.add(case.posted(case.proof((1,)), reward=PRICE))
        case.honest.mine(miner=MINERS[1])
        again = case.posted(case.proof(VERIFIERS), account=8, reward=PRICE)
        case.honest.add(again)
        case.honest.mine(miner=MINERS[1])
        assert case.honest.state.burned == 2 * PRICE
        case.honest.check_supply()

    def test_a_proof_that_takes_nothing_pays_nothing(self, case):
        case.honest.add(case.posted())
        case.honest.mine(miner=MINERS[1])
        with pytest.raises(InvalidTransaction, match="the outputs exceed the inputs"):
            case.honest.add(case.posted(reward=FEE + 1))
        case.honest.add(case.posted())
        case.honest.mine(miner=MINERS[1])
        case.honest.check_supply()

    def test_a_miners_second_false_block_costs_it_nothing_more(self, case):
        case.honest.add(case.posted(case.proof(())))
        other = label("another block of the liar")
        case.honest.judged[other] = Judgement(3, case.ticket, label("found"), "metric loss")
        before = case.honest.pool.burned
        case.honest.add(case.posted(FraudProof(other, 3, case.ticket, label("found"), ())))
        assert case.honest.pool.burned == before


class TestTickets:
    def test_a_verifier_is_drawn_no_more(self, case):
        drawn = [case.honest.verifier(a) for a in VERIFIERS]
        case.honest.add(case.posted())
        block = case.honest.mine(miner=MINERS[1])
        assert case.honest.state.verifications[block.hash].verifiers == ()
        assert not any(t in case.honest.state.live_tickets(None, 99, 2) for t in drawn)

    def test_a_verifier_that_has_approved_an_honest_block_too_is_still_paid_for_that(self, case):
        good = case.honest.blocks[-1]
        case.honest.approve(good)
        case.honest.add(case.posted())
        case.honest.mine_until(6, miner=MINERS[1])
        owners = [o.key_hash for b in case.honest.blocks for o in b.transactions[0].outputs]
        assert all(key_hash(a) in owners for a in VERIFIERS)
        case.honest.check_supply()

    def test_who_kept_a_verdict_back_and_has_no_stake_left_loses_nothing_more(self, case):
        good = case.honest.blocks[-1]
        case.honest.post(1, case.honest.commit(good, 1))
        case.honest.add(case.posted())
        case.honest.mine_until(8, miner=MINERS[1])
        case.honest.check_supply()

    def test_the_miner_is_expelled_and_mines_no_more(self, case):
        late = case.honest.fork()
        case.honest.add(case.posted())
        case.honest.mine(miner=MINERS[1])
        assert case.honest.state.tasks[case.honest.predefined].expelled == (case.ticket,)
        refused(case.honest, case.honest.draft(miner=LIAR), "the miner has lost its stake")
        late.mine(miner=LIAR)

    def test_who_falls_silent_then_is_missed_as_others_are(self, case):
        chain = case.honest
        chain.add(case.posted())
        statement = StatusStatement(chain.predefined, case.ticket, 3)
        signature = chain.certify(chain.predefined, statement)
        chain.post(SUPERVISORS[0], NodeStatus(chain.predefined, case.ticket, 3, signature))
        task = chain.task(chain.predefined)
        assert task.expelled == (case.ticket,)
        assert case.ticket not in task.roster.working
        chain.mine(miner=MINERS[1])
        chain.check_supply()

    def test_a_clients_task_ends_and_pays_all_but_the_liar(self):
        chain = Chain()
        task_id = chain.start()
        case = Case(chain, task=task_id)
        case.judge(height=case.honest.height)
        proof = case.proof(height=case.honest.height)
        case.honest.add(case.posted(proof))
        case.honest.end_training(task_id)
        case.honest.evaluate(task_id)
        case.honest.mine(miner=MINERS[1])
        tx = case.honest.charge(task_id)
        assert key_hash(LIAR) not in [o.key_hash for o in tx.outputs]
        case.honest.add(tx)
        case.honest.mine(miner=MINERS[1])
        assert case.honest.task(task_id).stage is Stage.PAID
        assert case.ticket not in case.honest.state.tickets
        case.honest.check_supply()

    def test_an_application_is_withdrawn(self):
        spec = devnet()
        chain = Chain(replace(spec, params=replace(spec.params, join_blocks=9)))
        task_id = chain.submit()
        case = Case(chain)
        free = chain.tickets("miner", LIAR)[0]
        case.ticket = free
        case.judge(height=3)
        case.honest.add(case.honest.join(task_id, "miner", LIAR))
        assert [j.ticket for j in case.honest.task(task_id).joins] == [free]
        case.honest.add(case.posted(case.proof(height=3, ticket=free)))
        assert case.honest.task(task_id).joins == ()
        assert case.honest.pool.tickets[free].task is None
        assert free not in case.honest.pool.live_tickets("miner", 99, 2)

    def test_a_stake_that_was_its_owners_again_is_taken_until_it_is_spent(self, case):
        gone = replace(case.honest.pool, tickets=case.honest.pool.tickets.delete(case.ticket))
        case.honest.state = case.honest.pool = gone
        spent, tx = case.honest.fork(), case.posted(case.proof(()))
        case.honest.add(tx)
        assert case.honest.pool.burned == PRICE // 2
        assert case.ticket not in case.honest.pool.utxos
        spent.pool = replace(spent.pool, utxos=spent.pool.utxos.delete(case.ticket))
        spent.add(tx)
        assert spent.pool.burned == 0


class TestJudgement:
    def test_a_block_that_nobody_replayed_has_to_wait(self, case):
        case.honest.judged.clear()
        with pytest.raises(Unjudged) as raised:
            case.honest.add(case.posted())
        assert raised.value.block == case.false.hash
        assert not isinstance(raised.value, InvalidInput)

    def test_so_has_a_block_that_holds_the_proof(self, case):
        case.honest.add(case.posted())
        block = case.honest.draft(miner=MINERS[1])
        with pytest.raises(Unjudged):
            transition.apply_block(case.honest.state, block, case.honest.params)

    def test_a_block_that_holds_a_proof_about_an_honest_block_is_invalid(self, case):
        case.honest.add(case.posted())
        block = case.honest.draft(miner=MINERS[1])
        case.judge(reason="")
        refused(case.honest, block, "gives what its miner recorded", judged=case.honest.judged)

    def test_a_trusted_block_needs_no_judgement(self, case):
        case.honest.add(case.posted())
        block = case.honest.draft(miner=MINERS[1])
        after = transition.apply_block(case.honest.state, block, case.honest.params, trusted=True)
        case.honest.connect(block)
        assert snapshot_id(after) == snapshot_id(case.honest.state)

    def test_an_honest_block(self, case):
        case.judge(reason="")
        case.refuse(case.proof(), "gives what its miner recorded", InvalidProof)

    @pytest.mark.parametrize("changes", [{"height": 3}, {"ticket": Outpoint(ZERO_HASH, 1)}], ids=str)
    def test_another_height_or_miner(self, case, changes):
        case.refuse(case.proof(**changes), "another height or miner")

    def test_something_else_than_the_replay_gives(self, case):
        case.refuse(case.proof(found=label("guess")), "gives something else", InvalidProof)

    def test_a_block_that_is_final(self, case):
        case.honest.state = case.honest.pool = replace(
            case.honest.state, checkpoint=Checkpoint(2, label("checkpoint"), ZERO_HASH)
        )
        case.refuse(case.proof(), "not above the last checkpoint")


class TestApprovals:
    def refuse(self, case, approval, reason, error=InvalidTransaction):
        case.refuse(case.proof(approvals=(approval,)), reason, error)

    def test_of_another_block(self, case):
        tx = case.approvals[1]
        other = replace(tx, data=replace(tx.data, block=label("other")), witnesses=())
        self.refuse(case, case.honest.sign(other, 1).encoded, "not an approval of the block")

    def test_a_rejection(self, case):
        tx = case.approvals[1]
        honest = replace(tx, data=replace(tx.data, approved=False), witnesses=())
        self.refuse(case, case.honest.sign(honest, 1).encoded, "not an approval of the block")

    def test_another_transaction(self, case):
        self.refuse(case, case.honest.fund(1, Transfer()).encoded, "not an approval of the block")

    def test_signed_by_somebody_else(self, case):
        forged = case.honest.sign(replace(case.approvals[1], witnesses=()), PROVER)
        self.refuse(case, forged.encoded, "not signed by the verifier", InvalidProof)

    def test_with_the_verifiers_key_and_no_signature_of_it(self, case):
        tx = case.approvals[1]
        forged = replace(tx, witnesses=(Witness(public(1), tx.witnesses[0].signature[:-1] + b"\x01"),))
        self.refuse(case, forged.encoded, "signature", InvalidProof)

    def test_without_witnesses(self, case):
        bare = replace(case.approvals[1], witnesses=())
        self.refuse(case, bare.encoded, "not signed by the verifier", InvalidProof)

    def test_of_a_ticket_that_verifies_nothing(self, case):
        tx = case.approvals[1]
        other = replace(
            tx, data=replace(tx.data, ticket=case.honest.tickets("supervisor", 1)[0]), witnesses=()
        )
        self.refuse(case, case.honest.sign(other, 1).encoded, "no verifier of this chain", InvalidTicket)

    def test_of_an_unknown_ticket(self, case):
        tx = case.approvals[1]
        other = replace(tx, data=replace(tx.data, ticket=Outpoint(ZERO_HASH, 9)), witnesses=())
        self.refuse(case, case.honest.sign(other, 1).encoded, "no verifier of this chain", InvalidTicket)

    def test_junk(self, case):
        self.refuse(case, b"junk", "malformed|CBOR|array", InvalidInput)

    def test_one_that_is_too_large(self, case):
        self.refuse(case, bytes(VERIFY_REVEAL_SIZE_MAX + 1), "larger than 2048 bytes")

    def test_twice(self, case):
        shown = case.approvals[1].encoded
        case.refuse(case.proof(approvals=(shown, shown)), "accused twice")

    def test_more_than_fit(self, case):
        many = (bytes(VERIFY_REVEAL_SIZE_MAX),) * 12
        case.refuse(case.proof(approvals=many), f"data is larger than {FRAUD_PROOF_SIZE_MAX} bytes")


def test_nobody_reveals_so_much_that_it_does_not_fit_into_a_proof(case):
    """Or a bribed verifier would be safe."""
    chain = case.honest
    for _ in range(30):
        chain.post(1, outputs=(Pay(10_000, key_hash(1)),))
    small = [o for v, o in chain.coins(1) if v == 10_000]
    reveal = VerifyReveal(case.false.hash, chain.verifier(1), ZERO_HASH, True, ZERO_HASH)
    tx = chain.sign(Transaction(1, tuple(small), (), reveal), 1)
    with pytest.raises(InvalidTransaction, match=f"larger than {VERIFY_REVEAL_SIZE_MAX} bytes"):
        chain.add(tx)


def test_the_approvals_of_as_many_verifiers_as_can_be_drawn_fit(case):
    assert case.honest.params.verifiers_per_block_max * VERIFY_REVEAL_SIZE_MAX < FRAUD_PROOF_SIZE_MAX
    proof = case.proof(approvals=(bytes(VERIFY_REVEAL_SIZE_MAX),) * 10)
    assert len(record.encode_tagged(proof)) <= FRAUD_PROOF_SIZE_MAX
