"""Target: a block is accepted only if a recorded iteration earned its nonce, else the reason is named."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import committee, it_res, transition, work
from p2pai.chain.headers import meets_target
from p2pai.chain.params import VIEW_MAX, WORK_PROOF_SLOTS_MAX
from p2pai.chain.state import Stage
from p2pai.chain.training import Numerics
from p2pai.chain.transaction import Transfer
from p2pai.chain.work_proof import Recorded
from p2pai.primitives import bls, merkle
from p2pai.primitives.errors import InvalidBlock
from p2pai.primitives.ids import ZERO_HASH, Hash32, Outpoint
from tests.chain.ledger import (
    FRAGMENTS,
    MINERS,
    SUPERVISORS,
    Chain,
    Plan,
    definition,
    devnet,
    flip,
    label,
    refused,
    sign_message,
    with_proof,
)


@pytest.fixture
def chain():
    return Chain()


def with_header(block, **changes):
    return replace(block, header=replace(block.header, **changes))


def rewritten(recorded, **changes):
    """Change a field of a message that is already signed and recorded."""
    return replace(recorded, message=replace(it_res.decode(recorded.message), **changes).encode())


class TestMinersThatLeave:
    """The second miner works no more from epoch 2 on: iteration 30 is then of epoch 2, else of the third."""

    def states(self, chain):
        """The ledger without, and with the shift."""
        task = chain.task(chain.predefined)
        shifts = task.roster.without(task.miners[1], 2).shifts
        return chain.state, replace(
            chain.state, tasks=chain.state.tasks.set(chain.predefined, replace(task, shifts=shifts))
        )

    def check(self, chain, block, state):
        work.check(block.header, block.work_proof, block.transactions[0].data, state, chain.params)

    def drafted(self, chain, state, miner):
        account = chain.account(chain.task(chain.predefined).miners[miner])
        chain.state = chain.pool = state
        return chain.draft(miner=account, iteration=30)

    def test_the_others_mine_with_what_falls_to_them_now(self, chain):
        before, after = self.states(chain)
        block = self.drafted(chain, after, 0)
        self.check(chain, block, after)
        with pytest.raises(InvalidBlock, match="no such iteration"):
            self.check(chain, block, before)

    def test_nobody_mines_with_what_fell_to_it_before(self, chain):
        before, after = self.states(chain)
        for miner in range(3):
            block = self.drafted(chain, before, miner)
            self.check(chain, block, before)
            with pytest.raises(InvalidBlock, match="no such iteration"):
                self.check(chain, block, after)


def test_a_block_with_an_earned_nonce_is_connected(chain):
    block = chain.draft()
    assert transition.apply_block(chain.state, block, chain.params).tip == block.hash


@pytest.mark.parametrize("miner", MINERS)
def test_each_miner_of_the_task_may_mine(chain, miner):
    assert chain.mine(miner=miner).hash == chain.state.tip


def test_the_first_and_the_last_nonce_are_earned(chain):
    count = work.nonce_count(chain.task(chain.predefined).definition, chain.params)
    for offset in (0, count - 1):
        chain.connect(chain.draft(nonce_offset=offset))


def test_a_nonce_beside_those_earned_is_refused(chain):
    count = work.nonce_count(chain.task(chain.predefined).definition, chain.params)
    for offset in (-1, count):
        refused(chain, chain.draft(nonce_offset=offset), "the nonce was not earned by the iteration")


def test_earned_nonces_wrap_around(chain):
    near_the_end = Hash32(b"\xff" * 32)
    assert work.nonce_at(near_the_end, 3) == Hash32(bytes(31) + b"\x02")
    assert work.nonce_at(Hash32(bytes(32)), -1) == near_the_end


def test_one_bit_of_the_nonce_is_changed(chain):
    block = chain.draft()
    changed = (with_header(block, nonce=flip(block.header.nonce, bit)) for bit in range(64))
    # Every second hash is above the target; that reason would come first.
    meeting = next(b for b in changed if meets_target(b.header))
    refused(chain, meeting, "the nonce was not earned by the iteration")


def test_a_hash_above_the_target_is_refused(chain):
    block = chain.draft()
    first = int.from_bytes(block.header.nonce, "big")
    others = (with_header(block, nonce=Hash32((first + i).to_bytes(32, "big"))) for i in range(64))
    refused(chain, next(b for b in others if not meets_target(b.header)), "above the target")


class TestMessages:
    """What a miner or a relay may do to the three messages."""

    @pytest.mark.parametrize("name", ["committed", "previous", "lucky"])
    @pytest.mark.parametrize(
        "changes",
        [
            {"nonce": label("other")},
            {"message_map": flip(b"map")},
            {"metrics": (0x3E000001, 0x3F800000)},
            {"zero_nonce_block": label("other")},
            {"weights": label("other")},
            {"iteration": 9},
            {"signature": b""},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_a_recorded_message_is_changed(self, chain, name, changes):
        block = chain.draft()
        recorded = getattr(block.work_proof, name)
        changed = with_proof(block, **{name: rewritten(recorded, **changes)})
        refused(chain, changed, "work proof: inclusion path leads to another root")

    @pytest.mark.parametrize("name", ["committed", "previous", "lucky"])
    def test_any_bit_of_a_recorded_message_is_changed(self, chain, name):
        block = chain.draft()
        recorded = getattr(block.work_proof, name)
        for bit in range(0, len(recorded.message) * 8, 97):
            message = flip(recorded.message, bit)
            changed = with_proof(block, **{name: replace(recorded, message=message)})
            refused(chain, changed, "inclusion path leads to another root")

    def test_the_signature_is_of_other_bytes(self, chain):
        def sent(message):
            return replace(it_res.decode(message), message_map=b"mop").encode()

        refused(chain, chain.draft(sent=sent), "work proof: signature does not match")

    def test_the_signature_has_one_bit_changed(self, chain):
        refused(chain, chain.draft(sent=lambda m: flip(m, len(m) * 8 - 1)), "work proof: signature")

    def test_the_message_is_cut_short(self, chain):
        refused(chain, chain.draft(sent=lambda m: m[:-1]), "work proof: IT_RES is cut short")

    def test_the_message_names_another_task(self, chain):
        block = chain.draft(lucky=lambda m: replace(m, task_prefix=bytes(16)))
        refused(chain, block, "work proof: IT_RES names another task")

    @pytest.mark.parametrize("name", ["committed", "previous", "lucky"])
    def test_a_message_is_of_another_miner(self, chain, name):
        other = chain.tickets("miner", MINERS[1], task=chain.predefined)[0]
        block = chain.draft(Plan(**{name: lambda m: replace(m, ticket=other)}))
        refused(chain, block, "a message is of another miner")

    def test_another_miners_own_message_is_used(self, chain):
        theirs = chain.fork().draft(miner=MINERS[1], iteration=8)
        ours = chain.draft(miner=MINERS[0], iteration=8)
        stolen = replace(
            ours,
            header=replace(ours.header, hash_msg=theirs.header.hash_msg),
            work_proof=replace(ours.work_proof, lucky=theirs.work_proof.lucky),
        )
        refused(chain, stolen, "inclusion path leads to another root")

    def test_hash_msg_is_changed(self, chain):
        block = chain.draft()
        changed = with_header(block, hash_msg=flip(block.header.hash_msg))
        refused(chain, changed, "hash_msg is not the root of the proof's messages")

    @pytest.mark.parametrize("name", ["committed", "previous"])
    def test_another_message_of_the_same_iteration_is_recorded_too(self, chain, name):
        """Else two nodes know one block by two messages, of which only one stands a replay."""
        made = []

        def with_rival(slots):
            number, index = {"committed": (0, 1), "previous": (2, 0)}[name]
            ours = it_res.decode(slots[number][index])
            rival = sign_message(replace(ours, nonce=label("rival")), chain.predefined, MINERS[0]).encode()
            slots[number].insert(index + 1, rival)
            path = merkle.inclusion_path([it_res.message_id(m) for m in slots[number]], index + 1)
            made.append(Recorded(rival, number, index + 1, len(slots[number]), path))
            return slots

        block = chain.draft(slots=with_rival)
        transition.apply_block(chain.state, block, chain.params)
        changed = with_proof(block, **{name: made[-1]})
        refused(chain, changed, "hash_msg is not the root of the proof's messages")


class TestIterations:
    """The commitment, the step before, and what ties them to the lucky iteration."""

    def test_the_commitment_is_changed(self, chain):
        block = chain.draft(committed=lambda m: replace(m, zero_nonce_block=flip(m.zero_nonce_block)))
        refused(chain, block, "the block is not the one committed to")

    @pytest.mark.parametrize("field", ["time", "merkle_root"])
    def test_the_block_is_another_than_committed_to(self, chain, field):
        block = chain.draft()
        if field == "time":
            others = [with_header(block, time=block.header.time + i) for i in range(1, 64)]
            refused(chain, next(b for b in others if meets_target(b.header)), "not the one committed to")
            return
        chain.post(0)
        transactions = chain.draft().transactions
        other = replace(block, transactions=transactions)
        root = transition.transactions_root(transactions)
        header = replace(block.header, merkle_root=root)
        nonces = (work.nonce_at(block.header.nonce, i) for i in range(64))
        meeting = next(h for n in nonces if meets_target(h := replace(header, nonce=n)))
        refused(chain, replace(other, header=meeting), "not the one committed to")

    def test_an_older_iteration_is_replayed(self, chain):
        first = chain.mine()
        second = chain.draft()
        old = first.work_proof
        announced = it_res.decode(old.lucky.message).nonce
        nonce = it_res.first_nonce(announced, old.slots[0].root)
        count = work.nonce_count(chain.task(chain.predefined).definition, chain.params)
        headers = (
            replace(
                second.header,
                nonce=work.nonce_at(nonce, i),
                hash_msg=first.header.hash_msg,
                hash_msg_hist=first.header.hash_msg_hist,
            )
            for i in range(count)
        )
        header = next(h for h in headers if meets_target(h))
        again = replace(second, header=header, work_proof=old)
        refused(chain, again, "the block is not the one committed to")

    @pytest.mark.parametrize("step", [-1, 1])
    def test_the_commitment_is_not_k_iterations_before(self, chain, step):
        block = chain.draft(committed=lambda m: replace(m, iteration=m.iteration + step))
        refused(chain, block, "the commitment is not k iterations before the lucky one")

    @pytest.mark.parametrize("step", [-1, 1])
    def test_the_previous_message_is_of_another_iteration(self, chain, step):
        block = chain.draft(previous=lambda m: replace(m, iteration=m.iteration + step))
        refused(chain, block, "the previous message is not of the iteration before the lucky one")

    def test_other_updates_are_applied_than_announced(self, chain):
        block = chain.draft(lucky=lambda m: replace(m, applied=flip(m.applied)))
        refused(chain, block, "the peers' updates applied are not those announced")

    def test_other_updates_were_announced_than_applied(self, chain):
        block = chain.draft(previous=lambda m: replace(m, queued=flip(m.queued)))
        refused(chain, block, "the peers' updates applied are not those announced")


class TestTurn:
    """Which batch an iteration must train on."""

    def test_the_epoch_is_another(self, chain):
        block = chain.draft(lucky=lambda m: replace(m, epoch=m.epoch + 1))
        refused(chain, block, "the miner has no such iteration")

    def test_the_batch_is_another_of_the_same_fragment(self, chain):
        def next_batch(message):
            leaves = next(leaves for leaves in FRAGMENTS.values() if message.batch in leaves)
            return replace(message, batch=leaves[leaves.index(message.batch) - 1])

        refused(chain, chain.draft(lucky=next_batch), "the batch was not that miner's turn")

    def test_the_batch_has_one_bit_changed(self, chain):
        block = chain.draft(lucky=lambda m: replace(m, batch=flip(m.batch)))
        refused(chain, block, "the batch was not that miner's turn")

    def test_the_batch_is_of_another_iteration_of_the_miner(self, chain):
        other = it_res.decode(chain.draft(iteration=8).work_proof.lucky.message).batch
        block = chain.draft(iteration=7, lucky=lambda m: replace(m, batch=other))
        refused(chain, block, "the batch was not that miner's turn")

    def test_the_batch_path_is_changed(self, chain):
        block = chain.draft()
        path = block.work_proof.batch_path
        for i, part in enumerate(path):
            changed = (*path[:i], flip(part), *path[i + 1 :])
            refused(chain, with_proof(block, batch_path=changed), "the batch was not that miner's turn")

    def test_the_batch_path_is_longer_or_shorter(self, chain):
        block = chain.draft()
        path = block.work_proof.batch_path
        for changed in ((), path[:-1], (*path, ZERO_HASH)):
            refused(chain, with_proof(block, batch_path=changed), "the batch was not that miner's turn")

    def test_there_is_no_iteration_after_the_last(self, chain):
        task_id = chain.start()
        block = chain.draft(task=task_id, lucky=lambda m: replace(m, iteration=m.iteration + 100))
        refused(chain, block, "the commitment is not k iterations before")
        shifted = chain.draft(
            task=task_id,
            committed=lambda m: replace(m, iteration=m.iteration + 100),
            previous=lambda m: replace(m, iteration=m.iteration + 100),
            lucky=lambda m: replace(m, iteration=m.iteration + 100),
        )
        refused(chain, shifted, "the miner has no such iteration")


class TestSlots:
    """The supervisors' certificates and the paths into the slots."""

    def test_hash_msg_hist_is_changed(self, chain):
        block = chain.draft()
        changed = with_header(block, hash_msg_hist=flip(block.header.hash_msg_hist))
        refused(chain, changed, "hash_msg_hist is not the root of the slots")

    @pytest.mark.parametrize("name", ["committed", "previous", "lucky"])
    def test_a_path_is_changed(self, chain, name):
        block = chain.draft()
        recorded = getattr(block.work_proof, name)
        for i, part in enumerate(recorded.path):
            path = (*recorded.path[:i], flip(part, i), *recorded.path[i + 1 :])
            changed = with_proof(block, **{name: replace(recorded, path=path)})
            refused(chain, changed, "work proof: inclusion path leads to another root")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"path": ()}, "too short"),
            ({"index": 1}, "another root"),
            ({"index": 3}, "leaf 3 is not in a tree of 3 leaves"),
            ({"size": 2**63}, "is not in a tree"),
            ({"slot": 1}, "another root|too short|too long"),
            ({"slot": 3}, "outside the proof"),
        ],
    )
    def test_a_message_stands_elsewhere(self, chain, changes, reason):
        block = chain.draft()
        changed = replace(block.work_proof.previous, **changes)
        refused(chain, with_proof(block, previous=changed), reason)

    def test_the_certificate_has_one_bit_changed(self, chain):
        block = chain.draft()
        for bit in (10, 300, 767):
            broken = flip(block.work_proof.certificate, bit)
            refused(chain, with_proof(block, certificate=broken), "slot certificate: ")

    def with_one_certificate(self, chain, made):
        """Return a block whose first slot is certified otherwise, and the others as they should be."""
        block = chain.draft()
        others = [chain.certify(chain.predefined, s) for s in block.work_proof.slots[1:]]
        certificate = bls.aggregate([made(block.work_proof.slots[0]), *others])
        return with_proof(block, certificate=certificate)

    def test_the_certificates_are_added_up(self, chain):
        chain.connect(self.with_one_certificate(chain, lambda slot: chain.certify(chain.predefined, slot)))

    def test_a_certificate_is_of_another_slot(self, chain):
        block = self.with_one_certificate(
            chain, lambda slot: chain.certify(chain.predefined, replace(slot, root=label("root")))
        )
        refused(chain, block, "slot certificate: signature does not match")

    def test_a_certificate_is_of_another_committee(self, chain):
        task_id = chain.start()
        block = self.with_one_certificate(chain, lambda slot: chain.certify(task_id, slot))
        refused(chain, block, "slot certificate: signature does not match")

    def test_a_prepared_slot_is_not_certified(self, chain):
        block = self.with_one_certificate(
            chain, lambda slot: chain.certify(chain.predefined, committee.PreparedStatement(slot))
        )
        refused(chain, block, "slot certificate: signature does not match")

    def test_a_certificate_is_missing(self, chain):
        block = chain.draft()
        some = bls.aggregate([chain.certify(chain.predefined, s) for s in block.work_proof.slots[1:]])
        refused(chain, with_proof(block, certificate=some), "slot certificate: signature does not match")

    def test_two_of_three_supervisors_are_enough(self, chain):
        chain.mine(signers=SUPERVISORS[1:])

    def test_one_of_three_supervisors_is_not_enough(self, chain):
        for signer in SUPERVISORS:
            block = chain.draft(signers=(signer,))
            refused(chain, block, "slot certificate: signature does not match")

    def test_a_signed_statement_is_changed(self, chain):
        block = chain.draft()
        slots = tuple(replace(slot, slot=slot.slot + 1) for slot in block.work_proof.slots)
        refused(chain, with_proof(block, slots=slots), "slot certificate: signature does not match")

    def test_a_slot_of_a_later_view(self, chain):
        chain.mine(statement=lambda s: replace(s, view=VIEW_MAX))

    @pytest.mark.parametrize("changes", [{"epoch": 1}, {"view": VIEW_MAX + 1}])
    def test_a_slot_of_another_term(self, chain, changes):
        block = chain.draft(statement=lambda s: replace(s, **changes))
        refused(chain, block, "an epoch or a view that is not its own")

    def test_the_slots_are_of_another_task(self, chain):
        block = chain.draft(statement=lambda s: replace(s, task=label("another task")))
        refused(chain, block, "a slot belongs to another task")

    def test_a_slot_is_left_out(self, chain):
        block = chain.draft(statement=lambda s: replace(s, slot=s.slot * 2))
        refused(chain, block, "the slots are not consecutive")

    def test_slots_beyond_those_needed(self, chain):
        block = chain.draft(slots=lambda s: [*s, s[1]])
        refused(chain, block, "not those from the commitment to the lucky message")
        block = chain.draft(slots=lambda s: [s[1], *s])
        refused(chain, block, "not those from the commitment to the lucky message")

    def test_the_commitment_was_recorded_after_the_lucky_message(self, chain):
        block = chain.draft(slots=lambda s: s[::-1])
        refused(chain, block, "not those from the commitment to the lucky message")

    def test_the_commitment_was_recorded_later_in_the_same_slot(self, chain):
        block = chain.draft(slots=lambda s: [[s[2][0], s[2][2], s[0][0], s[0][1]]])
        refused(chain, block, "the commitment is not recorded before the lucky iteration")

    def test_the_commitment_and_the_lucky_message_in_the_right_order(self, chain):
        chain.mine(slots=lambda s: [[s[2][0], s[0][1], s[0][0], s[2][2]]])

    def test_a_later_place_is_claimed_in_a_larger_slot(self, chain):
        """Without its size a path says less than it seems: place 2 of 4 has the same one as place 4 of 6."""
        block = chain.draft(slots=lambda s: [[s[2][0], s[0][0], s[2][2], s[0][1]]])
        proof = block.work_proof
        assert (proof.committed.index, proof.lucky.index) == (3, 2)
        claimed = with_proof(block, lucky=replace(proof.lucky, index=4, size=6))
        refused(chain, claimed, "two messages name different sizes of their slot")
        both = with_proof(
            block,
            committed=replace(proof.committed, index=5, size=6),
            previous=replace(proof.previous, size=6),
            lucky=replace(proof.lucky, index=4, size=6),
        )
        refused(chain, both, "inclusion path is too short")

    def test_all_messages_may_stand_in_one_slot(self, chain):
        chain.mine(slots=lambda s: [[m for slot in s for m in slot]])

    def test_no_slots(self, chain):
        refused(chain, with_proof(chain.draft(), slots=()), "spans 1 to 32 slots")

    def test_too_many_slots(self, chain):
        def many(slots):
            return [slots[0], *[slots[1]] * (WORK_PROOF_SLOTS_MAX - 1), slots[2]]

        refused(chain, chain.draft(slots=many), "spans 1 to 32 slots")


class TestWho:
    """Which tasks and tickets may mine."""

    def coinbase(self, chain, **changes):
        return chain.draft(coinbase=lambda tx: replace(tx, data=replace(tx.data, **changes)))

    def test_an_unknown_task(self, chain):
        block = self.coinbase(chain, task=label("unknown"))
        refused(chain, block, "the block's task is not training")

    def test_a_task_whose_training_is_over(self, chain):
        task_id = chain.start()
        chain.mine(task=task_id)
        block = chain.draft(task=task_id)
        late = chain.fork()
        late.end_training(task_id)
        again = replace(block, header=replace(block.header, prev=late.state.tip))
        headers = (replace(again.header, nonce=work.nonce_at(again.header.nonce, i)) for i in range(64))
        again = replace(again, header=next(h for h in headers if meets_target(h)))
        coinbase = again.transactions[0].data
        with pytest.raises(InvalidBlock, match="the block's task is not training"):
            work.check(again.header, again.work_proof, coinbase, late.state, chain.params)
        assert late.task(task_id).stage is Stage.EVALUATING

    def test_a_ticket_outside_the_task(self, chain):
        free = chain.tickets("miner", MINERS[0])[0]
        refused(chain, self.coinbase(chain, ticket=free), "the ticket is not a miner of the task")

    def test_a_ticket_that_does_not_exist(self, chain):
        refused(chain, self.coinbase(chain, ticket=Outpoint(ZERO_HASH, 0)), "not a miner of the task")

    def test_the_proof_is_of_another_ticket_than_the_coinbase(self, chain):
        other = chain.tickets("miner", MINERS[1], task=chain.predefined)[0]
        refused(chain, with_proof(chain.draft(), ticket=other), "the ticket is not a miner of the task")


def test_how_many_nonces_an_iteration_earns():
    task = definition()
    # 64 x 128 + 128 biases + 128 x 10 + 10 biases = 9,610 weights, 30 samples of 64 features
    assert work.nonce_count(task, devnet().params) == 30 * 66 // 1024 + 9_610 // 256 + 1


@given(st.binary(min_size=32, max_size=32), st.integers(-(2**256), 2**256))
def test_nonces_are_consecutive_modulo_2_256(first, offset):
    nonce = work.nonce_at(Hash32(first), offset)
    assert len(nonce) == 32
    assert work.nonce_at(nonce, -offset) == first


def test_the_slots_root_is_over_their_roots_in_order():
    roots = [label(i) for i in range(3)]
    assert committee.history_root(roots) == merkle.root([merkle.leaf_hash(r) for r in roots])
    assert committee.history_root(roots) != committee.history_root(roots[::-1])


class TestTau:
    def test_is_another_than_follows_from_the_message_before(self, chain):
        block = chain.draft(lucky=lambda m: replace(m, tau_bits=m.tau_bits + 1))
        refused(chain, block, "tau is not the one that follows")

    def test_moves_that_were_not_made(self, chain):
        refused(chain, chain.draft(lucky=lambda m: replace(m, moved=1)), "tau is not the one that follows")

    def test_that_both_messages_name_follows(self, chain):
        same = {"tau_bits": 9, "moved": 0}
        block = chain.draft(previous=lambda m: replace(m, **same), lucky=lambda m: replace(m, **same))
        assert transition.apply_block(chain.state, block, chain.params).tip == block.hash


def test_native_numerics_earn_no_nonces():
    spec = devnet()
    task = replace(spec.tasks[0], numerics=Numerics.NATIVE)
    chain = Chain(replace(spec, tasks=(task,)))
    refused(chain, chain.draft(), "native numerics earns no nonces")


@pytest.fixture(scope="module")
def grown():
    chain = Chain()
    before = chain.state
    return chain, before, [chain.mine() for _ in range(4)]


class TestTogether:
    """The certificates of several blocks, checked at once."""

    def connect(self, chain, before, blocks, verified):
        state = before
        for block in blocks:
            state = transition.apply_block(state, block, chain.params, verified=verified)
        return state

    def test_what_holds_is_not_checked_again(self, grown, monkeypatch):
        chain, before, blocks = grown
        verified = work.verify_together(blocks, before)
        assert len(verified) == len(blocks)
        monkeypatch.setattr(bls, "verify_sum", lambda *_: pytest.fail("checked again"))
        assert self.connect(chain, before, blocks, verified).tip == blocks[-1].hash

    def test_one_that_is_wrong_is_found_and_the_others_hold(self, grown):
        chain, before, blocks = grown
        certificates = [block.work_proof.certificate for block in blocks]
        swapped = [
            with_proof(block, certificate=certificates[1 - i]) if i < 2 else block
            for i, block in enumerate(blocks)
        ]
        verified = work.verify_together(swapped, before)
        assert verified == (), "they add up to the same, and must not make up for each other"
        with pytest.raises(InvalidBlock, match="slot certificate"):
            self.connect(chain, before, swapped, verified)
        assert self.connect(chain, before, blocks, verified).tip == blocks[-1].hash

    def test_what_was_verified_says_nothing_of_another_certificate(self, grown):
        chain, before, blocks = grown
        verified = work.verify_together(blocks, before)
        for changes in (
            {"certificate": blocks[1].work_proof.certificate},
            {"slots": tuple(replace(s, view=1) for s in blocks[0].work_proof.slots)},
        ):
            with pytest.raises(InvalidBlock, match="slot certificate"):
                self.connect(chain, before, [with_proof(blocks[0], **changes)], verified)

    def test_blocks_of_two_committees(self, chain):
        task_id = chain.start()
        before = chain.state
        blocks = [chain.mine(), chain.mine(task=task_id)]
        assert len(work.verify_together(blocks, before)) == 2
        broken = with_proof(blocks[0], certificate=flip(blocks[0].work_proof.certificate, 300))
        assert len(work.verify_together([broken, blocks[1]], before)) == 1

    def test_what_is_no_block_is_left_out(self, grown):
        _, before, (good, *_) = grown
        coinbase = good.transactions[0]
        others = [
            replace(good, work_proof=None),
            replace(good, transactions=()),
            replace(good, transactions=(replace(coinbase, data=Transfer()),)),
            replace(good, transactions=(replace(coinbase, data=replace(coinbase.data, task=label("x"))),)),
            with_proof(good, slots=()),
            with_proof(good, slots=good.work_proof.slots * WORK_PROOF_SLOTS_MAX),
        ]
        assert len(work.verify_together([*others, good], before)) == 1
        assert work.verify_together(others, before) == ()
        assert work.verify_together([], before) == ()
