"""Target: who leads follows from the slot, and only a supervisor's own signature is a vote."""

import pytest

from p2pai.chain import committee
from p2pai.chain.committee import HistoryStatement
from p2pai.chain.params import SLOTS_PER_TERM
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.ids import Outpoint
from p2pai.roles.seat import Seat
from p2pai.roles.slots import SlotSignature
from tests.chain.ledger import MINERS, SUPERVISORS, Chain, flip, keys, label, public
from tests.roles.lone import Lone, iteration, statement_of, supervisors_of


@pytest.fixture(scope="module")
def chain():
    return Chain()


def seat_of(chain, account, task=None):
    lone = Lone(chain, account, ("peer",))
    task_id = task or chain.predefined
    return Seat(lone.core, task_id, chain.tickets("supervisor", account, task=task_id)[0]), lone


@pytest.fixture(scope="module")
def seats(chain):
    """One per supervisor, in the order of the committee."""
    return [seat_of(chain, account)[0] for account in supervisors_of(chain)]


@pytest.fixture
def statement(chain):
    return statement_of(chain, 5, [iteration(chain, MINERS[0], 0)])


def test_everybody_knows_its_place(seats):
    assert [seat.index for seat in seats] == [0, 1, 2]


@pytest.mark.parametrize("term", range(7))
def test_leaders_take_turns_term_by_term(seats, term):
    for slot in (term * SLOTS_PER_TERM, (term + 1) * SLOTS_PER_TERM - 1):
        assert [seat.leads(slot) for seat in seats] == [i == term % 3 for i in range(3)]


def test_all_agree_on_the_leaders_key(chain, seats):
    accounts = supervisors_of(chain)
    for slot in (0, SLOTS_PER_TERM, 2 * SLOTS_PER_TERM, 3 * SLOTS_PER_TERM + 5):
        leader = public(accounts[slot // SLOTS_PER_TERM % 3])
        assert [seat.leader_key(slot) for seat in seats] == [leader] * 3


class TestVotes:
    def test_a_supervisors_signature_is_its_vote(self, chain, seats, statement):
        for index, (voter, account) in enumerate(zip(seats, supervisors_of(chain), strict=True)):
            signature = voter.sign(statement)
            for counter in seats:
                assert counter.check_vote(public(account), voter.ticket, statement, signature) == index

    def test_votes_make_a_certificate_that_holds(self, chain, seats, statement):
        certificate = committee.combine({s.index: s.sign(statement) for s in seats[1:]})
        committee.verify(statement, certificate, [chain.state.tickets[s.ticket].bls_key for s in seats])

    def test_a_stranger_has_no_vote(self, chain, seats, statement):
        stranger = MINERS[0]
        own = chain.tickets("miner", stranger, task=chain.predefined)[0]
        signature = committee.sign(keys(stranger).bls, statement)
        for ticket in (own, Outpoint(label("no ticket"), 0), seats[1].ticket):
            with pytest.raises(InvalidMessage, match="not a supervisor of the task"):
                seats[0].check_vote(public(stranger), ticket, statement, signature)

    def test_a_supervisor_of_nothing_has_no_vote(self, chain, seats, statement):
        account = supervisors_of(chain)[1]
        free = chain.tickets("supervisor", account)[0]
        with pytest.raises(InvalidMessage, match="not a supervisor of the task"):
            seats[0].check_vote(public(account), free, statement, seats[1].sign(statement))

    def test_nobody_votes_for_another(self, chain, seats, statement):
        accounts = supervisors_of(chain)
        with pytest.raises(InvalidMessage, match="not a supervisor of the task"):
            seats[0].check_vote(public(accounts[2]), seats[1].ticket, statement, seats[1].sign(statement))

    def test_a_vote_for_something_else_is_none(self, chain, seats, statement):
        account = supervisors_of(chain)[1]
        others = (
            statement_of(chain, 6, [iteration(chain, MINERS[0], 0)]),
            statement_of(chain, 5, [iteration(chain, MINERS[0], 1)]),
            HistoryStatement(chain.predefined, 0, 5, statement.root, None),
        )
        for other in others:
            with pytest.raises(InvalidProof):
                seats[0].check_vote(public(account), seats[1].ticket, statement, seats[1].sign(other))

    def test_a_changed_signature_is_no_vote(self, chain, seats, statement):
        account = supervisors_of(chain)[1]
        signature = seats[1].sign(statement)
        for changed in (flip(signature, 9), flip(signature, 700), bytes(96), seats[2].sign(statement)):
            with pytest.raises(InvalidProof):
                seats[0].check_vote(public(account), seats[1].ticket, statement, changed)


def test_a_task_of_a_clients_has_seats_of_its_own():
    chain = Chain()
    task = chain.start()
    seats = [seat_of(chain, account, task)[0] for account in supervisors_of(chain, task)]
    assert [seat.index for seat in seats] == [0, 1, 2]
    assert [seat.leads(0) for seat in seats] == [True, False, False]
    assert {seat.ticket for seat in seats}.isdisjoint(chain.state.tasks[chain.predefined].supervisors)


def test_what_is_said_goes_to_the_committee(chain, statement):
    seat, lone = seat_of(chain, SUPERVISORS[0])
    said = SlotSignature(statement, seat.ticket, seat.sign(statement))
    seat.say(said)
    for effect in lone.core.take_effects():
        lone._perform(effect)
    assert lone.take_said() == [said]
