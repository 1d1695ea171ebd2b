"""Target: our own transactions are said until they are on the chain, and outlast the loss of a block."""

from dataclasses import dataclass

from p2pai.node.posted import REFUSALS_MAX, Posted
from p2pai.primitives.errors import InvalidInput, Unavailable
from tests.chain.ledger import label


@dataclass(frozen=True)
class Tx:
    txid: bytes


A, B = Tx(label("a")), Tx(label("b"))


def refuse(*refused, error=InvalidInput):
    def admit(tx):
        if tx in refused:
            raise error("no")

    return admit


def waiting():
    posted = Posted()
    posted.take(A)
    posted.take(B)
    return posted


def test_what_waits_is_said_each_turn():
    posted = waiting()
    assert [list(posted.turn(refuse())) for _ in range(3)] == [[A, B]] * 3


def test_what_is_refused_for_a_while_only_is_not_forgotten():
    posted = waiting()
    for _ in range(REFUSALS_MAX - 1):
        assert list(posted.turn(refuse(A))) == [B]
    assert list(posted.turn(refuse())) == [A, B]
    assert list(posted.turn(refuse(A))) == [B]
    assert A.txid in posted


def test_what_is_refused_for_long_is_given_up():
    posted = waiting()
    for _ in range(REFUSALS_MAX):
        list(posted.turn(refuse(A)))
    assert A.txid not in posted
    assert list(posted.turn(refuse())) == [B]


def test_what_waits_for_a_replay_is_kept_unsaid():
    posted = waiting()
    for _ in range(2 * REFUSALS_MAX):
        assert list(posted.turn(refuse(A, error=Unavailable))) == [B]
    assert A.txid in posted
