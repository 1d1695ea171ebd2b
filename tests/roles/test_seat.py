"""Target: who leads follows from slot and view, and only members' own shares and signatures count."""

from dataclasses import replace

import pytest

from p2pai.chain import committee
from p2pai.chain.committee import HistoryStatement, PreparedStatement
from p2pai.chain.params import SLOTS_PER_TERM
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.ids import Outpoint
from p2pai.roles.seat import take_seat
from tests.chain.ledger import MINERS, Chain, flip, keys, label, public
from tests.roles.lone import Lone, iteration, statement_of, supervisors_of


@pytest.fixture(scope="module")
def chain():
    return Chain()


def seat_of(chain, account, task=None):
    lone = Lone(chain, account, ("peer",))
    task_id = task or chain.predefined
    return take_seat(lone.core, task_id, chain.tickets("supervisor", account, task=task_id)[0])


@pytest.fixture(scope="module")
def seats(chain):
    """One per supervisor, in the order of the committee."""
    return [seat_of(chain, account) for account in supervisors_of(chain)]


@pytest.fixture
def statement(chain):
    return statement_of(chain, 5, [iteration(chain, MINERS[0], 0)])


def test_everybody_knows_its_place(chain, seats):
    assert [seat.member for seat in seats] == [1, 2, 3]
    owners = tuple(public(account) for account in supervisors_of(chain))
    assert all(seat.owners == owners for seat in seats)
    assert {(seat.size, seat.threshold) for seat in seats} == {(3, 2)}


@pytest.mark.parametrize("epoch", range(7))
@pytest.mark.parametrize("view", range(4))
def test_leaders_take_turns_by_term_and_view(chain, seats, epoch, view):
    accounts = supervisors_of(chain)
    for seat in seats:
        assert seat.leader(epoch, view) == 1 + (epoch + view) % 3
        assert seat.leader_key(epoch, view) == public(accounts[(epoch + view) % 3])


def test_a_secret_is_not_shown(seats):
    for seat in seats:
        assert repr(seat.secret) not in repr(seat)
        assert repr(seat.spending) not in repr(seat)


def test_who_is_no_member_has_no_seat(chain):
    lone = Lone(chain, MINERS[0], ("peer",))
    assert take_seat(lone.core, chain.predefined, Outpoint(label("no ticket"), 0)) is None
    miner = chain.tickets("miner", MINERS[0], task=chain.predefined)[0]
    assert take_seat(lone.core, chain.predefined, miner) is None


class TestShares:
    def test_a_members_share_is_its_vote(self, seats, statement):
        for voter in seats:
            for counter in seats:
                counter.check_share(statement, voter.member, voter.share(statement))

    def test_any_threshold_of_shares_gives_the_same_certificate(self, chain, seats, statement):
        shares = {seat.member: seat.share(statement) for seat in seats}
        made = {seats[0].combine({m: s for m, s in shares.items() if m != left_out}) for left_out in range(4)}
        (certificate,) = made
        seats[0].check(statement, certificate)
        committee.verify(statement, certificate, chain.task(chain.predefined).committee.key)

    def test_nobody_votes_for_another(self, seats, statement):
        for member in (1, 3):
            with pytest.raises(InvalidProof):
                seats[0].check_share(statement, member, seats[1].share(statement))
        for member in (0, 4, 2**64 - 1):
            with pytest.raises(InvalidMessage, match="no such member"):
                seats[0].check_share(statement, member, seats[1].share(statement))

    def test_a_vote_for_something_else_is_none(self, chain, seats, statement):
        others = (
            replace(statement, slot=6),
            replace(statement, view=1),
            replace(statement, root=label("other")),
            PreparedStatement(statement),
            HistoryStatement(chain.predefined, 0, 5, statement.root, None),
        )
        for other in others:
            with pytest.raises(InvalidProof):
                seats[0].check_share(statement, 2, seats[1].share(other))

    def test_a_changed_share_is_no_vote(self, seats, statement):
        share = seats[1].share(statement)
        for changed in (flip(share, 9), flip(share, 700), bytes(96), seats[2].share(statement)):
            with pytest.raises(InvalidProof):
                seats[0].check_share(statement, 2, changed)

    def test_one_share_is_no_certificate(self, seats, statement):
        for seat in seats:
            with pytest.raises(InvalidProof):
                seat.check(statement, seat.share(statement))


class TestSignatures:
    DIGEST = label("digest")

    def test_a_member_signs_with_its_spending_key(self, seats):
        for signer in seats:
            for reader in seats:
                reader.check_signed(signer.member, self.DIGEST, signer.sign(self.DIGEST))

    def test_anything_else_is_refused(self, seats):
        signature = seats[1].sign(self.DIGEST)
        for member, digest, signed in (
            (1, self.DIGEST, signature),
            (2, label("other"), signature),
            (2, self.DIGEST, flip(signature, 200)),
        ):
            with pytest.raises(InvalidProof):
                seats[0].check_signed(member, digest, signed)
        for member in (0, 4):
            with pytest.raises(InvalidMessage, match="no such member"):
                seats[0].check_signed(member, self.DIGEST, signature)


def test_a_task_of_a_clients_has_seats_of_its_own():
    chain = Chain()
    task = chain.start()
    seats = [seat_of(chain, account, task) for account in supervisors_of(chain, task)]
    assert [seat.member for seat in seats] == [1, 2, 3]
    assert [seat.leader(0, 0) for seat in seats] == [1, 1, 1]
    statement = statement_of(chain, SLOTS_PER_TERM, [iteration(chain, MINERS[0], 0)], task)
    shares = {seat.member: seat.share(statement) for seat in seats[1:]}
    seats[0].check(statement, seats[0].combine(shares))
    other = chain.task(chain.predefined).committee
    with pytest.raises(InvalidProof):
        committee.verify(statement, seats[0].combine(shares), other.key)
    assert [s.spending for s in seats] == [keys(a).spending for a in supervisors_of(chain, task)]
