"""Targets: the quorum is the least number of at least two thirds; the subsidy halves on schedule."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.params import (
    BLOCK_SIZE_MAX,
    IT_RES_SIZE_MAX,
    Params,
    quorum,
    subsidy,
)


def test_known_quorums():
    assert [quorum(n) for n in range(1, 11)] == [1, 2, 2, 3, 4, 4, 5, 6, 6, 7]


@given(st.integers(1, 10**6))
def test_a_quorum_is_the_least_two_thirds(members):
    assert 3 * quorum(members) >= 2 * members
    assert 3 * (quorum(members) - 1) < 2 * members


@given(st.integers(1, 1000))
def test_two_quorums_share_more_than_a_third(members):
    assert 3 * (2 * quorum(members) - members) >= members


def test_the_subsidy_halves():
    params = Params()
    assert subsidy(params, 0) == subsidy(params, 1_049_999) == 150 * 10**8
    assert subsidy(params, 1_050_000) == 75 * 10**8
    assert subsidy(params, 33 * 1_050_000) == 1
    assert subsidy(params, 34 * 1_050_000) == 0
    assert subsidy(params, 10**12) == 0


def test_a_network_without_halving():
    params = replace(Params(), halving_blocks=0)
    assert subsidy(params, 10**12) == params.subsidy_atoms


def test_a_work_proof_of_three_whole_messages_leaves_room_for_transactions():
    assert BLOCK_SIZE_MAX - 3 * IT_RES_SIZE_MAX >= 48 * 1024
