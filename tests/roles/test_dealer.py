"""Target: a supervisor deals, confirms what fits, accuses who lied to it, and never deals twice."""

from dataclasses import replace

import pytest

from p2pai.chain import dkg, keying
from p2pai.chain.state import Stage
from p2pai.chain.supervision import DkgComplaint, DkgDeal, DkgSuccessful, TwoDeals, WrongShare
from p2pai.effects import Verdict
from p2pai.primitives import record
from p2pai.primitives.ids import Hash32
from p2pai.roles.dealer import DealSeen, own_share
from tests.chain.ledger import SUPERVISORS, Chain, flip, keys, secret_share
from tests.roles.lone import Lone

US, OTHER, THIRD = SUPERVISORS


@pytest.fixture
def chain():
    return Chain()


def begin(chain):
    """Bring a task to the making of its key; return it."""
    task_id = chain.submit()
    chain.join_all(task_id)
    chain.mine_until(chain.task(task_id).since + chain.params.join_blocks)
    assert chain.task(task_id).stage is Stage.KEYING
    return task_id


def ticket_of(chain, task_id, account):
    return chain.tickets("supervisor", account, task=task_id)[0]


def ours(lone, kind, task_id):
    return [tx.data for tx in lone.posted(kind) if tx.data.task == task_id]


def deal_of(chain, task_id, account, **changes):
    return chain.deal(task_id, ticket_of(chain, task_id, account), **changes)


def spoilt(chain, task_id, account, victim):
    """Return a deal whose share for a victim does not fit; the dealer's own proofs hold."""
    ticket = ticket_of(chain, task_id, account)
    part = keying.dealer_context(chain.task(task_id).keying, ticket)
    honest = chain.deal(task_id, ticket).deal
    place = chain.task(task_id).keying.members.index(ticket_of(chain, task_id, victim))
    shares = list(honest.shares)
    shares[place] = Hash32(flip(shares[place]))
    bad = replace(honest, shares=tuple(shares))
    # Prove the knowledge of the point again, over the changed deal.
    bad = reproven(bad, part, chain, task_id, account)
    return chain.signed_deal(task_id, ticket, bad)


def reproven(deal, part, chain, task_id, account):
    receivers = keying.receivers(chain.pool, chain.task(task_id).keying)
    ephemeral = ephemeral_of(keys(account).bls, part, receivers)
    return replace(deal, knowledge=dkg.ecvrf.prove(ephemeral, dkg.digest(deal, part)))


def ephemeral_of(seed, part, receivers):
    """Derive a dealer's ephemeral secret as `make_deal` does for a fresh secret of two thirds."""
    threshold = (2 * len(receivers) + 2) // 3
    terms = (part, threshold.to_bytes(4, "big"), b"", *receivers)
    return dkg.tagged_hash("p2pai/dkg/ephemeral", seed, *terms)


class TestDealing:
    def test_it_deals_once_what_the_ledger_takes(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        lone.wait(5_000)
        (data,) = ours(lone, DkgDeal, task_id)
        assert data.ticket == ticket_of(chain, task_id, US)
        lone.hand_over()
        lone.mine()
        assert [d.ticket for d in chain.task(task_id).keying.dealt] == [data.ticket]

    def test_after_a_restart_it_deals_the_same(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        (first,) = ours(lone, DkgDeal, task_id)
        blank = Lone(chain, US, ("supervisor",))
        (second,) = ours(blank, DkgDeal, task_id)
        assert first == second

    def test_it_confirms_when_everybody_has_dealt(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        lone.hand_over()
        chain.post(OTHER, deal_of(chain, task_id, OTHER))
        lone.mine()
        assert ours(lone, DkgSuccessful, task_id) == []
        chain.post(THIRD, deal_of(chain, task_id, THIRD))
        lone.mine()
        (confirmed,) = ours(lone, DkgSuccessful, task_id)
        assert confirmed.key == chain.task(task_id).keying.committee.key

    def test_the_last_confirmation_starts_the_record(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        lone.hand_over()
        for account in (OTHER, THIRD):
            chain.post(account, deal_of(chain, task_id, account))
        lone.mine()
        lone.hand_over()
        for account in (OTHER, THIRD):
            chain.post(account, chain.confirm(task_id, ticket_of(chain, task_id, account)))
        lone.mine()
        assert chain.task(task_id).stage is Stage.TRAINING
        assert task_id in lone.role()._recorders

    def test_a_share_of_a_committee_is_opened_from_its_transcript(self, chain):
        task_id = chain.start()
        made = chain.task(task_id).committee
        for index, ticket in enumerate(made.members, 1):
            own = keys(chain.account(ticket))
            assert own_share(made, own, ticket) == secret_share(made, index, own)
        assert own_share(made, keys(9), made.members[0]) is None


class TestAccusing:
    def test_a_wrong_share_is_opened_for_all(self, chain):
        task_id = begin(chain)
        chain.post(OTHER, spoilt(chain, task_id, OTHER, US))
        chain.mine()
        lone = Lone(chain, US, ("supervisor",))
        (complaint,) = ours(lone, DkgComplaint, task_id)
        assert isinstance(complaint.evidence, WrongShare)
        liar = ticket_of(chain, task_id, OTHER)
        lone.hand_over()
        lone.mine()
        assert chain.state.tasks[task_id].expelled == (liar,)

    def test_somebody_elses_wrong_share_is_not_ours_to_accuse(self, chain):
        task_id = begin(chain)
        chain.post(OTHER, spoilt(chain, task_id, OTHER, THIRD))
        chain.mine()
        lone = Lone(chain, US, ("supervisor",))
        assert ours(lone, DkgComplaint, task_id) == []

    def test_two_deals_of_one_dealer_are_shown_to_all(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        other = deal_of(chain, task_id, OTHER, seed=bytes(32))
        lone.hear("dkg", seen(chain, task_id, other), THIRD, task_id)
        chain.post(OTHER, deal_of(chain, task_id, OTHER))
        lone.mine()
        (complaint,) = ours(lone, DkgComplaint, task_id)
        assert isinstance(complaint.evidence, TwoDeals)
        liar = ticket_of(chain, task_id, OTHER)
        lone.hand_over()
        lone.mine()
        assert chain.state.tasks[task_id].expelled == (liar,)

    def test_members_tell_each_other_what_they_saw(self, chain):
        task_id = begin(chain)
        data = deal_of(chain, task_id, OTHER)
        chain.post(OTHER, data)
        chain.mine()
        lone = Lone(chain, US, ("supervisor",))
        assert seen(chain, task_id, data) in lone.take("dkg")


def seen(chain, task_id, data):
    part = keying.dealer_context(chain.task(task_id).keying, data.ticket)
    said = DealSeen(data.attempt, data.ticket, dkg.digest(data.deal, part), data.signature)
    return record.encode(said)


class TestHearing:
    def test_what_was_seen_must_be_signed_by_its_dealer(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        data = deal_of(chain, task_id, OTHER)
        forged = replace(data, ticket=ticket_of(chain, task_id, THIRD))
        assert lone.hear("dkg", seen(chain, task_id, forged), OTHER, task_id).verdict is Verdict.REJECT
        assert lone.hear("dkg", seen(chain, task_id, data), THIRD, task_id).verdict is Verdict.ACCEPT

    def test_only_members_are_heard(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        data = deal_of(chain, task_id, OTHER)
        assert lone.hear("dkg", seen(chain, task_id, data), 8, task_id).verdict is Verdict.IGNORE

    def test_garbage_is_refused(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        assert lone.hear("dkg", b"garbage", OTHER, task_id).verdict is Verdict.REJECT

    def test_another_attempt_is_left_alone(self, chain):
        task_id = begin(chain)
        lone = Lone(chain, US, ("supervisor",))
        data = replace(deal_of(chain, task_id, OTHER), attempt=7)
        assert lone.hear("dkg", seen(chain, task_id, data), OTHER, task_id).verdict is Verdict.IGNORE
