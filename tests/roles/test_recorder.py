"""Target: slots hold what was sent, once, in order; nobody ever signs two statements for one slot."""

from dataclasses import dataclass, replace
from functools import cache

import pytest

from p2pai.chain import committee, it_res
from p2pai.chain.committee import CertifiedSlot
from p2pai.chain.params import SLOT_MESSAGES_MAX, SLOTS_PER_TERM
from p2pai.effects import Verdict
from p2pai.primitives import merkle
from p2pai.primitives.ids import BlobId
from p2pai.roles.recorder import REPEAT_MS
from p2pai.roles.slots import SlotProposal, SlotRecorded, SlotSignature, SlotSigned
from tests.chain.ledger import MINERS, Chain, flip, keys, label
from tests.roles.lone import Lone, certified, ids_of, iteration, statement_of, supervisors_of

A, B, C = MINERS


@cache
def chain():
    return Chain()


@cache
def message(number, account=A, said=0):
    return iteration(chain(), account, number, finished_s=1_780_000_001 + said)


@dataclass
class Committee:
    """Who is who at slot 0."""

    leader: int
    follower: int
    other: int

    def ticket(self, account):
        return chain().tickets("supervisor", account, task=chain().predefined)[0]

    def vote(self, account, number, messages):
        statement = statement_of(chain(), number, messages)
        signature = committee.sign(keys(account).bls, statement)
        return SlotSignature(statement, self.ticket(account), signature)


WHO = Committee(*supervisors_of(chain()))


def supervisor(account, **changes):
    return Lone(chain(), account, ("supervisor",), **changes)


def proposal(number, *messages):
    return SlotProposal(statement_of(chain(), number, messages), ids_of(messages))


GOOD = proposal(0, message(0))


def close_slot(lone):
    lone.wait(chain().params.slot_ms)
    return lone.take_said()


@pytest.fixture
def leader():
    return supervisor(WHO.leader)


@pytest.fixture
def follower():
    return supervisor(WHO.follower)


class TestProposing:
    def test_the_leader_proposes_what_it_heard(self, leader):
        heard = [message(0), message(0, B), message(0, C)]
        for data in heard:
            leader.hear_iteration(data)
        assert leader.take_said() == [], "when the slot is closed, not before"
        assert close_slot(leader) == [proposal(0, *heard)]

    def test_there_is_nothing_to_propose_when_nothing_was_sent(self, leader):
        for _ in range(5):
            assert close_slot(leader) == []

    def test_who_does_not_lead_proposes_nothing(self, follower):
        follower.hear_iteration(message(0))
        for _ in range(5):
            assert close_slot(follower) == []

    def test_each_miners_messages_stand_in_order_of_iteration(self, leader):
        for data in (message(2), message(0, B), message(0), message(1, B), message(1)):
            leader.hear_iteration(data)
        expected = (message(0), message(0, B), message(1), message(1, B), message(2))
        assert close_slot(leader) == [proposal(0, *expected)]

    def test_a_slot_holds_so_many_messages_and_no_more(self, leader):
        history = leader.core.following[chain().predefined].history
        first = it_res.decode(message(0))
        for number in range(SLOT_MESSAGES_MAX + 3):
            other = replace(first, iteration=number)
            history.add_message(other, other.encode())
        (said,) = close_slot(leader)
        assert len(said.messages) == SLOT_MESSAGES_MAX
        assert [history.decoded[i].iteration for i in said.messages] == list(range(SLOT_MESSAGES_MAX))

    def test_a_proposal_is_repeated_until_it_is_certified(self, leader):
        leader.hear_iteration(message(0))
        (first,) = close_slot(leader)
        leader.hear_iteration(message(1))
        leader.wait(4 * REPEAT_MS)
        again = leader.take_said()
        assert len(again) in (2, 3)
        assert all(said == first for said in again), "the same, although there is more by now"
        leader.hear_said(WHO.vote(WHO.other, 0, [message(0)]), WHO.other)
        leader.take_said()
        leader.wait(3 * REPEAT_MS)
        said = leader.take_said()
        assert said
        assert all(s == proposal(1, message(1)) for s in said)

    def test_nothing_is_said_before_it_is_noted(self, leader):
        leader.hold_disk = True
        leader.hear_iteration(message(0))
        leader.wait(5 * REPEAT_MS)
        assert leader.take_said() == []
        assert [entry.record for entry in leader.writing], "but it is being written"
        leader.write()
        assert leader.take_said() == [proposal(0, message(0))]
        assert leader.records(SlotSigned) == [
            SlotSigned(proposal(0, message(0)).statement, ids_of([message(0)]))
        ]


class TestSigning:
    def test_who_has_all_messages_signs(self, follower):
        heard = (message(0), message(0, B))
        for data in heard:
            follower.hear_iteration(data)
        judged = follower.hear_said(proposal(0, *heard[::-1]), WHO.leader)
        assert judged.verdict is Verdict.ACCEPT
        assert follower.take_said() == [WHO.vote(WHO.follower, 0, heard[::-1])]

    def test_it_signs_when_the_last_message_comes(self, follower):
        heard = (message(0), message(0, B), message(0, C))
        follower.hear_iteration(heard[0])
        follower.hear_said(proposal(0, *heard), WHO.leader)
        history = follower.core.following[chain().predefined].history
        assert history.missing() == ids_of(heard[1:]), "it asks for what it lacks"
        follower.hear_iteration(heard[2])
        assert follower.take_said() == []
        follower.hear_iteration(heard[1])
        assert follower.take_said() == [WHO.vote(WHO.follower, 0, heard)]

    def test_nothing_is_said_before_it_is_noted(self, follower):
        follower.hold_disk = True
        follower.hear_iteration(message(0))
        for _ in range(3):
            follower.hear_said(proposal(0, message(0)), WHO.leader)
            follower.wait(2 * REPEAT_MS)
        assert follower.take_said() == []
        follower.write()
        assert follower.take_said() == [WHO.vote(WHO.follower, 0, [message(0)])]

    @pytest.mark.parametrize("restarted", [False, True])
    def test_it_never_signs_another_statement_for_a_slot(self, follower, restarted):
        for number in range(2):
            follower.hear_iteration(message(number))
        follower.hear_said(proposal(0, message(0)), WHO.leader)
        (vote,) = follower.take_said()
        if restarted:
            follower = follower.again()
            for number in range(2):
                follower.hear_iteration(message(number))
        for other in (proposal(0, message(0), message(1)), proposal(0, message(1))):
            follower.hear_said(other, WHO.leader)
            follower.wait(2 * REPEAT_MS)
        assert follower.take_said() == []
        follower.hear_said(proposal(0, message(0)), WHO.leader)
        assert follower.take_said() == [vote], "the one it signed it says again"
        assert len(follower.records(SlotSigned)) == 1

    def test_the_leader_goes_on_with_its_own_proposal_after_a_restart(self, leader):
        leader.hear_iteration(message(0))
        (said,) = close_slot(leader)
        again = leader.again()
        again.hear_iteration(message(1))
        again.wait(2 * REPEAT_MS)
        assert list(dict.fromkeys(again.take_said())) == [said]

    def test_a_proposal_out_of_turn_is_not_signed(self, follower):
        follower.hear_iteration(message(0))
        for number in (1, 2, 7):
            assert follower.hear_said(proposal(number, message(0)), WHO.leader).verdict is Verdict.ACCEPT
        assert follower.take_said() == []

    def test_one_that_came_early_is_signed_when_it_is_due(self, follower):
        for number in range(2):
            follower.hear_iteration(message(number))
        follower.hear_said(proposal(1, message(1)), WHO.leader)
        assert follower.take_said() == []
        follower.hear_said(certified(chain(), 0, [message(0)]), WHO.leader)
        assert follower.take_said() == [WHO.vote(WHO.follower, 1, [message(1)])]

    def test_what_is_recorded_already_is_not_signed_again(self, follower):
        for number in range(2):
            follower.hear_iteration(message(number))
        follower.hear_said(certified(chain(), 0, [message(0)]), WHO.leader)
        follower.hear_said(proposal(1, message(0), message(1)), WHO.leader)
        assert follower.take_said() == []

    def test_two_messages_for_one_place_are_not_signed(self, follower):
        twins = (message(0), message(0, said=1))
        follower.hear_iteration(twins[0])
        follower.hear_said(proposal(0, *twins), WHO.leader)
        follower.hear_iteration(twins[1])
        assert follower.take_said() == []

    def test_the_twin_that_the_leader_names_is_signed(self, follower):
        one, other = message(0), message(0, said=1)
        follower.hear_iteration(one)
        follower.hear_said(proposal(0, other), WHO.leader)
        assert follower.take_said() == []
        follower.hear_iteration(other)
        assert follower.take_said() == [WHO.vote(WHO.follower, 0, [other])]


class TestWhoIsHeard:
    def test_only_the_leaders_proposals_count(self, follower):
        follower.hear_iteration(message(0))
        judged = follower.hear_said(proposal(0, message(0)), WHO.other)
        assert judged.verdict is Verdict.IGNORE
        assert follower.take_said() == []

    def test_the_next_term_has_another_leader(self, follower):
        number = SLOTS_PER_TERM
        assert follower.hear_said(proposal(number, message(0)), WHO.leader).verdict is Verdict.IGNORE
        assert follower.hear_said(proposal(number, message(0)), WHO.follower).verdict is Verdict.ACCEPT

    @pytest.mark.parametrize("sender", [0, A])
    def test_who_is_no_supervisor_is_refused(self, follower, sender):
        judged = follower.hear_said(proposal(0, message(0)), sender)
        assert (judged.verdict, judged.reason) == (
            Verdict.REJECT,
            "the sender is not a supervisor of the task",
        )

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            (replace(proposal(0, message(0)), messages=()), "1 to 256 messages"),
            (
                replace(proposal(0, message(0)), messages=tuple(label(i) for i in range(257))),
                "1 to 256 messages",
            ),
            (proposal(0, message(0), message(0)), "names a message twice"),
            (replace(proposal(0, message(0)), messages=ids_of([message(1)])), "do not give its root"),
            (
                replace(
                    proposal(0, message(0)), statement=replace(proposal(0, message(0)).statement, view=1)
                ),
                "do not give its root",
            ),
            (
                replace(
                    proposal(0, message(0)),
                    statement=replace(proposal(0, message(0)).statement, task=label("other")),
                ),
                "of another task",
            ),
        ],
    )
    def test_a_malformed_proposal_is_refused(self, follower, said, reason):
        judged = follower.hear_said(said, WHO.leader)
        assert judged.verdict is Verdict.REJECT
        assert reason in judged.reason
        assert follower.take_said() == []


class TestCertifying:
    def test_a_quorum_certifies_the_slot(self, leader):
        heard = [message(0), message(0, B)]
        for data in heard:
            leader.hear_iteration(data)
        close_slot(leader)
        judged = leader.hear_said(WHO.vote(WHO.other, 0, heard), WHO.other)
        assert judged.verdict is Verdict.ACCEPT
        (slot,) = leader.take_said()
        assert slot == certified(chain(), 0, heard, signers=(WHO.leader, WHO.other))
        assert leader.core.following[chain().predefined].history.next_slot == 1

    def test_its_messages_are_kept_under_its_root_for_everyone(self, leader):
        heard = [message(0), message(0, B)]
        for data in heard:
            leader.hear_iteration(data)
        close_slot(leader)
        leader.hear_said(WHO.vote(WHO.follower, 0, heard), WHO.follower)
        root = BlobId(merkle.root(ids_of(heard)))
        assert leader.blobs.get(root) == tuple(heard)
        assert root in leader.blobs.shared
        assert [entry.slot.statement for entry in leader.records(SlotRecorded)] == [
            statement_of(chain(), 0, heard)
        ]

    def test_the_others_keep_it_too(self, follower):
        follower.hear_iteration(message(0))
        follower.hear_said(certified(chain(), 0, [message(0)]), WHO.leader)
        assert BlobId(merkle.root(ids_of([message(0)]))) in follower.blobs.shared
        assert len(follower.records(SlotRecorded)) == 1

    def test_a_slot_is_kept_when_its_last_message_is_here(self, follower):
        follower.hear_said(certified(chain(), 0, [message(0), message(1)]), WHO.leader)
        follower.hear_iteration(message(1))
        assert follower.records(SlotRecorded) == []
        follower.hear_iteration(message(0))
        assert len(follower.records(SlotRecorded)) == 1

    def test_one_vote_counted_twice_is_one_vote(self, leader):
        leader.hear_iteration(message(0))
        close_slot(leader)
        own = WHO.vote(WHO.leader, 0, [message(0)])
        for _ in range(3):
            leader.hear_said(own, WHO.leader)
        assert [s for s in leader.take_said() if isinstance(s, CertifiedSlot)] == []

    def test_votes_for_something_else_do_not_count(self, leader):
        for number in range(2):
            leader.hear_iteration(message(number))
        close_slot(leader)
        for vote in (
            WHO.vote(WHO.other, 0, [message(0)]),
            WHO.vote(WHO.other, 1, [message(0), message(1)]),
        ):
            assert leader.hear_said(vote, WHO.other).verdict is Verdict.ACCEPT
        assert leader.take_said() == []

    def test_a_forged_vote_is_refused(self, leader):
        leader.hear_iteration(message(0))
        close_slot(leader)
        vote = WHO.vote(WHO.other, 0, [message(0)])
        spoilt = replace(vote, signature=flip(vote.signature, 100))
        assert leader.hear_said(spoilt, WHO.other).verdict is Verdict.REJECT
        assert leader.hear_said(vote, WHO.follower).verdict is Verdict.REJECT
        assert leader.take_said() == []
        leader.hear_said(vote, WHO.other)
        assert [type(s) for s in leader.take_said()] == [CertifiedSlot]

    def test_votes_for_one_slot_do_not_count_for_the_next(self, leader):
        leader.hear_iteration(message(0))
        close_slot(leader)
        leader.hear_said(WHO.vote(WHO.other, 0, [message(0)]), WHO.other)
        leader.hear_iteration(message(1))
        leader.take_said()
        (said,) = close_slot(leader)
        assert isinstance(said, SlotProposal)
        leader.hear_said(WHO.vote(WHO.other, 0, [message(0)]), WHO.other)
        assert leader.take_said() == []


class TestRestart:
    def test_the_record_goes_on_after_the_last_slot(self, leader):
        for number in range(2):
            leader.hear_iteration(message(number))
            close_slot(leader)
            leader.hear_said(WHO.vote(WHO.other, number, [message(number)]), WHO.other)
        again = leader.again()
        history = again.core.following[chain().predefined].history
        assert history.next_slot == 2
        again.hear_iteration(message(2))
        assert proposal(2, message(2)) in close_slot(again)

    def test_recorded_slots_are_still_known_for_the_registration(self, leader):
        leader.hear_iteration(message(0))
        close_slot(leader)
        leader.hear_said(WHO.vote(WHO.other, 0, [message(0)]), WHO.other)
        role = leader.again().role()
        assert list(role.recorded[chain().predefined]) == [0]
        assert role.signed == {}


def test_when_the_training_is_over_the_recorder_falls_silent():
    chain = Chain()
    task = chain.start()
    accounts = supervisors_of(chain, task)
    lone = Lone(chain, accounts[0], ("supervisor",))
    lone.hear_iteration(iteration(chain, A, 0, task), task)
    chain.end_training(task)
    lone.connect(chain.blocks[-1])
    lone.wait(5 * REPEAT_MS)
    assert lone.take_said() == []
    assert task not in lone.role()._recorders
