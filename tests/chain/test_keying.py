"""Targets: the supervisors get a key, or the chain names who prevented it; the honest never lose anything."""

from dataclasses import replace
from itertools import combinations
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pai.chain import committee, dkg, keying, rewards, transition
from p2pai.chain.coins import is_locked
from p2pai.chain.committee import HistoryStatement, SlotStatement
from p2pai.chain.dkg import Accusation
from p2pai.chain.params import quorum
from p2pai.chain.rewards import split
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Stage
from p2pai.chain.supervision import DkgSuccessful, MessageHistory, WrongShare
from p2pai.chain.task_life import MALFORMED
from p2pai.chain.transaction import ROLES, Conclusion, Pay
from p2pai.primitives import bls, ecdsa
from p2pai.primitives.errors import (
    InvalidMessage,
    InvalidProof,
    InvalidTicket,
    InvalidTransaction,
)
from p2pai.primitives.ids import BlobId, Outpoint
from tests.chain.assembly import LIARS, PRICE, Assembly, Conduct, Play
from tests.chain.ledger import CLIENT, flip, key_hash, keys, label, refused, secret_share


def refuse(chain, ticket, data, reason, error=InvalidTransaction):
    """Check that something said is invalid, and changes nothing."""
    before = snapshot_id(chain.pool)
    with pytest.raises(error, match=reason):
        transition.apply_transaction(chain.pool, chain.fund(chain.account(ticket), data), chain.params)
    assert snapshot_id(chain.pool) == before


def deal_all(chain, *absent):
    for ticket in chain.now.keying.dealers:
        if ticket not in absent:
            chain.say(ticket, chain.deal(chain.task_id, ticket))


def confirm_all(chain, *absent):
    for ticket in chain.members:
        if ticket not in absent:
            chain.say(ticket, chain.confirm(chain.task_id, ticket))


def certificate(chain, made, statement, places):
    """Sign with the shares of members of any committee, old or new."""
    members = {i: made.members[i - 1] for i in places}
    shares = {i: secret_share(made, i, chain.own_keys(m)) for i, m in members.items()}
    return committee.combine({i: committee.sign(share, statement) for i, share in shares.items()})


def check_committee(chain, made):
    """Check that any t members sign under the group key, and no fewer."""
    statement = SlotStatement(chain.task_id, 0, 0, 9, label("root"))
    count = len(made.members)
    assert made.threshold == quorum(count)
    places = list(combinations(range(1, count + 1), made.threshold))
    for chosen in (places[0], places[-1]):
        committee.verify(statement, certificate(chain, made, statement, chosen), made.key)
    few = certificate(chain, made, statement, range(1, made.threshold))
    with pytest.raises(InvalidProof):
        committee.verify(statement, few, made.key)
    for i, (member, key) in enumerate(zip(made.members, made.shares, strict=True), 1):
        assert bls.public_key(secret_share(made, i, chain.own_keys(member))) == key


class TestHonest:
    @pytest.mark.parametrize("count", [3, 4, 7])
    def test_all_deal_and_confirm_and_training_begins(self, count):
        chain = Assembly.called(count)
        start = chain.height
        chain.make_key(chain.task_id)
        assert chain.now.stage is Stage.TRAINING
        chain.mine()
        assert chain.height == start + 1  # one block is enough for those who are quick
        task = chain.now
        assert (task.supervisors, task.keying, task.expelled) == (task.committee.members, None, ())
        assert task.committee.members == tuple(sorted(task.committee.members))
        assert not task.committee.renewed
        check_committee(chain, task.committee)
        chain.check_supply()

    def test_the_last_blocks_are_early_enough(self):
        chain = Assembly.called(3)
        window = chain.params.keying_blocks
        chain.mine_until(chain.height + window - 1)
        deal_all(chain)
        chain.mine()
        assert chain.now.keying.since == chain.height
        chain.mine_until(chain.height + window - 1)
        confirm_all(chain)
        chain.mine()
        assert chain.now.stage is Stage.TRAINING
        assert chain.now.expelled == ()

    def test_each_stage_of_an_attempt_is_on_record(self):
        chain = Assembly.called(3)
        first, second, third = chain.members
        attempt = chain.now.keying
        assert (attempt.attempt, attempt.since, attempt.dealers) == (0, chain.height, chain.members)
        chain.say(third, chain.deal(chain.task_id, third))
        chain.say(first, chain.deal(chain.task_id, first))
        chain.mine()
        assert [d.ticket for d in chain.now.keying.dealt] == [third, first]
        assert [d.index for d in chain.now.keying.dealt] == [3, 1]
        assert chain.now.keying.committee is None
        chain.say(second, chain.deal(chain.task_id, second))
        made = chain.now.keying.committee
        assert [d.index for d in made.dealt] == [1, 2, 3]
        chain.say(second, chain.confirm(chain.task_id, second))
        chain.mine()
        assert chain.now.keying.confirmed == (second,)
        assert chain.now.committee is None
        assert chain.now.stage is Stage.KEYING

    def test_the_key_is_another_for_every_task(self):
        chain = Assembly.training(3)
        assert chain.now.committee.key != chain.task(chain.predefined).committee.key

    def test_reserves_are_free_again(self):
        chain = Assembly.called(4, reserves=2)
        assert all(chain.state.tickets[r].task == chain.task_id for r in chain.now.reserves)
        chain.make_key(chain.task_id)
        chain.mine()
        assert all(chain.state.tickets[r].task is None for r in chain.now.reserves)


class TestDeal:
    @pytest.fixture
    def chain(self):
        return Assembly.called(4, reserves=1)

    def test_with_somebody_elses_ticket(self, chain):
        data = chain.deal(chain.task_id, chain.members[0])
        refuse(chain, chain.members[1], data, "the ticket belongs to another key", InvalidTicket)

    def test_by_a_reserve(self, chain):
        (reserve,) = chain.now.reserves
        data = replace(chain.deal(chain.task_id, chain.members[0]), ticket=reserve)
        refuse(chain, reserve, data, "the ticket has nothing to deal")

    @pytest.mark.parametrize("attempt", [1, 2**64 - 1])
    def test_for_another_attempt(self, chain, attempt):
        ticket = chain.members[0]
        data = replace(chain.deal(chain.task_id, ticket), attempt=attempt)
        refuse(chain, ticket, data, "not at this attempt at a key")

    def test_for_another_task(self, chain):
        ticket = chain.members[0]
        for task in (label("none"), chain.predefined):
            data = replace(chain.deal(chain.task_id, ticket), task=task)
            refuse(chain, ticket, data, "not at this attempt at a key")

    def test_twice(self, chain):
        ticket = chain.members[0]
        chain.say(ticket, chain.deal(chain.task_id, ticket))
        first = chain.now.keying.dealt
        refuse(chain, ticket, chain.second_deal(ticket), "the ticket has dealt already")
        assert chain.now.keying.dealt == first

    def test_after_all_have_dealt(self, chain):
        deal_all(chain)
        ticket = chain.members[0]
        refuse(chain, ticket, chain.second_deal(ticket), "the ticket has nothing to deal")

    def test_once_the_key_is_made(self, chain):
        late = chain.second_deal(chain.members[0])
        ticket = chain.members[0]
        chain.make_key(chain.task_id)
        refuse(chain, ticket, late, "not at this attempt at a key")

    def change(self, chain, ticket, **changes):
        deal = replace(chain.deal(chain.task_id, ticket).deal, **changes)
        return chain.signed_deal(chain.task_id, ticket, chain.proven(ticket, deal, chain.own_keys(ticket)))

    def test_that_its_dealer_signed_with_another_key(self, chain):
        ticket, other = chain.members[:2]
        data = chain.deal(chain.task_id, ticket)
        part = keying.dealer_context(chain.now.keying, ticket)
        digest = keying.deal_digest(part, dkg.digest(data.deal, part))
        forged = replace(data, signature=ecdsa.sign(chain.own_keys(other).spending, digest))
        refuse(chain, ticket, forged, "signature does not match", InvalidProof)

    def test_whose_signature_is_of_another_deal(self, chain):
        ticket = chain.members[0]
        data = replace(chain.deal(chain.task_id, ticket), signature=chain.second_deal(ticket).signature)
        refuse(chain, ticket, data, "signature does not match", InvalidProof)

    def test_without_possession_of_its_constant(self, chain):
        ticket = chain.members[0]
        other = chain.second_deal(ticket).deal.possession
        refuse(chain, ticket, self.change(chain, ticket, possession=other), "possession", InvalidProof)

    def test_without_knowledge_of_its_point(self, chain):
        ticket = chain.members[0]
        deal = chain.deal(chain.task_id, ticket).deal
        for knowledge in (flip(deal.knowledge, 300), chain.second_deal(ticket).deal.knowledge, b""):
            data = chain.signed_deal(chain.task_id, ticket, replace(deal, knowledge=knowledge))
            refuse(chain, ticket, data, "draw proof|not a point", InvalidProof)

    def test_with_another_dealers_point(self, chain):
        """An accusation would open the other's shares: nobody deals with a point it does not know."""
        victim, ticket = chain.members[:2]
        chain.say(victim, chain.deal(chain.task_id, victim))
        (dealt,) = chain.now.keying.dealt
        deal = replace(chain.deal(chain.task_id, ticket).deal, point=dealt.deal.point)
        for knowledge in (deal.knowledge, dealt.deal.knowledge):
            data = chain.signed_deal(chain.task_id, ticket, replace(deal, knowledge=knowledge))
            refuse(chain, ticket, data, "draw proof", InvalidProof)

    def test_of_another_dealer(self, chain):
        victim, ticket = chain.members[:2]
        stolen = chain.deal(chain.task_id, victim).deal
        refuse(chain, ticket, chain.signed_deal(chain.task_id, ticket, stolen), "draw proof", InvalidProof)

    def test_with_another_number_of_shares(self, chain):
        ticket = chain.members[0]
        shares = chain.deal(chain.task_id, ticket).deal.shares
        for wrong in ((), shares[:-1], (*shares, shares[0])):
            data = self.change(chain, ticket, shares=wrong)
            refuse(chain, ticket, data, "a deal has 4 shares", InvalidMessage)

    def test_with_another_threshold(self, chain):
        ticket = chain.members[0]
        terms = chain.deal(chain.task_id, ticket).deal.commitments
        for wrong in ((), terms[:-1], (*terms, terms[0])):
            data = self.change(chain, ticket, commitments=wrong)
            refuse(chain, ticket, data, "a deal has 3 commitments", InvalidMessage)

    def test_with_a_commitment_that_is_no_point(self, chain):
        ticket = chain.members[0]
        terms = chain.deal(chain.task_id, ticket).deal.commitments
        for bad in (bytes(48), bytes([0xC0]) + bytes(47)):
            data = self.change(chain, ticket, commitments=(*terms[:-1], bad))
            refuse(chain, ticket, data, "malformed|infinity", InvalidProof)

    def test_is_refused_in_a_block_too(self, chain):
        ticket = chain.members[0]
        data = self.change(chain, ticket, shares=())
        block = chain.draft(transactions=[chain.fund(chain.account(ticket), data)])
        refused(chain, block, "a deal has 4 shares")


class TestConfirmation:
    @pytest.fixture
    def chain(self):
        return Assembly.called(3, reserves=1)

    def test_before_everyone_has_dealt(self, chain):
        first, *_, last = chain.members
        deal_all(chain, last)
        data = DkgSuccessful(chain.task_id, 0, first, bls.public_key(keys(1).bls))
        refuse(chain, first, data, "not everybody has dealt yet")

    def test_of_another_key(self, chain):
        deal_all(chain)
        ticket = chain.members[0]
        data = chain.confirm(chain.task_id, ticket)
        for key in (bls.public_key(keys(1).bls), chain.now.keying.committee.shares[0], flip(data.key, 0)):
            refuse(chain, ticket, replace(data, key=key), "the key is not the one that the deals give")

    def test_with_somebody_elses_ticket(self, chain):
        deal_all(chain)
        data = chain.confirm(chain.task_id, chain.members[0])
        refuse(chain, chain.members[1], data, "the ticket belongs to another key", InvalidTicket)

    def test_by_a_reserve(self, chain):
        deal_all(chain)
        (reserve,) = chain.now.reserves
        data = chain.confirm(chain.task_id, reserve)
        refuse(chain, reserve, data, "the ticket has nothing to confirm")

    def test_for_another_attempt(self, chain):
        deal_all(chain)
        ticket = chain.members[0]
        data = replace(chain.confirm(chain.task_id, ticket), attempt=1)
        refuse(chain, ticket, data, "not at this attempt at a key")

    def test_twice(self, chain):
        deal_all(chain)
        ticket = chain.members[0]
        chain.say(ticket, chain.confirm(chain.task_id, ticket))
        refuse(chain, ticket, chain.confirm(chain.task_id, ticket), "the ticket has nothing to confirm")

    def test_of_an_attempt_that_is_over(self, chain):
        deal_all(chain)
        liar, ticket, dealer = chain.members
        old = chain.confirm(chain.task_id, ticket)
        chain.say(liar, chain.accuse(liar, dealer))
        refuse(chain, ticket, old, "not at this attempt at a key")


class TestLiars:
    @pytest.fixture
    def chain(self):
        return Assembly.called(4, reserves=2)

    def out(self, chain, liar, before, *honest):
        """Check that the liar alone is out, with all that it staked, and the others begin again."""
        task = chain.now
        assert task.expelled == (liar,)
        assert chain.stake(liar) == 0
        assert task.captured == PRICE
        assert (task.stage, task.keying.attempt, task.keying.since) == (Stage.KEYING, 1, chain.height + 1)
        assert task.keying.dealt == ()
        assert task.keying.committee is None
        assert set(task.keying.members) == (set(before.members) - {liar}) | {before_reserve(before, task)}
        assert task.keying.context != before.context
        assert all(chain.stake(h) == PRICE for h in honest)
        chain.mine()
        chain.check_supply()

    def finish(self, chain):
        chain.make_key(chain.task_id)
        chain.mine()
        assert chain.now.stage is Stage.TRAINING
        check_committee(chain, chain.now.committee)
        chain.check_supply()

    @pytest.mark.parametrize("confirming", [False, True])
    def test_a_wrong_share_expels_its_dealer(self, chain, confirming):
        attempt, (liar, victim, *others) = chain.now.keying, chain.members
        chain.say(liar, chain.wrong_deal(liar, {victim}))
        if confirming:
            deal_all(chain, liar)
            for other in others:
                chain.say(other, chain.confirm(chain.task_id, other))
        chain.say(victim, chain.accuse(victim, liar))
        self.out(chain, liar, attempt, victim, *others)
        self.finish(chain)

    @pytest.mark.parametrize("confirming", [False, True])
    def test_a_false_accuser_is_out_itself(self, chain, confirming):
        attempt, (liar, victim, *others) = chain.now.keying, chain.members
        chain.say(victim, chain.deal(chain.task_id, victim))
        if confirming:
            deal_all(chain, victim)
        chain.say(liar, chain.accuse(liar, victim))
        self.out(chain, liar, attempt, victim, *others)
        self.finish(chain)

    def test_who_got_a_right_share_of_a_wrong_deal_is_a_false_accuser(self, chain):
        attempt, (dealer, victim, liar, other) = chain.now.keying, chain.members
        chain.say(dealer, chain.wrong_deal(dealer, {victim}))
        chain.say(liar, chain.accuse(liar, dealer))
        self.out(chain, liar, attempt, dealer, victim, other)

    def test_two_signed_deals_expel_their_dealer(self, chain):
        attempt, (liar, *others) = chain.now.keying, chain.members
        first, second = chain.deal(chain.task_id, liar), chain.second_deal(liar)
        chain.say(liar, first)
        chain.say(others[0], chain.two_deals(others[0], first, second))
        self.out(chain, liar, attempt, *others)
        self.finish(chain)

    def test_two_signed_deals_of_which_the_chain_took_none(self, chain):
        attempt, (liar, *others) = chain.now.keying, chain.members
        evidence = chain.two_deals(others[0], chain.second_deal(liar), chain.deal(chain.task_id, liar))
        chain.say(others[0], evidence)
        self.out(chain, liar, attempt, *others)

    @pytest.mark.parametrize("bit", range(0, 80 * 8, 53))
    def test_a_tampered_accusation_is_nothing(self, chain, bit):
        liar, victim, *_ = chain.members
        chain.say(liar, chain.wrong_deal(liar, {victim}))
        good = chain.accuse(victim, liar)
        shown = good.evidence.accusation
        both = flip(shown.shared + shown.proof, bit)
        tampered = replace(good, evidence=WrongShare(liar, Accusation(both[:32], both[32:])))
        refuse(chain, victim, tampered, "shared point|not a point", InvalidProof)
        chain.say(victim, good)
        assert chain.now.expelled == (liar,)

    def test_an_accusation_by_proxy_is_nothing(self, chain):
        """What one member reveals accuses nobody in another's name, and no other dealer."""
        liar, victim, other, third = chain.members
        chain.say(liar, chain.wrong_deal(liar, {victim}))
        chain.say(third, chain.deal(chain.task_id, third))
        good = chain.accuse(victim, liar)
        refuse(chain, other, good, "the ticket belongs to another key", InvalidTicket)
        refuse(chain, other, replace(good, ticket=other), "shared point", InvalidProof)
        moved = replace(good.evidence, dealer=third)
        refuse(chain, victim, replace(good, evidence=moved), "shared point", InvalidProof)

    def test_an_accusation_of_an_attempt_before_is_nothing(self, chain):
        liar, victim, other, dealer = chain.members
        chain.say(victim, chain.deal(chain.task_id, victim))
        chain.say(dealer, chain.wrong_deal(dealer, {other}))
        old = chain.accuse(other, dealer)
        chain.say(liar, chain.accuse(liar, victim))
        refuse(chain, other, old, "not at this attempt at a key")
        chain.say(dealer, chain.deal(chain.task_id, dealer))
        refuse(chain, other, replace(old, attempt=1), "shared point", InvalidProof)

    def test_who_has_not_dealt_is_not_accused(self, chain):
        liar, victim, *_ = chain.members
        chain.say(liar, chain.wrong_deal(liar, {victim}))
        good = chain.accuse(victim, liar)
        for dealer in (victim, chain.now.reserves[0], Outpoint(label("none"), 0)):
            data = replace(good, evidence=replace(good.evidence, dealer=dealer))
            refuse(chain, victim, data, "the accused has not dealt")

    def test_a_reserve_accuses_nobody(self, chain):
        liar, victim, *_ = chain.members
        chain.say(liar, chain.wrong_deal(liar, {victim}))
        reserve = chain.now.reserves[0]
        data = replace(chain.accuse(victim, liar), ticket=reserve)
        refuse(chain, reserve, data, "the accuser is not a member")

    def test_one_deal_twice_is_no_evidence(self, chain):
        dealer, accuser, *_ = chain.members
        deal = chain.deal(chain.task_id, dealer)
        refuse(chain, accuser, chain.two_deals(accuser, deal, deal), "no two deals of a dealer")

    def test_deals_of_two_dealers_are_no_evidence(self, chain):
        dealer, other, accuser, _ = chain.members
        first, second = chain.deal(chain.task_id, dealer), chain.deal(chain.task_id, other)
        data = chain.two_deals(accuser, first, replace(second, ticket=dealer))
        refuse(chain, accuser, data, "signature does not match", InvalidProof)

    def test_deals_of_two_attempts_are_no_evidence(self, chain):
        dealer, victim, liar, accuser = chain.members
        old = chain.deal(chain.task_id, dealer)
        chain.say(victim, chain.deal(chain.task_id, victim))
        chain.say(liar, chain.accuse(liar, victim))
        data = chain.two_deals(accuser, old, chain.deal(chain.task_id, dealer))
        refuse(chain, accuser, data, "signature does not match", InvalidProof)

    def test_a_signed_payment_is_no_deal(self, chain):
        dealer, accuser, *_ = chain.members
        deal = chain.deal(chain.task_id, dealer)
        paid = chain.fund(chain.account(dealer)).witnesses[0].signature
        data = chain.two_deals(accuser, deal, replace(chain.second_deal(dealer), signature=paid))
        refuse(chain, accuser, data, "signature does not match", InvalidProof)

    def test_nobody_outside_the_attempt_has_signed_two_deals(self, chain):
        first, second = (chain.deal(chain.task_id, m) for m in chain.members[:2])
        reserve, accuser = chain.now.reserves[0], chain.members[2]
        data = chain.two_deals(accuser, replace(first, ticket=reserve), second)
        refuse(chain, accuser, data, "no two deals of a dealer of this attempt")

    def test_who_is_out_takes_no_part(self, chain):
        liar, victim, *_ = chain.members
        chain.say(victim, chain.deal(chain.task_id, victim))
        chain.say(liar, chain.accuse(liar, victim))
        chain.mine()
        data = replace(chain.deal(chain.task_id, victim), ticket=liar)
        refuse(chain, liar, data, "the ticket has nothing to deal")
        deal_all(chain)
        data = replace(chain.confirm(chain.task_id, victim), ticket=liar)
        refuse(chain, liar, data, "the ticket has nothing to confirm")
        data = replace(chain.accuse(chain.members[0], victim), ticket=liar)
        refuse(chain, liar, data, "the accuser is not a member")

    def test_two_liars_in_one_block(self, chain):
        one, two, *others = chain.members
        for liar, victim in ((one, others[0]), (two, others[1])):
            chain.say(victim, chain.deal(chain.task_id, victim))
            chain.say(liar, chain.accuse(liar, victim))
        chain.mine()
        assert set(chain.now.expelled) == {one, two}
        assert chain.now.reserves == ()
        assert len(chain.members) == 4
        assert chain.now.keying.attempt == 2
        self.finish(chain)


def before_reserve(before, task):
    """Return the member that was none before."""
    (fresh,) = set(task.keying.members) - set(before.members)
    return fresh


class TestSilence:
    def test_who_does_not_deal_is_out(self):
        chain = Assembly.called(3, reserves=1)
        silent, (reserve,) = chain.members[1], chain.now.reserves
        deal_all(chain, silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks - 1)
        assert chain.now.expelled == ()
        chain.mine()
        task = chain.now
        assert (task.expelled, task.captured, chain.state.burned) == ((silent,), PRICE // 10, PRICE // 10)
        assert chain.stake(silent) == PRICE * 9 // 10
        assert reserve in chain.members
        assert silent not in chain.members
        assert task.supervisors == chain.members == tuple(sorted(chain.members))
        assert task.keying.since == chain.height
        chain.make_key(chain.task_id)
        chain.mine()
        check_committee(chain, chain.now.committee)
        chain.check_supply()

    def test_who_does_not_confirm_is_out(self):
        chain = Assembly.called(3, reserves=1)
        silent = chain.members[2]
        deal_all(chain)
        confirm_all(chain, silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        assert chain.now.expelled == (silent,)
        assert chain.stake(silent) == PRICE * 9 // 10
        assert chain.now.keying.committee is None
        assert chain.now.keying.confirmed == ()
        chain.make_key(chain.task_id)
        chain.mine()
        check_committee(chain, chain.now.committee)

    def test_without_reserves_fewer_go_on(self):
        chain = Assembly.called(4)
        silent = chain.members[0]
        deal_all(chain, silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        assert len(chain.members) == 3
        chain.make_key(chain.task_id)
        chain.mine()
        assert chain.now.committee.threshold == 2
        check_committee(chain, chain.now.committee)

    @pytest.mark.parametrize("reserves", [0, 1])
    def test_too_few_left_fail_the_task(self, reserves):
        """Nobody has worked: all but the silent may be drawn again, those called from the reserves too."""
        chain = Assembly.called(3, reserves=reserves)
        fee, everyone = chain.now.fee, (*chain.members, *chain.now.reserves)
        silent = chain.members[: 1 + reserves]
        workers = [t for _, group in chain.now.workers() for t in group]
        owners = {t: chain.account(t) for t in silent}
        deal_all(chain, *silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        task = chain.now
        assert (task.stage, task.keying) == (Stage.FAILED, None)
        honest = {*workers, *everyone} - set(silent)
        assert len(honest) == 8
        maturity = chain.params.ticket_maturity_blocks
        live = (chain.state.live_tickets(role, chain.height, maturity) for role in ROLES)
        assert honest <= {ticket for tickets in live for ticket in tickets}
        assert all(is_locked(chain.state, t) for t in honest)
        assert not any(t in chain.state.tickets for t in silent)
        assert not any(is_locked(chain.state, t) for t in silent)
        assert not any(t.task == chain.task_id for t in chain.state.tickets.values())
        left = {t: chain.stake(t) for t in everyone}
        assert left == {t: PRICE * 9 // 10 if t in silent else PRICE for t in everyone}
        assert not is_locked(chain.state, task.stake)
        spend(chain, CLIENT, task.stake, fee)
        for ticket in silent:
            spend(chain, owners[ticket], ticket, PRICE * 9 // 10)
        chain.mine()
        chain.check_supply()
        assert chain.state.burned == len(silent) * PRICE // 10

    def test_a_liar_and_too_few_left_fail_the_task_at_once(self):
        chain = Assembly.called(3)
        liar, victim, _ = chain.members
        chain.say(victim, chain.deal(chain.task_id, victim))
        chain.say(liar, chain.accuse(liar, victim))
        assert (chain.now.stage, chain.now.committee) == (Stage.FAILED, None)
        chain.mine()
        chain.check_supply()
        assert chain.state.burned == PRICE
        assert liar not in chain.state.tickets
        workers = {t for _, group in chain.now.workers() for t in group}
        assert all(chain.state.tickets[t].task is None for t in workers - {liar})

    def test_a_reserve_that_is_silent_too_is_out(self):
        chain = Assembly.called(4, reserves=2)
        first, *others = chain.members
        best, second = chain.now.reserves
        deal_all(chain, first)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        assert set(chain.members) == {best, *others}
        deal_all(chain, best)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        assert chain.now.expelled == (first, best)
        assert set(chain.members) == {second, *others}
        assert chain.now.captured == 2 * PRICE // 10


def spend(chain, account, outpoint, value):
    tx = replace(chain.fund(account), inputs=(outpoint,), outputs=(Pay(value, key_hash(account)),))
    chain.add(chain.sign(replace(tx, witnesses=()), account))


def leader_out(chain, ticket=None):
    """Expel a supervisor of a task in training for two proposals; return it and the committee it was in."""
    made = chain.now.committee
    ticket = ticket or made.members[0]
    accuser = next(m for m in made.members if m != ticket)
    chain.say(accuser, chain.equivocate(ticket))
    return ticket, made


def signed_history(chain, made, places, models=None):
    first = chain.now.slots
    root = label("history", first)
    statement = HistoryStatement(chain.task_id, first, first + 3, root, models)
    signature = certificate(chain, made, statement, places)
    return MessageHistory(chain.task_id, first, first + 3, root, models, signature)


class TestEquivocation:
    @pytest.fixture
    def chain(self):
        return Assembly.training(4, reserves=1)

    def test_expels_the_leader_with_all_its_stake(self, chain):
        (reserve,) = chain.now.reserves
        liar, made = leader_out(chain)
        task = chain.now
        assert (task.expelled, task.captured, chain.stake(liar)) == ((liar,), PRICE, 0)
        assert (task.stage, task.committee, task.supervisors) == (Stage.TRAINING, made, made.members)
        assert task.keying.dealers == tuple(m for m in made.members if m != liar)
        assert task.keying.members == tuple(sorted((*task.keying.dealers, reserve)))
        assert chain.pool.tickets[reserve].task == chain.task_id
        chain.mine()
        chain.check_supply()

    @pytest.mark.parametrize(
        ("changes", "reason", "error"),
        [
            (
                {"ticket": Outpoint(label("none"), 0)},
                "the ticket supervises nothing here",
                InvalidTransaction,
            ),
            ({"task": label("none")}, "no task whose supervisors record", InvalidTransaction),
            ({"first_signature": b""}, "signature", InvalidProof),
            ({"second_signature": b""}, "signature", InvalidProof),
        ],
    )
    def test_evidence_of_something_else(self, chain, changes, reason, error):
        liar, accuser, *_ = chain.now.committee.members
        refuse(chain, accuser, chain.equivocate(liar, **changes), reason, error)

    @pytest.mark.parametrize("name", ["first", "second"])
    @pytest.mark.parametrize("changes", [{"task": label("other")}, {"epoch": 1}, {"view": 1}, {"slot": 4}])
    def test_two_places_are_no_evidence(self, chain, name, changes):
        liar, accuser, *_ = chain.now.committee.members
        data = chain.equivocate(liar)
        moved = replace(getattr(data, name), **changes)
        digest = committee.proposal_digest(moved, chain.now.committee.key)
        signature = ecdsa.sign(chain.own_keys(liar).spending, digest)
        data = replace(data, **{name: moved, f"{name}_signature": signature})
        refuse(chain, accuser, data, "the statements are not two for one place")

    def test_one_place_of_another_task_is_no_evidence(self, chain):
        liar, accuser, *_ = chain.now.committee.members
        good = chain.equivocate(liar)
        secret = chain.own_keys(liar).spending
        both = [replace(s, task=chain.predefined) for s in (good.first, good.second)]
        signatures = [ecdsa.sign(secret, committee.proposal_digest(s, chain.now.committee.key)) for s in both]
        data = replace(
            good,
            first=both[0],
            first_signature=signatures[0],
            second=both[1],
            second_signature=signatures[1],
        )
        refuse(chain, accuser, data, "the statements are not two for one place")

    def test_one_proposal_is_no_evidence(self, chain):
        liar, accuser, *_ = chain.now.committee.members
        data = chain.equivocate(liar)
        same = replace(data, second=data.first, second_signature=data.first_signature)
        refuse(chain, accuser, same, "the statements are not two for one place")

    def test_evidence_has_one_form(self, chain):
        liar, accuser, *_ = chain.now.committee.members
        data = chain.equivocate(liar)
        swapped = replace(
            data,
            first=data.second,
            first_signature=data.second_signature,
            second=data.first,
            second_signature=data.first_signature,
        )
        refuse(chain, accuser, swapped, "the statements are not two for one place")

    def test_a_vote_is_no_proposal(self, chain):
        """What a supervisor's share signs, and what another one signed, are no proposals of the leader."""
        liar, accuser, *_ = chain.now.committee.members
        data, key = chain.equivocate(liar), chain.now.committee.key
        for secret, digest in (
            (chain.own_keys(liar).spending, committee.digest(data.first)),
            (chain.own_keys(accuser).spending, committee.proposal_digest(data.first, key)),
        ):
            forged = replace(data, first_signature=ecdsa.sign(secret, digest))
            refuse(chain, accuser, forged, "signature does not match", InvalidProof)

    def test_a_proposal_on_another_fork_is_no_evidence(self, chain):
        """There the supervisors made another key, and their slots are others."""
        leader, accuser, *_ = chain.now.committee.members
        data, key = chain.equivocate(leader), chain.task(chain.predefined).committee.key
        secret = chain.own_keys(leader).spending
        there = ecdsa.sign(secret, committee.proposal_digest(data.second, key))
        refuse(
            chain, accuser, replace(data, second_signature=there), "signature does not match", InvalidProof
        )

    def test_of_a_member_that_is_out_already(self, chain):
        liar, made = leader_out(chain)
        refuse(chain, made.members[1], chain.equivocate(liar), "has lost its stake already")

    def test_takes_from_one_who_was_silent_first_what_is_left(self):
        """Or who lied would stay away from the next key, and lose a tenth instead of everything."""
        chain = Assembly.training(6)
        leader_out(chain)
        silent = chain.now.keying.dealers[0]
        deal_all(chain, silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        before = chain.now
        assert before.expelled[1:] == (silent,)
        assert (chain.stake(silent), before.captured) == (PRICE * 9 // 10, PRICE + PRICE // 10)
        data = chain.equivocate(silent)
        chain.post(CLIENT, data)
        assert before.keying is not None
        assert chain.now == replace(before, captured=2 * PRICE)  # the attempt goes on: it was not in it
        assert chain.stake(silent) == 0
        refuse(chain, chain.members[0], data, "has lost its stake already")
        chain.mine()
        chain.check_supply()
        chain.make_key(chain.task_id)
        chain.mine()
        check_committee(chain, chain.now.committee)

    def test_after_the_training_until_the_task_is_over(self):
        chain = Assembly.training(3)
        made, conclusion = chain.now.committee, TestPay.CONCLUSION
        liar, other, accuser = made.members
        chain.say(other, signed_history(chain, made, (2, 3), BlobId(label("models"))))
        chain.mine()
        data, late = chain.equivocate(liar), chain.equivocate(other)
        chain.say(accuser, data)
        task = chain.now
        assert (task.stage, task.keying, task.committee) == (Stage.EVALUATING, None, made)
        assert (task.expelled, task.captured, chain.stake(liar)) == ((liar,), PRICE, 0)
        refuse(chain, accuser, data, "has lost its stake already")
        chain.mine()
        chain.check_supply()
        chain.evaluate(chain.task_id, conclusion)
        rows = rewards.task_shares(chain.now, conclusion)
        assert {t for role, t, _ in rows if role == "supervisor"} == {other, accuser}
        tx = chain.add(chain.charge(chain.task_id))
        assert sum(o.value for o in tx.outputs) == task.fee + PRICE
        chain.mine()
        assert chain.now.stage is Stage.PAID
        refuse(chain, chain.verifier(1), late, "no task whose supervisors record")
        assert chain.stake(other) == PRICE
        chain.check_supply()

    def test_of_one_who_does_not_supervise(self, chain):
        accuser, (reserve,) = chain.now.committee.members[0], chain.now.reserves
        for ticket in (reserve, chain.now.miners[0], chain.now.evaluators[0]):
            refuse(chain, accuser, chain.equivocate(ticket), "the ticket supervises nothing here")

    def test_while_the_key_is_made(self):
        chain = Assembly.called(3)
        liar, accuser, _ = chain.members
        refuse(chain, accuser, chain.equivocate(liar), "no task whose supervisors record")

    def test_anybody_shows_it(self, chain):
        liar = chain.now.committee.members[0]
        chain.post(CLIENT, chain.equivocate(liar))
        assert chain.now.expelled == (liar,)


class TestResharing:
    @pytest.mark.parametrize(("count", "reserves"), [(3, 1), (4, 0), (4, 1), (7, 1)])
    def test_the_key_stays_and_the_threshold_follows(self, count, reserves):
        chain = Assembly.training(count, reserves=reserves)
        liar, old = leader_out(chain)
        left = range(2, old.threshold + 2)
        assert liar == old.members[0]
        chain.mine()
        chain.say(old.members[1], signed_history(chain, old, left))  # the others go on meanwhile
        chain.make_key(chain.task_id)
        chain.mine()
        task, made = chain.now, chain.now.committee
        assert (made.key, made.renewed) == (old.key, True)
        assert made.members == task.supervisors == tuple(sorted(made.members))
        assert len(made.members) == count - 1 + reserves
        assert set(old.members) - set(made.members) == {liar}
        assert made.shares != old.shares
        check_committee(chain, made)
        # What was signed by the old shares and what is by the new, one key certifies.
        chain.say(old.members[1], signed_history(chain, old, left))
        chain.say(made.members[0], signed_history(chain, made, range(1, made.threshold + 1)))
        # Shares of the two committees do not mix.
        statement = SlotStatement(chain.task_id, 0, 0, 1, label("root"))
        mixed = {
            i: committee.sign(secret_share(c, i, chain.own_keys(c.members[i - 1])), statement)
            for i, c in ((2, old), *((j, made) for j in (1, 3, 4, 5)[: made.threshold - 1]))
        }
        with pytest.raises(InvalidProof):
            committee.verify(statement, committee.combine(mixed), made.key)

    def test_again_and_again(self):
        chain = Assembly.training(4, reserves=2)
        key = chain.now.committee.key
        for _ in range(3):
            leader_out(chain)
            chain.make_key(chain.task_id)
            chain.mine()
            assert chain.now.committee.key == key
            check_committee(chain, chain.now.committee)
            chain.check_supply()
        assert len(chain.now.committee.members) == 3
        assert len(chain.now.expelled) == 3

    def test_two_leaders_out_one_after_the_other(self):
        chain = Assembly.training(7, reserves=2)
        reserves = chain.now.reserves
        one, old = leader_out(chain)
        deal_all(chain, old.members[1])
        two, _ = leader_out(chain, old.members[1])
        assert (one, two) == old.members[:2]
        assert chain.now.keying.attempt == 2
        assert chain.now.keying.dealt == ()
        assert chain.now.keying.dealers == old.members[2:]
        assert set(chain.members) == {*old.members[2:], *reserves}
        chain.make_key(chain.task_id)
        chain.mine()
        assert chain.now.committee.key == old.key
        check_committee(chain, chain.now.committee)

    def test_with_fewer_than_the_threshold_left_nobody_can_share_the_key(self):
        chain = Assembly.training(4, reserves=2)
        reserves = chain.now.reserves
        _, old = leader_out(chain)
        leader_out(chain, old.members[1])
        assert chain.now.keying is None
        assert chain.now.committee == old
        chain.mine()
        assert all(chain.state.tickets[r].task is None for r in reserves)
        chain.check_supply()

    def test_nobody_deals_anything_but_its_share(self):
        chain = Assembly.training(4, reserves=1)
        leader_out(chain)
        dealer = chain.now.keying.dealers[0]
        fresh = chain.deal(chain.task_id, dealer, constant=label("something else")[:31] + b"\0")
        refuse(chain, dealer, fresh, "what is dealt is not the dealer's share", InvalidProof)

    def test_newcomers_confirm_and_do_not_deal(self):
        chain = Assembly.training(4, reserves=1)
        (newcomer,) = chain.now.reserves
        leader_out(chain)
        data = replace(chain.deal(chain.task_id, chain.now.keying.dealers[0]), ticket=newcomer)
        refuse(chain, newcomer, data, "the ticket has nothing to deal")
        deal_all(chain)
        confirm_all(chain, newcomer)
        assert chain.now.keying is not None
        chain.say(newcomer, chain.confirm(chain.task_id, newcomer))
        assert chain.now.keying is None

    def test_a_newcomer_accuses_and_is_heard(self):
        chain = Assembly.training(4, reserves=1)
        (newcomer,) = chain.now.reserves
        leader, old = leader_out(chain)
        liar = chain.now.keying.dealers[0]
        chain.say(liar, chain.wrong_deal(liar, {newcomer}))
        chain.say(newcomer, chain.accuse(newcomer, liar))
        assert chain.now.expelled == (leader, liar)
        assert chain.now.keying is None  # two of the four are fewer than the three that can share the key
        assert chain.now.committee == old
        chain.mine()
        assert chain.state.tickets[newcomer].task is None

    def test_a_member_that_does_not_share_its_key_is_out(self):
        chain = Assembly.training(7, reserves=2)
        leader, old = leader_out(chain)
        silent = chain.now.keying.dealers[1]
        deal_all(chain, silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        assert chain.now.expelled == (leader, silent)
        assert chain.stake(silent) == PRICE * 9 // 10
        chain.make_key(chain.task_id)
        chain.mine()
        made = chain.now.committee
        assert (made.key, len(made.members)) == (old.key, 7)
        check_committee(chain, made)

    def test_with_fewer_than_three_left_the_old_committee_goes_on(self):
        chain = Assembly.training(3)
        liar, old = leader_out(chain)
        task = chain.now
        assert (task.stage, task.keying, task.committee) == (Stage.TRAINING, None, old)
        assert (task.supervisors, task.expelled) == (old.members, (liar,))
        chain.mine()
        chain.say(old.members[1], signed_history(chain, old, (2, 3), BlobId(label("models"))))
        chain.mine()
        assert chain.now.stage is Stage.EVALUATING

    def test_a_reserve_that_works_elsewhere_is_not_called(self):
        chain = Assembly.training(4, reserves=1)
        (reserve,) = chain.now.reserves
        state = chain.state
        for change in ({"task": chain.predefined}, {"expires": 1}, {"role": "miner"}):
            ticket = replace(state.tickets[reserve], **change)
            chain.state = chain.pool = replace(state, tickets=state.tickets.set(reserve, ticket))
            leader_out(chain)
            assert reserve not in chain.members
            assert chain.pool.tickets[reserve].task == ticket.task

    def test_a_reserve_that_is_gone_is_not_called(self):
        chain = Assembly.training(4, reserves=1)
        (reserve,) = chain.now.reserves
        tickets = chain.state.tickets.delete(reserve)
        chain.state = chain.pool = replace(chain.state, tickets=tickets)
        leader_out(chain)
        assert len(chain.members) == 3

    @pytest.mark.parametrize("end", ["models", "deadline", "silence"])
    def test_newcomers_are_free_when_it_comes_to_nothing(self, end):
        """No ticket stays bound to a task that it never worked on."""
        chain = Assembly.training(4, reserves=2, expected_blocks=3 if end == "deadline" else 99)
        newcomer, _ = chain.now.reserves
        _, old = leader_out(chain)
        chain.mine()
        assert chain.state.tickets[newcomer].task == chain.task_id
        if end == "models":
            chain.say(old.members[1], signed_history(chain, old, (2, 3, 4), BlobId(label("models"))))
            chain.mine()
        else:
            chain.mine_until(chain.height + 4)
        assert chain.now.keying is None
        stage = {"models": Stage.EVALUATING, "deadline": Stage.FAILED, "silence": Stage.TRAINING}[end]
        assert chain.now.stage is stage
        assert chain.state.tickets[newcomer].task is None
        assert chain.stake(newcomer) == PRICE
        chain.check_supply()

    def test_a_newcomer_that_lied_gets_nothing_and_is_gone_at_the_end(self):
        chain = Assembly.training(4, reserves=1, expected_blocks=20)
        (newcomer,) = chain.now.reserves
        leader_out(chain)
        dealer = chain.now.keying.dealers[0]
        chain.say(dealer, chain.deal(chain.task_id, dealer))
        chain.say(newcomer, chain.accuse(newcomer, dealer))
        assert newcomer in chain.now.expelled
        chain.mine_until(chain.now.since + 20)
        assert chain.now.stage is Stage.FAILED
        assert newcomer not in chain.state.tickets
        chain.check_supply()


class TestPay:
    CONCLUSION = Conclusion((5, 3, 2), 360, BlobId(label("best")))

    @pytest.mark.parametrize("renewed", [False, True])
    def test_who_is_out_is_paid_nothing_and_its_stake_is_divided(self, renewed):
        chain = Assembly.training(4, reserves=0)
        liar, old = leader_out(chain)
        if renewed:
            chain.make_key(chain.task_id)
        chain.mine()
        chain.say(old.members[1], signed_history(chain, old, (2, 3, 4), BlobId(label("models"))))
        chain.mine()
        task = chain.now
        assert task.captured == PRICE
        burned = chain.state.burned
        chain.evaluate(chain.task_id, self.CONCLUSION)
        tx = chain.add(chain.charge(chain.task_id))
        chain.mine()
        assert sum(o.value for o in tx.outputs) == task.fee + PRICE
        shares = {
            t: value for role, t, value in rewards.task_shares(task, self.CONCLUSION) if role == "supervisor"
        }
        pool = (task.fee + PRICE) * 15 // 100
        assert shares == split(pool, dict.fromkeys((m for m in old.members if m != liar), 1))
        assert sum(shares.values()) == pool
        assert chain.state.burned == burned - PRICE
        chain.check_supply()

    def test_what_is_left_of_a_silent_members_stake_returns(self):
        chain = Assembly.called(3, reserves=1)
        silent = chain.members[0]
        account = chain.account(silent)
        deal_all(chain, silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks)
        chain.make_key(chain.task_id)
        chain.mine()
        made = chain.now.committee
        data = signed_history(chain, made, range(1, made.threshold + 1), BlobId(label("models")))
        chain.say(made.members[0], data)
        chain.mine()
        assert is_locked(chain.state, silent)
        chain.evaluate(chain.task_id, self.CONCLUSION)
        tx = chain.add(chain.charge(chain.task_id))
        chain.mine()
        assert sum(o.value for o in tx.outputs) == chain.now.fee + PRICE // 10
        spend(chain, account, silent, PRICE * 9 // 10)
        chain.mine()
        chain.check_supply()
        assert chain.state.burned == 0


@pytest.mark.parametrize("end", [Stage.PAID, Stage.MALFORMED, Stage.FAILED])
def test_a_finished_task_keeps_no_deals(end):
    """They are a kilobyte for each supervisor, and the blocks have them."""
    chain = Assembly.training(3, expected_blocks=2)
    made = chain.now.committee
    assert len(made.dealt) == 3
    if end is Stage.FAILED:
        chain.mine()
        assert chain.now.committee == made
    else:
        chain.say(made.members[0], signed_history(chain, made, (1, 2), BlobId(label("models"))))
        chain.mine()
        assert chain.now.committee == made
        chain.evaluate(chain.task_id, TestPay.CONCLUSION if end is Stage.PAID else MALFORMED)
        chain.add(chain.charge(chain.task_id))
    chain.mine()
    assert (chain.now.stage, chain.now.committee) == (end, replace(made, dealt=()))


class TestPredefined:
    """A task that never ends pays its supervisors by the block, and keeps nobody's stake for ever."""

    @pytest.fixture
    def chain(self):
        chain = Assembly.called(3)
        chain.task_id = chain.predefined
        return chain

    def test_who_is_out_has_no_share_of_the_subsidy(self, chain):
        liar, _ = leader_out(chain)
        owner = chain.pool.tickets[liar].key_hash
        block = chain.mine()
        others = {chain.state.tickets[m].key_hash for m in chain.now.supervisors} - {owner}
        assert set(chain.state.verifications[block.hash].supervisors) == others
        assert owner not in others

    def test_what_is_left_of_a_silent_members_stake_returns(self):
        chain = Assembly.training(6)
        first = chain.predefined
        task = replace(chain.now, stake=None, miners=chain.task(first).miners)
        chain.state = chain.pool = replace(chain.state, tasks=chain.state.tasks.set(chain.task_id, task))
        leader_out(chain)
        silent = chain.now.keying.dealers[0]
        deal_all(chain, silent)
        chain.mine_until(chain.now.keying.since + chain.params.keying_blocks, task=first)
        assert is_locked(chain.state, silent)
        late = chain.equivocate(silent)
        chain.make_key(chain.task_id)
        chain.mine(task=first)
        assert silent in chain.now.expelled
        assert not is_locked(chain.state, silent)
        assert silent not in chain.state.tickets
        # What it proposed comes too late: it is nobody's stake any more.
        assert chain.stake(silent) == PRICE * 9 // 10
        refuse(chain, chain.now.supervisors[0], late, "the ticket supervises nothing here")


@pytest.mark.parametrize(
    ("others", "reserves", "renewed"),
    [
        ([Conduct.HONEST, Conduct.SILENT], 1, False),
        ([Conduct.DEALS_ONLY, Conduct.TWO_DEALS, Conduct.HONEST], 1, False),
        ([Conduct.WRONG_SHARE, Conduct.FALSE_ACCUSER, Conduct.TWO_DEALS, Conduct.HONEST], 1, True),
        ([Conduct.HONEST] * 3 + [Conduct.WRONG_SHARE] * 2, 2, False),
        ([Conduct.HONEST] * 3 + [Conduct.SILENT, Conduct.DEALS_ONLY], 2, True),
    ],
)
def test_an_honest_member_is_never_expelled_and_no_liar_stays(others, reserves, renewed):
    """Whatever the others do: a key among all who are honest, or a task that failed for want of members."""
    make_a_key(others, reserves, Random(len(others)), renewed=renewed)


conducts = st.lists(st.sampled_from(Conduct), min_size=2, max_size=6)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conducts, st.integers(0, 2), st.booleans(), st.randoms(use_true_random=False))
def test_whatever_the_others_do(others, reserves, renewed, random):
    make_a_key(others, reserves, random, renewed=renewed)


def make_a_key(others, reserves, random, *, renewed):
    """Let one honest member and others of given conduct make a key; check who is in it, and who lost what."""
    count = 1 + len(others)
    reserves = min(reserves, count // 2)
    chain = (Assembly.training if renewed else Assembly.called)(count, reserves, keying_blocks=2)
    drawn = (*chain.now.supervisors, *chain.now.reserves)
    everyone = [Conduct.HONEST, *others, *random.choices(list(Conduct), k=reserves)]
    random.shuffle(everyone)
    conduct = dict(zip(drawn, everyone, strict=True))
    old, out = chain.now.committee, ()
    if renewed:
        out = leader_out(chain)[:1]
    Play(chain, conduct, random).run()
    task, honest = chain.now, [t for t, c in conduct.items() if c is Conduct.HONEST and t not in out]
    check_conduct(chain, conduct, out)
    if task.stage is Stage.FAILED:
        assert not renewed
        left = [t for t in drawn if t not in task.expelled]
        assert len(left) < 3
        assert not any(t.task == chain.task_id for t in chain.state.tickets.values())
        assert all((t in chain.state.tickets) == (t not in task.expelled) for t in drawn)
        assert not is_locked(chain.state, task.stake)
        return
    assert task.stage is Stage.TRAINING
    made = task.committee
    if made == old:  # too few to share the key anew
        able = [m for m in old.members if m not in task.expelled]
        free = [t for t in drawn if t not in task.expelled]
        assert len(able) < old.threshold or len(free) < 3
        return
    assert renewed == made.renewed
    assert old is None or made.key == old.key
    assert not set(task.expelled) & set(made.members)
    if set(honest) & set(made.members):
        check_committee(chain, made)
        dealers = [d.ticket for d in made.dealt]
        assert {conduct[m] for m in dealers} == {Conduct.HONEST}
        assert not {conduct[m] for m in made.members} & {Conduct.SILENT, Conduct.DEALS_ONLY}
    called = set(drawn) - set(task.reserves) - set(out)
    assert set(honest) & called <= set(made.members)


def check_conduct(chain, conduct, out):
    """Check that whoever was honest lost nothing, and whoever was expelled what its conduct costs."""
    for ticket in chain.now.expelled:
        if ticket in out:
            continue
        assert conduct[ticket] is not Conduct.HONEST
        assert chain.stake(ticket) == (0 if conduct[ticket] in LIARS else PRICE * 9 // 10)
    for ticket, how in conduct.items():
        if how is Conduct.HONEST and ticket not in out:
            assert chain.stake(ticket) == PRICE
    losses = sum(PRICE - chain.stake(ticket) for ticket in conduct)
    assert chain.now.captured == chain.state.burned == losses
    chain.check_supply()
