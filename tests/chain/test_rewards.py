"""Targets: every division gives away exactly what there is, and does not depend on any order."""

import itertools
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.params import Params
from p2pai.chain.rewards import block_payouts, owner_of, split, task_payouts
from p2pai.chain.state import Finding, Revealed
from p2pai.chain.task import Reward
from p2pai.chain.transaction import Conclusion, Pay
from p2pai.primitives.ids import BlobId
from tests.chain.ledger import EVALUATORS, MINERS, SUPERVISORS, VERIFIERS, Chain, key_hash, label

shares = st.dictionaries(st.text(max_size=3), st.integers(0, 10**6), min_size=1, max_size=30)
amounts = st.integers(0, 2**62)


class TestSplit:
    def test_remainder_goes_to_the_largest_share(self):
        assert split(100, {"a": 1, "b": 2}) == {"a": 33, "b": 67}
        assert split(10, {"a": 3, "b": 3, "c": 3}) == {"a": 4, "b": 3, "c": 3}
        assert split(5, {"c": 1, "b": 1, "a": 0}) == {"a": 0, "b": 3, "c": 2}

    def test_without_any_weight_all_are_equal(self):
        assert split(7, {"a": 0, "b": 0}) == {"a": 4, "b": 3}

    def test_nothing_is_divided_into_nothings(self):
        assert split(0, {"a": 1, "b": 5}) == {"a": 0, "b": 0}

    @given(amounts, shares)
    def test_sums_exactly(self, total, weights):
        parts = split(total, weights)
        assert sum(parts.values()) == total
        assert min(parts.values()) >= 0
        assert set(parts) == set(weights)

    @given(amounts, shares, st.randoms(use_true_random=False))
    def test_does_not_depend_on_order(self, total, weights, random):
        rows = list(weights.items())
        random.shuffle(rows)
        again = split(total, dict(rows))
        assert again == split(total, weights)
        assert list(again) == list(split(total, weights)) == sorted(weights)

    @given(amounts, shares)
    def test_is_within_the_remainder_of_the_exact_share(self, total, weights):
        parts, whole = split(total, weights), sum(weights.values())
        for key, part in parts.items():
            if whole:
                assert 0 <= part * whole - total * weights[key] + whole <= whole * (len(weights) + 1)

    @given(amounts, shares)
    def test_gives_more_to_a_larger_share(self, total, weights):
        parts = split(total, weights)
        ordered = sorted(weights, key=weights.__getitem__)
        assert all(parts[a] <= parts[b] + len(weights) for a, b in itertools.pairwise(ordered))

    @pytest.mark.parametrize(("total", "weights"), [(1, {}), (-1, {"a": 1}), (1, {"a": -1})])
    def test_impossible_divisions_are_our_own_bugs(self, total, weights):
        with pytest.raises(AssertionError):
            split(total, weights)


@pytest.fixture(scope="module")
def trained():
    """A chain and a task that waits for its conclusion."""
    chain = Chain()
    task_id = chain.start()
    chain.end_training(task_id)
    return chain, chain.task(task_id)


CONCLUSION = Conclusion((300, 200, 100), 360, BlobId(label("best")))


def concluded(chain, task, accounts, conclusion=CONCLUSION, fee=None, reward=None):
    task_id = next(i for i, t in chain.state.tasks.items() if t == task)
    findings = tuple(Finding(chain.evaluator(task_id, a), conclusion) for a in accounts)
    definition = replace(task.definition, reward=reward or task.definition.reward)
    return replace(task, fee=fee or task.fee, findings=findings, definition=definition)


def received(pays, accounts):
    return [sum(p.value for p in pays if p.key_hash == key_hash(a)) for a in accounts]


class TestTask:
    def test_the_fee_is_paid_by_the_scheme(self, trained):
        chain, task = trained
        pays = task_payouts(chain.state, concluded(chain, task, EVALUATORS), CONCLUSION)
        by_rank = dict(zip(task.miners, CONCLUSION.scores, strict=True))
        scores = [by_rank[chain.tickets("miner", a, task=chain_task(chain, task))[0]] for a in MINERS]
        assert received(pays, MINERS) == [700_000 * s // 600 + (s == 300) * 1 for s in scores]
        # 15 % each for supervising and evaluating, among the same three accounts; remainders are none
        assert received(pays, SUPERVISORS) == [100_000] * 3

    def test_only_evaluators_who_agree_are_paid(self, trained):
        chain, task = trained
        pays = task_payouts(chain.state, concluded(chain, task, EVALUATORS[:2]), CONCLUSION)
        assert received(pays, EVALUATORS) == [125_000, 125_000, 50_000]

    def test_a_finding_that_differs_is_not_paid(self, trained):
        chain, task = trained
        agreed = concluded(chain, task, EVALUATORS[:2])
        odd = concluded(chain, task, EVALUATORS[2:], replace(CONCLUSION, samples=361)).findings
        pays = task_payouts(chain.state, replace(agreed, findings=agreed.findings + odd), CONCLUSION)
        assert received(pays, EVALUATORS) == [125_000, 125_000, 50_000]

    def test_miners_without_a_right_answer_share_equally(self, trained):
        chain, task = trained
        none = replace(CONCLUSION, scores=(0, 0, 0))
        pays = task_payouts(chain.state, concluded(chain, task, EVALUATORS, none), none)
        assert sorted(received(pays, MINERS)) == [233_333, 233_333, 233_334]

    def test_a_miner_without_a_right_answer_gets_nothing(self, trained):
        chain, task = trained
        one = replace(CONCLUSION, scores=(0, 5, 0))
        pays = task_payouts(chain.state, concluded(chain, task, EVALUATORS, one), one)
        assert sorted(received(pays, MINERS)) == [0, 0, 700_000]
        assert all(pay.value for pay in pays)

    @given(
        fee=st.integers(1, 2**62),
        scores=st.tuples(*[st.integers(0, 360)] * 3),
        scheme=st.tuples(st.integers(0, 100), st.integers(0, 100)),
        agreeing=st.integers(1, 3),
    )
    def test_all_payouts_sum_to_the_fee(self, trained, fee, scores, scheme, agreeing):
        chain, task = trained
        miners, supervisors = min(scheme), max(scheme) - min(scheme)
        reward = Reward(miners, supervisors, 100 - miners - supervisors)
        conclusion = replace(CONCLUSION, scores=scores)
        task = concluded(chain, task, EVALUATORS[:agreeing], conclusion, fee, reward)
        pays = task_payouts(chain.state, task, conclusion)
        assert sum(pay.value for pay in pays) == fee
        assert all(pay.value > 0 for pay in pays)


def chain_task(chain, task):
    return next(i for i, t in chain.state.tasks.items() if t == task)


@pytest.fixture(scope="module")
def mined():
    """A chain and the verification of its block."""
    chain = Chain()
    block = chain.mine()
    return chain, chain.state.verifications[block.hash]


def with_approvals(chain, verification, approvals, rejections=0):
    tickets = [chain.verifier(a) for a in VERIFIERS[: approvals + rejections]]
    reveals = tuple(Revealed(t, i < approvals) for i, t in enumerate(tickets))
    return replace(verification, reveals=reveals)


class TestBlock:
    @pytest.mark.parametrize("approvals", [0, 1, 2, 3])
    def test_the_subsidy_is_in_proportion_to_the_approvals(self, mined, approvals):
        chain, verification = mined
        pays = block_payouts(chain.state, with_approvals(chain, verification, approvals), chain.params)
        assert sum(p.value for p in pays) == 15_000_000_000 * approvals // 3

    def test_a_rejection_is_no_approval(self, mined):
        chain, verification = mined
        pays = block_payouts(chain.state, with_approvals(chain, verification, 1, 2), chain.params)
        assert sum(p.value for p in pays) == 5_000_000_000
        # A tenth to the one who approved; the supervisors' tenth is divided among the same accounts.
        approver, *others = received(pays, VERIFIERS)
        assert 666_666_666 <= approver <= 666_666_668
        assert all(166_666_666 <= value <= 166_666_668 for value in others)

    def test_shares_of_a_predefined_tasks_block(self, mined):
        chain, verification = mined
        pays = block_payouts(chain.state, with_approvals(chain, verification, 3), chain.params)
        assert received(pays, MINERS[:1]) == [12_000_000_000]
        assert received(pays, VERIFIERS) == [1_000_000_000] * 3

    def test_supervisors_of_a_paid_task_are_paid_by_its_fee(self, mined):
        chain, verification = mined
        paid = replace(with_approvals(chain, verification, 3), supervisors=())
        pays = block_payouts(chain.state, paid, chain.params)
        assert received(pays, MINERS[:1]) == [13_500_000_000]
        assert received(pays, VERIFIERS) == [500_000_000] * 3

    def test_a_block_without_verifiers_pays_nothing(self, mined):
        chain, verification = mined
        assert block_payouts(chain.state, replace(verification, verifiers=()), chain.params) == ()

    @pytest.mark.parametrize("subsidy", [0, 1, 2, 7, 10, 11])
    def test_tiny_subsidies_make_no_empty_outputs(self, mined, subsidy):
        chain, verification = mined
        params = replace(chain.params, subsidy_atoms=subsidy)
        pays = block_payouts(chain.state, with_approvals(chain, verification, 3), params)
        assert sum(p.value for p in pays) == subsidy
        assert all(p.value > 0 for p in pays)

    @given(
        subsidy=st.integers(0, 2**50),
        approvals=st.integers(0, 3),
        verifiers=st.integers(0, 50),
        supervisors=st.integers(0, 50),
    )
    def test_shares_sum_to_the_approved_part(self, mined, subsidy, approvals, verifiers, supervisors):
        chain, verification = mined
        params = replace(
            Params(),
            subsidy_atoms=subsidy,
            verifier_share_percent=verifiers,
            supervisor_share_percent=supervisors,
        )
        pays = block_payouts(chain.state, with_approvals(chain, verification, approvals), params)
        assert sum(p.value for p in pays) == subsidy * approvals // 3


def test_a_ticket_is_paid_to_its_owner(mined):
    chain, _ = mined
    assert owner_of(chain.state, chain.verifier(2)) == key_hash(2)


def test_payouts_do_not_depend_on_the_order_of_reveals(mined):
    chain, verification = mined
    shuffled = list(with_approvals(chain, verification, 3).reveals)
    Random(1).shuffle(shuffled)
    one = block_payouts(chain.state, with_approvals(chain, verification, 3), chain.params)
    assert one == block_payouts(chain.state, replace(verification, reveals=tuple(shuffled)), chain.params)
    assert all(isinstance(pay, Pay) for pay in one)
