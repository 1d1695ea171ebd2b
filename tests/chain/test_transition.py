"""Targets: each rule of blocks and spending refuses what breaks it alone; money is conserved, time passes."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pai.chain import difficulty, transition
from p2pai.chain.block import transactions_root
from p2pai.chain.coins import is_locked
from p2pai.chain.headers import meets_target
from p2pai.chain.params import BLOCK_SIZE_MAX
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Stage
from p2pai.chain.transaction import Coinbase, CollectVerifications, Data, Pay, Stake, Transfer, sign
from p2pai.primitives.errors import InvalidBlock, InvalidProof, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from tests.chain.assembly import Assembly, spec_of
from tests.chain.ledger import (
    CLIENT,
    EASY,
    FEE,
    MINERS,
    Chain,
    devnet,
    flip,
    key_hash,
    keys,
    label,
    refused,
)
from tests.chain.play import play


@pytest.fixture
def chain():
    return Chain()


def spendable(chain, account):
    return sum(value for value, _ in chain.coins(account))


class TestHeader:
    def test_another_version(self, chain):
        block = chain.draft(header=lambda h: replace(h, version=2))
        refused(chain, block, "block version 2, expected 1")

    def test_another_parent(self, chain):
        block = chain.draft()
        chain.mine()
        refused(chain, block, "the block does not follow this state")

    def test_another_target(self, chain):
        block = chain.draft(header=lambda h: replace(h, bits=h.bits - 1))
        refused(chain, block, "the target is not the one due")

    @pytest.mark.parametrize("early", [0, 1, 1000])
    def test_a_time_not_after_the_median(self, chain, early):
        chain.mine_until(3)
        time = chain.state.median_time - early
        block = chain.draft(header=lambda h: replace(h, time=time))
        refused(chain, block, "time is not after the median")

    def test_a_time_just_after_the_median(self, chain):
        chain.mine_until(3)
        chain.mine(time=chain.state.median_time + 1)

    def test_the_median_is_of_the_last_eleven_blocks(self, chain):
        start = chain.state.times[0]
        for i in range(1, 15):
            chain.mine(time=start + 10 * i)
        assert chain.state.times == tuple(start + 10 * i for i in range(4, 15))
        assert chain.state.median_time == start + 90


class TestBody:
    def test_no_work_proof(self, chain):
        refused(chain, replace(chain.draft(), work_proof=None), "a block has a work proof and a coinbase")

    def test_no_transactions(self, chain):
        refused(chain, replace(chain.draft(), transactions=()), "a block has a work proof and a coinbase")

    def test_other_transactions_than_the_header_names(self, chain):
        chain.post(CLIENT)
        block = chain.draft()
        refused(chain, replace(block, transactions=block.transactions[:1]), "the Merkle root is not of these")

    def test_a_witness_changed_on_the_way(self, chain):
        chain.post(CLIENT)
        block = chain.draft()
        coinbase, tx = block.transactions
        witness = replace(tx.witnesses[0], signature=flip(tx.witnesses[0].signature, 100))
        changed = (coinbase, replace(tx, witnesses=(witness,)))
        refused(chain, replace(block, transactions=changed), "the Merkle root is not of these")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"data": Transfer()}, "the first transaction is not a coinbase"),
            ({"inputs": (Outpoint(ZERO_HASH, 0),)}, "the first transaction is not a coinbase"),
            ({"version": 2}, "coinbase version 2, expected 1"),
        ],
    )
    def test_a_coinbase_of_another_form(self, chain, changes, reason):
        refused(chain, chain.draft(coinbase=lambda tx: replace(tx, **changes)), reason)

    def test_a_coinbase_with_a_witness(self, chain):
        witness = chain.fund(CLIENT).witnesses
        block = chain.draft(coinbase=lambda tx: replace(tx, witnesses=witness))
        refused(chain, block, "the first transaction is not a coinbase")

    @pytest.mark.parametrize("height", [0, 2])
    def test_a_coinbase_of_another_height(self, chain, height):
        block = chain.draft(coinbase=lambda tx: replace(tx, data=replace(tx.data, height=height)))
        refused(chain, block, "the coinbase names another height")

    def test_a_second_coinbase(self, chain):
        second = replace(chain.fund(CLIENT), data=Coinbase(1, chain.predefined, Outpoint(ZERO_HASH, 0)))
        block = chain.draft(transactions=[chain.sign(replace(second, witnesses=()), CLIENT)])
        refused(chain, block, "a coinbase stands only at the front")

    def test_a_block_beyond_the_limit(self, chain):
        outputs = tuple(Pay(1000 + i, key_hash(7)) for i in range(900))
        size = chain.draft().size
        while size <= BLOCK_SIZE_MAX:
            size += chain.post(CLIENT, outputs=outputs).size
        block = chain.draft()
        assert block.size > BLOCK_SIZE_MAX
        refused(chain, block, f"the block is larger than {BLOCK_SIZE_MAX} bytes")
        fitting = chain.draft(transactions=chain.queue[:-1])
        assert fitting.size <= BLOCK_SIZE_MAX
        chain.connect(fitting)


class TestCoinbase:
    """What a coinbase must pay, to the atom."""

    def test_fees_go_to_the_miner(self, chain):
        before = spendable(chain, MINERS[0])
        chain.post(CLIENT)
        chain.post(7)
        block = chain.mine()
        assert block.transactions[0].outputs == (Pay(2 * FEE, key_hash(MINERS[0])),)
        assert spendable(chain, MINERS[0]) == before + 2 * FEE
        chain.check_supply()

    @pytest.mark.parametrize(
        "outputs",
        [
            (),
            (Pay(FEE + 1, key_hash(MINERS[0])),),
            (Pay(FEE - 1, key_hash(MINERS[0])),),
            (Pay(FEE, key_hash(MINERS[1])),),
            (Stake(FEE, key_hash(MINERS[0])),),
            (Pay(FEE, key_hash(MINERS[0])), Pay(1, key_hash(MINERS[0]))),
        ],
    )
    def test_other_outputs_are_refused(self, chain, outputs):
        chain.post(CLIENT)
        block = chain.draft(coinbase=lambda tx: replace(tx, outputs=outputs))
        refused(chain, block, "the coinbase does not pay what is due")

    def test_without_fees_and_subsidy_it_pays_nothing(self, chain):
        assert chain.mine().transactions[0].outputs == ()

    @pytest.mark.parametrize("approvals", [0, 1, 2, 3])
    def test_the_subsidy_comes_w_blocks_later_by_approvals(self, chain, approvals):
        block = chain.mine()
        chain.approve(block, (1, 2, 3)[:approvals]) if approvals else None
        chain.mine()
        chain.mine_until(4)
        issued = chain.state.issued
        coinbase = chain.mine().transactions[0]
        assert chain.height == 1 + chain.params.verification_window_blocks
        assert chain.state.issued - issued == 15_000_000_000 * approvals // 3
        assert sum(o.value for o in coinbase.outputs) == 15_000_000_000 * approvals // 3
        chain.check_supply()

    def test_a_subsidy_that_nobody_approved_is_refused(self, chain):
        chain.mine_until(4)
        block = chain.draft(
            coinbase=lambda tx: replace(tx, outputs=(Pay(15_000_000_000, key_hash(MINERS[0])),))
        )
        refused(chain, block, "the coinbase does not pay what is due")

    def test_its_outputs_can_be_spent(self, chain):
        chain.post(CLIENT)
        block = chain.mine()
        coin = Outpoint(block.transactions[0].txid, 0)
        pay = Pay(FEE - 500, key_hash(9))
        tx = replace(chain.fund(MINERS[0]), inputs=(coin,), outputs=(pay,), witnesses=())
        chain.add(chain.sign(tx, MINERS[0]))
        chain.mine()


class TestSpending:
    def refuse(self, chain, tx, reason, error=InvalidTransaction):
        """Check the rule in the pool and in a block."""
        with pytest.raises(error, match=reason):
            transition.apply_transaction(chain.pool, tx, chain.params)
        refused(
            chain, chain.draft(transactions=[*chain.queue, tx]), f"transaction {tx.txid.hex()[:16]}: {reason}"
        )

    def test_money_moves(self, chain):
        before = spendable(chain, CLIENT), spendable(chain, 9)
        chain.post(CLIENT, outputs=(Pay(12345, key_hash(9)),))
        chain.mine()
        assert (spendable(chain, CLIENT), spendable(chain, 9)) == (before[0] - 12345 - FEE, before[1] + 12345)

    def test_a_chain_of_payments_in_one_block(self, chain):
        chain.post(CLIENT, outputs=(Pay(10**12 - 10 * FEE, key_hash(9)),))
        chain.post(9, outputs=(Pay(10**12, key_hash(8)),))
        chain.mine()
        chain.check_supply()

    def test_double_spend_in_one_block(self, chain):
        first = chain.fund(CLIENT, outputs=(Pay(1, key_hash(8)),))
        second = chain.fund(CLIENT, outputs=(Pay(1, key_hash(9)),))
        chain.add(first)
        self.refuse(chain, second, "an input is unknown or spent already")

    def test_double_spend_of_a_confirmed_output(self, chain):
        tx = chain.post(CLIENT)
        chain.mine()
        self.refuse(chain, tx, "an input is unknown or spent already")

    def test_an_output_that_never_was(self, chain):
        tx = replace(chain.fund(CLIENT), inputs=(Outpoint(label("nothing"), 0),), witnesses=())
        self.refuse(chain, chain.sign(tx, CLIENT), "an input is unknown or spent already")

    def test_more_than_there_is(self, chain):
        tx = chain.fund(CLIENT)
        more = replace(tx.outputs[-1], value=tx.outputs[-1].value + FEE + 1)
        tx = chain.sign(replace(tx, outputs=(more,), witnesses=()), CLIENT)
        self.refuse(chain, tx, "the outputs exceed the inputs")

    def test_all_there_is_without_a_fee(self, chain):
        tx = chain.fund(CLIENT, fee=0)
        assert transition.apply_transaction(chain.pool, tx, chain.params)[1] == 0

    def test_somebody_elses_money(self, chain):
        tx = chain.sign(replace(chain.fund(CLIENT), witnesses=()), 9)
        self.refuse(chain, tx, "an input belongs to another key")

    def test_somebody_elses_money_beside_ones_own(self, chain):
        own, other = chain.fund(9), chain.fund(CLIENT)
        both = replace(own, inputs=(*own.inputs, *other.inputs), witnesses=())
        self.refuse(chain, chain.sign(both, 9), "an input belongs to another key")

    def test_two_owners_may_pay_together(self, chain):
        own, other = chain.fund(9), chain.fund(CLIENT)
        both = replace(own, inputs=(*own.inputs, *other.inputs), witnesses=())
        witnesses = (chain.sign(both, 9).witnesses[0], chain.sign(both, CLIENT).witnesses[0])
        chain.add(replace(both, witnesses=witnesses))
        chain.mine()

    @pytest.mark.parametrize("count", [0, 2])
    def test_witnesses_and_inputs_do_not_pair_up(self, chain, count):
        tx = chain.fund(CLIENT)
        self.refuse(chain, replace(tx, witnesses=tx.witnesses * count), "every input needs a witness")

    def test_a_signature_with_one_bit_changed(self, chain):
        tx = chain.fund(CLIENT)
        for bit in (60, 200, 400, 552):
            witness = replace(tx.witnesses[0], signature=flip(tx.witnesses[0].signature, bit))
            self.refuse(chain, replace(tx, witnesses=(witness,)), "signature", InvalidProof)

    def test_a_signature_of_other_outputs(self, chain):
        tx = chain.fund(CLIENT)
        stolen = replace(tx, outputs=(replace(tx.outputs[0], key_hash=key_hash(9)),))
        self.refuse(chain, stolen, "signature does not match", InvalidProof)

    def test_a_signature_for_another_chain(self, chain):
        tx = sign(replace(chain.fund(CLIENT), witnesses=()), label("another chain"), keys(CLIENT).spending)
        self.refuse(chain, tx, "signature does not match", InvalidProof)

    def test_a_wrong_signature_behind_a_right_one_of_the_same_key(self, chain):
        chain.post(CLIENT, outputs=(Pay(10**6, key_hash(CLIENT)),))
        chain.mine()
        coins = tuple(outpoint for _, outpoint in chain.coins(CLIENT))
        tx = chain.fund(CLIENT)
        tx = chain.sign(replace(tx, inputs=coins, witnesses=()), CLIENT)
        right = tx.witnesses[0]
        wrong = replace(right, signature=flip(right.signature, 400))
        self.refuse(chain, replace(tx, witnesses=(right, wrong)), "signature", InvalidProof)

    def test_a_stake_that_a_ticket_holds(self, chain):
        ticket = chain.verifier(1)
        tx = replace(chain.fund(1), inputs=(ticket,), outputs=(Pay(10**8, key_hash(1)),), witnesses=())
        self.refuse(chain, chain.sign(tx, 1), "an input is a stake that is still locked")

    def test_a_stake_that_a_task_holds(self, chain):
        task_id = chain.submit()
        stake = Outpoint(task_id, 0)
        tx = replace(chain.fund(CLIENT), inputs=(stake,), outputs=(Pay(1, key_hash(CLIENT)),), witnesses=())
        self.refuse(chain, chain.sign(tx, CLIENT), "an input is a stake that is still locked")

    def test_a_transfer_that_stakes(self, chain):
        tx = chain.fund(CLIENT, outputs=(Stake(10**9, key_hash(CLIENT)),))
        self.refuse(chain, tx, "only BUY_TICKETS and PAY_FOR_TASK stake")

    def test_another_data_that_stakes(self, chain):
        block = chain.mine()
        chain.post(1, chain.commit(block, 1))
        stake = (Stake(10**9, key_hash(MINERS[0])),)
        tx = chain.fund(MINERS[0], CollectVerifications(block.hash), stake)
        self.refuse(chain, tx, "only BUY_TICKETS and PAY_FOR_TASK stake")

    def test_malformed(self, chain):
        tx = chain.sign(replace(chain.fund(CLIENT), version=2, witnesses=()), CLIENT)
        self.refuse(chain, tx, "version 2, expected 1")


class TestDifficulty:
    """ASERT as it is wired: anchored at the first block, from the parent's time and height."""

    def test_the_first_two_blocks_have_the_genesis_target(self, chain):
        assert [chain.mine(time=t).header.bits for t in (2_000_000_000,)] == [EASY]
        assert chain.draft().header.bits == EASY

    def test_blocks_on_time_keep_the_target(self, chain):
        chain.mine_until(10)
        assert chain.state.bits == EASY

    def test_blocks_ahead_of_time_are_made_harder(self, chain):
        start = chain.state.times[0] + 1000
        for i in range(6):
            chain.mine(time=start + i)
        expected = difficulty.next_bits(EASY, 5, 5, 6, 120, EASY)
        assert chain.draft().header.bits == expected
        ratio = difficulty.work(difficulty.decode_bits(expected)) / difficulty.work(
            difficulty.decode_bits(EASY)
        )
        assert ratio == pytest.approx(1, abs=0.5)
        assert difficulty.decode_bits(expected) < difficulty.decode_bits(EASY)

    def test_a_half_life_ahead_halves_the_target(self, chain):
        start = chain.state.times[0] + 1000
        for _ in range(21):  # 20 blocks of 6 s too early
            chain.mine(time=max(start, chain.state.median_time + 1))
        ahead = 120 - (chain.state.times[-1] - start)
        target = difficulty.decode_bits(chain.draft().header.bits)
        exact = difficulty.decode_bits(EASY) * 2 ** (-ahead / 120)
        assert target == pytest.approx(exact, rel=1e-3)

    def test_blocks_behind_time_are_made_easier_up_to_the_limit(self, chain):
        start = chain.state.times[0] + 1000
        for i in range(6):
            chain.mine(time=start + i)
        assert chain.mine(time=start + 10_000).header.bits < EASY
        assert chain.draft().header.bits == EASY

    def test_the_target_of_another_height_is_refused(self, chain):
        start = chain.state.times[0] + 1000
        for i in range(6):
            chain.mine(time=start + i)
        refused(chain, chain.draft(header=lambda h: replace(h, bits=EASY)), "the target is not the one due")


class TestTrusted:
    """Blocks from our own journal skip signatures and work, nothing else."""

    def test_leads_to_the_same_state(self, chain):
        chain.approve(chain.mine())
        block = chain.draft()
        one = transition.apply_block(chain.state, block, chain.params)
        two = transition.apply_block(chain.state, block, chain.params, trusted=True)
        assert snapshot_id(one) == snapshot_id(two)

    def test_other_rules_still_hold(self, chain):
        block = chain.draft(coinbase=lambda tx: replace(tx, outputs=(Pay(1, key_hash(9)),)))
        with pytest.raises(InvalidBlock, match="does not pay what is due"):
            transition.apply_block(chain.state, block, chain.params, trusted=True)

    def test_money_of_others_stays_theirs(self, chain):
        theft = chain.sign(replace(chain.fund(CLIENT), witnesses=()), 9)
        with pytest.raises(InvalidTransaction, match="belongs to another key"):
            transition.apply_transaction(chain.state, theft, chain.params, trusted=True)


def test_the_template_is_complete_but_for_nonce_and_messages(chain):
    transactions = chain.draft().transactions
    header = transition.zero_nonce_header(chain.state, transactions, 0, chain.params)
    assert header.time == chain.state.median_time + 1
    assert header.merkle_root == transactions_root(transactions)
    assert header.nonce == header.hash_msg == header.hash_msg_hist == ZERO_HASH
    later = transition.zero_nonce_header(chain.state, transactions, 2_000_000_000, chain.params)
    assert later.time == 2_000_000_000


def test_a_miner_whose_ticket_is_released_in_its_own_block_mines_nothing(chain):
    task_id = chain.start()
    chain.end_training(task_id)
    chain.evaluate(task_id)
    released = chain.task(task_id).miners[0]
    chain.add(chain.charge(task_id))
    with pytest.raises(InvalidBlock, match="names a ticket that does not exist"):
        transition.coinbase_outputs(chain.pool, Coinbase(9, task_id, released), 0, chain.params)


def test_a_block_that_fails_leaves_the_state_as_it_was(chain):
    chain.approve(chain.mine())
    good = chain.draft()
    last = chain.sign(replace(chain.fund(CLIENT), inputs=(Outpoint(ZERO_HASH, 0),), witnesses=()), CLIENT)
    refused(chain, chain.draft(transactions=[*chain.queue, last]), "unknown or spent already")
    refused(chain, chain.draft(coinbase=lambda tx: replace(tx, outputs=())), "does not pay")
    chain.connect(good)


def test_undoing_a_block_is_keeping_the_state_before_it():
    chain = Assembly()
    states, digests = [chain.state], [snapshot_id(chain.state)]
    play(
        chain,
        seed=7,
        blocks=12,
        after=lambda: (states.append(chain.state), digests.append(snapshot_id(chain.state))),
    )
    assert len(set(digests)) == 13
    assert [snapshot_id(s) for s in states] == digests


def bound(task):
    """Return the tickets that a task may hold."""
    called = task.keying.members if task.keying else ()
    workers = (t for _, group in task.workers() for t in group)
    return {*workers, *called, *task.expelled, *task.reserves, *(j.ticket for j in task.joins)}


def check_money(chain):
    """Check that no coin is made, lost, or locked by what is over."""
    state = chain.state
    chain.check_supply()
    assert state.burned >= 0
    assert all(output.value > 0 for output in state.utxos.values())
    for task in state.tasks.values():
        if task.stake is None:
            continue
        if task.stage.is_over:
            assert not is_locked(state, task.stake)
            assert task.keying is None
        else:
            assert state.utxos[task.stake].value == task.fee
            assert is_locked(state, task.stake)
    for ticket, row in state.tickets.items():
        if row.task is not None:
            task = state.tasks[row.task]
            assert not task.stage.is_over
            assert ticket in bound(task)
        if ticket not in state.utxos:  # all of it was captured, or taken
            assert row.is_expired(state.height + 1) or ticket in state.tasks[row.task].expelled
    for task_id, task in state.active_tasks():
        workers = {t for _, group in task.workers() for t in group} - set(task.expelled)
        called = set(task.keying.members) if task.keying else set()
        assert all(state.tickets[t].task == task_id for t in workers | called)


QUICK = {"ticket_expiry_blocks": 6, "checkpoint_blocks": 4}


def begun(seed):
    """Return a chain at its beginning, or with a task in training and reserves for its supervisors."""
    if seed % 2:
        return Assembly(spec_of(5, **QUICK))
    return Assembly.training(4, reserves=1, expected_blocks=20, **QUICK)


@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_of_valid_blocks_makes_or_loses_money(seed):
    check_play(seed)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_nor_does_any_other(seed):
    check_play(seed)


def check_play(seed):
    chain = begun(seed)
    height = chain.height
    play(chain, seed, blocks=16, after=lambda: check_money(chain))
    assert chain.height == height + 16


def test_the_play_reaches_every_kind_of_transaction_and_stage():
    sample = Chain().fund(0)
    every_kind = {replace(sample, data=kind_only(kind)).kind for kind in get_args(Data)}
    every_stage = {stage.value for stage in Stage}
    kinds, stages, burned, renewed = {}, {}, 0, 0
    for seed in (2, 9, 21, *range(60)):  # the first three reach it all, as long as the rules are these
        if (set(kinds), set(stages)) == (every_kind, every_stage) and burned and renewed:
            return
        chain = begun(seed)
        play(chain, seed, blocks=24)
        for block in chain.blocks:
            kinds.update({tx.kind: True for tx in block.transactions})
        stages.update({stage: True for t in chain.state.tasks.values() for stage, _ in t.history})
        burned += chain.state.burned
        renewed += sum(t.committee.renewed for t in chain.state.tasks.values() if t.committee)
    raise AssertionError(f"never reached: {every_kind - set(kinds)}, {every_stage - set(stages)}")


def kind_only(kind):
    """Return a record of a kind, without what is in it."""
    return object.__new__(kind)


def test_the_easy_target_is_met_by_every_second_hash(chain):
    header = chain.draft().header
    met = sum(meets_target(replace(header, nonce=label(i))) for i in range(200))
    assert 60 < met < 140
    assert devnet().params.genesis_bits == EASY
