"""Targets: two thirds of equal conclusions pay the fee, exactly once; without them every coin comes back."""

from dataclasses import replace

import pytest

from p2pai.chain import evaluation, rewards, transition
from p2pai.chain.coins import is_locked
from p2pai.chain.state import Stage
from p2pai.chain.task_life import MALFORMED
from p2pai.chain.transaction import Conclusion, EvaluateCommit, EvaluateReveal, Pay, Witness
from p2pai.primitives.errors import InvalidTicket, InvalidTransaction
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Outpoint, TaskId
from tests.chain.ledger import (
    CLIENT,
    EVALUATORS,
    MINERS,
    SUPERVISORS,
    Chain,
    key_hash,
    label,
    public,
    refused,
)

PRICE = 10**9
GOOD = Conclusion((300, 200, 100), 360, BlobId(label("best")))
OTHER = replace(GOOD, model=BlobId(label("worst")))


@pytest.fixture
def chain():
    return Chain()


@pytest.fixture
def task_id(chain):
    task_id = chain.start()
    chain.end_training(task_id)
    return task_id


def refuse(chain, tx, reason, error=InvalidTransaction):
    with pytest.raises(error, match=reason):
        transition.apply_transaction(chain.pool, tx, chain.params)


def commit(chain, task_id, *accounts, conclusion=GOOD):
    for account in accounts:
        chain.post(account, chain.conclude(task_id, account, conclusion))


def reveal(chain, task_id, *accounts, conclusion=GOOD):
    for account in accounts:
        chain.post(account, chain.open_conclusion(task_id, account, conclusion))


def pass_blocks(chain, count):
    chain.mine_until(chain.height + count)


def paid_evaluators(chain, task_id):
    """Return the accounts of the evaluators that a charge would pay now."""
    rows = rewards.task_shares(chain.task(task_id), GOOD)
    return {chain.account(ticket) for role, ticket, _ in rows if role == "evaluator"}


class TestCommit:
    def test_is_recorded(self, chain, task_id):
        commit(chain, task_id, *EVALUATORS)
        chain.mine()
        assert [s.ticket for s in chain.task(task_id).commits] == [
            chain.evaluator(task_id, a) for a in EVALUATORS
        ]

    def test_twice(self, chain, task_id):
        commit(chain, task_id, 1)
        refuse(chain, chain.fund(1, chain.conclude(task_id, 1, OTHER)), "the conclusion is already committed")

    def test_of_an_unknown_task(self, chain, task_id):
        data = replace(chain.conclude(task_id, 1, GOOD), task=TaskId(label("none")))
        refuse(chain, chain.fund(1, data), "the task is not being evaluated")

    def test_while_it_trains(self, chain):
        task_id = chain.start()
        refuse(chain, chain.fund(1, chain.conclude(task_id, 1, GOOD)), "the task is not being evaluated")

    def test_with_a_ticket_that_does_not_evaluate(self, chain, task_id):
        ticket = chain.tickets("supervisor", 1, task=task_id)[0]
        data = replace(chain.conclude(task_id, 1, GOOD), ticket=ticket)
        refuse(chain, chain.fund(1, data), "the ticket is not an evaluator of this task")

    def test_with_somebody_elses_ticket(self, chain, task_id):
        refuse(chain, chain.fund(2, chain.conclude(task_id, 1, GOOD)), "another key", InvalidTicket)

    def test_in_the_last_block_for_commits_and_no_later(self, chain, task_id):
        pass_blocks(chain, chain.params.evaluate_commit_blocks - 1)
        commit(chain, task_id, 1)
        chain.mine()
        assert len(chain.task(task_id).commits) == 1
        refuse(chain, chain.fund(2, chain.conclude(task_id, 2, GOOD)), "the commits of this round are closed")

    @pytest.mark.parametrize("change", ["ticket", "task", "conclusion", "salt"])
    def test_hides_and_binds_every_part(self, chain, task_id, change):
        parts = {
            "ticket": chain.evaluator(task_id, 1),
            "task": task_id,
            "conclusion": GOOD,
            "salt": label("salt"),
        }
        other = {
            "ticket": chain.evaluator(task_id, 2),
            "task": TaskId(label("other")),
            "conclusion": OTHER,
            "salt": label("other"),
        }
        one = evaluation.commitment(*parts.values())
        assert evaluation.commitment(*{**parts, change: other[change]}.values()) != one


class TestReveal:
    def test_of_two_equal_conclusions_concludes(self, chain, task_id):
        commit(chain, task_id, *EVALUATORS)
        reveal(chain, task_id, 1)
        assert chain.task(task_id).conclusion is None
        reveal(chain, task_id, 2)
        assert chain.task(task_id).conclusion == GOOD
        chain.mine()
        assert chain.task(task_id).stage is Stage.EVALUATING

    def test_of_a_third_that_differs_changes_nothing(self, chain, task_id):
        commit(chain, task_id, 1, 2)
        commit(chain, task_id, 3, conclusion=OTHER)
        reveal(chain, task_id, 3, conclusion=OTHER)
        reveal(chain, task_id, 1, 2)
        assert chain.task(task_id).conclusion == GOOD
        assert len(chain.task(task_id).findings) == 3

    def test_while_commits_are_open(self, chain, task_id):
        commit(chain, task_id, 1, 2)
        refuse(chain, chain.fund(1, chain.open_conclusion(task_id, 1, GOOD)), "this round are still open")

    def test_without_everybody_after_the_commits_closed(self, chain, task_id):
        commit(chain, task_id, 1, 2)
        pass_blocks(chain, chain.params.evaluate_commit_blocks)
        reveal(chain, task_id, 1, 2)
        assert chain.task(task_id).conclusion == GOOD

    def test_twice(self, chain, task_id):
        commit(chain, task_id, *EVALUATORS)
        reveal(chain, task_id, 1)
        again = chain.fund(1, chain.open_conclusion(task_id, 1, GOOD))
        refuse(chain, again, "the conclusion is already revealed")

    @pytest.mark.parametrize(
        "changes",
        [
            {"conclusion": OTHER},
            {"conclusion": replace(GOOD, scores=(301, 200, 100))},
            {"conclusion": replace(GOOD, samples=361)},
            {"salt": label("other")},
        ],
    )
    def test_of_something_else_than_committed(self, chain, task_id, changes):
        commit(chain, task_id, *EVALUATORS)
        data = replace(chain.open_conclusion(task_id, 1, GOOD), **changes)
        refuse(chain, chain.fund(1, data), "the conclusion is not the one committed")

    def test_of_another_evaluators_commitment(self, chain, task_id):
        stolen = chain.conclude(task_id, 1, GOOD)
        chain.post(1, stolen)
        chain.post(2, replace(stolen, ticket=chain.evaluator(task_id, 2)))
        commit(chain, task_id, 3)
        copied = replace(chain.open_conclusion(task_id, 1, GOOD), ticket=chain.evaluator(task_id, 2))
        refuse(chain, chain.fund(2, copied), "the conclusion is not the one committed")

    @pytest.mark.parametrize(
        ("conclusion", "reason"),
        [
            (replace(GOOD, scores=(1, 2)), "a conclusion scores every miner"),
            (replace(GOOD, scores=(1, 2, 3, 4)), "a conclusion scores every miner"),
            (replace(GOOD, samples=0, scores=(0, 0, 0)), "a conclusion counts the test samples"),
            (replace(GOOD, samples=1798), "a conclusion counts the test samples"),
            (replace(GOOD, scores=(1 << 32, 0, 0)), "a score has 32 bits"),
            (replace(MALFORMED, samples=1), "without scores says nothing else"),
            (replace(MALFORMED, model=GOOD.model), "without scores says nothing else"),
        ],
    )
    def test_of_a_malformed_conclusion(self, chain, task_id, conclusion, reason):
        commit(chain, task_id, *EVALUATORS, conclusion=conclusion)
        refuse(chain, chain.fund(1, chain.open_conclusion(task_id, 1, conclusion)), reason)


class TestCharge:
    def test_pays_the_fee_and_frees_every_stake(self, chain, task_id):
        workers = [t for _, group in chain.task(task_id).workers() for t in group]
        chain.evaluate(task_id)
        chain.add(chain.charge(task_id))
        block = chain.mine()
        task, tx = chain.task(task_id), block.transactions[-1]
        assert task.stage is Stage.PAID
        assert sum(o.value for o in tx.outputs) == task.fee
        assert {o.key_hash for o in tx.outputs} == {key_hash(a) for a in (*MINERS, *SUPERVISORS)}
        assert task.stake not in chain.state.utxos
        assert not any(t in chain.state.tickets for t in workers)
        assert not any(is_locked(chain.state, t) for t in workers)
        chain.check_supply()

    def test_workers_spend_their_stakes_afterwards(self, chain, task_id):
        owners = {
            t: next(a for a in range(10) if chain.state.tickets[t].owner == public(a))
            for _, group in chain.task(task_id).workers()
            for t in group
        }
        chain.evaluate(task_id)
        chain.add(chain.charge(task_id))
        chain.mine()
        for ticket, account in owners.items():
            pay = Pay(chain.state.utxos[ticket].value, key_hash(account))
            tx = replace(chain.fund(account), inputs=(ticket,), outputs=(pay,), witnesses=())
            chain.add(chain.sign(tx, account))
        chain.mine()
        chain.check_supply()

    def test_names_the_best_model(self, chain, task_id):
        chain.evaluate(task_id)
        assert chain.charge(task_id).data.result == f"RESULT:{task_id.hex()}:{GOOD.model.hex()}"

    def test_happens_once(self, chain, task_id):
        chain.evaluate(task_id)
        tx = chain.add(chain.charge(task_id))
        refuse(chain, tx, "the task has no conclusion to be paid by")
        chain.mine()
        refuse(chain, tx, "the task has no conclusion to be paid by")

    def test_needs_a_conclusion(self, chain, task_id):
        other = chain.fork()
        other.evaluate(task_id)
        tx = other.charge(task_id)
        refuse(chain, tx, "the task has no conclusion to be paid by")
        commit(chain, task_id, *EVALUATORS)
        reveal(chain, task_id, 1)
        refuse(chain, tx, "the task has no conclusion to be paid by")

    @pytest.mark.parametrize(
        "change", ["more", "less", "other", "reordered", "none", "result", "version", "task"]
    )
    def test_pays_exactly_what_the_conclusion_implies(self, chain, task_id, change):
        chain.evaluate(task_id)
        tx = chain.charge(task_id)
        first, *rest = tx.outputs
        changed = {
            "more": {"outputs": (replace(first, value=first.value + 1), *rest)},
            "less": {"outputs": (replace(first, value=first.value - 1), *rest)},
            "other": {"outputs": (replace(first, key_hash=key_hash(9)), *rest)},
            "reordered": {"outputs": (*rest, first)},
            "none": {"outputs": ()},
            "result": {"data": replace(tx.data, result="RESULT:mine")},
            "version": {"version": 2},
            "task": {"data": replace(tx.data, task=chain.predefined)},
        }[change]
        reason = {"version": "version 2", "task": "no conclusion"}.get(
            change, "not those of the agreed conclusion"
        )
        refuse(chain, replace(tx, **changed), reason)

    def test_spends_nothing_else(self, chain, task_id):
        chain.evaluate(task_id)
        tx = chain.charge(task_id)
        coin = chain.coins(CLIENT)[0][1]
        reason = "not those of the agreed conclusion"
        refuse(chain, replace(tx, inputs=(coin,)), reason)
        refuse(chain, replace(tx, inputs=(*tx.inputs, coin)), reason)

    def test_carries_no_ballast(self, chain, task_id):
        chain.evaluate(task_id)
        ballast = replace(chain.charge(task_id), witnesses=(Witness(public(9), bytes(30_000)),))
        refuse(chain, ballast, "not those of the agreed conclusion")

    def test_cannot_be_replaced_by_a_payment_of_the_client(self, chain, task_id):
        chain.evaluate(task_id)
        pay = Pay(10, key_hash(CLIENT))
        tx = replace(chain.fund(CLIENT), inputs=(Outpoint(task_id, 0),), outputs=(pay,), witnesses=())
        refuse(chain, chain.sign(tx, CLIENT), "a stake that is still locked")

    def test_waits_for_those_who_may_reveal_still(self, chain, task_id):
        """Or who is slower than a quorum would work for nothing, at the will of a block's miner."""
        commit(chain, task_id, *EVALUATORS)
        reveal(chain, task_id, 1, 2)
        early = chain.charge(task_id)
        refuse(chain, early, "other evaluators may reveal their conclusions still")
        refused(chain, chain.draft(transactions=[*chain.queue, early]), "may reveal their conclusions still")
        chain.mine()
        refuse(chain, early, "other evaluators may reveal their conclusions still")
        reveal(chain, task_id, 3)
        refuse(chain, early, "not those of the agreed conclusion")
        assert paid_evaluators(chain, task_id) == set(EVALUATORS)
        chain.add(chain.charge(task_id))
        chain.mine()
        assert chain.task(task_id).stage is Stage.PAID
        chain.check_supply()

    @pytest.mark.parametrize("absent", ["commit", "reveal"])
    def test_waits_for_the_silent_as_long_as_they_may_reveal(self, chain, task_id, absent):
        since, params = chain.task(task_id).since, chain.params
        commit(chain, task_id, 1, 2, *((3,) if absent == "reveal" else ()))
        chain.mine_until(since + params.evaluate_commit_blocks)
        reveal(chain, task_id, 1, 2)
        chain.mine()
        last = since + params.evaluate_commit_blocks + params.evaluate_reveal_blocks
        while chain.height < last:
            refuse(chain, chain.charge(task_id), "other evaluators may reveal their conclusions still")
            chain.mine()
        assert chain.task(task_id).stage is Stage.EVALUATING
        tx = chain.add(chain.charge(task_id))
        chain.mine()
        assert chain.task(task_id).stage is Stage.PAID
        assert sum(o.value for o in tx.outputs) == chain.task(task_id).fee
        chain.check_supply()

    def test_who_reveals_in_the_last_block_of_the_window_is_paid(self, chain, task_id):
        params = chain.params
        last = chain.task(task_id).since + params.evaluate_commit_blocks + params.evaluate_reveal_blocks
        commit(chain, task_id, *EVALUATORS)
        reveal(chain, task_id, 1, 2)
        chain.mine_until(last - 1)
        reveal(chain, task_id, 3)
        chain.mine()
        assert chain.height == last
        assert paid_evaluators(chain, task_id) == set(EVALUATORS)
        chain.add(chain.charge(task_id))

    def test_one_who_found_something_else_is_waited_for_and_paid_nothing(self, chain, task_id):
        commit(chain, task_id, 1, 2)
        commit(chain, task_id, 3, conclusion=OTHER)
        reveal(chain, task_id, 1, 2)
        refuse(chain, chain.charge(task_id), "other evaluators may reveal their conclusions still")
        reveal(chain, task_id, 3, conclusion=OTHER)
        assert paid_evaluators(chain, task_id) == {1, 2}
        chain.add(chain.charge(task_id))

    def test_is_refused_in_a_block_before_the_conclusion(self, chain, task_id):
        other = chain.fork()
        other.evaluate(task_id)
        refused(chain, chain.draft(transactions=[other.charge(task_id)]), "no conclusion to be paid by")


class TestDeadlines:
    ROUND = 8
    """Blocks: four to commit, four to reveal."""

    def test_silence_ends_the_round_and_then_the_task(self, chain, task_id):
        since = chain.task(task_id).since
        for number in range(3):
            assert (chain.task(task_id).round, chain.task(task_id).since) == (number, since + 8 * number)
            pass_blocks(chain, self.ROUND - 1)
            assert chain.task(task_id).round == number
            chain.mine()
        assert chain.task(task_id).stage is Stage.FAILED
        assert not is_locked(chain.state, Outpoint(task_id, 0))
        # Nobody else was there, so the same three kept silent three times.
        assert chain.state.burned == 3 * PRICE * (10**3 - 9**3) // 10**3
        pay = Pay(chain.task(task_id).fee, key_hash(CLIENT))
        tx = replace(chain.fund(CLIENT), inputs=(Outpoint(task_id, 0),), outputs=(pay,), witnesses=())
        chain.add(chain.sign(tx, CLIENT))
        chain.mine()
        chain.check_supply()

    def test_disagreement_starts_another_round(self, chain, task_id):
        conclusions = [replace(GOOD, scores=(i, 0, 0)) for i in range(3)]
        for account, conclusion in zip(EVALUATORS, conclusions, strict=True):
            commit(chain, task_id, account, conclusion=conclusion)
        for account, conclusion in zip(EVALUATORS, conclusions, strict=True):
            reveal(chain, task_id, account, conclusion=conclusion)
        pass_blocks(chain, self.ROUND)
        task = chain.task(task_id)
        assert (task.stage, task.round, task.commits, task.findings) == (Stage.EVALUATING, 1, (), ())
        assert chain.state.burned == task.captured == 0
        chain.evaluate(task_id)
        chain.add(chain.charge(task_id))
        chain.mine()
        assert chain.task(task_id).stage is Stage.PAID
        chain.check_supply()

    @pytest.mark.parametrize("revealed", [0, 1])
    def test_a_conclusion_kept_back_costs_a_tenth_of_the_stake(self, chain, task_id, revealed):
        commit(chain, task_id, *EVALUATORS)
        reveal(chain, task_id, *EVALUATORS[:revealed])
        stakes = [chain.evaluator(task_id, a) for a in EVALUATORS]
        pass_blocks(chain, self.ROUND)
        price = chain.params.ticket_price_atoms
        values = [chain.state.utxos[s].value for s in stakes]
        assert values == [price] * revealed + [price * 9 // 10] * (3 - revealed)
        assert chain.state.burned == (3 - revealed) * price // 10
        chain.check_supply()

    def test_each_round_costs_again(self, chain, task_id):
        stake = chain.evaluator(task_id, 1)
        for _ in range(3):
            commit(chain, task_id, 1)
            pass_blocks(chain, self.ROUND)
        assert chain.task(task_id).stage is Stage.FAILED
        assert chain.state.utxos[stake].value == 10**9 * 9**3 // 10**3
        assert not is_locked(chain.state, stake)
        chain.check_supply()

    def test_a_reveal_in_the_last_block_of_the_round_counts(self, chain, task_id):
        commit(chain, task_id, *EVALUATORS)
        pass_blocks(chain, self.ROUND - 1)
        reveal(chain, task_id, *EVALUATORS)
        chain.mine()
        assert chain.task(task_id).round == 0
        assert chain.task(task_id).conclusion == GOOD

    def test_a_concluded_task_waits_for_its_charge_which_anybody_can_post(self, chain, task_id):
        chain.evaluate(task_id)
        pass_blocks(chain, 4 * self.ROUND)
        assert chain.task(task_id).stage is Stage.EVALUATING
        chain.add(chain.charge(task_id))
        chain.mine()
        assert chain.task(task_id).stage is Stage.PAID


class TestSilence:
    """Who was drawn and stays away loses a tenth of its stake to those who work."""

    @pytest.mark.parametrize("absent", ["commit", "reveal"])
    def test_costs_a_tenth_which_is_paid_out_in_the_end(self, chain, task_id, absent):
        quiet = chain.evaluator(task_id, 3)
        commit(chain, task_id, 1, 2, *((3,) if absent == "reveal" else ()))
        pass_blocks(chain, 4)
        reveal(chain, task_id, 1)
        pass_blocks(chain, 4)
        task = chain.task(task_id)
        silent = [t for t in task.evaluators if t != chain.evaluator(task_id, 1)]
        assert quiet in silent
        assert task.captured == chain.state.burned == 2 * PRICE // 10
        assert [chain.state.utxos[t].value for t in silent] == [PRICE * 9 // 10] * 2
        assert chain.state.utxos[chain.evaluator(task_id, 1)].value == PRICE
        chain.evaluate(task_id)
        tx = chain.add(chain.charge(task_id))
        chain.mine()
        assert sum(o.value for o in tx.outputs) == task.fee + 2 * PRICE // 10
        assert chain.state.burned == 0
        chain.check_supply()

    def test_of_a_task_that_fails_is_burned(self, chain, task_id):
        fee = chain.task(task_id).fee
        pass_blocks(chain, 24)
        task = chain.task(task_id)
        assert (task.stage, task.fee) == (Stage.FAILED, fee)
        assert task.captured == chain.state.burned > 0
        assert not any(t.task == task_id for t in chain.state.tickets.values())
        chain.check_supply()


class TestScores:
    def test_a_miner_without_a_model_loses_a_tenth(self, chain, task_id):
        lazy = chain.task(task_id).miners[1]
        owner = chain.state.tickets[lazy].key_hash
        found = replace(GOOD, scores=(300, 0, 100))
        chain.evaluate(task_id, found)
        task = chain.task(task_id)
        assert task.captured == chain.pool.burned == PRICE // 10
        tx = chain.add(chain.charge(task_id))
        chain.mine()
        assert sum(o.value for o in tx.outputs) == task.fee + PRICE // 10
        assert owner not in [o.key_hash for o in tx.outputs]
        assert chain.state.utxos[lazy].value == PRICE * 9 // 10
        assert not is_locked(chain.state, lazy)
        assert chain.state.burned == 0
        chain.check_supply()

    def test_others_lose_nothing(self, chain, task_id):
        chain.evaluate(task_id, replace(GOOD, scores=(1, 2**32 - 1, 1)))
        assert chain.task(task_id).captured == 0

    def test_it_is_lost_once(self, chain, task_id):
        """A reveal after the agreement does not conclude again."""
        found = replace(GOOD, scores=(300, 0, 100))
        chain.evaluate(task_id, found)
        assert len(chain.task(task_id).findings) == 3
        assert chain.task(task_id).captured == PRICE // 10

    def test_of_one_evaluator_cost_nothing(self, chain, task_id):
        found = replace(GOOD, scores=(0, 0, 0))
        commit(chain, task_id, *EVALUATORS, conclusion=found)
        reveal(chain, task_id, 1, conclusion=found)
        assert chain.task(task_id).captured == 0


class TestRounds:
    """Without an agreement others are drawn, by the hash of the block that ends the round."""

    @pytest.fixture
    def task_id(self, chain):
        """A task in evaluation; six more evaluators' tickets are there since it was posted."""
        task_id = chain.start()
        for account in (7, 8, 9):
            chain.add(chain.buy(account, "evaluator", count=2))
        chain.end_training(task_id)
        return task_id

    def test_others_take_over(self, chain, task_id):
        first = chain.task(task_id).evaluators
        pass_blocks(chain, 7)
        assert chain.task(task_id).evaluators == first
        chain.mine()
        task = chain.task(task_id)
        assert (task.round, task.since, len(task.evaluators)) == (1, chain.height, 3)
        assert not set(task.evaluators) & set(first)
        assert task.evaluators == tuple(sorted(task.evaluators))
        assert all(chain.state.tickets[t].task == task_id for t in task.evaluators)
        assert all(chain.state.tickets[t].task is None for t in first)
        others = [t for a in (7, 8, 9) for t in chain.tickets("evaluator", a)]
        assert len(others) == 3
        assert all(is_locked(chain.state, t) for t in first)

    def test_they_are_those_that_the_block_draws(self, chain, task_id):
        pass_blocks(chain, 7)
        before = chain.task(task_id)
        chain.mine()
        free = {t for a in (7, 8, 9) for t in chain.tickets("evaluator", a)}
        seed = tagged_hash("p2pai/evaluators", chain.state.tip, task_id)
        candidates = sorted([*free, *chain.task(task_id).evaluators])
        assert len(candidates) == 6
        ranked = sorted(candidates, key=lambda t: tagged_hash("p2pai/sortition", seed, t.encode()))
        assert chain.task(task_id).evaluators == tuple(sorted(ranked[:3]))
        assert not set(before.evaluators) & set(candidates)

    def test_the_old_ones_have_no_say(self, chain, task_id):
        late = chain.conclude(task_id, 1, GOOD)
        pass_blocks(chain, 8)
        refuse(chain, chain.fund(1, late), "the ticket is not an evaluator of this task")

    def test_the_new_ones_conclude_and_are_paid(self, chain, task_id):
        pass_blocks(chain, 8)
        task = chain.task(task_id)
        for ticket in task.evaluators:
            sealed = evaluation.commitment(ticket, task_id, GOOD, label("salt"))
            chain.post(chain.account(ticket), EvaluateCommit(task_id, ticket, sealed))
        for ticket in task.evaluators:
            chain.post(chain.account(ticket), EvaluateReveal(task_id, ticket, GOOD, label("salt")))
        rows = rewards.task_shares(chain.task(task_id), GOOD)
        assert {t for role, t, _ in rows if role == "evaluator"} == set(task.evaluators)
        chain.add(chain.charge(task_id))
        chain.mine()
        assert chain.task(task_id).stage is Stage.PAID
        assert chain.state.burned == 0
        assert not any(t.task == task_id for t in chain.state.tickets.values())
        # The first three were free before the end: their tickets live on, with what is left of the stakes.
        assert [chain.state.utxos[chain.tickets("evaluator", a)[0]].value for a in EVALUATORS] == [
            PRICE * 9 // 10
        ] * 3
        chain.check_supply()

    def test_with_fewer_than_three_others_the_same_stay(self, chain, task_id):
        rows = chain.state.tickets
        for ticket in [t for a in (7, 8, 9) for t in chain.tickets("evaluator", a)][2:]:
            rows = rows.set(ticket, replace(rows[ticket], task=chain.predefined))
        chain.state = chain.pool = replace(chain.state, tickets=rows)
        first = chain.task(task_id).evaluators
        pass_blocks(chain, 8)
        assert (chain.task(task_id).round, chain.task(task_id).evaluators) == (1, first)
        assert chain.task(task_id).captured == 3 * PRICE // 10

    def test_the_last_round_draws_nobody(self, chain, task_id):
        pass_blocks(chain, 24)
        assert chain.task(task_id).stage is Stage.FAILED
        assert not any(t.task == task_id for t in chain.state.tickets.values())
        chain.check_supply()


class TestMalformed:
    def test_a_conclusion_without_scores_confiscates_the_fee(self, chain, task_id):
        commit(chain, task_id, 1, 2, conclusion=MALFORMED)
        commit(chain, task_id, 3)
        reveal(chain, task_id, 1, 2, conclusion=MALFORMED)
        task = chain.task(task_id)
        assert task.conclusion == MALFORMED
        assert task.captured == 0
        reveal(chain, task_id, 3)
        tx = chain.charge(task_id)
        assert tx.data.result == f"MALFORMED:{task_id.hex()}"
        rows = rewards.task_shares(chain.task(task_id), MALFORMED)
        agreed = {chain.evaluator(task_id, a) for a in (1, 2)}
        assert {t for role, t, _ in rows if role == "evaluator"} == agreed
        chain.add(tx)
        chain.mine()
        assert chain.task(task_id).stage is Stage.MALFORMED
        assert sum(o.value for o in tx.outputs) == task.fee
        assert key_hash(CLIENT) not in [o.key_hash for o in tx.outputs]
        miners = [sum(o.value for o in tx.outputs if o.key_hash == key_hash(a)) for a in MINERS]
        assert sorted(miners) == [233_333, 233_333, 233_334]
        assert Outpoint(task_id, 0) not in chain.state.utxos
        chain.check_supply()

    def test_one_evaluator_alone_confiscates_nothing(self, chain, task_id):
        commit(chain, task_id, 1, conclusion=MALFORMED)
        commit(chain, task_id, 2, 3)
        reveal(chain, task_id, 1, conclusion=MALFORMED)
        assert chain.task(task_id).conclusion is None
        reveal(chain, task_id, 2, 3)
        assert chain.task(task_id).conclusion == GOOD
