"""Targets: a task's stages in order, each with a deadline that gives every coin back."""

from dataclasses import replace

import pytest

from p2pai.chain import task_life, transition
from p2pai.chain.params import HISTORY_SLOTS_MAX
from p2pai.chain.state import Stage
from p2pai.chain.task import Group
from p2pai.chain.training import Tau
from p2pai.chain.transaction import Pay, PayForTask, Stake
from p2pai.primitives.errors import InvalidProof, InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, BlobId, Outpoint, TaskId
from p2pai.vrf import selection
from tests.chain.ledger import (
    CLIENT,
    EVALUATORS,
    MINERS,
    SUPERVISORS,
    Chain,
    definition,
    flip,
    key_hash,
    label,
    refused,
)


@pytest.fixture
def chain():
    return Chain()


def refuse(chain, tx, reason, error=InvalidTransaction):
    with pytest.raises(error, match=reason):
        transition.apply_transaction(chain.pool, tx, chain.params)


def stages(chain, task_id):
    return [stage for stage, _ in chain.task(task_id).history]


def spend(chain, account, outpoint):
    """Spend one output, as its owner."""
    value = chain.state.utxos[outpoint].value
    tx = replace(chain.fund(account), inputs=(outpoint,), outputs=(Pay(value, key_hash(account)),))
    chain.add(chain.sign(replace(tx, witnesses=()), account))


class TestSubmission:
    def test_locks_the_fee_and_waits_for_applications(self, chain):
        task_id = chain.submit(fee=12_345)
        task = chain.task(task_id)
        assert (task.stage, task.since, task.fee, task.client) == (Stage.JOINING, 1, 12_345, key_hash(CLIENT))
        assert task.stake == Outpoint(task_id, 0)
        assert task.definition_block == chain.blocks[-1].hash
        assert chain.state.utxos[task.stake] == Stake(12_345, key_hash(CLIENT))

    def test_the_definition_block_is_unknown_before_it_is_mined(self, chain):
        tx = chain.post(CLIENT, PayForTask(definition(), 1), (Stake(5, key_hash(CLIENT)),))
        assert chain.task(TaskId(tx.txid)).definition_block == ZERO_HASH

    @pytest.mark.parametrize(
        ("changes", "reason", "error"),
        [
            ({"epochs": 0}, "trains for at least one epoch", InvalidTransaction),
            ({"tau": Tau(1, 0)}, "task definition: tau", InvalidTransaction),
            ({"group": Group(1, 3, 3)}, "task definition: 2 to 256 miners", InvalidTransaction),
            ({"preferences": (0, 0)}, "all zero", InvalidTicket),
            ({"preferences": ()}, "0 traits", InvalidTicket),
        ],
    )
    def test_refuses_a_bad_definition(self, chain, changes, reason, error):
        tx = chain.fund(CLIENT, PayForTask(definition(**changes), 1), (Stake(5, key_hash(CLIENT)),))
        refuse(chain, tx, reason, error)

    def test_needs_the_fee_staked_first(self, chain):
        data = PayForTask(definition(), 1)
        refuse(chain, chain.fund(CLIENT, data), "the first output must stake the fee")
        outputs = (Pay(5, key_hash(CLIENT)), Stake(5, key_hash(CLIENT)))
        refuse(chain, chain.fund(CLIENT, data, outputs), "the first output must stake the fee")
        tx = chain.fund(CLIENT, data)
        tx = chain.sign(replace(tx, outputs=(), witnesses=()), CLIENT)
        refuse(chain, tx, "the first output must stake the fee")

    def test_stakes_nothing_else(self, chain):
        outputs = (Stake(5, key_hash(CLIENT)), Stake(5, key_hash(CLIENT)))
        tx = chain.fund(CLIENT, PayForTask(definition(), 1), outputs)
        refuse(chain, tx, "only the first output stakes")

    def test_nobody_submits_in_the_name_of_another(self, chain):
        """A client shares the data of its own tasks: a stranger must not choose which."""
        data = PayForTask(definition(), 1)
        stake = Stake(5, key_hash(MINERS[0]))
        refuse(chain, chain.fund(CLIENT, data, (stake,)), "belongs to another key")

    def test_two_equal_tasks_are_two(self, chain):
        assert chain.submit() != chain.submit()


class TestAdmission:
    def test_a_full_group_starts_to_train(self, chain):
        task_id = chain.submit()
        chain.join_all(task_id)
        chain.mine()
        assert chain.task(task_id).stage is Stage.JOINING
        chain.mine()
        task = chain.task(task_id)
        assert (task.stage, task.since) == (Stage.TRAINING, 3)
        assert [len(group) for _, group in task.workers()] == [3, 3, 3]
        assert task.joins == ()
        for _, group in task.workers():
            assert list(group) == sorted(group)
            assert all(chain.state.tickets[t].task == task_id for t in group)

    def test_the_last_block_for_applications(self, chain):
        task_id = chain.submit()
        chain.mine_until(chain.task(task_id).since + chain.params.join_blocks - 1)
        chain.join_all(task_id)
        chain.mine()
        assert chain.task(task_id).stage is Stage.TRAINING

    def test_the_best_ranks_are_admitted(self, chain):
        for account in (7, 8, 9):
            chain.add(chain.buy(account, "miner"))
        chain.mine_until(3)
        task_id = chain.submit(group=Group(2, 3, 3))
        applicants = (*MINERS, 7, 8, 9)
        for account in applicants:
            chain.add(chain.join(task_id, "miner", account))
        for account in SUPERVISORS:
            chain.add(chain.join(task_id, "supervisor", account))
            chain.add(chain.join(task_id, "evaluator", account))
        chain.mine()
        draws = {j.ticket: selection.draw_of(j.beta) for j in chain.task(task_id).joins if j.role == "miner"}
        chain.mine()
        best = sorted(draws, key=draws.__getitem__)  # all preferences are alike, so u alone ranks
        assert chain.task(task_id).miners == tuple(sorted(best[:2]))
        assert all(chain.state.tickets[t].task is None for t in best[2:])
        assert all(transition.is_locked(chain.state, t) for t in best[2:])

    @pytest.mark.parametrize("missing", ["miner", "supervisor", "evaluator"])
    def test_too_few_of_a_role_fail_the_task(self, chain, missing):
        task_id = chain.submit()
        groups = {"miner": MINERS, "supervisor": SUPERVISORS, "evaluator": EVALUATORS}
        for role, accounts in groups.items():
            few = accounts[:1] if role == "miner" else accounts[:2]
            for account in few if role == missing else accounts:
                chain.add(chain.join(task_id, role, account))
        joined = [tx.data.ticket for tx in chain.queue]
        chain.mine_until(3)
        assert stages(chain, task_id) == ["joining", "failed"]
        assert all(chain.state.tickets[t].task is None for t in joined)
        spend(chain, CLIENT, Outpoint(task_id, 0))
        chain.mine()
        chain.check_supply()

    def test_two_miners_are_enough(self, chain):
        task_id = chain.submit()
        for role, accounts in (("miner", MINERS[:2]), ("supervisor", SUPERVISORS), ("evaluator", EVALUATORS)):
            for account in accounts:
                chain.add(chain.join(task_id, role, account))
        chain.mine_until(3)
        assert len(chain.task(task_id).miners) == 2


class TestHistory:
    def test_slots_are_registered_one_after_the_other(self, chain):
        task_id = chain.start()
        chain.post(SUPERVISORS[0], chain.history(task_id, 0, 9))
        chain.post(SUPERVISORS[1], chain.history(task_id, 10, 10))
        chain.mine()
        assert chain.task(task_id).slots == 11
        assert chain.task(task_id).stage is Stage.TRAINING

    def test_the_predefined_tasks_slots_are_registered_too(self, chain):
        chain.post(SUPERVISORS[0], chain.history(chain.predefined))
        chain.mine()
        assert chain.task(chain.predefined).slots == 10

    @pytest.mark.parametrize(("first", "last"), [(1, 9), (0, 0)])
    def test_slots_that_do_not_follow(self, chain, first, last):
        task_id = chain.start()
        if (first, last) == (0, 0):
            chain.post(SUPERVISORS[0], chain.history(task_id, 0, 3))
            reason = "the next slot to register is 4"
        else:
            reason = "the next slot to register is 0"
        refuse(chain, chain.fund(SUPERVISORS[0], chain.history(task_id, first, last)), reason)

    def test_no_slots(self, chain):
        task_id = chain.start()
        chain.post(SUPERVISORS[0], chain.history(task_id, 0, 3))
        tx = chain.fund(SUPERVISORS[0], chain.history(task_id, 4, 3))
        refuse(chain, tx, "the next slot to register is 4")

    def test_too_many_slots_at_once(self, chain):
        task_id = chain.start()
        tx = chain.fund(SUPERVISORS[0], chain.history(task_id, 0, HISTORY_SLOTS_MAX))
        refuse(chain, tx, "at most 4096 slots are registered at once")
        chain.post(SUPERVISORS[0], chain.history(task_id, 0, HISTORY_SLOTS_MAX - 1))
        widest = chain.fund(SUPERVISORS[0], chain.history(task_id, HISTORY_SLOTS_MAX, 2**64 - 1))
        refuse(chain, widest, "at most 4096 slots are registered at once")

    @pytest.mark.parametrize("task", [label("none"), None])
    def test_a_task_that_does_not_train(self, chain, task):
        task_id = chain.start()
        data = chain.history(task_id)
        if task is None:
            chain.end_training(task_id)
            task = task_id
        refuse(chain, chain.fund(SUPERVISORS[0], replace(data, task=task)), "the task is not training")

    def test_a_predefined_task_has_no_last_models(self, chain):
        data = chain.history(chain.predefined, models=BlobId(label("models")))
        refuse(chain, chain.fund(SUPERVISORS[0], data), "a predefined task trains for ever")

    def test_somebody_who_does_not_supervise(self, chain):
        task_id = chain.start()
        tx = chain.fund(MINERS[0], chain.history(task_id))
        refuse(chain, tx, "only a supervisor of the task registers its history")

    @pytest.mark.parametrize(
        "changes",
        [
            {"last": 8},
            {"root": label("other")},
            {"models": BlobId(label("other"))},
            {"signers": 0b011},
        ],
    )
    def test_a_certificate_of_something_else(self, chain, changes):
        task_id = chain.start()
        data = replace(chain.history(task_id), **changes)
        refuse(chain, chain.fund(SUPERVISORS[0], data), "aggregate signature does not match", InvalidProof)

    def test_a_certificate_with_one_bit_changed(self, chain):
        task_id = chain.start()
        data = chain.history(task_id)
        for bit in (5, 300, 767):
            changed = replace(data, signature=flip(data.signature, bit))
            refuse(chain, chain.fund(SUPERVISORS[0], changed), "signature", InvalidProof)

    def test_a_certificate_of_too_few(self, chain):
        task_id = chain.start()
        data = chain.history(task_id, signers=SUPERVISORS[:1])
        refuse(chain, chain.fund(SUPERVISORS[0], data), "1 of 3 supervisors signed", InvalidProof)
        chain.post(SUPERVISORS[0], chain.history(task_id, signers=SUPERVISORS[1:]))

    def test_the_models_end_the_training(self, chain):
        task_id = chain.start()
        models = BlobId(label("models"))
        chain.post(SUPERVISORS[0], chain.history(task_id, models=models))
        chain.mine()
        task = chain.task(task_id)
        assert (task.stage, task.since, task.models) == (Stage.EVALUATING, chain.height, models)


class TestDeadlines:
    def test_training_that_never_ends_fails(self, chain):
        task_id = chain.start(expected_blocks=3)
        chain.mine_until(chain.task(task_id).since + 2)
        assert chain.task(task_id).stage is Stage.TRAINING
        workers = [t for _, group in chain.task(task_id).workers() for t in group]
        chain.mine()
        assert stages(chain, task_id) == ["joining", "training", "failed"]
        assert not any(t in chain.state.tickets for t in workers)
        chain.check_supply()

    def test_a_failed_task_gives_every_coin_back(self, chain):
        task_id = chain.start(fee=777_777, expected_blocks=1)
        task = chain.task(task_id)
        groups = zip((MINERS, SUPERVISORS, EVALUATORS), task.workers(), strict=True)
        owners = {
            t: next(a for a in accounts if key_hash(a) == chain.state.tickets[t].key_hash)
            for accounts, (_, group) in groups
            for t in group
        }
        chain.mine()
        assert chain.task(task_id).stage is Stage.FAILED
        spend(chain, CLIENT, Outpoint(task_id, 0))
        for ticket, account in owners.items():
            assert chain.state.utxos[ticket].value == chain.params.ticket_price_atoms
            spend(chain, account, ticket)
        chain.mine()
        chain.check_supply()

    def test_history_in_the_last_block_of_training_counts(self, chain):
        task_id = chain.start(expected_blocks=2)
        chain.mine()
        chain.end_training(task_id)
        assert chain.task(task_id).stage is Stage.EVALUATING

    def test_the_predefined_task_has_no_deadline(self, chain):
        chain.mine_until(20)
        assert chain.task(chain.predefined).stage is Stage.TRAINING

    def test_a_miner_cannot_mine_on_a_failed_task(self, chain):
        task_id = chain.start(expected_blocks=1)
        block = chain.draft(task=task_id)
        other = chain.fork()
        chain.mine()
        assert chain.task(task_id).stage is Stage.FAILED
        other.connect(block)
        assert other.task(task_id).stage is Stage.FAILED  # the deadline passed in this very block
        refused(chain, block, "does not follow")


def test_stages_only_move_forward(chain):
    task_id = chain.start()
    chain.end_training(task_id)
    chain.evaluate(task_id)
    chain.add(chain.charge(task_id))
    chain.mine()
    assert stages(chain, task_id) == ["joining", "training", "evaluating", "paid"]
    heights = [height for _, height in chain.task(task_id).history]
    assert heights == sorted(heights)


def test_supervisors_keys_stand_in_the_order_of_the_bitmap(chain):
    task = chain.task(chain.predefined)
    expected = [chain.state.tickets[t].bls_key for t in task.supervisors]
    assert task_life.supervisor_keys(chain.state, task) == expected
