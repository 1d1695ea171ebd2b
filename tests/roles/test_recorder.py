"""Target: slots hold what was sent, once, in order; nobody ever votes for two roots in one place and view."""

from dataclasses import replace
from functools import cache

import pytest

from p2pai.chain import it_res
from p2pai.chain.committee import CertifiedSlot, Reason
from p2pai.chain.params import SLOT_MESSAGES_MAX, SLOTS_PER_TERM
from p2pai.chain.supervision import Equivocation, ReplaceLeader
from p2pai.effects import Verdict
from p2pai.primitives import merkle
from p2pai.primitives.ids import BlobId
from p2pai.roles.leading import BALLOT_WAIT_MS, REPEAT_MS
from p2pai.roles.recorder import Recorder
from p2pai.roles.slots import (
    Ballot,
    Prepared,
    Share,
    SlotOpening,
    SlotProposal,
    SlotRecorded,
    SlotSigned,
    ViewChange,
)
from p2pai.roles.views import timeout_ms
from tests.chain.ledger import MINERS, Chain, flip, label
from tests.roles.lone import Lone, certified, ids_of, iteration
from tests.roles.seats import Seats

A, B, C = MINERS


@cache
def chain():
    return Chain()


@cache
def message(number, account=A, said=0):
    return iteration(chain(), account, number, finished_s=1_780_000_001 + said)


WHO = Seats(chain(), chain().predefined)
LEADER, FOLLOWER, OTHER = WHO.accounts
SLOT_MS = chain().params.slot_ms
VIEW_MS = timeout_ms(SLOT_MS, 0)


def supervisor(account, **changes):
    return Lone(chain(), account, ("supervisor",), **changes)


def of(said, *kinds):
    return [s for s in said if isinstance(s, kinds)]


def close_slot(lone):
    lone.wait(2 * SLOT_MS)
    return lone.take_said()


def propose(leader, number, *messages, voter=OTHER):
    """Let a leader that heard these messages come to its proposal."""
    close_slot(leader)
    assert leader.hear_said(WHO.ballot(voter, number, *messages), voter).verdict is Verdict.ACCEPT
    leader.wait(BALLOT_WAIT_MS)
    return leader.take_said()


def lead(leader, number, *messages, voter=OTHER):
    """Let a leader certify a slot of messages that it heard; return what it said after its proposal."""
    propose(leader, number, *messages, voter=voter)
    leader.hear_said(WHO.prepare(voter, number, *messages), voter)
    leader.hear_said(WHO.commit(voter, number, *messages), voter)
    return leader.take_said()


@pytest.fixture
def leader():
    return supervisor(LEADER)


@pytest.fixture
def follower():
    return supervisor(FOLLOWER)


class TestOpening:
    def test_the_leader_names_what_it_heard(self, leader):
        heard = [message(0), message(0, B), message(0, C)]
        for data in heard:
            leader.hear_iteration(data)
        assert leader.take_said() == [], "when the slot is closed, not before"
        assert close_slot(leader) == [WHO.opening(0, *heard)]

    def test_there_is_nothing_to_ask_when_nothing_was_sent(self, leader):
        for _ in range(5):
            assert close_slot(leader) == []

    def test_who_does_not_lead_opens_nothing(self, follower):
        follower.hear_iteration(message(0))
        for _ in range(5):
            assert close_slot(follower) == []

    def test_a_slot_holds_so_many_messages_and_no_more(self, leader):
        history = leader.core.following[chain().predefined].history
        first = it_res.decode(message(0))
        for number in range(SLOT_MESSAGES_MAX + 3):
            other = replace(first, iteration=number)
            history.add_message(other, other.encode())
        (said,) = close_slot(leader)
        assert len(said.messages) == SLOT_MESSAGES_MAX
        iterations = sorted(history.decoded[i].iteration for i in said.messages)
        assert iterations == list(range(SLOT_MESSAGES_MAX))

    def test_it_is_repeated_until_there_are_ballots(self, leader):
        leader.hear_iteration(message(0))
        (first,) = close_slot(leader)
        leader.hear_iteration(message(1))
        leader.wait(4 * REPEAT_MS)
        again = leader.take_said()
        assert len(again) in (2, 3, 4)
        assert all(said == first for said in again), "the same, although there is more by now"


class TestBallot:
    def test_who_has_all_messages_ranks_them_as_they_came(self, follower):
        heard = (message(0, B), message(0), message(0, C))
        for data in heard:
            follower.hear_iteration(data)
        judged = follower.hear_said(WHO.opening(0, *heard), LEADER)
        assert judged.verdict is Verdict.ACCEPT
        assert follower.take_said() == [WHO.ballot(FOLLOWER, 0, *heard)]

    def test_each_miners_messages_stand_in_order_of_iteration(self, follower):
        for data in (message(2), message(0, B), message(0), message(1, B), message(1)):
            follower.hear_iteration(data)
        expected = (message(0), message(0, B), message(1), message(1, B), message(2))
        follower.hear_said(WHO.opening(0, *expected), LEADER)
        assert follower.take_said() == [WHO.ballot(FOLLOWER, 0, *expected)]

    def test_it_answers_when_the_last_message_comes(self, follower):
        heard = (message(0), message(0, B), message(0, C))
        follower.hear_iteration(heard[0])
        follower.hear_said(WHO.opening(0, *heard), LEADER)
        history = follower.core.following[chain().predefined].history
        assert sorted(history.missing()) == sorted(ids_of(heard[1:])), "it asks for what it lacks"
        follower.hear_iteration(heard[2])
        assert follower.take_said() == []
        follower.hear_iteration(heard[1])
        assert follower.take_said() == [WHO.ballot(FOLLOWER, 0, heard[0], heard[2], heard[1])]

    def test_the_twin_that_the_leader_names_is_ranked(self, follower):
        one, other = message(0), message(0, said=1)
        follower.hear_iteration(one)
        follower.hear_said(WHO.opening(0, other), LEADER)
        assert follower.take_said() == []
        follower.hear_iteration(other)
        assert follower.take_said() == [WHO.ballot(FOLLOWER, 0, other)]

    def test_two_messages_for_one_place_are_not_ranked(self, follower):
        twins = (message(0), message(0, said=1))
        for data in twins:
            follower.hear_said(WHO.opening(0, *twins), LEADER)
            follower.hear_iteration(data)
        assert follower.take_said() == []

    def test_what_is_recorded_already_is_not_ranked(self, follower):
        for number in range(2):
            follower.hear_iteration(message(number))
        follower.hear_said(certified(chain(), 0, [message(0)]), LEADER)
        follower.hear_said(WHO.opening(1, message(0), message(1)), LEADER)
        assert follower.take_said() == []

    def test_only_the_leader_is_answered(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(WHO.opening(0, message(0)), OTHER)
        assert follower.take_said() == []

    def test_one_that_came_early_is_answered_when_it_is_due(self, follower):
        for number in range(2):
            follower.hear_iteration(message(number))
        follower.hear_said(WHO.opening(1, message(1)), LEADER)
        follower.hear_said(WHO.opening(5, message(1)), LEADER)
        assert follower.take_said() == []
        follower.hear_said(certified(chain(), 0, [message(0)]), LEADER)
        assert follower.take_said() == [WHO.ballot(FOLLOWER, 1, message(1))]

    @pytest.mark.parametrize(
        "ids",
        [
            (),
            tuple(sorted(label(i) for i in range(257))),
            (label("a"), label("a")),
            tuple(sorted((label("a"), label("b")), reverse=True)),
        ],
    )
    def test_a_malformed_opening_is_refused(self, follower, ids):
        judged = follower.hear_said(SlotOpening(WHO.place(0), ids), LEADER)
        assert judged.verdict is Verdict.REJECT
        assert "names 1 to 256 messages, ascending" in judged.reason


class TestProposing:
    HEARD = (message(0), message(0, B), message(0, C))

    @pytest.fixture
    def asking(self, leader):
        """A leader that opened slot 0."""
        for data in self.HEARD:
            leader.hear_iteration(data)
        close_slot(leader)
        return leader

    def test_all_ballots_are_counted_at_once(self, asking):
        for account in (FOLLOWER, OTHER):
            assert of(asking.take_said(), SlotProposal) == []
            asking.hear_said(WHO.ballot(account, 0, *self.HEARD), account)
        assert of(asking.take_said(), SlotProposal) == [WHO.proposal(0, *self.HEARD)]

    def test_it_waits_a_little_for_those_beyond_the_threshold(self, asking):
        asking.hear_said(WHO.ballot(OTHER, 0, *self.HEARD), OTHER)
        asking.wait(BALLOT_WAIT_MS // 2)
        assert asking.take_said() == []
        asking.wait(BALLOT_WAIT_MS)
        expected = WHO.proposal(0, *self.HEARD, voters=(LEADER, OTHER))
        assert of(asking.take_said(), SlotProposal) == [expected]

    def test_the_majority_decides_the_order(self, asking):
        order = (self.HEARD[2], self.HEARD[0], self.HEARD[1])
        for account in (FOLLOWER, OTHER):
            asking.hear_said(WHO.ballot(account, 0, *order), account)
        (said,) = of(asking.take_said(), SlotProposal)
        assert said.messages == ids_of(order)

    def test_one_ballot_said_twice_is_one_ballot(self, asking):
        for _ in range(3):
            asking.hear_said(WHO.ballot(LEADER, 0, *self.HEARD), LEADER)
        asking.wait(2 * BALLOT_WAIT_MS)
        assert of(asking.take_said(), SlotProposal) == []

    def test_a_ballot_may_not_be_forged_or_altered(self, asking):
        good = WHO.ballot(OTHER, 0, *self.HEARD)
        cast = good.ranking
        for ranking in (
            replace(cast, member=WHO.seat(FOLLOWER).member),
            replace(cast, member=0),
            replace(cast, member=9),
            replace(cast, order=cast.order[::-1]),
            replace(cast, signature=flip(cast.signature, 200)),
            replace(cast, order=b"\0\1"),
            replace(cast, order=b"\0\0\1"),
        ):
            judged = asking.hear_said(replace(good, ranking=ranking), OTHER)
            assert judged.verdict is Verdict.REJECT
        asking.wait(2 * BALLOT_WAIT_MS)
        assert of(asking.take_said(), SlotProposal) == []

    def test_a_ballot_against_the_iterations_is_refused(self, leader):
        heard = (message(0), message(1))
        for data in heard:
            leader.hear_iteration(data)
        close_slot(leader)
        good = WHO.ballot(OTHER, 0, *heard)
        forged = replace(good.ranking, order=good.ranking.order[::-1])
        judged = leader.hear_said(replace(good, ranking=forged), OTHER)
        assert judged.verdict is Verdict.REJECT
        assert "against their iterations" in judged.reason

    def test_ballots_on_something_else_do_not_count(self, asking):
        for ballot in (WHO.ballot(OTHER, 0, *self.HEARD[:2]), WHO.ballot(OTHER, 1, *self.HEARD)):
            assert asking.hear_said(ballot, OTHER).verdict is Verdict.ACCEPT
        asking.wait(2 * BALLOT_WAIT_MS)
        assert of(asking.take_said(), SlotProposal) == []

    def test_a_proposal_is_repeated_until_it_is_certified(self, leader):
        leader.hear_iteration(message(0))
        (first,) = of(propose(leader, 0, message(0)), SlotProposal)
        leader.hear_iteration(message(1))
        leader.wait(4 * REPEAT_MS)
        again = of(leader.take_said(), SlotProposal)
        assert len(again) in (2, 3, 4)
        assert all(said == first for said in again), "the same, although there is more by now"
        leader.hear_said(WHO.prepare(OTHER, 0, message(0)), OTHER)
        leader.hear_said(WHO.commit(OTHER, 0, message(0)), OTHER)
        leader.take_said()
        leader.wait(3 * REPEAT_MS)
        assert of(leader.take_said(), SlotOpening)[-1] == WHO.opening(1, message(1))

    def test_nothing_is_proposed_before_it_is_noted(self, leader):
        leader.hear_iteration(message(0))
        close_slot(leader)
        leader.hold_disk = True
        leader.hear_said(WHO.ballot(OTHER, 0, message(0)), OTHER)
        leader.wait(5 * REPEAT_MS)
        assert leader.take_said() == []
        assert [entry.record for entry in leader.writing], "but it is being written"
        leader.write()
        (said,) = leader.take_said()
        assert said == WHO.proposal(0, message(0), voters=(LEADER, OTHER))
        (noted,) = leader.records(SlotSigned)
        assert noted.proposal == said

    def test_the_leader_goes_on_with_its_own_proposal_after_a_restart(self, leader):
        leader.hear_iteration(message(0))
        (said,) = of(propose(leader, 0, message(0)), SlotProposal)
        again = leader.again()
        again.hear_iteration(message(1))
        again.wait(3 * REPEAT_MS)
        assert list(dict.fromkeys(again.take_said())) == [said]


class TestPreparing:
    def test_who_finds_the_same_order_votes(self, follower):
        heard = (message(0), message(0, B))
        for data in heard:
            follower.hear_iteration(data)
        judged = follower.hear_said(WHO.proposal(0, *heard[::-1]), LEADER)
        assert judged.verdict is Verdict.ACCEPT
        assert follower.take_said() == [WHO.prepare(FOLLOWER, 0, *heard[::-1])]

    def test_it_votes_when_the_last_message_comes(self, follower):
        heard = (message(0), message(0, B))
        follower.hear_iteration(heard[0])
        follower.hear_said(WHO.proposal(0, *heard), LEADER)
        assert follower.take_said() == []
        follower.hear_iteration(heard[1])
        assert follower.take_said() == [WHO.prepare(FOLLOWER, 0, *heard)]

    def test_nothing_is_said_before_it_is_noted(self, follower):
        follower.hold_disk = True
        follower.hear_iteration(message(0))
        for _ in range(3):
            follower.hear_said(WHO.proposal(0, message(0)), LEADER)
            follower.wait(REPEAT_MS)
        assert follower.take_said() == []
        follower.write()
        assert follower.take_said() == [WHO.prepare(FOLLOWER, 0, message(0))]

    @pytest.mark.parametrize("restarted", [False, True])
    def test_it_never_votes_for_another_root(self, follower, restarted):
        for number in range(2):
            follower.hear_iteration(message(number))
        follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        (vote,) = follower.take_said()
        if restarted:
            follower = follower.again()
            for number in range(2):
                follower.hear_iteration(message(number))
            for other in (WHO.proposal(0, message(0), message(1)), WHO.proposal(0, message(1))):
                follower.hear_said(other, LEADER)
                assert of(follower.take_said(), Share) == []
            assert len(follower.records(SlotSigned)) in (1, 2)
        else:
            follower.hear_said(WHO.proposal(0, message(0)), LEADER)
            assert follower.take_said() == [vote], "the one it gave it gives again"
            assert len(follower.records(SlotSigned)) == 1

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda p: replace(p, ballots=p.ballots[:1]), "too few ballots"),
            (lambda p: replace(p, ballots=p.ballots[:1] * 3), "too few ballots"),
            (lambda p: replace(p, ballots=()), "too few ballots"),
            (
                lambda p: replace(p, ballots=(p.ballots[0], replace(p.ballots[0], member=2))),
                "does not match",
            ),
        ],
    )
    def test_a_count_that_does_not_hold_is_refused(self, follower, change, reason):
        heard = (message(0), message(0, B))
        for data in heard:
            follower.hear_iteration(data)
        judged = follower.hear_said(change(WHO.proposal(0, *heard)), LEADER)
        assert (judged.verdict, follower.take_said()) == (Verdict.REJECT, [])
        assert reason in judged.reason

    def test_another_order_than_the_ballots_give_is_refused(self, follower):
        heard = (message(0), message(0, B))
        for data in heard:
            follower.hear_iteration(data)
        good, other = WHO.proposal(0, *heard), WHO.proposal(0, *heard[::-1])
        judged = follower.hear_said(replace(good, ballots=other.ballots), LEADER)
        assert (judged.verdict, follower.take_said()) == (Verdict.REJECT, [])
        assert "not what the ballots give" in judged.reason

    def test_a_bad_count_is_not_the_fault_of_who_sends_the_last_message(self, follower):
        good, other = WHO.proposal(0, message(0), message(0, B)), WHO.proposal(0, message(0, B), message(0))
        follower.hear_iteration(message(0))
        follower.hear_said(replace(good, ballots=other.ballots), LEADER)
        assert follower.hear_iteration(message(0, B)).verdict is Verdict.ACCEPT
        assert follower.take_said() == []

    def test_a_proposal_out_of_turn_is_not_voted_for(self, follower):
        follower.hear_iteration(message(0))
        for number in (1, 2, 7):
            assert follower.hear_said(WHO.proposal(number, message(0)), LEADER).verdict is Verdict.ACCEPT
        assert follower.take_said() == []

    def test_what_the_leader_did_not_sign_is_refused(self, follower):
        follower.hear_iteration(message(0))
        good = WHO.proposal(0, message(0))
        signature = WHO.seat(OTHER).sign(WHO.seat(OTHER).proposal_digest(good.statement))
        judged = follower.hear_said(replace(good, signature=signature), OTHER)
        assert (judged.verdict, follower.take_said()) == (Verdict.REJECT, [])

    @pytest.mark.parametrize("sender", [0, A])
    def test_who_is_no_supervisor_is_ignored(self, follower, sender):
        # He may have become one with a block that isn't here yet.
        assert follower.hear_said(WHO.proposal(0, message(0)), sender).verdict is Verdict.IGNORE
        assert follower.take_said() == []

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda p: replace(p, messages=()), "1 to 256 messages"),
            (lambda p: replace(p, messages=tuple(label(i) for i in range(257))), "1 to 256 messages"),
            (lambda p: replace(p, messages=p.messages * 2), "names a message twice"),
            (lambda p: replace(p, messages=ids_of([message(1)])), "do not give its root"),
            (
                lambda p: replace(p, statement=replace(p.statement, task=label("other"))),
                "of another task",
            ),
        ],
    )
    def test_a_malformed_proposal_is_refused(self, follower, change, reason):
        judged = follower.hear_said(change(WHO.proposal(0, message(0))), LEADER)
        assert judged.verdict is Verdict.REJECT
        assert reason in judged.reason
        assert follower.take_said() == []


class TestCommitting:
    def test_what_has_a_prepare_certificate_is_committed_once_noted(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        follower.take_said()
        follower.hold_disk = True
        follower.hear_said(WHO.prepared(0, message(0)), LEADER)
        assert follower.take_said() == []
        follower.write()
        assert follower.take_said() == [WHO.commit(FOLLOWER, 0, message(0))]
        noted = follower.records(SlotSigned)[-1]
        assert noted.lock.statement == WHO.statement(0, [message(0)])

    def test_the_messages_may_come_later(self, follower):
        follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        follower.hear_said(WHO.prepared(0, message(0)), LEADER)
        assert follower.take_said() == [WHO.commit(FOLLOWER, 0, message(0))], "t others have them"

    def test_a_forged_certificate_is_refused(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        follower.take_said()
        good = WHO.prepared(0, message(0))
        for forged in (
            flip(good.certificate, 100),
            WHO.certify(good.statement),
            WHO.prepared(1, message(0)).certificate,
        ):
            judged = follower.hear_said(replace(good, certificate=forged), LEADER)
            assert (judged.verdict, follower.take_said()) == (Verdict.REJECT, [])

    def test_after_a_restart_it_still_votes_for_it(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        follower.hear_said(WHO.prepared(0, message(0)), LEADER)
        again = follower.again()
        again.hear_said(WHO.prepared(0, message(0)), LEADER)
        assert again.take_said() == [WHO.commit(FOLLOWER, 0, message(0))]


class TestCertifying:
    HEARD = (message(0), message(0, B))

    @pytest.fixture
    def asking(self, leader):
        """A leader that proposed slot 0."""
        for data in self.HEARD:
            leader.hear_iteration(data)
        propose(leader, 0, *self.HEARD)
        return leader

    def test_a_quorum_certifies_the_slot_in_two_votes(self, asking):
        judged = asking.hear_said(WHO.prepare(OTHER, 0, *self.HEARD), OTHER)
        assert judged.verdict is Verdict.ACCEPT
        assert asking.take_said() == [WHO.prepared(0, *self.HEARD)]
        asking.hear_said(WHO.commit(OTHER, 0, *self.HEARD), OTHER)
        assert asking.take_said() == [certified(chain(), 0, self.HEARD)]
        assert asking.core.following[chain().predefined].history.next_slot == 1

    def test_a_second_vote_before_the_first_does_not_count(self, asking):
        for _ in range(2):
            asking.hear_said(WHO.commit(OTHER, 0, *self.HEARD), OTHER)
        assert asking.take_said() == []

    def test_its_messages_are_kept_under_its_root_for_everyone(self, asking):
        asking.hear_said(WHO.prepare(FOLLOWER, 0, *self.HEARD), FOLLOWER)
        asking.hear_said(WHO.commit(FOLLOWER, 0, *self.HEARD), FOLLOWER)
        root = BlobId(merkle.root(ids_of(self.HEARD)))
        assert asking.blobs.get(root) == self.HEARD
        assert root in asking.blobs.shared
        assert [entry.slot.statement for entry in asking.records(SlotRecorded)] == [
            WHO.statement(0, self.HEARD)
        ]

    def test_the_others_keep_it_too(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(certified(chain(), 0, [message(0)]), LEADER)
        assert BlobId(merkle.root(ids_of([message(0)]))) in follower.blobs.shared
        assert len(follower.records(SlotRecorded)) == 1

    def test_a_slot_is_kept_when_its_last_message_is_here(self, follower):
        follower.hear_said(certified(chain(), 0, [message(0), message(1)]), LEADER)
        follower.hear_iteration(message(1))
        assert follower.records(SlotRecorded) == []
        follower.hear_iteration(message(0))
        assert len(follower.records(SlotRecorded)) == 1

    def test_one_vote_counted_twice_is_one_vote(self, asking):
        for _ in range(3):
            asking.hear_said(WHO.prepare(LEADER, 0, *self.HEARD), LEADER)
        assert of(asking.take_said(), Prepared) == []

    def test_votes_for_something_else_do_not_count(self, asking):
        for vote in (
            WHO.prepare(OTHER, 0, self.HEARD[0]),
            WHO.prepare(OTHER, 1, *self.HEARD),
            WHO.prepare(OTHER, 0, *self.HEARD, view=1),
        ):
            assert asking.hear_said(vote, OTHER).verdict is Verdict.ACCEPT
        assert asking.take_said() == []

    def test_a_forged_vote_is_refused(self, asking):
        vote = WHO.prepare(OTHER, 0, *self.HEARD)
        for member in (WHO.seat(FOLLOWER).member, 0, 4):
            assert asking.hear_said(replace(vote, member=member), OTHER).verdict is Verdict.REJECT
        spoilt = replace(vote, signature=flip(vote.signature, 100))
        assert asking.hear_said(spoilt, OTHER).verdict is Verdict.REJECT
        assert asking.take_said() == []
        asking.hear_said(vote, OTHER)
        assert [type(s) for s in asking.take_said()] == [Prepared]

    def test_votes_for_one_slot_do_not_count_for_the_next(self, asking):
        asking.hear_said(WHO.prepare(OTHER, 0, *self.HEARD), OTHER)
        asking.hear_said(WHO.commit(OTHER, 0, *self.HEARD), OTHER)
        asking.hear_iteration(message(1))
        propose(asking, 1, message(1))
        asking.hear_said(WHO.prepare(OTHER, 0, *self.HEARD), OTHER)
        assert asking.take_said() == []


class TestViews:
    @pytest.fixture
    def next_leader(self):
        assert WHO.leader(0, view=1) == FOLLOWER
        return supervisor(FOLLOWER)

    def test_a_leader_that_lets_messages_wait_is_given_up(self, follower):
        follower.hear_iteration(message(0))
        follower.wait(VIEW_MS - 2 * SLOT_MS)
        assert follower.take_said() == []
        follower.hold_disk = True
        follower.wait(3 * SLOT_MS)
        assert follower.take_said() == [], "not before it is noted"
        follower.write()
        (said,) = follower.take_said()
        assert said == WHO.change(FOLLOWER, 0, reasons=(Reason.SLOW, Reason.SILENT))
        follower.wait(3 * REPEAT_MS)
        assert dict.fromkeys(follower.take_said()) == {said: None}, "and again"

    def test_when_nothing_waits_nobody_is_given_up(self, follower):
        follower.wait(3 * VIEW_MS)
        assert follower.take_said() == []

    def test_who_gave_a_view_up_votes_in_it_no_more(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        follower.wait(VIEW_MS + SLOT_MS)
        for lone in (follower, follower.again()):
            lone.take_said()
            lone.hear_iteration(message(0))
            lone.hear_said(WHO.opening(0, message(0)), LEADER)
            lone.hear_said(WHO.proposal(0, message(0)), LEADER)
            lone.hear_said(WHO.prepared(0, message(0)), LEADER)
            assert of(lone.take_said(), Share, Ballot) == []

    def test_it_takes_its_lock_along(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        follower.hear_said(WHO.prepared(0, message(0)), LEADER)
        follower.wait(VIEW_MS + SLOT_MS)
        lock = WHO.prepared(0, message(0))
        said = of(follower.take_said(), ViewChange)[0]
        assert said == WHO.change(FOLLOWER, 0, lock=lock, messages=[message(0)], reasons=reasons_of(said))

    def test_the_next_leader_takes_over_and_registers_it(self, next_leader):
        next_leader.hear_iteration(message(0))
        next_leader.wait(VIEW_MS + SLOT_MS)
        next_leader.take_said()
        wish = WHO.change(OTHER, 0, reasons=(Reason.SLOW, Reason.SILENT))
        assert next_leader.hear_said(wish, OTHER).verdict is Verdict.ACCEPT
        said, opening = next_leader.take_said()
        own = WHO.change(FOLLOWER, 0)
        assert said == WHO.new_view(own, wish, reason=Reason.SILENT)
        assert opening == WHO.opening(0, message(0), view=1)
        (tx,) = next_leader.posted(ReplaceLeader)
        assert tx.data == ReplaceLeader(chain().predefined, 0, 1, Reason.SILENT, said.certificate)
        next_leader.wait(3 * REPEAT_MS)
        assert said in next_leader.take_said(), "for those who missed it"

    def test_reasons_add_up_to_the_least(self, next_leader):
        next_leader.hear_iteration(message(0))
        next_leader.wait(VIEW_MS + SLOT_MS)
        next_leader.hear_said(WHO.change(OTHER, 0), OTHER)
        (tx,) = next_leader.posted(ReplaceLeader)
        assert tx.data.reason is Reason.SLOW

    def test_what_was_locked_alone_is_proposed(self, next_leader):
        next_leader.hear_iteration(message(1))
        next_leader.wait(VIEW_MS + SLOT_MS)
        next_leader.take_said()
        lock = WHO.prepared(0, message(0), message(0, B))
        wish = WHO.change(OTHER, 0, lock=lock, messages=(message(0), message(0, B)))
        next_leader.hear_said(wish, OTHER)
        (said,) = of(next_leader.take_said(), SlotProposal)
        assert said == WHO.proposal(0, message(0), message(0, B), view=1, bound=True)

    def test_all_follow_a_new_view_and_what_it_is_bound_to(self):
        lock = WHO.prepared(0, message(0))
        changes = (WHO.change(LEADER, 0), WHO.change(FOLLOWER, 0, lock=lock, messages=[message(0)]))
        vote = WHO.prepare(OTHER, 0, message(0), view=1)
        for proposal, votes in (
            (WHO.proposal(0, message(1), view=1), []),
            (WHO.proposal(0, message(0), view=1, bound=True), [vote]),
        ):
            lone = supervisor(OTHER)
            lone.hear_iteration(message(1))
            assert lone.hear_said(WHO.new_view(*changes), FOLLOWER).verdict is Verdict.ACCEPT
            lone.hear_said(proposal, FOLLOWER)
            assert lone.take_said() == votes

    def test_what_is_certified_already_is_not_voted_on_again(self):
        first = certified(chain(), 0, [message(0)])
        new_view = WHO.new_view(WHO.change(LEADER, 1, before=first), WHO.change(FOLLOWER, 0))
        lone = supervisor(OTHER)
        for number in range(2):
            lone.hear_iteration(message(number))
        assert lone.hear_said(new_view, FOLLOWER).verdict is Verdict.ACCEPT
        lone.hear_said(WHO.opening(0, message(1), view=1), FOLLOWER)
        lone.hear_said(WHO.proposal(0, message(1), view=1), FOLLOWER)
        assert lone.take_said() == []
        lone.hear_said(first, FOLLOWER)
        lone.hear_said(WHO.proposal(1, message(1), view=1), FOLLOWER)
        assert lone.take_said() == [WHO.prepare(OTHER, 1, message(1), view=1)]

    def test_a_new_leader_that_lags_waits_for_what_is_certified(self, next_leader):
        for number in range(2):
            next_leader.hear_iteration(message(number))
        next_leader.wait(VIEW_MS + SLOT_MS)
        next_leader.take_said()
        first = certified(chain(), 0, [message(0)])
        next_leader.hear_said(WHO.change(OTHER, 1, before=first), OTHER)
        next_leader.wait(2 * REPEAT_MS)
        assert of(next_leader.take_said(), SlotOpening) == []
        next_leader.hear_said(first, OTHER)
        next_leader.wait(2 * SLOT_MS)
        assert WHO.opening(1, message(1), view=1) in next_leader.take_said()

    def test_two_that_ask_for_a_later_view_are_joined(self):
        lone = supervisor(OTHER)
        for account in (LEADER, FOLLOWER):
            assert lone.take_said() == []
            lone.hear_said(WHO.change(account, 0, view=4), account)
        (said,) = of(lone.take_said(), ViewChange)
        assert said.report.view == 4

    def test_who_lags_is_told_what_it_missed(self, leader):
        leader.hear_iteration(message(0))
        lead(leader, 0, message(0))
        leader.wait(REPEAT_MS)
        leader.hear_said(WHO.change(OTHER, 0), OTHER)
        assert certified(chain(), 0, [message(0)]) in leader.take_said()

    @pytest.mark.parametrize(
        "change",
        [
            lambda w: replace(w, shares=()),
            lambda w: replace(w, shares=w.shares * 2),
            lambda w: replace(w, shares=(replace(w.shares[0], reason=Reason.SILENT),)),
            lambda w: replace(w, shares=(replace(w.shares[0], signature=bytes(96)),)),
            lambda w: replace(w, messages=(label("a"),)),
            lambda w: replace(w, report=replace(w.report, slot=1)),
            lambda w: replace(w, report=replace(w.report, view=0)),
            lambda w: replace(w, report=replace(w.report, view=2)),
            lambda w: replace(w, report=replace(w.report, member=1)),
            lambda w: WHO.change(OTHER, 1),
            lambda w: WHO.change(OTHER, 0, view=2**16),
            lambda w: WHO.change(OTHER, 0, lock=WHO.prepared(1, message(0)), messages=[message(0)]),
            lambda w: WHO.change(OTHER, 0, lock=WHO.prepared(0, message(0), view=2), messages=[message(0)]),
            lambda w: WHO.change(OTHER, 0, lock=replace(WHO.prepared(0, message(0)), certificate=bytes(96))),
            lambda w: WHO.change(OTHER, 2, before=certified(chain(), 0, [message(0)])),
            lambda w: WHO.change(
                OTHER, 1, before=replace(certified(chain(), 0, [message(0)]), signature=bytes(96))
            ),
        ],
    )
    def test_a_wish_that_does_not_hold_is_refused(self, follower, change):
        wish = WHO.change(OTHER, 0)
        assert follower.hear_said(change(wish), OTHER).verdict is Verdict.REJECT
        assert follower.hear_said(wish, OTHER).verdict is Verdict.ACCEPT

    @pytest.mark.parametrize(
        "change",
        [
            lambda n: replace(n, reports=n.reports[:1]),
            lambda n: replace(n, reports=n.reports[:1] * 2),
            lambda n: replace(n, messages=(label("a"),)),
            lambda n: replace(n, certificate=bytes(96)),
            lambda n: replace(n, statement=replace(n.statement, view=2)),
            lambda n: replace(n, statement=replace(n.statement, reason=Reason.MALICIOUS)),
            lambda n: replace(n, reports=(n.reports[0], WHO.change(OTHER, 0, view=2).report)),
            lambda n: replace(n, reports=(n.reports[0], replace(n.reports[1], lock=None))),
        ],
    )
    def test_a_new_view_that_does_not_hold_is_refused(self, change):
        lone = supervisor(OTHER)
        lock = WHO.prepared(0, message(0))
        good = WHO.new_view(WHO.change(LEADER, 0), WHO.change(FOLLOWER, 0, lock=lock, messages=[message(0)]))
        assert lone.hear_said(change(good), FOLLOWER).verdict is Verdict.REJECT
        assert lone.hear_said(good, FOLLOWER).verdict is Verdict.ACCEPT


def reasons_of(change):
    return tuple(share.reason for share in change.shares)


class TestEquivocation:
    PAIR = (message(0), message(0, B))

    @pytest.fixture
    def caught(self, follower):
        for data in self.PAIR:
            follower.hear_iteration(data)
            follower.hear_said(WHO.proposal(0, data), LEADER)
        return follower

    def test_two_proposals_for_one_place_are_evidence(self, caught):
        (tx,) = caught.posted(Equivocation)
        first, second = sorted((WHO.proposal(0, m) for m in self.PAIR), key=lambda p: p.statement.root)
        expected = Equivocation(
            chain().predefined,
            WHO.seat(LEADER).committee.members[0],
            first.statement,
            first.signature,
            second.statement,
            second.signature,
        )
        assert tx.data == expected
        said = caught.take_said()
        assert of(said, Equivocation) == [expected], "everybody shall see it"
        assert reasons_of(of(said, ViewChange)[0]) == (Reason.SLOW, Reason.MALICIOUS)

    def test_it_is_accused_once(self, caught):
        caught.take_said()
        for data in self.PAIR:
            caught.hear_said(WHO.proposal(0, data), LEADER)
        assert of(caught.take_said(), Equivocation) == []
        assert len(caught.posted(Equivocation)) == 1

    def test_who_is_shown_the_evidence_believes_it(self, caught):
        (evidence,) = of(caught.take_said(), Equivocation)
        lone = supervisor(OTHER)
        forged = replace(evidence, second_signature=evidence.first_signature)
        assert lone.hear_said(forged, FOLLOWER).verdict is Verdict.REJECT
        lone.hear_said(replace(evidence, second=evidence.first), FOLLOWER)
        assert lone.take_said() == []
        lone.hear_said(evidence, FOLLOWER)
        assert [type(s) for s in lone.take_said()] == [Equivocation, ViewChange]

    def test_the_same_proposal_twice_is_none(self, follower):
        follower.hear_iteration(message(0))
        for _ in range(2):
            follower.hear_said(WHO.proposal(0, message(0)), LEADER)
        assert follower.posted(Equivocation) == []


class TestRestart:
    def test_the_record_goes_on_after_the_last_slot(self, leader):
        for number in range(2):
            leader.hear_iteration(message(number))
            lead(leader, number, message(number))
        again = leader.again()
        history = again.core.following[chain().predefined].history
        assert history.next_slot == 2
        again.hear_iteration(message(2))
        assert WHO.opening(2, message(2)) in close_slot(again)

    def test_recorded_slots_are_still_known_for_the_registration(self, leader):
        leader.hear_iteration(message(0))
        lead(leader, 0, message(0))
        role = leader.again().role()
        assert list(role.recorded[chain().predefined]) == [0]

    def test_a_view_that_was_given_up_stays_so_in_its_term_only(self, follower):
        follower.hear_iteration(message(0))
        follower.wait(VIEW_MS + SLOT_MS)
        again = follower.again()
        assert again.role().signed[chain().predefined].view == 1
        standing = again.role()._recorders[chain().predefined].agreement.standing
        assert (standing.signed.view, standing.is_open) == (1, False)
        for number in range(SLOTS_PER_TERM):
            data = message(number // 3, MINERS[number % 3])
            again.hear_iteration(data)
            again.hear_said(certified(chain(), number, [data]), LEADER)
        assert (standing.signed.epoch, standing.signed.view, standing.is_open) == (1, 0, True)


def test_when_the_training_is_over_the_recorder_falls_silent():
    chain = Chain()
    task = chain.start()
    who = Seats(chain, task)
    lone = Lone(chain, who.leader(), ("supervisor",))
    lone.hear_iteration(iteration(chain, A, 0, task), task)
    chain.end_training(task)
    lone.connect(chain.blocks[-1])
    lone.wait(5 * REPEAT_MS)
    assert lone.take_said() == []
    assert task not in lone.role()._recorders
    assert (task, "supervisor") not in lone.parts


class TestAnotherCommittee:
    def change(self, lone, monkeypatch, account):
        """Give the supervisors other shares of their key."""
        task = lone.core.state.tasks[chain().predefined]
        made = replace(task.committee, context=label("another"), renewed=True)
        seat = replace(WHO.seat(account), committee=made)
        monkeypatch.setattr(Recorder, "task", property(lambda self: replace(task, committee=made)))
        monkeypatch.setattr("p2pai.roles.recorder.take_seat", lambda *_: seat)
        lone.role().tip_changed()
        for effect in lone.core.take_effects():
            lone._perform(effect)
        return seat

    def test_the_record_goes_on_in_a_new_view(self, follower, monkeypatch):
        follower.hear_iteration(message(0))
        follower.hear_said(certified(chain(), 0, [message(0)]), LEADER)
        recorder = follower.role()._recorders[chain().predefined]
        seat = self.change(follower, monkeypatch, FOLLOWER)
        assert follower.role()._recorders[chain().predefined] is recorder
        assert recorder.agreement.seat is seat
        assert recorder.history.next_slot == 1
        (said,) = follower.take_said()
        assert (said.report.slot, said.report.view) == (1, 1)

    def test_votes_of_the_old_one_do_not_count(self, leader, monkeypatch):
        leader.hear_iteration(message(0))
        propose(leader, 0, message(0))
        self.change(leader, monkeypatch, LEADER)
        leader.take_said()
        for vote in (WHO.prepare(OTHER, 0, message(0)), WHO.commit(OTHER, 0, message(0))):
            assert leader.hear_said(vote, OTHER).verdict is Verdict.ACCEPT
        leader.wait(2 * REPEAT_MS)
        assert of(leader.take_said(), Prepared, CertifiedSlot, SlotProposal) == []

    def test_the_same_committee_changes_nothing(self, follower):
        follower.hear_iteration(message(0))
        follower.role().tip_changed()
        follower.wait(SLOT_MS)
        assert follower.take_said() == []


class TestWhoIsNew:
    def test_begins_at_the_first_slot_that_is_not_registered(self):
        chain = Chain()
        chain.post(1, chain.history(chain.predefined, 0, 41))
        chain.mine()
        lone = Lone(chain, Seats(chain, chain.predefined).accounts[1], ("supervisor",))
        recorder = lone.role()._recorders[chain.predefined]
        assert (recorder.next_slot, recorder.registered) == (42, 42)
        assert recorder.agreement.standing.place.slot == 42
