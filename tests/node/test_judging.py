"""Targets: a block is replayed once, whoever asks; what can't be replayed is left alone for a while."""

import pytest

from p2pai import jobs
from p2pai.node.judging import PAUSE_MS, REPLAYS_MAX, RETRY_MS, TRIES_MAX
from p2pai.roles.replaying import VerdictReached
from tests.chain.ledger import MINERS, Chain
from tests.roles.capsules import capsule, false_end, give_parts, judge, made_up, replay
from tests.roles.lone import Lone


@pytest.fixture
def chain():
    return made_up()


@pytest.fixture
def node(chain):
    return Lone(chain, 7, ("peer",))


def last(chain):
    return chain.blocks[-1].hash


def fail(node):
    for part in list(node.fetches):
        node.fetched(part)


def test_who_asks_twice_gets_one_replay(node, chain):
    judge(node, last(chain))
    asked = list(node.fetches)
    judge(node, last(chain))
    judge(node, last(chain), accused=True)
    assert list(node.fetches) == asked
    give_parts(node, capsule(chain))
    assert len(node.jobs) == 1


def test_what_it_gave_is_durable_before_it_counts_and_is_not_asked_for_again(node, chain):
    judge(node, last(chain))
    give_parts(node, capsule(chain))
    node.hold_disk = True
    replayed, found = false_end(capsule(chain))
    node.trained(replayed)
    assert last(chain) not in node.core.judged
    node.hold_disk = False
    node.write()
    judgement = node.core.judged[last(chain)]
    assert (judgement.height, judgement.found, judgement.reason) == (1, found, "metric loss differs")
    assert judgement.ticket == chain.blocks[-1].work_proof.ticket
    judge(node, last(chain))
    assert (node.fetches, node.jobs) == ({}, [])


def test_a_restart_forgets_nothing(node, chain):
    judge(node, last(chain))
    replay(node, chain)
    (noted,) = node.records(VerdictReached)
    again = node.again()
    assert again.core.judged == {last(chain): noted.judgement}
    judge(again, last(chain))
    assert again.fetches == {}


def test_a_capsule_that_is_nowhere_is_left_alone_for_a_while(node, chain):
    judge(node, last(chain))
    for _ in range(TRIES_MAX):
        assert node.fetches != {}
        fail(node)
        node.wait(RETRY_MS)
    judge(node, last(chain))
    assert node.fetches == {}
    node.wait(PAUSE_MS)
    judge(node, last(chain))
    assert node.fetches != {}


def test_a_trainer_that_fails_says_nothing(node, chain):
    judge(node, last(chain))
    give_parts(node, capsule(chain))
    node.trained(jobs.Failed("out of memory"))
    assert node.core.judged == {}


def test_so_many_at_once_and_no_more():
    chain = Chain()
    for i in range(REPLAYS_MAX + 3):
        made_up(chain=chain, iteration=7 + i)
    node = Lone(chain, 7, ("peer",))
    for block in chain.blocks:
        node.core.judge(block.hash)
    assert len(node.core.judging.open) == REPLAYS_MAX


@pytest.mark.parametrize("accused", [False, True])
def test_a_block_of_another_branch_matters_only_if_somebody_accuses_it(chain, accused):
    other = Chain(chain.spec)
    other.mine_until(2, miner=MINERS[1])
    node = Lone(chain, 7, ("peer",))
    for block in other.blocks:
        node.connect(block)
    assert not node.core.is_best(last(chain))
    judge(node, last(chain), accused=accused)
    assert bool(node.fetches) == accused
