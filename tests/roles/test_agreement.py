"""Target: no place is ever certified twice; while f < n/3 cheat and gossip loses, slots go on.

Faults are counted, so that a history in which none happened fails. Safety is also checked against weakened
members, which must break it: or these tests would prove nothing.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain import schulze
from p2pai.chain.committee import Reason, ViewStatement, epoch_of
from p2pai.chain.params import SLOTS_PER_TERM
from p2pai.primitives.errors import InvalidProof
from p2pai.roles.agreement import Agreement
from p2pai.roles.standing import Standing
from p2pai.roles.views import Views, timeout_ms
from p2pai.roles.voting import Voting
from tests.roles.council import (
    PULL_MS,
    SLOT_MS,
    Censor,
    Council,
    Dead,
    Forger,
    Hasty,
    Hoarder,
    Reorder,
    Repeater,
    Silent,
    TwoFaced,
    Whisperer,
    make_seat,
)

BASE_MS = timeout_ms(SLOT_MS, 0)
SIZES = (3, 4, 5, 7, 10, 16)
FAULTS = {4: 1, 5: 1, 7: 2, 10: 3, 16: 5}
"""Members that may cheat, of so many."""


def gaps_ms(council):
    times = [0, *sorted(council.recorded_ms.values())]
    return [b - a for a, b in pairwise(times)]


class TestAllHonest:
    @pytest.mark.parametrize("size", SIZES)
    def test_slots_follow_each_other_at_their_pace(self, size):
        council = Council(size, seed=size)
        council.mine(10_000)
        council.run(2_000)
        council.check()
        assert council.slot_count >= 10_000 // (2 * SLOT_MS)
        assert all(not m.arrived for m in council.honest), "nothing is left"
        assert council.counts["ViewChange"] == 0
        assert not council.refused

    def test_a_slot_takes_five_messages_one_after_the_other(self):
        """Opening, ballots, proposal, first votes, certificate, second votes: five delays to the leader's."""
        council = Council(4, seed=1, delay_ms=(40, 40))
        council.mine(1, every_ms=1)
        took = council.run_until(lambda: council.slot_count == 1, 5_000)
        # All messages are there 300 ms later; a slot opens every 300 ms; the rest are delays and writes.
        assert took <= 2 * SLOT_MS + 300 + 7 * 40 + 5 * 10

    def test_the_order_is_schulzes(self):
        council = Council(4, seed=2)
        ballots = {}
        say = council.publish

        def spy(sender, said, to=None):
            if type(said).__name__ == "SlotProposal":
                ballots[said.statement.slot] = said
            say(sender, said, to)

        council.publish = spy
        council.mine(5_000)
        slots = council.check()
        for number, slot in slots.items():
            shown = ballots[number]
            candidates = tuple(sorted(slot.messages))
            assert slot.messages == schulze.rank(candidates, [r.order for r in shown.ballots])
            turns = [council.members[1].turns[i] for i in slot.messages]
            for miner in {t[0] for t in turns}:
                its = [t[1] for t in turns if t[0] == miner]
                assert its == sorted(its)

    def test_leaders_take_turns(self):
        council = Council(3, seed=3)
        council.mine(26_000)
        slots = council.check()
        assert len(slots) > SLOTS_PER_TERM
        assert {s.statement.view for s in slots.values()} == {0}
        assert {s.statement.epoch for s in slots.values()} == {0, 1}
        assert council.counts["ViewChange"] == 0


class TestNetwork:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("size", [3, 4, 7])
    def test_what_is_lost_delays_and_never_stops(self, size, seed):
        council = Council(size, seed, loss_percent=30, double_percent=50, delay_ms=(5, 400))
        council.mine(20_000, lost_percent=30)
        before = council.slot_count
        assert before > 0
        assert max(gaps_ms(council)) <= 3 * BASE_MS
        council.mine(3 * BASE_MS)
        council.check()
        assert council.slot_count > before
        assert not council.refused, "nobody honest breaks a rule"

    def test_who_was_cut_off_catches_up(self):
        council = Council(4, seed=5)
        council.mine(3_000)
        council.cut = {3}
        council.mine(10_000)
        assert council.members[3].next_slot < council.members[1].next_slot
        council.cut = set()
        council.mine(3 * PULL_MS)
        council.run(2_000)
        council.check()
        assert council.members[3].next_slot == council.members[1].next_slot

    @pytest.mark.parametrize("seed", range(6))
    def test_a_leader_that_is_cut_off_is_replaced(self, seed):
        council = Council(4, seed)
        council.mine(2_000)
        council.cut = {1}
        before = max(m.next_slot for m in council.honest)
        council.mine(BASE_MS + 3_000)
        assert max(m.next_slot for m in council.honest) > before + 1
        council.cut = set()
        council.mine(4_000)
        council.check()
        assert [s.view for _, s in council.replaced] == [1]

    @pytest.mark.parametrize("seed", range(10))
    def test_restarts_forget_no_promise(self, seed):
        council = Council(4, seed, loss_percent=10, double_percent=10)
        for _ in range(12):
            council.mine(council.rng.randint(100, 1_500))
            council.restart(council.rng.randint(1, 4))
        before = council.slot_count
        council.mine(3 * BASE_MS)
        council.check()
        assert council.slot_count > before
        assert not council.refused, "nobody honest breaks a rule"

    def test_the_next_term_begins_with_its_own_leader(self):
        council = Council(4, seed=4, cheats={1: Silent})
        council.mine(40_000)
        slots = council.check()
        views = {(epoch_of(n), s.statement.view) for n, s in slots.items()}
        assert views >= {(0, 1), (1, 0)}


class TestAnotherCommittee:
    @pytest.mark.parametrize("size", [3, 4, 7])
    @pytest.mark.parametrize("seed", range(5))
    def test_slots_go_on_and_who_is_new_takes_part(self, size, seed):
        council = Council(size, seed, loss_percent=5)
        council.mine(council.rng.randint(500, 5_000))
        for _ in range(2):
            council.reshare(council.rng.randint(1, size))
            before = max(m.next_slot for m in council.honest)
            council.mine(BASE_MS + 3_000)
            assert council.slot_count > before + 3
        council.check()
        views = [m.agreement.standing.signed.view for m in council.honest if m.agreement.leads]
        assert views, "one leads"
        assert min(views) > 0

    def test_no_timeout_is_waited_for(self):
        council = Council(4, seed=2)
        council.mine(3_000)
        council.reshare(2)
        before = max(m.next_slot for m in council.honest)
        council.mine(3_000)
        assert council.slot_count > before

    def test_shares_of_the_old_one_do_not_count(self):
        council = Council(4, seed=1)
        seat, new = council.seat(1), make_seat(4, 1, attempt=1)
        statement = ViewStatement(seat.task, 0, 1, Reason.SLOW)
        with pytest.raises(InvalidProof):
            new.check_share(statement, 1, seat.share(statement))


class TestCheats:
    @pytest.mark.parametrize("cheat", [Silent, Dead, Censor, Reorder, Forger, Repeater])
    @pytest.mark.parametrize("size", sorted(FAULTS))
    def test_a_leader_that_does_not_serve_is_replaced(self, size, cheat):
        faults = min(FAULTS[size], 2)
        council = Council(size, seed=1, cheats=dict.fromkeys(range(1, faults + 1), cheat))
        limit_ms = BASE_MS * (2**faults - 1) + 2_000
        council.mine(limit_ms)
        council.check()
        assert council.replaced[-1][1].view == faults
        assert council.replaced[-1][0] <= limit_ms
        council.run(2_000)
        assert all(not m.arrived for m in council.honest)
        if cheat in (Silent, Dead):
            assert council.replaced[0][1].reason is Reason.SILENT
        else:
            assert council.replaced[0][1].reason is Reason.SLOW

    @pytest.mark.parametrize("cheat", [Silent, Dead, Censor, Reorder, Forger, Hasty, TwoFaced])
    @pytest.mark.parametrize("seed", range(3))
    def test_slots_go_on_although_gossip_loses_too(self, cheat, seed):
        council = Council(4, seed, loss_percent=20, double_percent=20, cheats={1 + seed: cheat})
        council.mine(20_000)
        before = council.slot_count
        council.mine(3 * BASE_MS)
        council.check()
        assert council.slot_count > before

    def test_who_asks_for_views_alone_is_not_followed(self):
        for size, faults in FAULTS.items():
            council = Council(size, seed=1, cheats=dict.fromkeys(range(1, faults + 1), Hasty))
            council.mine(5_000)
            council.check()
            assert council.replaced == []
            assert council.slot_count > 10
            assert any("certificate does not match" in reason for _, reason in council.refused)

    @pytest.mark.parametrize("size", sorted(FAULTS))
    def test_an_equivocating_leader_is_caught_and_replaced(self, size):
        council = Council(size, seed=1, cheats=dict.fromkeys(range(1, FAULTS[size] + 1), TwoFaced))
        council.mine(6_000)
        council.run(2_000)
        council.check()
        assert council.counts["two"] > 0, "it did propose twice"
        first_ms, statement = council.replaced[0]
        assert statement.reason is Reason.MALICIOUS
        assert first_ms < BASE_MS, "no timeout is waited for"
        for _, _, evidence in council.accused:
            assert evidence.first.root < evidence.second.root
            assert replace(evidence.first, root=evidence.second.root) == evidence.second
            seat = make_seat(size, 1)
            leader = seat.leader(evidence.first.epoch, evidence.first.view)
            assert evidence.ticket == seat.committee.members[leader - 1]
            assert leader in council.cheats, "nobody honest is ever accused"
            seat.check_signed(leader, seat.proposal_digest(evidence.first), evidence.first_signature)
            seat.check_signed(leader, seat.proposal_digest(evidence.second), evidence.second_signature)
        first = council.accused[0][2].first
        accusers = {member for _, member, e in council.accused if e.first == first}
        assert accusers >= {m.member for m in council.honest}

    @pytest.mark.parametrize("seed", range(10))
    def test_a_certificate_that_one_saw_binds_all(self, seed):
        council = hoard(7, seed)
        council.cut = set()
        council.mine(3 * BASE_MS)
        council.check()

    @pytest.mark.parametrize("seed", range(10))
    def test_what_only_one_knows_to_be_certified_is_not_voted_on_again(self, seed):
        council = whisper(4, seed)
        council.pull_ms = PULL_MS
        council.mine(20_000)
        council.check()
        assert council.slot_count > 5

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32), st.sampled_from((4, 5, 7)), st.data())
    def test_nothing_is_ever_certified_twice(self, seed, size, data):
        kinds = [Silent, Dead, Censor, Reorder, Forger, Repeater, Hasty, TwoFaced, Hoarder, Whisperer]
        chosen = data.draw(st.lists(st.sampled_from(kinds), max_size=FAULTS[size]))
        cheats = dict(zip(data.draw(st.permutations(range(1, size + 1))), chosen, strict=False))
        loss, delay = data.draw(st.integers(0, 30)), data.draw(st.sampled_from((40, 400, 2_000)))
        council = Council(
            size,
            seed,
            loss_percent=loss,
            double_percent=30,
            delay_ms=(5, delay),
            pull_ms=data.draw(st.sampled_from((PULL_MS, 20_000))),
            cheats=cheats,
        )
        for _ in range(data.draw(st.integers(1, 6))):
            council.mine(data.draw(st.integers(100, 8_000)))
            fault = data.draw(st.sampled_from(("none", "restart", "cut", "heal")))
            if fault == "restart":
                council.restart(data.draw(st.integers(1, size)))
            council.cut = {data.draw(st.integers(1, size))} if fault == "cut" else set()
        council.check()


def hoard(size, seed, cls=Hoarder):
    """A leader shows the certificate of slot 0 to one member alone, and then new messages come."""
    council = Council(size, seed, cheats={1: cls})
    council.mine(2_500)
    assert council.counts["hoarded"] > 0
    council.mine(3 * BASE_MS)
    return council


def whisper(size, seed):
    """A leader shows the certificate of slot 0 to one member alone, which is not the next leader."""
    council = Council(size, seed, cheats={1: Whisperer}, pull_ms=15_000)
    council.mine(12_000)
    assert council.counts["whispered"] > 0
    return council


def for_seeds(seeds, run):
    for seed in seeds:
        run(4, seed)


def two_faced():
    """Leaders propose two slots to all at once, many times."""
    for seed in range(20):
        council = Council(4, seed, cheats={1: TwoFaced}, forward_ms=0)
        council.mine(2_000)
    return council


class TestWeakened:
    """Without each promise a place is certified twice."""

    def test_without_locks(self, monkeypatch):
        monkeypatch.setattr(Standing, "commit", lambda self, lock, then: self._note(self.signed, then))
        with pytest.raises(AssertionError, match="certified twice"):
            hoard(7, 1)

    def test_without_heeding_what_is_locked(self, monkeypatch):
        monkeypatch.setattr(Standing, "binding", property(lambda self: None))
        with pytest.raises(AssertionError, match="certified twice"):
            hoard(7, 1)

    def test_when_certified_slots_are_voted_on_again(self, monkeypatch):
        open_views = property(lambda self: self.is_open and self.desk.slot(self.signed.slot) is None)
        monkeypatch.setattr(Views, "_help", lambda self, report: None)
        for_seeds(range(20), whisper)
        monkeypatch.setattr(Standing, "is_active", open_views)
        with pytest.raises(AssertionError, match="certified twice"):
            for_seeds(range(20), whisper)

    def test_when_each_root_is_voted_for(self, monkeypatch):
        def prepare(self, proposal, then):
            self._note(replace(self.signed, proposal=proposal), then)

        monkeypatch.setattr(Standing, "prepare", prepare)
        monkeypatch.setattr(Voting, "_has_prepared", lambda self, proposal: False)
        monkeypatch.setattr(Agreement, "_accuse", lambda self, place, pairs: None)
        with pytest.raises(AssertionError, match="certified twice"):
            two_faced()

    def test_and_with_all_promises_it_is_not(self):
        assert two_faced().counts["two"] > 0
