"""Target: nonces are tried when their commitment is recorded, those earned, no others; blocks are valid."""

from dataclasses import dataclass, replace

import pytest

from p2pai.chain import it_res, transition, work
from p2pai.chain.headers import meets_target
from p2pai.chain.params import WORK_PROOF_SLOTS_MAX
from p2pai.jobs import ModelState
from p2pai.primitives import merkle
from p2pai.primitives.ids import BlobId, Hash32
from p2pai.roles.history import TaskHistory
from p2pai.roles.mining import ATTEMPTS_MAX, LUCKY_MAX, Attempt, Mining, Tally
from tests.chain.ledger import FRAGMENTS, MINERS, Chain, Drafting, Plan, label, refused, sign_message
from tests.roles.lone import certified, iteration

LUCKY = 7
"""The iteration whose nonces are tried; it is `distance` after the committed one."""

ANNOUNCED = label("announced")


@dataclass
class Rig:
    """A miner's book, a history and the messages of the iterations that matter."""

    announced: Hash32 = ANNOUNCED
    count: int = 64
    """So many nonces meet the easy target, for all that matters."""

    def __post_init__(self):
        self.chain = Chain()
        self.draft = Drafting(self.chain, Plan(iteration=LUCKY), ())
        self.template = (self.draft.template, self.draft.transactions)
        self.distance = self.chain.params.commitment_distance
        self.mining = Mining(self.draft.ticket, self.distance)
        self.history = TaskHistory()
        self.tip = self.chain.state.tip
        zero_nonce = self.mining.commit(LUCKY - self.distance, self.template)
        queued = BlobId(label("peers", LUCKY))
        self.committed = self.sign(LUCKY - self.distance, zero_nonce_block=zero_nonce)
        self.previous = self.sign(LUCKY - 1, queued=queued)
        self.lucky = self.sign(LUCKY, nonce=self.announced)
        place = self.draft.place
        self.attempt = Attempt(
            LUCKY,
            self.announced,
            ModelState(*(BlobId(label(part, LUCKY)) for part in ("weights", "residual", "optimiser"))),
            label("batch", LUCKY),
            b"peers",
            merkle.inclusion_path(FRAGMENTS[place.fragment], place.index),
        )

    def sign(self, number, **changes):
        message = self.draft.message(number, **changes)
        return sign_message(message, self.draft.task_id, MINERS[0]).encode()

    def other(self, number=0, **changes):
        """A message that has nothing to do with it."""
        return iteration(self.chain, MINERS[1], number, **changes)

    def record(self, number, *messages):
        self.history.add_slot(certified(self.chain, number, messages))
        for data in messages:
            self.history.add_message(it_res.decode(data), data)

    def earn(self):
        self.mining.earn(self.attempt)

    def try_nonces(self, tip=None):
        return self.mining.try_nonces(self.history, self.count, tip or self.tip)

    def finish(self, tip=None):
        return self.mining.finished_blocks(self.history, tip or self.tip)


@pytest.fixture
def rig():
    return Rig()


def first_meeting(rig, first, count):
    """Return the offset of the first nonce that meets the target, or None."""
    header = rig.template[0]
    headers = (replace(header, nonce=work.nonce_at(first, offset)) for offset in range(count))
    return next((offset for offset, h in enumerate(headers) if meets_target(h)), None)


class TestCommitments:
    def test_a_commitment_names_the_zero_nonce_block(self, rig):
        header, _ = rig.template
        assert rig.mining.commit(9, rig.template) == header.zero_nonce_hash
        assert rig.mining.commitments[9] == rig.template

    def test_commitments_are_kept_as_long_as_attempts_may_wait_for_them(self, rig):
        mining = Mining(rig.draft.ticket, rig.distance)
        for number in range(60):
            mining.commit(number, rig.template)
            assert len(mining.commitments) <= mining.distance + ATTEMPTS_MAX
        assert min(mining.commitments) == 60 - mining.distance - ATTEMPTS_MAX

    def test_after_a_restart_nothing_old_is_mined_but_lucky_blocks_go_out(self, rig):
        rig.record(0, rig.committed)
        rig.earn()
        assert rig.try_nonces() == [rig.attempt]
        rig.earn()
        rig.mining.forget()
        assert (rig.mining.commitments, rig.mining.attempts) == ({}, {})
        rig.record(1, rig.previous, rig.lucky)
        assert len(rig.finish()) == 1


class TestAttempts:
    def test_an_attempt_waits_for_the_slot_of_its_commitment(self, rig):
        for data in (rig.committed, rig.previous, rig.lucky):
            rig.history.add_message(it_res.decode(data), data)
        rig.earn()
        assert rig.try_nonces() == []
        assert list(rig.mining.attempts) == [LUCKY]
        rig.record(0, rig.committed)
        assert rig.try_nonces() == [rig.attempt]
        assert rig.mining.attempts == {}

    def test_the_slot_alone_is_enough_before_its_messages_are_here(self, rig):
        rig.history.add_message(it_res.decode(rig.committed), rig.committed)
        rig.earn()
        rig.history.add_slot(certified(rig.chain, 0, [rig.other(), rig.committed]))
        assert rig.try_nonces() == [rig.attempt]

    def test_a_twin_of_the_commitment_in_a_slot_is_another_commitment(self, rig):
        twin = rig.sign(LUCKY - rig.distance, zero_nonce_block=label("another block"))
        rig.history.add_message(it_res.decode(rig.committed), rig.committed)
        rig.earn()
        rig.record(0, twin)
        rig.try_nonces()
        rig.record(1, rig.previous, rig.lucky)
        (block,) = rig.finish()
        refused(rig.chain, block, "the block is not the one committed to")

    def test_without_a_commitment_there_is_nothing_to_try(self, rig):
        rig.record(0, rig.committed)
        rig.mining.commitments.clear()
        rig.earn()
        assert rig.try_nonces() == []
        assert rig.mining.attempts == {}

    def test_a_commitment_on_an_older_tip_is_given_up(self, rig):
        rig.record(0, rig.committed)
        rig.earn()
        assert rig.try_nonces(tip=label("new tip")) == []
        assert rig.mining.attempts == {}
        assert rig.try_nonces() == [], "even if that tip comes back"

    def test_too_many_attempts_push_the_oldest_out(self, rig):
        for number in range(LUCKY, LUCKY + ATTEMPTS_MAX + 1):
            rig.mining.earn(replace(rig.attempt, iteration=number))
        assert list(rig.mining.attempts) == list(range(LUCKY + 1, LUCKY + ATTEMPTS_MAX + 1))

    def test_enough_lucky_blocks_end_the_search(self, rig):
        rig.record(0, rig.committed)
        for _ in range(LUCKY_MAX):
            rig.earn()
            assert rig.try_nonces() == [rig.attempt]
        rig.earn()
        assert rig.try_nonces() == []
        assert len(rig.mining.lucky) == LUCKY_MAX


class TestTally:
    """What became of an iteration's nonces is counted once, and so is what became of a block."""

    def counted(self, rig, **counts):
        assert rig.mining.tally == Tally(**counts)

    def test_tried_and_lucky(self, rig):
        rig.record(0, rig.committed)
        rig.earn()
        rig.try_nonces()
        self.counted(rig, earned=1, tried=1, found=1)
        rig.record(1, rig.previous, rig.lucky)
        rig.finish()
        self.counted(rig, earned=1, tried=1, found=1, sent=1)

    def test_tried_and_not_lucky(self):
        rig = Rig(count=0)
        rig.record(0, rig.committed)
        rig.earn()
        rig.try_nonces()
        self.counted(rig, earned=1, tried=1)

    def test_waiting(self, rig):
        rig.earn()
        rig.try_nonces()
        self.counted(rig, earned=1)

    def test_stale(self, rig):
        rig.record(0, rig.committed)
        rig.earn()
        rig.try_nonces(tip=label("new tip"))
        self.counted(rig, earned=1, stale=1)

    def test_uncommitted(self, rig):
        rig.mining.commitments.clear()
        rig.earn()
        rig.try_nonces()
        self.counted(rig, earned=1, uncommitted=1)

    def test_forgotten(self, rig):
        rig.earn()
        rig.mining.forget()
        self.counted(rig, earned=1, uncommitted=1)

    def test_crowded_out_by_iterations(self, rig):
        for number in range(LUCKY, LUCKY + ATTEMPTS_MAX + 1):
            rig.mining.earn(replace(rig.attempt, iteration=number))
        self.counted(rig, earned=ATTEMPTS_MAX + 1, crowded=1)

    def test_crowded_out_by_blocks(self, rig):
        rig.record(0, rig.committed)
        for _ in range(LUCKY_MAX + 1):
            rig.earn()
            rig.try_nonces()
        self.counted(rig, earned=LUCKY_MAX + 1, tried=LUCKY_MAX, found=LUCKY_MAX, crowded=1)

    def test_a_block_too_late(self, rig):
        rig.record(0, rig.committed)
        rig.earn()
        rig.try_nonces()
        rig.finish(tip=label("new tip"))
        self.counted(rig, earned=1, tried=1, found=1, late=1)


class TestNonces:
    @pytest.mark.parametrize("offset", [0, 1, 3, 6])
    def test_exactly_those_earned_are_tried(self, offset):
        def first_of(rig):
            return it_res.first_nonce(rig.announced, rig.history.slots[0].statement.root)

        for attempt in range(2_000):
            rig = Rig(announced=label("announced", attempt))
            rig.record(0, rig.committed)
            if first_meeting(rig, first_of(rig), 64) == offset:
                break
        else:
            raise AssertionError("no such iteration")
        rig.count = offset
        rig.earn()
        assert rig.try_nonces() == [], "the nonce that meets the target is beside those earned"
        rig.count = offset + 1
        rig.earn()
        assert rig.try_nonces() == [rig.attempt]
        (lucky,) = rig.mining.lucky
        assert lucky.header.nonce == work.nonce_at(first_of(rig), offset)

    def test_they_depend_on_the_slot_that_recorded_the_commitment(self):
        """Training held back gives no nonces: they are known when the commitment is recorded."""
        nonces = {}
        for said in range(3):
            rig = Rig()
            rig.record(0, rig.committed, rig.other(finished_s=said))
            root = rig.history.slots[0].statement.root
            rig.earn()
            assert rig.try_nonces() == [rig.attempt]
            (lucky,) = rig.mining.lucky
            first = it_res.first_nonce(rig.announced, root)
            assert lucky.header.nonce == work.nonce_at(first, first_meeting(rig, first, rig.count))
            nonces[root] = lucky.header.nonce
        assert len(nonces) == len(dict.fromkeys(nonces.values())) == 3

    def test_a_nonce_that_another_slot_would_give_is_refused(self, rig):
        """The miner hoped for a slot of its commitment alone; the supervisors recorded it otherwise."""
        hoped = certified(rig.chain, 0, [rig.committed]).statement.root
        rig.record(0, rig.committed, rig.other())
        rig.record(1, rig.previous, rig.lucky)
        rig.earn()
        rig.try_nonces()
        (block,) = rig.finish()
        transition.apply_block(rig.chain.state, block, rig.chain.params)
        first = it_res.first_nonce(rig.announced, hoped)
        nonce = work.nonce_at(first, first_meeting(rig, first, rig.count))
        wished = replace(block, header=replace(block.header, nonce=nonce))
        assert meets_target(wished.header)
        refused(rig.chain, wished, "the nonce was not earned by the iteration")

    def test_the_announced_nonce_itself_is_not_one_of_them(self, rig):
        rig.record(0, rig.committed)
        rig.record(1, rig.previous, rig.lucky)
        rig.earn()
        rig.try_nonces()
        (block,) = rig.finish()
        nonces = (work.nonce_at(rig.announced, offset) for offset in range(rig.count))
        headers = (replace(block.header, nonce=nonce) for nonce in nonces)
        wished = replace(block, header=next(h for h in headers if meets_target(h)))
        refused(rig.chain, wished, "the nonce was not earned by the iteration")


class TestBlocks:
    def lucky(self):
        """A rig with a lucky block whose commitment stands in slot 0."""
        rig = Rig()
        rig.record(0, rig.other(), rig.committed)
        rig.earn()
        assert rig.try_nonces() == [rig.attempt]
        return rig

    def test_a_block_waits_for_every_message_to_be_recorded(self):
        rig = self.lucky()
        assert rig.finish() == []
        rig.record(1, rig.previous)
        assert rig.finish() == []
        rig.history.add_slot(certified(rig.chain, 2, [rig.lucky]))
        assert rig.finish() == [], "its message must be here too"
        rig.history.add_message(it_res.decode(rig.lucky), rig.lucky)
        assert len(rig.finish()) == 1
        assert rig.finish() == [], "it goes out once"

    @pytest.mark.parametrize(
        ("layout", "spans"),
        [
            (lambda r: [[r.previous], [r.lucky]], 3),
            (lambda r: [[r.other(1)], [r.previous, r.lucky]], 3),
            (lambda r: [[r.other(1), r.previous], [r.other(2)], [r.other(3), r.lucky, r.other(4)]], 4),
        ],
    )
    def test_its_proof_has_the_right_slots_and_the_ledger_accepts_it(self, layout, spans):
        rig = self.lucky()
        slots = layout(rig)
        for number, messages in enumerate(slots, start=1):
            rig.record(number, *messages)
        rig.record(len(slots) + 1, rig.other(9))
        (block,) = rig.finish()
        proof = block.work_proof
        assert [s.slot for s in proof.slots] == list(range(spans))
        assert (proof.committed.slot, proof.lucky.slot) == (0, spans - 1)
        assert [proof.committed.message, proof.previous.message, proof.lucky.message] == [
            rig.committed,
            rig.previous,
            rig.lucky,
        ]
        assert rig.chain.connect(block).hash == rig.chain.state.tip

    def test_slots_are_counted_from_the_commitments(self):
        rig = Rig()
        rig.record(40, rig.committed)
        rig.record(41, rig.previous, rig.lucky)
        rig.earn()
        rig.try_nonces()
        (block,) = rig.finish()
        assert [s.slot for s in block.work_proof.slots] == [40, 41]
        rig.chain.connect(block)

    def test_all_may_stand_in_one_slot(self):
        rig = Rig()
        rig.record(0, rig.committed, rig.previous, rig.lucky)
        rig.earn()
        rig.try_nonces()
        (block,) = rig.finish()
        rig.chain.connect(block)

    def test_a_slot_between_must_be_known(self):
        rig = self.lucky()
        rig.record(1, rig.previous)
        rig.record(3, rig.lucky)
        assert rig.finish() == []
        rig.record(2, rig.other(1))
        (block,) = rig.finish()
        rig.chain.connect(block)

    @pytest.mark.parametrize(
        "layout",
        [
            lambda r: [[r.previous, r.lucky], [r.committed]],
            lambda r: [[r.lucky, r.previous, r.committed]],
            lambda r: [[r.previous], [r.lucky, r.committed]],
        ],
    )
    def test_a_commitment_recorded_after_what_it_was_for_makes_no_block(self, layout, rig):
        for number, messages in enumerate(layout(rig)):
            rig.record(number, *messages)
        rig.earn()
        assert rig.try_nonces() == [rig.attempt]
        assert rig.finish() == []

    @pytest.mark.parametrize("spans", [WORK_PROOF_SLOTS_MAX, WORK_PROOF_SLOTS_MAX + 1])
    def test_a_proof_spans_so_many_slots_and_no_more(self, spans):
        rig = self.lucky()
        for number in range(1, spans - 1):
            rig.record(number, rig.other(number))
        rig.record(spans - 1, rig.previous, rig.lucky)
        blocks = rig.finish()
        assert len(blocks) == (spans <= WORK_PROOF_SLOTS_MAX)
        for block in blocks:
            rig.chain.connect(block)

    def test_a_lucky_block_on_an_older_tip_is_dropped(self):
        rig = self.lucky()
        rig.record(1, rig.previous, rig.lucky)
        assert rig.finish(tip=label("new tip")) == []
        assert rig.finish() == []
        assert rig.mining.lucky == []

    def test_messages_forgotten_meanwhile_make_no_block_and_no_error(self):
        rig = self.lucky()
        rig.record(1, rig.previous, rig.lucky)
        rig.history.messages.clear()
        assert rig.finish() == []
