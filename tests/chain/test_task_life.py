"""Targets: a task's stages in order, each with a deadline that gives every coin back."""

from dataclasses import replace
from fractions import Fraction

import pytest

from p2pai.chain import rewards, schedule, task_life, transition
from p2pai.chain.coins import is_locked
from p2pai.chain.committee import (
    HistoryStatement,
    MalformedStatement,
    Reason,
    StatusStatement,
    ViewStatement,
)
from p2pai.chain.params import HISTORY_SLOTS_MAX
from p2pai.chain.roster import Shift
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Join, Stage
from p2pai.chain.supervision import NodeStatus, ReplaceLeader, ReportMalformed
from p2pai.chain.task import Group
from p2pai.chain.training import Tau
from p2pai.chain.transaction import Conclusion, Pay, PayForTask, RevokeTask, Stake
from p2pai.primitives.errors import InvalidProof, InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, Outpoint, TaskId
from p2pai.vrf import ecvrf, selection
from tests.chain.ledger import (
    CLIENT,
    EVALUATORS,
    FEE,
    MINERS,
    SUPERVISORS,
    Chain,
    definition,
    flip,
    key_hash,
    keys,
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
            ({"preferences": (1,)}, "a task has 2 preferences on this network", InvalidTransaction),
            ({"preferences": (1, 1, 1)}, "a task has 2 preferences on this network", InvalidTransaction),
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

    def test_is_dated_before_its_block(self, chain):
        chain.mine_until(12)
        median = chain.state.median_time
        stake = (Stake(5, key_hash(CLIENT)),)
        late = chain.fund(CLIENT, PayForTask(definition(), median + 1), stake)
        refuse(chain, late, "the task's timestamp is not before the block")
        refused(chain, chain.draft(transactions=[late]), "the task's timestamp is not before the block")
        chain.post(CLIENT, PayForTask(definition(), median), stake)
        block = chain.mine(time=median + 1)  # the earliest that the next block can be
        assert block.header.time > median

    def test_how_many_miners_it_may_have(self, chain):
        """1797 samples of 65 numbers are 0.44 MiB: three miners; six blocks: six; a coin: one."""
        params = chain.params
        assert (params.miners_per_mib, params.miners_per_block, params.miners_per_coin) == (8, 1, 1)
        coin = 10**8
        for fee, miners in ((1, 9), (coin - 1, 9), (coin, 10), (7 * coin + 5, 16)):
            assert task_life.miners_max(definition(), fee, params) == miners
            stake = (Stake(fee, key_hash(CLIENT)),)
            many = PayForTask(definition(group=Group(miners + 1, 3, 3)), 1)
            refuse(chain, chain.fund(CLIENT, many, stake), "so many miners are not worth it")
            fork = chain.fork()
            fork.post(CLIENT, PayForTask(definition(group=Group(miners, 3, 3)), 1), stake)
        assert task_life.miners_max(definition(expected_blocks=1), 1, params) == 4
        none = replace(params, miners_per_mib=0, miners_per_block=0, miners_per_coin=0)
        assert task_life.miners_max(definition(), 10**12, none) == 2


class TestAdmission:
    def test_a_full_group_starts_to_make_its_key(self, chain):
        task_id = chain.submit()
        chain.join_all(task_id)
        chain.mine()
        assert chain.task(task_id).stage is Stage.JOINING
        chain.mine()
        task = chain.task(task_id)
        assert (task.stage, task.since) == (Stage.KEYING, 3)
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
        assert chain.task(task_id).stage is Stage.KEYING

    def test_training_begins_with_the_key(self, chain):
        task_id = chain.submit()
        chain.join_all(task_id)
        chain.mine_until(3)
        chain.make_key(task_id)
        chain.mine()
        task = chain.task(task_id)
        assert (task.stage, task.since, task.keying) == (Stage.TRAINING, 4, None)
        assert task.committee.members == task.supervisors

    def let_miners_apply(self, chain, task_id):
        """Try every ticket; return those that were drawn."""
        block, drawn = chain.task(task_id).definition_block, []
        for account in (*MINERS, 7, 8, 9):
            for ticket in chain.tickets("miner", account):
                proof = ecvrf.prove(keys(account).vrf, selection.alpha(block, task_id, "miner", ticket))
                tx = chain.join(task_id, "miner", account, ticket=ticket, proof=proof)
                if 6 * selection.draw_of(ecvrf.output(proof)) <= 2**512:
                    drawn.append(chain.add(tx).data.ticket)
                else:
                    refuse(chain, tx, "the ticket was not drawn", InvalidTicket)
        return drawn

    def test_the_best_ranks_are_admitted(self, chain):
        for account in (7, 8, 9):
            chain.add(chain.buy(account, "miner", count=5))
        chain.mine_until(3)
        before, drawn, number = chain, [], 0
        while len(drawn) <= 2:  # too few to choose from: another task draws others
            chain, number = before.fork(), number + 1
            task_id = chain.submit(group=Group(2, 3, 3), name=f"ranks {number}")
            assert Fraction(*chain.task(task_id).omegas[0]) == 6  # of 18 alike, three for two places
            drawn = self.let_miners_apply(chain, task_id)
        for account in SUPERVISORS:
            chain.add(chain.join(task_id, "supervisor", account))
            chain.add(chain.join(task_id, "evaluator", account))
        chain.mine()
        draws = {j.ticket: selection.draw_of(j.beta) for j in chain.task(task_id).joins if j.role == "miner"}
        chain.mine()
        best = sorted(draws, key=draws.__getitem__)  # all preferences are alike, so u alone ranks
        assert sorted(draws) == sorted(drawn)
        assert chain.task(task_id).miners == tuple(sorted(best[:2]))
        assert chain.task(task_id).reserves == tuple(best[2:])
        assert all(chain.state.tickets[t].task == task_id for t in best[2:])
        chain.make_key(task_id)
        chain.mine()
        assert chain.task(task_id).stage is Stage.TRAINING
        assert all(chain.state.tickets[t].task is None for t in best[2:])
        assert all(is_locked(chain.state, t) for t in best[2:])

    @pytest.mark.parametrize("missing", ["miner", "supervisor", "evaluator"])
    def test_with_too_few_of_a_role_the_task_expires(self, chain, missing):
        task_id = chain.submit()
        groups = {"miner": MINERS, "supervisor": SUPERVISORS, "evaluator": EVALUATORS}
        for role, accounts in groups.items():
            few = accounts[:1] if role == "miner" else accounts[:2]
            for account in few if role == missing else accounts:
                chain.add(chain.join(task_id, role, account))
        joined = [tx.data.ticket for tx in chain.queue]
        chain.mine_until(3)
        assert stages(chain, task_id) == ["joining", "expired"]
        assert all(chain.state.tickets[t].task is None for t in joined)
        assert all(chain.state.utxos[t].value == chain.params.ticket_price_atoms for t in joined)
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


class TestRevocation:
    def test_gives_everything_back(self, chain):
        task_id = chain.submit(fee=12_345)
        chain.join_all(task_id)
        joined = [j.ticket for j in chain.task(task_id).joins]
        chain.post(CLIENT, RevokeTask(task_id))
        chain.mine()
        assert stages(chain, task_id) == ["joining", "revoked"]
        assert all(chain.state.tickets[t].task is None for t in joined)
        assert all(chain.state.utxos[t].value == chain.params.ticket_price_atoms for t in joined)
        spend(chain, CLIENT, Outpoint(task_id, 0))
        chain.mine()
        chain.check_supply()

    def test_frees_the_fee_for_the_same_block(self, chain):
        task_id = chain.submit()
        chain.post(CLIENT, RevokeTask(task_id))
        spend(chain, CLIENT, Outpoint(task_id, 0))
        chain.mine()
        chain.check_supply()

    def test_of_a_task_posted_in_the_same_block(self, chain):
        tx = chain.post(CLIENT, PayForTask(definition(), 1), (Stake(5, key_hash(CLIENT)),))
        chain.post(CLIENT, RevokeTask(TaskId(tx.txid)))
        chain.mine()
        assert chain.task(TaskId(tx.txid)).stage is Stage.REVOKED

    def test_by_somebody_else(self, chain):
        task_id = chain.submit()
        for account in (MINERS[0], SUPERVISORS[0]):
            refuse(chain, chain.fund(account, RevokeTask(task_id)), "only its client revokes a task")

    def test_with_an_input_of_the_client_beside_ones_own(self, chain):
        """Whose key comes first, acts; money of others does not speak for them."""
        task_id = chain.submit()
        own, theirs = chain.fund(7, RevokeTask(task_id)), chain.fund(CLIENT)
        both = replace(own, inputs=(*own.inputs, *theirs.inputs), witnesses=())
        witnesses = (chain.sign(both, 7).witnesses[0], chain.sign(both, CLIENT).witnesses[0])
        refuse(chain, replace(both, witnesses=witnesses), "only its client revokes a task")

    @pytest.mark.parametrize("stage", list(Stage))
    def test_only_while_it_takes_applications(self, chain, stage):
        task_id = chain.submit()
        task = replace(chain.task(task_id), stage=stage)
        chain.state = chain.pool = replace(chain.state, tasks=chain.state.tasks.set(task_id, task))
        tx = chain.fund(CLIENT, RevokeTask(task_id))
        if stage is Stage.JOINING:
            chain.add(tx)
        else:
            refuse(chain, tx, "only a task that takes applications still can be revoked")

    def test_of_an_unknown_or_predefined_task(self, chain):
        for task_id in (TaskId(label("none")), chain.predefined):
            refuse(chain, chain.fund(CLIENT, RevokeTask(task_id)), "only a task that takes applications")

    def test_nobody_joins_afterwards(self, chain):
        task_id = chain.submit()
        join = chain.join(task_id, "miner", MINERS[0])
        chain.post(CLIENT, RevokeTask(task_id))
        refuse(chain, join, "the task does not take applications")


def reposted(chain, task_id, fee=None, account=CLIENT, **changes):
    """Post a task anew; its fee is the old one's stake and no other money."""
    old = Outpoint(task_id, 0)
    value = chain.state.utxos[old].value
    data = PayForTask(definition(**changes), 1, task_id)
    stake = Stake(fee or value - FEE, key_hash(account))
    tx = replace(chain.fund(account, data), inputs=(old,), outputs=(stake,), witnesses=())
    return chain.sign(tx, account)


class TestPostingAnew:
    def test_spends_the_old_fee_at_once(self, chain):
        task_id = chain.submit(fee=100_000)
        chain.join_all(task_id)
        joined = [j.ticket for j in chain.task(task_id).joins]
        chain.mine()
        tx = chain.add(reposted(chain, task_id))
        chain.mine()
        anew = TaskId(tx.txid)
        assert chain.task(task_id).stage is Stage.REVOKED
        assert (chain.task(anew).stage, chain.task(anew).fee) == (Stage.JOINING, 100_000 - FEE)
        assert Outpoint(task_id, 0) not in chain.state.utxos
        assert all(chain.state.tickets[t].task is None for t in joined)
        chain.check_supply()

    def test_its_deadline_counts_anew(self, chain):
        task_id = chain.submit()
        chain.mine()
        tx = chain.add(reposted(chain, task_id))
        chain.mine()
        anew = TaskId(tx.txid)
        assert chain.task(anew).since == 3
        assert chain.task(anew).definition_block == chain.blocks[-1].hash
        chain.join_all(anew)
        chain.mine()
        assert chain.task(anew).stage is Stage.JOINING
        chain.mine()
        assert chain.task(anew).stage is Stage.KEYING

    def test_may_raise_the_fee(self, chain):
        task_id = chain.submit(fee=100_000)
        fee = Stake(500_000, key_hash(CLIENT))
        tx = chain.fund(CLIENT, PayForTask(definition(), 1, task_id), (fee,))
        tx = replace(tx, inputs=(Outpoint(task_id, 0), *tx.inputs), witnesses=())
        change = replace(tx.outputs[-1], value=tx.outputs[-1].value + 100_000)
        chain.add(chain.sign(replace(tx, outputs=(*tx.outputs[:-1], change)), CLIENT))
        block = chain.mine()
        anew = TaskId(block.transactions[-1].txid)
        assert chain.task(task_id).stage is Stage.REVOKED
        assert (chain.task(anew).stage, chain.task(anew).fee) == (Stage.JOINING, 500_000)
        chain.check_supply()

    def test_without_spending_it_leaves_the_old_fee_to_its_client(self, chain):
        task_id = chain.submit()
        chain.post(CLIENT, PayForTask(definition(), 1, task_id), (Stake(5, key_hash(CLIENT)),))
        chain.mine()
        spend(chain, CLIENT, Outpoint(task_id, 0))
        chain.mine()
        chain.check_supply()

    def test_somebody_elses_task(self, chain):
        task_id = chain.submit()
        data = PayForTask(definition(), 1, task_id)
        tx = chain.fund(MINERS[0], data, (Stake(5, key_hash(MINERS[0])),))
        refuse(chain, tx, "only its client revokes a task")

    def test_a_task_that_has_started(self, chain):
        task_id = chain.submit()
        chain.join_all(task_id)
        chain.mine_until(3)
        refuse(chain, reposted(chain, task_id), "only a task that takes applications still can be revoked")

    def test_an_unknown_task(self, chain):
        tx = chain.fund(
            CLIENT, PayForTask(definition(), 1, TaskId(label("none"))), (Stake(5, key_hash(CLIENT)),)
        )
        refuse(chain, tx, "only a task that takes applications still can be revoked")

    def test_one_that_is_refused_leaves_the_old_task(self, chain):
        task_id = chain.submit()
        before = snapshot_id(chain.pool)
        refuse(chain, reposted(chain, task_id, epochs=0), "trains for at least one epoch")
        refuse(chain, reposted(chain, task_id, fee=10**9), "the outputs exceed the inputs")
        assert snapshot_id(chain.pool) == before
        assert chain.task(task_id).stage is Stage.JOINING


OTHER = Hash32(label("block of another fork"))
SEATS = [
    (role, account)
    for role, accounts in (("miner", MINERS), ("supervisor", SUPERVISORS), ("evaluator", EVALUATORS))
    for account in accounts
]


def join_by(chain, task_id, role, account, block):
    """Apply as one who saw the task in another block."""
    ticket = chain.tickets(role, account)[0]
    proof = ecvrf.prove(keys(account).vrf, selection.alpha(block, task_id, role, ticket))
    return chain.join(task_id, role, account, definition_block=block, proof=proof)


class TestForks:
    """Appendix B: the task stands in two forks; another one's block defines it if two thirds name it."""

    def vote(self, chain, task_id, there):
        """Let everyone apply, some of them as if they were on the other fork; return their tickets."""
        own = chain.task(task_id).definition_block
        for role, account in SEATS:
            chain.add(join_by(chain, task_id, role, account, OTHER if (role, account) in there else own))
        joins = chain.task(task_id).joins
        return [j.ticket for j in joins if j.definition_block == OTHER]

    def test_a_real_fork(self, chain):
        """One task in two blocks: applications made on one branch count on the other."""
        tx = chain.post(CLIENT, PayForTask(definition(), 1), (Stake(5 * 10**6, key_hash(CLIENT)),))
        task_id, fork = TaskId(tx.txid), chain.fork()
        fork.add(tx)
        chain.mine()
        fork.mine(time=chain.state.times[-1] + 1)
        own, other = (each.task(task_id).definition_block for each in (chain, fork))
        assert (own, other) == (chain.state.tip, fork.state.tip)
        assert own != other
        fork.join_all(task_id)
        for join in fork.queue:
            chain.add(join)
        for each in (chain, fork):
            each.mine_until(3)
            assert each.task(task_id).stage is Stage.KEYING
            assert each.task(task_id).definition_block == other
        assert chain.task(task_id).workers() == fork.task(task_id).workers()
        assert chain.task(task_id).keying == fork.task(task_id).keying

    def test_the_draw_is_by_the_block_it_names(self, chain):
        task_id = chain.submit()
        good = join_by(chain, task_id, "miner", MINERS[0], OTHER)
        mixed = replace(good.data, definition_block=chain.task(task_id).definition_block)
        refuse(chain, chain.fund(MINERS[0], mixed), "draw proof does not hold", InvalidProof)
        chain.add(good)
        (join,) = chain.task(task_id).joins
        assert join.definition_block == OTHER
        draw = selection.alpha(OTHER, task_id, "miner", good.data.ticket)
        assert join.beta == ecvrf.output(ecvrf.prove(keys(MINERS[0]).vrf, draw))

    def test_a_block_of_another_fork_may_win(self, chain):
        task_id = chain.submit()
        own = chain.task(task_id).definition_block
        there = self.vote(chain, task_id, SEATS[1:])
        chain.mine_until(3)
        task = chain.task(task_id)
        assert (task.stage, task.definition_block) == (Stage.KEYING, OTHER)
        assert own != OTHER
        assert sorted(t for _, group in task.workers() for t in group) == sorted(there)
        (alone,) = chain.tickets("miner", MINERS[0])
        assert alone not in task.miners
        assert chain.state.tickets[alone].task is None

    def test_who_names_another_block_than_the_one_that_counts_is_free_again(self, chain):
        task_id = chain.submit()
        own = chain.task(task_id).definition_block
        (there,) = self.vote(chain, task_id, SEATS[:1])
        chain.mine_until(3)
        task = chain.task(task_id)
        assert (task.stage, task.definition_block) == (Stage.KEYING, own)
        assert len(task.miners) == 2
        assert there not in (*task.miners, *task.reserves)
        assert chain.state.tickets[there].task is None
        assert chain.tickets("miner", MINERS[0]) == [there]

    @pytest.mark.parametrize("count", [5, 6])
    def test_with_too_few_for_the_block_that_counts_the_task_expires(self, chain, count):
        """Six of nine name the other block, and nobody of them evaluates; five leave nobody who mines."""
        task_id = chain.submit()
        self.vote(chain, task_id, SEATS[:count])
        joined = [j.ticket for j in chain.task(task_id).joins]
        chain.mine_until(3)
        assert stages(chain, task_id) == ["joining", "expired"]
        assert all(chain.state.tickets[t].task is None for t in joined)
        spend(chain, CLIENT, Outpoint(task_id, 0))
        chain.mine()
        chain.check_supply()

    def test_a_bare_majority_chooses_no_block(self, chain):
        """Who tries hashes until its own tickets are drawn would need two thirds of the applications."""
        chain.add(chain.buy(7, "miner", count=10))
        chain.mine_until(3)
        task_id = chain.submit(group=Group(9, 3, 3))
        own = chain.task(task_id).definition_block
        self.vote(chain, task_id, ())
        for _ in range(10):
            chain.add(join_by(chain, task_id, "miner", 7, OTHER))
        named = [j.definition_block for j in chain.task(task_id).joins]
        assert (named.count(OTHER), named.count(own)) == (10, 9)
        chain.mine_until(chain.task(task_id).since + chain.params.join_blocks)
        task = chain.task(task_id)
        assert (task.stage, task.definition_block) == (Stage.KEYING, own)
        assert {chain.account(t) for t in task.miners} == set(MINERS)
        assert len(chain.tickets("miner", 7)) == 10

    @pytest.mark.parametrize(
        ("named", "expected"),
        [
            ("", "own"),
            ("o", "own"),
            ("a", "a"),
            ("oa", "own"),
            ("ab", "own"),
            ("oab", "own"),
            ("oaa", "a"),
            ("aab", "a"),
            ("bba", "b"),
            ("oaaa", "a"),
            ("ooaa", "own"),
            ("ooaab", "own"),
            ("aabb", "own"),
            ("aaabb", "own"),
            ("oaabb", "own"),
            ("oaabbb", "own"),
            ("oobbbb", "b"),
            ("oooaaaaa", "own"),
            ("oobaaaaaa", "a"),
            ("oobaaaaa", "own"),
        ],
    )
    def test_two_thirds_or_this_chains(self, chain, named, expected):
        low, high = sorted([Hash32(label("fork", i)) for i in range(2)])
        for own in (Hash32(bytes(31) + b"\1"), Hash32(b"\xff" * 32)):
            block = {"o": own, "own": own, "a": low, "b": high}
            joins = tuple(
                Join(Outpoint(label(i), 0), "miner", bytes(64), block[name]) for i, name in enumerate(named)
            )
            task = replace(chain.task(chain.predefined), definition_block=own, joins=joins)
            assert task_life.definition_block(task) == block[expected]

    def test_batches_are_dealt_by_the_block_that_won(self, chain):
        task_id = chain.submit()
        self.vote(chain, task_id, SEATS)
        chain.mine_until(3)
        chain.make_key(task_id)
        chain.mine()
        assert chain.task(task_id).definition_block == OTHER
        chain.mine(task=task_id)


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
        refuse(chain, tx, "only a supervisor of the task speaks for its committee")

    @pytest.mark.parametrize(
        "changes",
        [
            {"last": 8},
            {"root": label("other")},
            {"models": BlobId(label("other"))},
        ],
    )
    def test_a_certificate_of_something_else(self, chain, changes):
        task_id = chain.start()
        data = replace(chain.history(task_id), **changes)
        refuse(chain, chain.fund(SUPERVISORS[0], data), "signature does not match", InvalidProof)

    def test_a_certificate_of_another_committee(self, chain):
        task_id = chain.start()
        theirs = chain.certify(
            chain.predefined, HistoryStatement(task_id, 0, 9, label("history", 0, 9), None)
        )
        data = replace(chain.history(task_id), signature=theirs)
        refuse(chain, chain.fund(SUPERVISORS[0], data), "signature does not match", InvalidProof)

    def test_a_certificate_with_one_bit_changed(self, chain):
        task_id = chain.start()
        data = chain.history(task_id)
        for bit in (5, 300, 767):
            changed = replace(data, signature=flip(data.signature, bit))
            refuse(chain, chain.fund(SUPERVISORS[0], changed), "signature", InvalidProof)

    def test_a_certificate_of_too_few(self, chain):
        task_id = chain.start()
        for signer in SUPERVISORS:
            data = chain.history(task_id, signers=(signer,))
            refuse(chain, chain.fund(SUPERVISORS[0], data), "signature does not match", InvalidProof)
        chain.post(SUPERVISORS[0], chain.history(task_id, signers=SUPERVISORS[1:]))

    def test_the_models_end_the_training(self, chain):
        task_id = chain.start()
        models = BlobId(label("models"))
        chain.post(SUPERVISORS[0], chain.history(task_id, models=models))
        chain.mine()
        task = chain.task(task_id)
        assert (task.stage, task.since, task.models) == (Stage.EVALUATING, chain.height, models)


class TestReplaceLeader:
    def view(self, chain, task_id, epoch, view, reason=Reason.SILENT, signers=SUPERVISORS):
        signature = chain.certify(task_id, ViewStatement(task_id, epoch, view, reason), signers)
        return ReplaceLeader(task_id, epoch, view, reason, signature)

    def test_is_noted(self, chain):
        task_id = chain.start()
        assert chain.task(task_id).view == (0, 0)
        for reason, place in zip(Reason, [(0, 1), (0, 5), (3, 1)], strict=True):
            chain.post(SUPERVISORS[0], self.view(chain, task_id, *place, reason, SUPERVISORS[1:]))
            chain.mine()
            assert chain.task(task_id).view == place
        assert chain.task(task_id).stage is Stage.TRAINING

    def test_of_the_predefined_task(self, chain):
        chain.post(SUPERVISORS[0], self.view(chain, chain.predefined, 7, 2))
        assert chain.task(chain.predefined).view == (7, 2)

    @pytest.mark.parametrize("place", [(2, 3), (2, 2), (2, 1), (1, 9), (0, 1), (3, 0), (2, 0)])
    def test_goes_forward_only(self, chain, place):
        task_id = chain.start()
        chain.post(SUPERVISORS[0], self.view(chain, task_id, 2, 3))
        tx = chain.fund(SUPERVISORS[1], self.view(chain, task_id, *place))
        refuse(chain, tx, "the leader has been replaced already")

    def test_the_first_view_of_an_epoch_replaces_nobody(self, chain):
        task_id = chain.start()
        tx = chain.fund(SUPERVISORS[1], self.view(chain, task_id, 0, 0))
        refuse(chain, tx, "the leader has been replaced already")

    @pytest.mark.parametrize(
        "changes", [{"epoch": 4}, {"view": 3}, {"reason": Reason.SLOW}, {"task": "predefined"}]
    )
    def test_a_certificate_of_something_else(self, chain, changes):
        task_id = chain.start()
        data = self.view(chain, task_id, 3, 2)
        if "task" in changes:
            changes = {"task": chain.predefined}
        refuse(chain, chain.fund(SUPERVISORS[0], replace(data, **changes)), "does not match", InvalidProof)

    def test_a_certificate_of_too_few(self, chain):
        task_id = chain.start()
        for signer in SUPERVISORS:
            tx = chain.fund(signer, self.view(chain, task_id, 0, 1, signers=(signer,)))
            refuse(chain, tx, "signature does not match", InvalidProof)

    def test_a_certificate_with_one_bit_changed(self, chain):
        task_id = chain.start()
        data = self.view(chain, task_id, 0, 1)
        for bit in (5, 300, 767):
            changed = replace(data, signature=flip(data.signature, bit))
            refuse(chain, chain.fund(SUPERVISORS[0], changed), "signature", InvalidProof)

    def test_by_somebody_who_does_not_supervise(self, chain):
        task_id = chain.start()
        tx = chain.fund(MINERS[0], self.view(chain, task_id, 0, 1))
        refuse(chain, tx, "only a supervisor of the task speaks for its committee")

    def test_of_a_task_that_does_not_train(self, chain):
        task_id = chain.start()
        data = self.view(chain, task_id, 0, 1)
        chain.end_training(task_id)
        for task in (task_id, TaskId(label("none"))):
            tx = chain.fund(SUPERVISORS[0], replace(data, task=task))
            refuse(chain, tx, "the task is not training")


class TestMalformed:
    def revealed(self, chain, task_id):
        """Places, in the definition, of the fragments that miners train on."""
        known = chain.task(task_id)
        fragments = known.definition.dataset.fragments
        plan = schedule.make_schedule(known.definition, known.definition_block)
        return [fragments.index(f) for f in plan.training]

    def report(self, chain, task_id, fragment=None, signers=SUPERVISORS):
        fragment = self.revealed(chain, task_id)[0] if fragment is None else fragment
        signature = chain.certify(task_id, MalformedStatement(task_id, fragment), signers)
        return ReportMalformed(task_id, fragment, signature)

    def test_confiscates_the_fee(self, chain):
        """Everyone who worked shares it by R; the client gets nothing back."""
        task_id = chain.start(fee=1_000_001)
        chain.post(SUPERVISORS[2], self.report(chain, task_id, signers=SUPERVISORS[:2]))
        chain.mine()
        task = chain.task(task_id)
        assert (task.stage, task.conclusion, task.keying) == (Stage.EVALUATING, task_life.MALFORMED, None)
        assert is_locked(chain.state, task.stake)
        chain.mine_until(chain.height + 30)  # no deadline takes it back
        tx = chain.add(chain.charge(task_id))
        chain.mine()
        assert stages(chain, task_id) == ["joining", "keying", "training", "evaluating", "malformed"]
        assert tx.data.result == f"MALFORMED:{task_id.hex()}"
        assert tx.inputs == (task.stake,)
        assert task.stake not in chain.state.utxos
        paid = {a: sum(o.value for o in tx.outputs if o.key_hash == key_hash(a)) for a in range(10)}
        assert sum(paid.values()) == 1_000_001
        # 70 % to three miners, 15 % each to three who supervise and to the same three who would evaluate.
        assert sorted(paid[a] for a in MINERS) == [233_333, 233_333, 233_335]
        assert sorted(paid[a] for a in SUPERVISORS) == [100_000] * 3
        assert paid[CLIENT] == 0
        assert not any(t.task == task_id for t in chain.state.tickets.values())
        chain.check_supply()

    def test_costs_no_miner_its_stake(self, chain):
        task_id = chain.start()
        chain.post(SUPERVISORS[0], self.report(chain, task_id))
        assert chain.task(task_id).captured == chain.pool.burned == 0

    def test_is_charged_at_once(self, chain):
        """Nobody has anything to reveal."""
        task_id = chain.start()
        chain.post(SUPERVISORS[0], self.report(chain, task_id))
        chain.add(chain.charge(task_id))
        chain.mine()
        assert chain.task(task_id).stage is Stage.MALFORMED
        chain.check_supply()

    @pytest.mark.parametrize("conclusion", [None, task_life.MALFORMED], ids=["another", "the same"])
    def test_nobody_evaluates_any_more(self, chain, conclusion):
        """Or one evaluator that commits and reveals in time would have the others' shares."""
        task_id = chain.start()
        chain.post(SUPERVISORS[0], self.report(chain, task_id))
        chain.mine()
        conclusion = conclusion or Conclusion((3, 2, 1), 360, BlobId(label("best")))
        tx = chain.fund(EVALUATORS[0], chain.conclude(task_id, EVALUATORS[0], conclusion))
        refuse(chain, tx, "the task is concluded already")
        assert chain.task(task_id).conclusion == task_life.MALFORMED
        rows = rewards.task_shares(chain.task(task_id), task_life.MALFORMED)
        assert len([t for role, t, _ in rows if role == "evaluator"]) == len(EVALUATORS)

    def test_the_client_takes_nothing_back(self, chain):
        task_id = chain.start()
        chain.post(SUPERVISORS[0], self.report(chain, task_id))
        refuse(chain, chain.fund(CLIENT, RevokeTask(task_id)), "takes applications still can be revoked")
        stake = Outpoint(task_id, 0)
        tx = replace(chain.fund(CLIENT), inputs=(stake,), outputs=(Pay(1, key_hash(CLIENT)),), witnesses=())
        refuse(chain, chain.sign(tx, CLIENT), "a stake that is still locked")

    def test_names_a_fragment_that_is_revealed(self, chain):
        task_id = chain.start()
        hidden = next(i for i in range(10) if i not in self.revealed(chain, task_id))
        for fragment in (10, hidden):
            tx = chain.fund(SUPERVISORS[0], self.report(chain, task_id, fragment))
            refuse(chain, tx, "revealed no such fragment, or nobody is to blame")
        chain.post(SUPERVISORS[0], self.report(chain, task_id, self.revealed(chain, task_id)[-1]))

    def test_a_predefined_task_has_nobody_to_blame(self, chain):
        tx = chain.fund(SUPERVISORS[0], self.report(chain, chain.predefined))
        refuse(chain, tx, "revealed no such fragment, or nobody is to blame")

    @pytest.mark.parametrize(
        "changes", [{"fragment": "next"}, {"signature": "flipped"}, {"signature": "theirs"}]
    )
    def test_a_certificate_of_something_else(self, chain, changes):
        task_id = chain.start()
        data = self.report(chain, task_id)
        theirs = chain.certify(chain.predefined, MalformedStatement(task_id, data.fragment))
        following = self.revealed(chain, task_id)[1]
        made = {"flipped": flip(data.signature, 300), "theirs": theirs, "next": following}
        changes = {name: made.get(value, value) for name, value in changes.items()}
        refuse(chain, chain.fund(SUPERVISORS[0], replace(data, **changes)), "signature", InvalidProof)

    def test_a_certificate_of_too_few(self, chain):
        task_id = chain.start()
        for signer in SUPERVISORS:
            tx = chain.fund(signer, self.report(chain, task_id, signers=(signer,)))
            refuse(chain, tx, "signature does not match", InvalidProof)

    def test_by_somebody_who_does_not_supervise(self, chain):
        task_id = chain.start()
        tx = chain.fund(CLIENT, self.report(chain, task_id))
        refuse(chain, tx, "only a supervisor of the task speaks for its committee")

    def test_of_a_task_that_does_not_train(self, chain):
        task_id = chain.start()
        data = self.report(chain, task_id)
        chain.end_training(task_id)
        refuse(chain, chain.fund(SUPERVISORS[0], data), "the task is not training")


def status(chain, task_id, rank=1, epoch=2, signers=SUPERVISORS):
    """The supervisors' word that a miner left."""
    ticket = chain.task(task_id).miners[rank]
    signature = chain.certify(task_id, StatusStatement(task_id, ticket, epoch), signers)
    return NodeStatus(task_id, ticket, epoch, signature)


def four(chain, task_id):
    """Give a task a fourth miner."""
    task = chain.task(task_id)
    task = replace(task, miners=(*task.miners, chain.task(chain.predefined).miners[0]))
    chain.state = chain.pool = replace(chain.state, tasks=chain.state.tasks.set(task_id, task))


class TestNodeStatus:
    def leave(self, chain, task_id, *args, **changes):
        chain.post(SUPERVISORS[0], status(chain, task_id, *args, **changes))
        chain.mine()
        return chain.task(task_id)

    def test_the_others_work_from_an_epoch_on(self, chain):
        task_id = chain.start(epochs=3)
        before = chain.task(task_id)
        task = self.leave(chain, task_id, 1, 3, SUPERVISORS[1:])
        a, lost, b = before.miners
        assert task.shifts == (Shift(3, (a, b)),)
        assert task.expelled == (lost,)
        assert (task.stage, task.miners, task.joins) == (before.stage, before.miners, before.joins)

    def test_costs_a_part_of_the_stake(self, chain):
        task_id = chain.start(epochs=3)
        task = self.leave(chain, task_id)
        lost = chain.params.ticket_price_atoms * chain.params.skip_penalty_percent // 100
        assert task.captured == chain.state.burned == lost > 0
        assert is_locked(chain.state, task.miners[1]), "until the task is over"
        chain.check_supply()

    def test_whoever_left_is_paid_nothing_and_loses_nothing_more(self, chain):
        task_id = chain.start(epochs=3)
        task = self.leave(chain, task_id)
        lost = task.miners[1]
        owner, captured = chain.state.tickets[lost].key_hash, task.captured
        chain.end_training(task_id)
        chain.evaluate(task_id, Conclusion((300, 0, 100), 360, BlobId(label("best"))))
        assert chain.task(task_id).captured == captured
        tx = chain.add(chain.charge(task_id))
        chain.mine()
        assert sum(output.value for output in tx.outputs) == task.fee + captured
        assert owner not in [output.key_hash for output in tx.outputs]
        assert chain.state.utxos[lost].value == chain.params.ticket_price_atoms - captured
        assert not is_locked(chain.state, lost)
        assert chain.state.burned == 0
        chain.check_supply()

    def test_of_a_task_that_fails_then_costs_no_more(self, chain):
        task_id = chain.start(epochs=3, expected_blocks=3)
        task = self.leave(chain, task_id)
        chain.mine_until(task.since + 3)
        assert chain.task(task_id).stage is Stage.FAILED
        assert chain.state.burned == task.captured
        assert not is_locked(chain.state, task.miners[1])
        chain.check_supply()

    def test_of_the_predefined_task(self, chain):
        task = self.leave(chain, chain.predefined, 0, 10**6)
        assert task.shifts == (Shift(10**6, task.miners[1:]),)
        assert task.miners[0] in chain.state.tickets, "its earlier messages are checked still"
        for miner in MINERS:  # the epoch is far
            chain.mine(miner=miner)

    def test_two_may_leave_one_after_another(self, chain):
        task_id = chain.start(epochs=9)
        four(chain, task_id)
        task = self.leave(chain, task_id, 3, 4)
        task = self.leave(chain, task_id, 0, 5)
        a, b, c, d = task.miners
        assert task.shifts == (Shift(4, (a, b, c)), Shift(5, (b, c)))
        assert task.expelled == (d, a)
        assert task.captured == 2 * chain.params.ticket_price_atoms * chain.params.skip_penalty_percent // 100

    @pytest.mark.parametrize("epoch", [4, 3, 0])
    def test_each_in_a_later_epoch(self, chain, epoch):
        task_id = chain.start(epochs=9)
        four(chain, task_id)
        self.leave(chain, task_id, 3, 4)
        tx = chain.fund(SUPERVISORS[0], status(chain, task_id, 0, epoch))
        refuse(chain, tx, "the work is divided anew in epoch 5 to 9")

    @pytest.mark.parametrize("epoch", [0, 1, 4, 2**64 - 1])
    def test_in_no_epoch_that_has_begun_or_never_comes(self, chain, epoch):
        task_id = chain.start(epochs=3)
        tx = chain.fund(SUPERVISORS[0], status(chain, task_id, 1, epoch))
        refuse(chain, tx, "the work is divided anew in epoch 2 to 3")

    def test_two_miners_are_needed(self, chain):
        task_id = chain.start(epochs=9)
        self.leave(chain, task_id, 1, 2)
        tx = chain.fund(SUPERVISORS[0], status(chain, task_id, 0, 3))
        refuse(chain, tx, "a task needs 2 miners")

    def test_nobody_leaves_twice(self, chain):
        task_id = chain.start(epochs=9)
        four(chain, task_id)
        self.leave(chain, task_id, 1, 2)
        tx = chain.fund(SUPERVISORS[0], status(chain, task_id, 1, 3))
        refuse(chain, tx, "none of the miners that work")

    def test_somebody_who_is_no_miner(self, chain):
        task_id = chain.start(epochs=3)
        data = replace(status(chain, task_id), ticket=chain.task(task_id).supervisors[0])
        refuse(chain, chain.fund(SUPERVISORS[0], data), "none of the miners that work")

    @pytest.mark.parametrize("changes", [{"epoch": 3}, {"ticket": 0}, {"task": "predefined"}])
    def test_a_certificate_of_something_else(self, chain, changes):
        task_id = chain.start(epochs=3)
        data = status(chain, task_id)
        if "ticket" in changes:
            changes = {"ticket": chain.task(task_id).miners[0]}
        if "task" in changes:
            there = chain.task(chain.predefined).miners[0]
            changes = {"task": chain.predefined, "ticket": there}
        refuse(chain, chain.fund(SUPERVISORS[0], replace(data, **changes)), "does not match", InvalidProof)

    def test_a_certificate_of_too_few(self, chain):
        task_id = chain.start(epochs=3)
        for signer in SUPERVISORS:
            tx = chain.fund(signer, status(chain, task_id, signers=(signer,)))
            refuse(chain, tx, "signature does not match", InvalidProof)

    def test_by_somebody_who_does_not_supervise(self, chain):
        task_id = chain.start(epochs=3)
        tx = chain.fund(MINERS[0], status(chain, task_id))
        refuse(chain, tx, "only a supervisor of the task speaks for its committee")

    def test_of_a_task_that_does_not_train(self, chain):
        task_id = chain.start(epochs=3)
        data = status(chain, task_id)
        chain.end_training(task_id)
        for task in (task_id, TaskId(label("none"))):
            tx = chain.fund(SUPERVISORS[0], replace(data, task=task))
            refuse(chain, tx, "the task is not training")


class TestDeadlines:
    def test_training_that_never_ends_fails(self, chain):
        task_id = chain.start(expected_blocks=3)
        chain.mine_until(chain.task(task_id).since + 2)
        assert chain.task(task_id).stage is Stage.TRAINING
        workers = [t for _, group in chain.task(task_id).workers() for t in group]
        chain.mine()
        assert stages(chain, task_id) == ["joining", "keying", "training", "failed"]
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
    assert stages(chain, task_id) == ["joining", "keying", "training", "evaluating", "paid"]
    heights = [height for _, height in chain.task(task_id).history]
    assert heights == sorted(heights)
